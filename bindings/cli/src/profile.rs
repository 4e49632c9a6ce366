//! Where a profile is, and that it is its user's alone.
//!
//! A profile is a directory with keys, texts, and the socket over which commands and what they print are handed on. Whoever else may write
//! in it can put a link in the place of a file, or a socket of their own in the place of ours, and then has all of that. So nothing in
//! it is opened before it was looked at: the directory is this user's and writable for nobody else, and none of its files is a link or
//! somebody else's. What was planted before the permissions were mended is found by that too.
//! Whoever may write in a directory above it can put another one in its place between the look and the use. So those are looked at too,
//! and links that lead to a profile are followed once, before that.
//! Not here: who is at the other end of the socket (`handover.rs`).

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::failed::Failed;

/// Its name below the place for a user's data.
const NAME: &str = "sotto";
/// How the names of a profile's files begin. A directory may hold something else too.
const OURS: [&str; 4] = ["keys", "lock", "shown", "sotto."];
/// What others may do with a file or a directory: write, or anything.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_GROUP: u32 = 0o020;
const OPEN_TO_OTHERS: u32 = 0o077;
/// In such a directory nobody renames or removes what is another's: /tmp is one.
const STICKY: u32 = 0o1000;

/// Where the profile is when nobody says: in the user's own place for data, never in whatever directory they happen to stand.
pub(crate) fn default_directory() -> Result<PathBuf, Failed> {
    // The XDG specification: a path that is not absolute counts as none.
    let from = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join(NAME)).ok_or_else(|| Failed::new("no_home", "nothing says where this user's data is"))
}

/// Where a directory really is, without a link on the way; one that is not there yet, where it would be.
///
/// # Errors
/// `profile_unreadable`.
pub(crate) fn real(directory: &Path) -> Result<PathBuf, Failed> {
    match fs::canonicalize(directory) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (directory.parent(), directory.file_name()) {
            (Some(above), Some(name)) if above.as_os_str().is_empty() => Ok(real(Path::new("."))?.join(name)),
            (Some(above), Some(name)) => Ok(real(above)?.join(name)),
            // The directory above one that is not there: nothing is, whatever is asked of it.
            _ => Ok(directory.to_owned()),
        },
        Err(error) => Err(unreadable(&error)),
    }
}

/// Permissions that were found too wide and are right now, to be told.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Repaired {
    /// As they were.
    mode: u32,
}

impl Repaired {
    /// What a user must know of it.
    pub(crate) fn told(&self) -> String {
        let could = if self.mode & WRITABLE_BY_OTHERS == 0 { "read" } else { "read and change" };
        format!(
            "other users of this machine could {could} the keys (mode {:o}); now they cannot. If one may have done so, make a new profile",
            self.mode
        )
    }
}

/// Looks at a profile before anything in it is used. One that is not there is nobody else's.
///
/// # Errors
/// `profile_not_private`, and `profile_unreadable` when it cannot be looked at, which is not the same as its being fine.
pub(crate) fn check(directory: &Path) -> Result<Option<Repaired>, Failed> {
    let own = rustix::process::geteuid().as_raw();
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    if found.uid() != own {
        return Err(not_private("the profile's directory belongs to another user"));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(not_private("other users of this machine may write in the profile's directory"));
    }
    check_above(&real(directory)?)?;
    let mut repaired = None;
    for entry in fs::read_dir(directory).map_err(|error| unreadable(&error))? {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !OURS.iter().any(|beginning| name.starts_with(beginning)) {
            continue;
        }
        // Of the entry, not of what a link leads to.
        let found = match entry.metadata() {
            Ok(found) => found,
            // Another process of ours was done with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&error)),
        };
        if found.is_symlink() {
            return Err(not_private(&format!("in the profile, {name} is a link to somewhere else")));
        }
        if found.uid() != own {
            return Err(not_private(&format!("in the profile, {name} belongs to another user")));
        }
        if name.starts_with("keys") && found.is_file() && found.mode() & OPEN_TO_OTHERS != 0 {
            repaired = Some(repair(&entry.path(), &found)?);
        }
    }
    Ok(repaired)
}

/// Looks at the directories above a profile up to the user's home, as OpenSSH does for its keys: each is root's or this user's, and
/// writable for others only where they cannot rename what is not theirs. What is above a home is the affair of whoever made it.
fn check_above(directory: &Path) -> Result<(), Failed> {
    let own = rustix::process::geteuid().as_raw();
    // A group with the user's number holds nobody else, where systems give every user one; there, directories are often the group's too.
    let own_group = Some(rustix::process::getegid().as_raw()).filter(|group| *group == own);
    let home = std::env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    for above in directory.ancestors().skip(1) {
        let found = match fs::metadata(above) {
            Ok(found) => found,
            // It is still to be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&error)),
        };
        let shown = above.display();
        if found.uid() != own && found.uid() != 0 {
            return Err(not_private(&format!("{shown}, above the profile, belongs to another user")));
        }
        let tolerated = if own_group == Some(found.gid()) { WRITABLE_BY_GROUP } else { 0 };
        if found.mode() & WRITABLE_BY_OTHERS & !tolerated != 0 && found.mode() & STICKY == 0 {
            return Err(not_private(&format!("other users of this machine may write in {shown}, above the profile")));
        }
        if home.as_deref() == Some(above) {
            break;
        }
    }
    Ok(())
}

fn repair(keys: &Path, found: &Metadata) -> Result<Repaired, Failed> {
    let closed = open(keys).and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    closed.map_err(|error| unreadable(&error))?;
    Ok(Repaired { mode: found.mode() & 0o777 })
}

fn not_private(message: &str) -> Failed {
    Failed::new("profile_not_private", message)
}

fn unreadable(error: &io::Error) -> Failed {
    Failed::new("profile_unreadable", format!("the profile's directory cannot be looked at: {error}"))
}

/// Whether something was not written because there is no room for it: on the disk, or for this user or this process.
pub(crate) fn is_short_of_room(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// A directory for a new profile, and what it takes to leave nothing of a failed attempt.
pub(crate) struct Made<'a> {
    directory: &'a Path,
    is_new: bool,
}

/// Makes the directory, for its owner alone. One that somebody else made first is looked at like any other.
///
/// # Errors
/// As [`check`], and when it cannot be made.
pub(crate) fn make(directory: &Path) -> Result<Made<'_>, Failed> {
    let unmade = |error: io::Error| {
        let message = format!("the profile's directory cannot be made: {error}");
        Failed::new(if is_short_of_room(&error) { "disk_full" } else { "profile_unreadable" }, message)
    };
    check_above(&real(directory)?)?;
    let parents = directory.parent().filter(|parents| !parents.as_os_str().is_empty());
    if let Some(parents) = parents {
        make_above(parents).map_err(unmade)?;
    }
    let is_new = match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(unmade(error)),
    };
    check(directory)?;
    Ok(Made { directory, is_new })
}

/// Makes the directories above a profile's where there are none, and syncs their names: a power cut would take the profile along with them.
fn make_above(parents: &Path) -> io::Result<()> {
    let new: Vec<&Path> =
        parents.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(parents)?;
    new.into_iter().try_for_each(|made| {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above)?.sync_all()
    })
}

impl Made<'_> {
    /// Takes an empty directory away again.
    pub(crate) fn undo(self) {
        if self.is_new {
            // One with something in it stays.
            let _ = fs::remove_dir(self.directory);
        }
    }
}

/// A file of a profile, to be read: what stands under its name, and not what a link there leads to.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(no_follow()).open(path)
}

/// A new file of a profile, for its owner alone. What an earlier attempt left under its name goes; nothing is written through a link, or
/// to a file that was there.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(no_follow()).open(path)
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(directory: &Path) -> bool {
        check(directory).is_err_and(|failed| failed.is("profile_not_private"))
    }

    #[test]
    fn a_directory_that_others_may_write_in_is_refused_and_one_they_may_read_is_not() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, is_refused) in [(0o700, false), (0o755, false), (0o720, true), (0o702, true), (0o1777, true)] {
            set_mode(directory.path(), mode);
            assert_eq!(refusal(directory.path()), is_refused, "{mode:o}");
        }
        assert_eq!(check(&directory.path().join("nothing")).unwrap(), None);
    }

    #[test]
    fn a_profile_is_where_links_lead_to_and_one_that_is_still_to_be_made_where_it_would_be() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("there", place.join("link")).unwrap();
        assert_eq!(real(&place.join("link/new")).unwrap(), place.join("link/new"), "nothing is there yet");
        fs::create_dir(place.join("there")).unwrap();
        assert_eq!(real(&place.join("link")).unwrap(), place.join("there"));
        assert_eq!(real(&place.join("link/new/newer")).unwrap(), place.join("there/new/newer"));
        assert_eq!(real(Path::new("new")).unwrap(), std::env::current_dir().unwrap().join("new"));
    }

    #[test]
    fn a_group_may_write_above_a_profile_only_where_it_is_the_users_own() {
        use std::os::unix::fs::chown;
        let place = tempfile::tempdir().unwrap();
        let (above, profile) = (place.path().join("above"), place.path().join("above/profile"));
        fs::create_dir_all(&profile).unwrap();
        set_mode(&above, 0o770);
        let own = rustix::process::geteuid().as_raw();
        for group in [own, own + 1] {
            // Only root gives a directory to any group.
            if chown(&above, None, Some(group)).is_ok() {
                let is_own = group == own && rustix::process::getegid().as_raw() == own;
                assert_eq!(refusal(&profile), !is_own, "{group}");
            }
        }
        set_mode(&above, 0o1770);
        assert!(!refusal(&profile), "nobody renames there what is another's");
    }

    #[test]
    fn a_link_in_the_place_of_any_file_of_a_profile_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["keys", "keys.new", "lock", "shown.new", "sotto.db", "sotto.db-wal", "sotto.sock"] {
            let path = directory.path().join(name);
            std::os::unix::fs::symlink("elsewhere", &path).unwrap();
            assert!(refusal(directory.path()), "{name}");
            fs::remove_file(path).unwrap();
        }
        std::os::unix::fs::symlink("elsewhere", directory.path().join("music")).unwrap();
        assert_eq!(check(directory.path()).unwrap(), None, "not a file of ours");
    }

    #[test]
    fn keys_that_others_could_read_are_closed_and_that_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        fs::write(&keys, "keys").unwrap();
        for (loose, told) in [(0o604, "could read the keys (mode 604)"), (0o666, "could read and change the keys")] {
            set_mode(&keys, loose);
            assert!(check(directory.path()).unwrap().unwrap().told().contains(told));
            assert_eq!(mode(&keys), 0o600);
            assert_eq!(check(directory.path()).unwrap(), None);
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_to_a_file_that_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let (new, elsewhere) = (directory.path().join("keys.new"), directory.path().join("elsewhere"));
        fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &new).unwrap();
        assert!(open(&new).is_err(), "a link is not opened");
        io::Write::write_all(&mut create_new(&new).unwrap(), b"secret").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
        // Somebody else's handle on what was there sees nothing either.
        let (kept, name) = (File::open(&new).unwrap(), new.clone());
        io::Write::write_all(&mut create_new(&name).unwrap(), b"newer").unwrap();
        assert_eq!(io::read_to_string(kept).unwrap(), "secret");
        assert_eq!(mode(&name), 0o600);
    }

    #[test]
    fn a_new_directory_is_its_owners_alone_and_goes_again_only_while_it_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("one/two");
        make(&profile).unwrap().undo();
        assert!(!profile.exists() && mode(&directory.path().join("one")) == 0o700);
        let made = make(&profile).unwrap();
        assert_eq!(mode(&profile), 0o700);
        fs::write(profile.join("lock"), "").unwrap();
        made.undo();
        assert!(profile.exists());
        make(&profile).unwrap().undo();
        assert!(profile.exists());
        set_mode(&profile, 0o777);
        assert!(make(&profile).is_err_and(|failed| failed.is("profile_not_private")));
        set_mode(&profile, 0o700);
    }
}
