//! A machine: all files below one directory, which lose their power together.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::disk::{Disk, FileId};
use crate::vfs;

/// Everybody's machines: SQLite knows one file system for the whole process.
static MACHINES: Mutex<Vec<Weak<Power>>> = Mutex::new(Vec::new());

/// Syncs that a machine answers without doing them, to see that somebody notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// None.
    Nothing,
    /// Those that `synchronous = NORMAL` leaves out: a log is synced before it is moved into the main file and after its head was
    /// written, and not with every commit.
    SyncsOfCommits,
}

/// A machine whose power can be cut. Gone with the last clone of it.
#[derive(Clone)]
pub struct Machine(Arc<Power>);

pub(crate) struct Power {
    root: PathBuf,
    state: Mutex<State>,
}

struct State {
    disk: Disk,
    is_cut: bool,
    open: usize,
    steps: u64,
    cut_at: Option<u64>,
    left_out: LeftOut,
}

/// The power is gone.
pub(crate) struct Cut;

/// What became of a file since it was last told to be synced.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Since {
    #[default]
    Nothing,
    /// The head of a log.
    Head,
    Frames,
}

impl Machine {
    /// Everything below `directory`, which is on the disk as it is now. SQLite's files everywhere pass through this crate from now on.
    ///
    /// # Panics
    /// When the directory cannot be read, or SQLite takes no other file system.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        vfs::register();
        let root = directory.canonicalize().expect("a machine's directory is there");
        let disk = Disk::of(&root).expect("a machine's directory can be read");
        let state = State { disk, is_cut: false, open: 0, steps: 0, cut_at: None, left_out: LeftOut::Nothing };
        let power = Arc::new(Power { root, state: Mutex::new(state) });
        let mut machines = machines();
        machines.retain(|machine| machine.strong_count() > 0);
        machines.push(Arc::downgrade(&power));
        drop(machines);
        Self(power)
    }

    /// From now on such syncs are answered and not done.
    #[must_use]
    pub fn leaving_out(self, left_out: LeftOut) -> Self {
        self.0.state().left_out = left_out;
        self
    }

    /// The power is cut at the `step`th change from now: a write, truncation, sync, creation or removal.
    pub fn cut_at(&self, step: u64) {
        let mut state = self.0.state();
        state.cut_at = Some(state.steps + step);
    }

    /// The power is cut now.
    pub fn cut(&self) {
        self.0.state().cut();
    }

    /// Whether it is.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.state().is_cut
    }

    /// Changes so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.state().steps
    }

    /// The power is back, and the files are what is left of them. A machine that was not cut is cut here.
    ///
    /// # Panics
    /// When somebody still has a file open, or the directory cannot be written.
    pub fn come_back(&self, seed: u64) {
        let mut state = self.0.state();
        assert_eq!(state.open, 0, "a machine without power has no open files");
        state.disk.lose_power(&mut ChaCha20Rng::seed_from_u64(seed)).expect("a test's directory can be written");
        state.is_cut = false;
        state.cut_at = None;
    }
}

impl State {
    fn cut(&mut self) {
        if !self.is_cut {
            self.is_cut = true;
            self.disk.freeze().expect("a machine's directory can be read");
        }
    }
}

impl Power {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine that a file is on, if it is on one.
    pub(crate) fn of(path: &Path) -> Option<Arc<Self>> {
        machines().iter().filter_map(Weak::upgrade).find(|machine| path.starts_with(&machine.root))
    }

    /// Reading, locking and looking need power too.
    pub(crate) fn check(&self) -> Result<(), Cut> {
        if self.state().is_cut { Err(Cut) } else { Ok(()) }
    }

    /// A change begins; with the last one the power goes.
    pub(crate) fn step(&self) -> Result<(), Cut> {
        self.step_with(|_| {})
    }

    fn step_with(&self, change: impl FnOnce(&mut Disk)) -> Result<(), Cut> {
        let mut state = self.state();
        if state.is_cut {
            return Err(Cut);
        }
        // The write that the power goes in may have arrived too.
        change(&mut state.disk);
        state.steps += 1;
        if state.cut_at.is_some_and(|step| state.steps >= step) {
            state.cut();
        }
        if state.is_cut { Err(Cut) } else { Ok(()) }
    }

    pub(crate) fn write(&self, file: FileId, at: usize, bytes: &[u8]) -> Result<(), Cut> {
        self.step_with(|disk| disk.image(file).write(at, bytes))
    }

    pub(crate) fn truncate(&self, file: FileId, length: usize) -> Result<(), Cut> {
        self.step_with(|disk| disk.image(file).truncate(length))
    }

    /// Everything written before is on the disk.
    pub(crate) fn synced(&self, file: FileId) {
        self.state().disk.image(file).sync();
    }

    pub(crate) fn leaves_out(&self, since: Since) -> bool {
        since == Since::Frames && self.state().left_out == LeftOut::SyncsOfCommits
    }

    /// A file is open from now on; says whether its bytes have to be [told](Self::learn).
    pub(crate) fn opened(&self, file: FileId, is_new: bool) -> bool {
        let mut state = self.state();
        state.open += 1;
        if is_new {
            state.disk.create(file);
        }
        !state.disk.knows(file)
    }

    pub(crate) fn learn(&self, file: FileId, bytes: Vec<u8>) {
        self.state().disk.learn(file, bytes);
    }

    pub(crate) fn closed(&self) {
        self.state().open -= 1;
    }
}

/// A directory is synced, by whomever: `sync` does it, and only where there is power.
pub(crate) fn sync_directory(directory: FileId, sync: impl FnOnce() -> bool) -> Result<bool, Cut> {
    let all: Vec<_> = machines().iter().filter_map(Weak::upgrade).collect();
    let Some(machine) = all.into_iter().find(|machine| machine.state().disk.has_directory(directory)) else {
        return Ok(sync());
    };
    machine.step()?;
    let is_synced = sync();
    if is_synced {
        // A machine whose directory has gone has no use for it.
        drop(machine.state().disk.sync_directory(directory));
    }
    Ok(is_synced)
}

fn machines() -> MutexGuard<'static, Vec<Weak<Power>>> {
    MACHINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::{self, File};

    use super::*;
    use crate::temporary;
    use rusqlite::Connection;

    fn connect(directory: &Path) -> Connection {
        let connection = Connection::open(directory.join("rows.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8;
                 CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body BLOB);",
            )
            .unwrap();
        connection
    }

    fn rows(connection: &Connection) -> i64 {
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        connection.query_row("SELECT COUNT(*) FROM row", [], |row| row.get(0)).unwrap()
    }

    /// Writes rows until the power is cut at that step; answers with the rows that were committed and those that are there afterwards.
    fn cut_while_writing(left_out: LeftOut, step: u64, seed: u64) -> (i64, i64) {
        let directory = temporary();
        drop(connect(directory.path()));
        let machine = Machine::new(directory.path()).leaving_out(left_out);
        let connection = connect(directory.path());
        machine.cut_at(step);
        let insert = "INSERT INTO row (body) VALUES (zeroblob(3000))";
        let committed = (0..).take_while(|_| connection.execute(insert, []).is_ok()).count();
        assert!(machine.is_cut());
        assert!(connection.query_row("SELECT COUNT(*) FROM row", [], |row| row.get::<_, i64>(0)).is_err());
        assert!(
            Connection::open(directory.path().join("rows.db"))
                .and_then(|c| c.execute_batch("PRAGMA user_version"))
                .is_err()
        );
        drop(connection);
        machine.come_back(seed);
        (committed.try_into().unwrap(), rows(&connect(directory.path())))
    }

    #[test]
    fn what_was_committed_survives_and_what_was_being_committed_may_or_may_not() {
        let mut beyond = BTreeSet::new();
        for seed in 0..80 {
            let (committed, found) = cut_while_writing(LeftOut::Nothing, 1 + seed % 40, seed);
            assert!(found == committed || found == committed + 1, "seed {seed}: {found} of {committed}");
            beyond.insert(found - committed);
        }
        assert_eq!(beyond, BTreeSet::from([0, 1]), "both happen");
    }

    #[test]
    fn without_the_syncs_of_commits_committed_rows_are_lost_and_the_database_stays_whole() {
        let lost = (0..40).filter(|seed| {
            let (committed, found) = cut_while_writing(LeftOut::SyncsOfCommits, 1 + seed % 40, *seed);
            found < committed
        });
        assert!(lost.count() > 10);
    }

    #[test]
    fn one_seed_leaves_the_same_twice() {
        for seed in 0..10 {
            assert_eq!(cut_while_writing(LeftOut::Nothing, 30, seed), cut_while_writing(LeftOut::Nothing, 30, seed));
        }
    }

    /// What is below a machine's directory after cuts with many seeds, each after `change` was made anew.
    fn left(change: impl Fn(&Path)) -> BTreeSet<Vec<String>> {
        let left = |seed| {
            let directory = temporary();
            fs::write(directory.path().join("old"), "").unwrap();
            let machine = Machine::new(directory.path());
            change(directory.path());
            machine.come_back(seed);
            let mut found = Vec::new();
            for name in ["old", "new", "directory", "directory/inside"] {
                found.extend(directory.path().join(name).exists().then(|| name.to_owned()));
            }
            found
        };
        (0..40).map(left).collect()
    }

    fn sets<const N: usize>(names: [&[&str]; N]) -> BTreeSet<Vec<String>> {
        names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()).into()
    }

    #[test]
    fn a_new_file_stays_once_its_directory_was_synced() {
        let make = |directory: &Path| File::create(directory.join("new")).unwrap().sync_all().unwrap();
        assert_eq!(left(make), sets([&["old"], &["old", "new"]]));
        let make_and_sync = |directory: &Path| {
            make(directory);
            File::open(directory).unwrap().sync_all().unwrap();
        };
        assert_eq!(left(make_and_sync), sets([&["old", "new"]]));
    }

    #[test]
    fn a_renamed_file_has_one_of_its_names_until_its_directory_was_synced() {
        let rename = |directory: &Path| fs::rename(directory.join("old"), directory.join("new")).unwrap();
        assert_eq!(left(rename), sets([&["old"], &["new"]]));
        let rename_and_sync = |directory: &Path| {
            rename(directory);
            File::open(directory).unwrap().sync_all().unwrap();
        };
        assert_eq!(left(rename_and_sync), sets([&["new"]]));
    }

    #[test]
    fn a_new_directory_takes_along_what_is_in_it_until_the_one_above_was_synced() {
        let make = |directory: &Path| {
            let new = directory.join("directory");
            fs::create_dir(&new).unwrap();
            File::create(new.join("inside")).unwrap();
            File::open(new).unwrap().sync_all().unwrap();
        };
        assert_eq!(left(make), sets([&["old"], &["old", "directory", "directory/inside"]]));
        let make_and_sync = |directory: &Path| {
            make(directory);
            File::open(directory).unwrap().sync_all().unwrap();
        };
        assert_eq!(left(make_and_sync), sets([&["old", "directory", "directory/inside"]]));
    }

    #[test]
    fn the_power_of_one_machine_is_not_that_of_another() {
        let (ours, theirs) = (temporary(), temporary());
        let (our_machine, their_machine) = (Machine::new(ours.path()), Machine::new(theirs.path()));
        let connection = connect(theirs.path());
        our_machine.cut();
        connection.execute("INSERT INTO row (body) VALUES (x'00')", []).unwrap();
        assert!(our_machine.is_cut() && !their_machine.is_cut());
        drop(connection);
        their_machine.come_back(1);
        assert_eq!(rows(&connect(theirs.path())), 1);
    }
}
