//! What people call themselves: the one rule for names in links and letters.
//!
//! A name is how somebody is told from others, so nothing in it may be there without being seen, or change where what stands around it is
//! read. What a writing system needs of that kind, a joiner within a word, a selector behind an emoji, is let through where it has
//! something to act on. That two names look alike all the same is for whoever shows them.

use crate::decode::DecodeError;
use crate::limits::NAME_BYTES_MAX;

/// Whether somebody may be called so: something that can be seen, all of it, on one line.
///
/// # Errors
/// [`DecodeError::TooLong`], and [`DecodeError::BadName`] for nothing but white space, for control characters, and for what [`hides`].
pub fn check(name: &str) -> Result<(), DecodeError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(DecodeError::TooLong { length: name.len(), length_max: NAME_BYTES_MAX });
    }
    let is_good = !name.trim().is_empty() && !name.chars().any(char::is_control) && !hides(name);
    if is_good { Ok(()) } else { Err(DecodeError::BadName) }
}

/// Whether something in a name [`is_hidden`] and has nothing there to act on: a selector stands right behind a visible character, a
/// joiner behind one or behind its selector, and that character is not of ASCII. An emoji's selector also stands between a key and its
/// cap.
#[must_use]
pub fn hides(name: &str) -> bool {
    let (mut selects, mut joins, mut is_key) = (false, false, false);
    let mut letters = name.chars().peekable();
    std::iter::from_fn(|| letters.next().map(|letter| (letter, letters.peek().copied()))).any(|(letter, next)| {
        let is_behind_key = std::mem::replace(&mut is_key, matches!(letter, '0'..='9' | '#' | '*'));
        let has_purpose = match letter {
            '\u{fe0f}' if is_behind_key => next == Some('\u{20e3}'),
            '\u{fe00}'..='\u{fe0f}' => std::mem::take(&mut selects),
            '\u{200c}' | '\u{200d}' => std::mem::take(&mut joins),
            _ => {
                (selects, joins) = (!letter.is_ascii(), !letter.is_ascii());
                !is_hidden(letter)
            }
        };
        selects &= joins;
        !has_purpose
    })
}

/// Whether a character shows nothing of its own or changes how others are read: Unicode's Default_Ignorable_Code_Point, which holds
/// Bidi_Control; separators of lines; marks of annotations; and the Braille pattern without dots.
#[must_use]
pub const fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
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

    #[test]
    fn nothing_in_a_name_is_there_without_being_seen_or_turns_what_stands_around_it() {
        for hidden in
            ['\u{200b}', '\u{3164}', '\u{2800}', '\u{ad}', '\u{2060}', '\u{e0041}', '\u{202e}', '\u{200f}', '\u{2067}']
        {
            for name in
                [format!("Bob{hidden}"), format!("{hidden}Bob"), format!("Zo\u{eb}{hidden}"), hidden.to_string()]
            {
                assert_eq!(check(&name), Err(DecodeError::BadName), "{name:?}");
            }
        }
        // What acts on something, where there is nothing to act on.
        for name in [
            "Bob\u{200d}",
            "B\u{200c}ob",
            "\u{200d}",
            "Bob\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "❤\u{200d}\u{fe0f}",
            "1\u{fe0f}",
            "1\u{fe0f}2\u{20e3}",
            "1\u{fe0e}\u{20e3}",
            "1\u{fe0f}\u{fe0f}\u{20e3}",
            "a\u{fe0f}\u{20e3}",
            "1\u{200d}\u{20e3}",
            "é\u{200d}\u{200d}",
        ] {
            assert_eq!(check(name), Err(DecodeError::BadName), "{name:?}");
        }
    }

    #[test]
    fn what_a_writing_system_or_an_emoji_needs_is_part_of_a_name() {
        for name in [
            "DJ 1\u{fe0f}\u{20e3}",
            "#\u{fe0f}\u{20e3}*\u{fe0f}\u{20e3}",
            "7\u{20e3}",
            "علی\u{200c}رضا",
            "ක්\u{200d}රිස්",
            "Anna ❤\u{fe0f}",
            "❤\u{fe0f}\u{200d}🔥",
            "👩🏽\u{200d}💻",
            "Nguyễn",
            "שָׁלוֹם",
        ] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
    }
}
