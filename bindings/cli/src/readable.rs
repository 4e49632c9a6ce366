//! Text of others on a terminal: readable, and nothing more.
//!
//! Whoever writes a message or chooses a name must not move the cursor, colour a line, turn the reading direction of what follows, or
//! end a line of ours. Control characters become visible; direction marks that outlive their text are taken out and what reads from
//! right to left is isolated, so that it stays right where it stands. Marks pile up on a letter only as far as it can bear.

use std::cmp::Ordering;

use sotto_core::protocol::name;
use unicode_normalization::char::is_combining_mark;

/// Control characters, C1 too, which terminals obey.
fn steers(letter: char) -> bool {
    letter.is_control()
}

/// Marks that change the direction of what stands around them, separators that end a line without being a control character, and
/// what is obsolete and invisible.
const fn turns(letter: char) -> bool {
    matches!(
        letter,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{206a}'..='\u{206f}' | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}'
    )
}

/// Letters that nobody sees: a second text behind the one that is shown. Flags of regions are made of them.
const fn is_tag(letter: char) -> bool {
    matches!(letter, '\u{e0000}'..='\u{e007f}')
}

const BLACK_FLAG: char = '\u{1f3f4}';

/// Marks on one letter: what the fullest scripts need twice over. More of them cover the lines above and below.
const MARKS_MAX: usize = 8;

const ISOLATE: char = '\u{2068}';
const END_OF_ISOLATE: char = '\u{2069}';

/// Whether a letter is read from right to left.
const fn is_right_to_left(letter: char) -> bool {
    matches!(
        letter,
        '\u{590}'..='\u{8ff}' | '\u{200f}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}'
    )
}

/// One line of somebody's: line ends are control characters too.
pub(crate) fn line(text: &str) -> String {
    isolated(letters(text).map(|(_, letter)| letter).collect())
}

/// The letters of one line of somebody's, each with its place among those of the text: for whoever draws them one by one, and isolates each
/// row by itself.
pub(crate) fn letters(text: &str) -> impl Iterator<Item = (usize, char)> {
    bounded(text.chars().map(visible).enumerate())
}

/// A text that may have several lines: all but the first are set in, so that none looks like one of ours.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n            ")
}

/// With no more marks on a letter than it can bear, and no hidden letters.
fn bounded(letters: impl Iterator<Item = (usize, char)>) -> impl Iterator<Item = (usize, char)> {
    let (mut marks, mut is_flag) = (0_usize, false);
    let mut bear = move |letter| {
        is_flag = letter == BLACK_FLAG || is_flag && is_tag(letter);
        if is_tag(letter) && !is_flag {
            return Some(char::REPLACEMENT_CHARACTER);
        }
        if is_combining_mark(letter) {
            marks += 1;
        } else if !name::is_hidden(letter) {
            marks = 0;
        }
        match marks.cmp(&(MARKS_MAX + 1)) {
            Ordering::Less => Some(letter),
            Ordering::Equal if is_combining_mark(letter) => Some(char::REPLACEMENT_CHARACTER),
            Ordering::Equal | Ordering::Greater => None,
        }
    };
    letters.filter_map(move |(place, letter)| Some((place, bear(letter)?)))
}

fn visible(letter: char) -> char {
    if steers(letter) || turns(letter) { char::REPLACEMENT_CHARACTER } else { letter }
}

/// What reads from right to left, so that it turns nothing beside it.
pub(crate) fn isolated(text: String) -> String {
    if text.chars().any(is_right_to_left) { format!("{ISOLATE}{text}{END_OF_ISOLATE}") } else { text }
}

/// A line that another process has made harmless already, made harmless once more: nothing changes in what was right. Isolations stay
/// where each is closed on its own line.
pub(crate) fn received(text: &str) -> String {
    text.split('\n').map(received_line).collect::<Vec<_>>().join("\n")
}

fn received_line(line: &str) -> String {
    let mut open = 0_i64;
    let is_balanced = line.chars().all(|letter| {
        open += i64::from(letter == ISOLATE) - i64::from(letter == END_OF_ISOLATE);
        open >= 0
    }) && open == 0;
    let is_kept = |letter| is_balanced && matches!(letter, ISOLATE | END_OF_ISOLATE);
    let letters = line.chars().map(|letter| if is_kept(letter) { letter } else { visible(letter) });
    bounded(letters.enumerate()).map(|(_, letter)| letter).collect()
}

/// JSON whose strings mean the same and hold nothing that a terminal obeys. Outside of strings there are only ASCII characters.
pub(crate) fn json(value: &serde_json::Value) -> String {
    let text = value.to_string();
    // Where a letter has more marks than it can bear, or one is hidden, all of these are written out.
    let is_bounded = bounded(text.chars().enumerate()).map(|(_, letter)| letter).eq(text.chars());
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) || turns(letter) || !is_bounded && (is_combining_mark(letter) || is_tag(letter)) {
            safe.extend(letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            safe.push(letter);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal_or_look_like_another_line() {
        assert_eq!(lines("a\u{1b}[2Jb\rc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(lines("first\nme: second"), "first\n            me: second");
        assert_eq!(line("bob\nme"), "bob\u{fffd}me");
        assert_eq!(lines("one\u{2028}two\u{202e}eno"), "one\u{fffd}two\u{fffd}eno");
    }

    #[test]
    fn a_letter_bears_so_many_marks_and_nothing_is_said_that_nobody_sees() {
        let zalgo = format!("a{}b", "\u{301}".repeat(200));
        let shown = format!("a{}\u{fffd}b", "\u{301}".repeat(MARKS_MAX));
        assert_eq!(line(&zalgo), shown);
        assert_eq!(received(&shown), shown, "once is enough");
        let joined = format!("a{}", "\u{301}\u{200d}".repeat(50));
        assert!(line(&joined).chars().filter(|letter| is_combining_mark(*letter)).count() <= MARKS_MAX);
        assert_eq!(line("a\u{e0041}\u{e0042}\u{206e}\u{fff9}b"), "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
        for right in [
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "Nguyễn",
            "བསྒྲུབས",
            "❤\u{fe0f}\u{200d}🔥",
            "e\u{302}\u{323}",
        ] {
            assert_eq!(line(right), right);
        }
        assert_eq!(line("שָּׁ֖"), "\u{2068}שָּׁ֖\u{2069}");
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        assert_eq!(lines("こんにちは 👋🏽 ¡Hola!"), "こんにちは 👋🏽 ¡Hola!");
        assert_eq!(line("مرحبا 👋🏽"), "\u{2068}مرحبا 👋🏽\u{2069}", "right to left, and only there");
        assert_eq!(line("\u{2069}مرحبا"), "\u{2068}\u{fffd}مرحبا\u{2069}", "nobody ends their isolation");
    }

    #[test]
    fn what_another_process_made_harmless_stays_as_it_is_and_what_it_did_not_is_made_so() {
        let value = serde_json::json!({ "text": "a\u{1b}\u{202e} مرحبا 👋🏽" });
        for right in [lines("one\nمرحبا 👋🏽\u{1b}[2J three"), json(&value), "██▀▄ ".to_owned()] {
            assert_eq!(received(&right), right);
        }
        for (wrong, shown) in [
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "\u{fffd}[2J\u{fffd}]0;owned\u{fffd}"),
            ("\u{9b}31m\u{202e}x\ry", "\u{fffd}31m\u{fffd}x\u{fffd}y"),
            ("\u{2068}never closed", "\u{fffd}never closed"),
            ("\u{2069}closed first\u{2068}", "\u{fffd}closed first\u{fffd}"),
        ] {
            assert_eq!(received(wrong), shown);
        }
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_obeys() {
        let zalgo = "\u{301}".repeat(50);
        let text = format!("a\u{1b}\u{9b}\u{7f}\u{202e}\u{2028} مرحبا 👋🏽 b{zalgo} c\u{e0041}");
        let value = serde_json::json!({ "text": text });
        let line = json(&value);
        assert_eq!(received(&line), line, "another process hands it on as it is");
        assert!(!line.chars().any(|letter| steers(letter) || turns(letter)), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
}
