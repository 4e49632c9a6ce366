//! A piece of a text around what was found in it, with the places of that.
//!
//! It is cut where no letter, no picture and, as far as one is near, no word is cut through. Line ends become spaces. Places are found by the same
//! cutting that the index was filled by.

use unicode_normalization::char::is_combining_mark;

use super::query::{Phrase, Phrases};
use super::words::{self, Piece};
use crate::records::{Snippet, Span};

/// Scalars of a snippet, about two lines on a phone.
const LENGTH: usize = 120;
/// Of them before the first place: enough to know what it is about, and few enough that the place is in the first line.
const BEFORE: usize = 30;
/// How far a cut moves so that no word is cut through: most words are shorter.
const WORD: usize = 15;
/// What stands for what was cut off.
const CUT: char = '…';

/// The snippet of a text in which something was found; without a place where nothing was looked for.
pub(super) fn snippet(text: &str, phrases: &Phrases) -> Snippet {
    let characters: Vec<char> = text.chars().collect();
    let places = places(text, &characters, phrases);
    let first = places.first().map_or(0, |(start, _)| *start);
    let begin = match first.checked_sub(BEFORE) {
        Some(wanted) if wanted > 0 => cut_behind(&characters, wanted, first),
        _ => 0,
    };
    let end = match begin + LENGTH {
        wanted if wanted < characters.len() => cut_before(&characters, wanted, begin + LENGTH / 2),
        _ => characters.len(),
    };
    let shown = |character: &char| if character.is_whitespace() || character.is_control() { ' ' } else { *character };
    let lead = usize::from(begin > 0);
    let (before, behind) =
        (std::iter::repeat_n(CUT, lead), std::iter::repeat_n(CUT, usize::from(end < characters.len())));
    let middle = characters.get(begin..end).unwrap_or_default().iter().map(shown);
    let matches = places.into_iter().filter(|(start, _)| (begin..end).contains(start));
    let span = |(start, behind): (usize, usize)| Span {
        start: count(start - begin + lead),
        length: count(behind.min(end) - start),
    };
    Snippet { text: before.chain(middle).chain(behind).collect(), matches: matches.map(span).collect() }
}

fn count(scalars: usize) -> u32 {
    u32::try_from(scalars).unwrap_or(u32::MAX)
}

/// Where what was looked for stands, from here to before there; in order, and none within another.
fn places(text: &str, characters: &[char], phrases: &Phrases) -> Vec<(usize, usize)> {
    let pieces = words::pieces(text);
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let here = pieces.get(index..).unwrap_or_default();
        let Some(end) = phrases.0.iter().filter_map(|phrase| phrase.ends_at(here)).max() else { continue };
        // The marks of the last letter are its own.
        let end = (end..characters.len()).find(|end| is_between(characters, *end)).unwrap_or(characters.len());
        match found.last_mut() {
            Some((_, last)) if *last > piece.start => *last = end.max(*last),
            _ => found.push((piece.start, end)),
        }
    }
    found
}

impl Phrase {
    /// Where it ends, if it begins here.
    fn ends_at(&self, pieces: &[Piece]) -> Option<usize> {
        let found = pieces.get(..self.pieces.len())?;
        let (last, others) = found.split_last()?;
        let (wanted_last, wanted) = self.pieces.split_last()?;
        let is_here = others.iter().map(|piece| &piece.text).eq(wanted)
            && (last.text == *wanted_last || (self.is_open && last.text.starts_with(wanted_last.as_str())));
        is_here.then_some(if self.ends_in_character { last.first_end } else { last.end })
    }
}

/// The first good place for a cut from `wanted` on, before `end`.
fn cut_behind(characters: &[char], wanted: usize, end: usize) -> usize {
    let near = wanted..end.min(wanted + WORD);
    let is_word = |at: &usize| characters[at - 1].is_whitespace() && !characters[*at].is_whitespace();
    near.clone().find(is_word).or_else(|| (wanted..end).find(|at| is_between(characters, *at))).unwrap_or(end)
}

/// The last good place for a cut up to `wanted`, behind `begin`.
fn cut_before(characters: &[char], wanted: usize, begin: usize) -> usize {
    let is_word = |at: &usize| characters[*at].is_whitespace() && !characters[at - 1].is_whitespace();
    let near = wanted.saturating_sub(WORD).max(begin) + 1..=wanted;
    let between = (begin + 1..=wanted).rev().find(|at| is_between(characters, *at));
    near.rev().find(is_word).or(between).unwrap_or(wanted)
}

/// Whether what stands before a place and what stands behind it are two letters, or pictures.
fn is_between(characters: &[char], at: usize) -> bool {
    let (Some(before), Some(behind)) =
        (at.checked_sub(1).and_then(|before| characters.get(before)), characters.get(at))
    else {
        return true;
    };
    let joins = matches!(behind, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
        || is_combining_mark(*behind)
        || matches!(behind, '\u{1160}'..='\u{11ff}' | '\u{ff9e}' | '\u{ff9f}');
    let flag = |character: &char| matches!(character, '\u{1f1e6}'..='\u{1f1ff}');
    // A flag is two letters; where a row of them begins is not looked for.
    !joins && *before != '\u{200d}' && !(flag(before) && flag(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The snippet with its places in brackets.
    fn marked(text: &str, typed: &str) -> String {
        let Snippet { text, matches } = snippet(text, &Phrases::parse(typed));
        let mut marked = String::new();
        for (at, character) in text.chars().enumerate() {
            let at = u32::try_from(at).unwrap();
            marked.extend(matches.iter().filter(|span| span.start == at).map(|_| '['));
            marked.push(character);
            marked.extend(matches.iter().filter(|span| span.start + span.length == at + 1).map(|_| ']'));
        }
        marked
    }

    #[test]
    fn what_was_found_is_marked_as_it_was_written() {
        assert_eq!(marked("A Ñandú, and Ñandus", "nandu"), "A [Ñandú], and [Ñandus]");
        assert_eq!(marked("cafe\u{301} 👍🏽!", "café 👍"), "[cafe\u{301}] [👍🏽]!");
        assert_eq!(marked("half past six", "\"half past\" half"), "[half past] six");
        assert_eq!(marked("the cat, the cattle", "\"the cat\""), "[the cat], the cattle");
        assert_eq!(marked("nothing looked for", ""), "nothing looked for");
    }

    #[test]
    fn of_a_run_without_spaces_the_characters_that_were_typed_are_marked() {
        assert_eq!(marked("今日は雨です。今日", "今日"), "[今日]は雨です。[今日]");
        assert_eq!(marked("今日は雨です", "雨"), "今日は[雨]です");
        assert_eq!(marked("今日は雨です", "日は雨で"), "今[日は雨で]す");
        assert_eq!(marked("ผมกินข้าวแล้ว", "กินข้าว"), "ผม[กินข้าว]แล้ว");
        assert_eq!(marked("我买iPhone了", "买iphone"), "我[买iPhone]了");
    }

    #[test]
    fn a_long_text_is_cut_at_words_around_the_first_place() {
        let long = "lorem ipsum ".repeat(50);
        let found = marked(&format!("{long}needle {long}"), "needle");
        assert!(found.starts_with("…ipsum lorem ipsum ") || found.starts_with("…lorem ipsum "), "{found}");
        assert!(found.contains(" [needle] ") && (found.ends_with(" lorem…") || found.ends_with(" ipsum…")), "{found}");
        assert!(found.chars().count() <= LENGTH + 4);
        let start = marked(&format!("needle {long}"), "needle");
        assert!(start.starts_with("[needle] lorem") && start.ends_with('…'), "{start}");
        let end = marked(&format!("{long}needle"), "needle");
        assert!(end.starts_with('…') && end.ends_with("[needle]"), "{end}");
    }

    #[test]
    fn a_cut_goes_through_no_letter_and_no_picture() {
        let family = "👨\u{200d}👩\u{200d}👧";
        for letters in [family, "e\u{301}", "ก\u{e34}", "👍🏽", "❤\u{fe0f}", "\u{1112}\u{1161}\u{11ab}"] {
            for shift in 0..4 {
                let text = format!("{}{}z{}", "x".repeat(shift), letters.repeat(200), letters.repeat(200));
                let Snippet { text, matches } = snippet(&text, &Phrases(vec![]));
                let whole = text.trim_matches('x').trim_matches(CUT);
                assert!(matches.is_empty() && whole.len() % letters.len() == 0, "{letters} {shift}: {text}");
            }
        }
    }

    #[test]
    fn lines_become_one() {
        assert_eq!(marked("one\r\ntwo\tthree\u{7}", "two"), "one  [two] three ");
    }
}
