//! How far `sync` has shown what came in: a number in a file of the profile.
//!
//! What arrives while another command runs, or while `sync` is being killed, is shown by the next `sync`: scripts that read its lines
//! see every message at least once, and know repeats by their ids.
//! Not here: what was read by a person, which the engine keeps (`sotto read`).

use std::fs;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "shown";
const NEW_FILE_NAME: &str = "shown.new";

/// The number of the last message that was shown.
pub(crate) struct Shown {
    path: PathBuf,
    number: i64,
}

impl Shown {
    /// What the file says; `newest` is the last message there is. A file from another database is not believed.
    pub(crate) fn load(profile: &Path, newest: i64) -> Self {
        let path = profile.join(FILE_NAME);
        let number = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Self { path, number: number.unwrap_or(0).clamp(0, newest) }
    }

    pub(crate) const fn number(&self) -> i64 {
        self.number
    }

    /// These were shown. Renamed into place, so that a crash leaves one number or the other; a number that could not be written only
    /// shows something twice.
    pub(crate) fn advance(&mut self, number: i64) {
        self.number = number;
        let new = self.path.with_file_name(NEW_FILE_NAME);
        let written = fs::write(&new, format!("{number}\n")).and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written {
            tracing::warn!(kind = ?error.kind(), "what was shown cannot be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_remembered_and_nothing_unknown_is_believed() {
        let profile = tempfile::tempdir().unwrap();
        assert_eq!(Shown::load(profile.path(), 9).number(), 0, "nothing was shown yet");
        Shown::load(profile.path(), 9).advance(7);
        assert_eq!(Shown::load(profile.path(), 9).number(), 7);
        assert_eq!(Shown::load(profile.path(), 3).number(), 3, "an older database");
        fs::write(profile.path().join(FILE_NAME), "garbage").unwrap();
        assert_eq!(Shown::load(profile.path(), 9).number(), 0);
    }
}
