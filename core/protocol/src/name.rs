//! What people call themselves: the one rule for names in links and letters.

use crate::decode::DecodeError;
use crate::limits::NAME_BYTES_MAX;

/// Whether somebody may be called so: something that can be seen, on one line.
///
/// # Errors
/// [`DecodeError::TooLong`], and [`DecodeError::BadName`] for nothing but white space and for control characters.
pub fn check(name: &str) -> Result<(), DecodeError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(DecodeError::TooLong { length: name.len(), length_max: NAME_BYTES_MAX });
    }
    let is_good = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if is_good { Ok(()) } else { Err(DecodeError::BadName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_seen_and_stands_on_one_line() {
        assert_eq!(check("Zoë"), Ok(()));
        assert_eq!(check(&"n".repeat(NAME_BYTES_MAX)), Ok(()));
        for bad in ["", " \u{3000}", "two\nlines", "\u{1b}[2Jcleared", "bell\u{7}"] {
            assert_eq!(check(bad), Err(DecodeError::BadName), "{bad:?}");
        }
        assert!(matches!(check(&"n".repeat(NAME_BYTES_MAX + 1)), Err(DecodeError::TooLong { .. })));
    }
}
