//! How far `sync` has shown what came in: a number in a file of the profile.
//!
//! What arrives while another command runs, or while `sync` is being killed, is shown by the next `sync`: scripts that read its lines
//! see every message at least once, and know repeats by their ids.
//! Invariant: the number is written after the lines, by the process that wrote them.
//! Not here: what was read by a person, which the engine keeps (`sotto read`).

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::profile;

const FILE_NAME: &str = "shown";
const NEW_FILE_NAME: &str = "shown.new";

/// The number of the last message that was shown; `newest` is the last that there is. A file from another database is not believed.
pub(crate) fn read(directory: &Path, newest: i64) -> i64 {
    let text = profile::open(&directory.join(FILE_NAME)).and_then(io::read_to_string).ok();
    let number = text.and_then(|text| text.trim().parse().ok());
    number.unwrap_or(0).clamp(0, newest)
}

/// Everything up to this message was shown. Renamed into place, so that a crash leaves one number or the other; a number that could not
/// be written only shows something twice.
pub(crate) fn write(directory: &Path, number: i64) {
    let new = directory.join(NEW_FILE_NAME);
    let written = profile::create_new(&new)
        .and_then(|mut file| writeln!(file, "{number}"))
        .and_then(|()| fs::rename(&new, directory.join(FILE_NAME)));
    if let Err(error) = written {
        tracing::warn!(kind = ?error.kind(), "what was shown cannot be written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_remembered_and_nothing_unknown_is_believed() {
        let profile = tempfile::tempdir().unwrap();
        assert_eq!(read(profile.path(), 9), 0, "nothing was shown yet");
        write(profile.path(), 7);
        assert_eq!(read(profile.path(), 9), 7);
        assert_eq!(read(profile.path(), 3), 3, "an older database");
        fs::write(profile.path().join(FILE_NAME), "garbage").unwrap();
        assert_eq!(read(profile.path(), 9), 0);
    }
}
