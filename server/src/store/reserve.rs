//! Room that is kept for making room: deleting writes before it frees anything, so a disk that is quite full could never be drained.
//!
//! A file beside the database holds that room. It is given back when a write meets a full disk; from then on only what removes is
//! carried out, and the log is emptied after each of it, until the reserve can be made again. A store that fills the disk by itself
//! does not come that far: the database stops growing while there is still room for the log beside the reserve, and goes on with
//! the pages that were freed in it.
//! Not here: who is refused meanwhile (`commit.rs`), a log that cannot be moved at the start (`sqlite.rs`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::limits::{LOG_PART_OF_RESERVE, RESERVE_BYTES_MIN, RESERVE_PART_OF_DISK};

/// Bytes that are moved at once where a file is written by hand.
const PIECE_BYTES: usize = 64 * 1024;

/// See the file's story.
pub(crate) struct Reserve {
    database: PathBuf,
    /// What an operator asks for.
    wanted: u64,
}

impl Reserve {
    pub(crate) fn new(database: &Path, wanted: u64) -> Self {
        Self { database: database.to_owned(), wanted: wanted.max(RESERVE_BYTES_MIN) }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.database.clone().into_os_string();
        path.push(end);
        path.into()
    }

    fn file(&self) -> PathBuf {
        self.beside("-reserve")
    }

    /// What is kept now; 0 once it was given back.
    pub(crate) fn held(&self) -> u64 {
        length(&self.file())
    }

    /// How long the log is.
    pub(crate) fn log(&self) -> u64 {
        length(&self.beside("-wal"))
    }

    /// How long the log may become: what the reserve has room for several times over.
    pub(crate) fn log_max(&self) -> u64 {
        self.held() / LOG_PART_OF_RESERVE
    }

    /// What the disk has left, without the reserve.
    pub(crate) fn free(&self) -> u64 {
        let directory = self.database.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        rustix::fs::statvfs(directory).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How large the main file may become: as much again as the reserve stays for the log.
    pub(crate) fn main_max(&self) -> u64 {
        length(&self.database) + self.free().saturating_sub(self.held())
    }

    /// Whether the main file may grow to so much.
    pub(crate) fn has_room_for_main(&self, bytes: u64) -> bool {
        length(&self.database) + self.free() >= bytes
    }

    /// Makes the reserve where there is none, and a larger one when there is room for twice what is kept; `false` when there is none
    /// after that.
    pub(crate) fn make(&self) -> bool {
        let held = self.held();
        let free = self.free() + held;
        let bytes = (free / RESERVE_PART_OF_DISK).clamp(RESERVE_BYTES_MIN, self.wanted);
        if held >= RESERVE_BYTES_MIN && bytes < held.saturating_mul(2) {
            return true;
        }
        let is_made = free >= 2 * bytes && self.allocate(bytes).is_ok();
        if !is_made && held < RESERVE_BYTES_MIN {
            self.give_back();
        }
        is_made || held >= RESERVE_BYTES_MIN
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.file())?;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            use rustix::io::Errno;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                done => return Ok(done?),
            }
        }
        let zeros = [0; PIECE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let piece = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
        }
        file.sync_all()
    }

    /// Gives the room back.
    pub(crate) fn give_back(&self) {
        match std::fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("the reserve cannot be given back: {error}");
            }
            _ => {}
        }
    }

    /// Whether the log of the last run, and what opening needs, have room in what is free without the reserve.
    pub(crate) fn has_room_to_open(&self) -> bool {
        self.free() > self.log() + RESERVE_BYTES_MIN / 3
    }
}

/// Writes the log of the last run again where it stands, and syncs it: what is read from it is then on the disk, also when the last
/// run ended by a sync that failed. It takes no room.
pub(crate) fn write_log_again(database: &Path) -> io::Result<()> {
    let mut path = database.to_owned().into_os_string();
    path.push("-wal");
    let mut log = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        log.seek(SeekFrom::Start(at))?;
        let count = log.read(&mut piece)?;
        if count == 0 {
            return log.sync_all();
        }
        log.seek(SeekFrom::Start(at))?;
        log.write_all(&piece[..count])?;
        at += count as u64;
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_made_grows_when_there_is_room_for_twice_as_much_and_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let of = |wanted| Reserve::new(&directory.path().join("relay.sqlite"), wanted);
        let (small, large) = (of(RESERVE_BYTES_MIN), of(3 * RESERVE_BYTES_MIN));
        assert!(small.make());
        assert_eq!(small.held(), RESERVE_BYTES_MIN);
        assert!(large.make() && small.make());
        assert_eq!(large.held(), 3 * RESERVE_BYTES_MIN);
        large.give_back();
        assert_eq!(large.held(), 0);
        large.give_back();
    }

    #[test]
    fn a1_a_log_that_is_written_again_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("relay.sqlite");
        write_log_again(&database).unwrap();
        let log: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let path = directory.path().join("relay.sqlite-wal");
        std::fs::write(&path, &log).unwrap();
        write_log_again(&database).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), log);
    }
}
