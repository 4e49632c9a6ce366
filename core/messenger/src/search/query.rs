//! From what a person typed to what is asked of the index.
//!
//! Words that stand apart must all be there, in any order; what stands together (`half-past`, a run without spaces, everything between quotes)
//! must stand together. The last word is still being typed: its beginning counts, unless a quote closes it. Nothing else means anything:
//! only pieces reach the index, in quotes, and no piece holds any sign of its language.

use super::words::{self, Gap, Kind, Unit};

/// Pieces that are looked for. Each is looked up in every segment of the index; whoever pastes a letter has said with the first of them
/// which one is meant.
const PIECES_MAX: usize = 64;

/// What quotes look like on keyboards of people and of phones.
const QUOTES: [char; 5] = ['"', '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}'];

/// Pieces that stand one behind the other.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Phrase {
    pub(super) pieces: Vec<String>,
    /// Whether the last may go on.
    pub(super) is_open: bool,
    /// The last is one character of a script without spaces, which begins a pair: no more than it is meant.
    pub(super) ends_in_character: bool,
}

/// What a text has to hold.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Phrases(pub(super) Vec<Phrase>);

impl Phrases {
    /// Of what was typed.
    pub(crate) fn parse(typed: &str) -> Self {
        let mut phrases = Vec::new();
        let mut parts = typed.split(QUOTES).enumerate().peekable();
        while let Some((index, part)) = parts.next() {
            let (is_quoted, is_typed) = (index % 2 == 1, parts.peek().is_none());
            let units = words::units(part);
            let mut rest = units.as_slice();
            while !rest.is_empty() {
                let apart = |unit: &Unit| !is_quoted && unit.gap == Gap::Space;
                let length = rest.iter().skip(1).position(apart).map_or(rest.len(), |behind| behind + 1);
                let (phrase, others) = rest.split_at(length);
                phrases.push(Phrase::of(phrase, is_typed && others.is_empty()));
                rest = others;
            }
        }
        // A quote that was just opened, or closed, or other signs: the word before them is typed to its end.
        Self(limited(phrases))
    }

    /// Whether there is nothing in it that could be found.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the index is asked, for texts that have all of it in the column of words.
    pub(super) fn expression(&self) -> Option<String> {
        let phrases: Vec<_> = self.0.iter().map(Phrase::expression).collect();
        (!phrases.is_empty()).then(|| format!("words : ({})", phrases.join(" AND ")))
    }
}

fn limited(phrases: Vec<Phrase>) -> Vec<Phrase> {
    let mut left = PIECES_MAX;
    let mut limited = Vec::new();
    for mut phrase in phrases {
        if phrase.pieces.len() > left {
            phrase.pieces.truncate(left);
            (phrase.is_open, phrase.ends_in_character) = (false, false);
        }
        left -= phrase.pieces.len();
        if !phrase.pieces.is_empty() {
            limited.push(phrase);
        }
    }
    limited
}

impl Phrase {
    fn of(units: &[Unit], is_open: bool) -> Self {
        let mut pieces = Vec::with_capacity(units.len());
        let mut ends_in_character = false;
        for (index, unit) in units.iter().enumerate() {
            let ends_pair = unit.kind == Kind::Character
                && unit.gap == Gap::None
                && index.checked_sub(1).is_some_and(|before| units[before].kind == Kind::Character);
            match words::follower(units, index) {
                Some(next) => pieces.push(format!("{}{}", unit.text, next.text)),
                // What may come behind the last character of all is not said; any other stands alone at the end of its run.
                None if index + 1 == units.len() && ends_pair => {}
                None => {
                    pieces.push(unit.text.clone());
                    ends_in_character = unit.kind == Kind::Character && index + 1 == units.len();
                }
            }
        }
        Self { pieces, is_open: is_open || ends_in_character, ends_in_character }
    }

    fn expression(&self) -> String {
        format!("\"{}\"{}", self.pieces.join(" "), if self.is_open { " *" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(typed: &str) -> String {
        Phrases::parse(typed).expression().unwrap_or_default()
    }

    #[test]
    fn words_apart_are_all_looked_for_and_the_last_is_still_being_typed() {
        assert_eq!(asked("Train  LATE"), r#"words : ("train" AND "late" *)"#);
        assert_eq!(asked(" train "), r#"words : ("train" *)"#);
        assert_eq!(asked("half-past six"), r#"words : ("half past" AND "six" *)"#);
    }

    #[test]
    fn what_stands_in_quotes_stands_together() {
        assert_eq!(asked("\"the train\" late"), r#"words : ("the train" AND "late" *)"#);
        assert_eq!(asked("late \u{201e}the train\u{201c}"), r#"words : ("late" AND "the train")"#);
        assert_eq!(asked("late \"the tr"), r#"words : ("late" AND "the tr" *)"#);
    }

    #[test]
    fn a_run_without_spaces_is_its_pairs_in_order() {
        assert_eq!(asked("今"), r#"words : ("今" *)"#);
        assert_eq!(asked("今日"), r#"words : ("今日" *)"#);
        assert_eq!(asked("今日は"), r#"words : ("今日 日は" *)"#);
        assert_eq!(asked("今 日は"), r#"words : ("今" * AND "日は" *)"#);
        assert_eq!(asked("\"今日\""), r#"words : ("今日")"#);
        assert_eq!(asked("\"今\""), r#"words : ("今" *)"#);
        assert_eq!(asked("我买iPhone了"), r#"words : ("我买 买 iphone 了" *)"#);
        assert_eq!(asked("今日、明日"), r#"words : ("今日 日 明日" *)"#);
    }

    #[test]
    fn signs_of_the_indexs_language_mean_nothing() {
        assert_eq!(
            asked("a* OR b:c NEAR(d, 2) ^e + -f {g} NOT"),
            r#"words : ("a" AND "or" AND "b c" AND "near d" AND "2" AND "e" AND "f" AND "g" AND "not" *)"#
        );
        for nothing in ["", " ", "\"", "\"\"\"", "*", "\u{0}", "():^-+", "''"] {
            assert_eq!(Phrases::parse(nothing).expression(), None, "{nothing:?}");
        }
        assert_eq!(asked("a\u{0}b"), r#"words : ("a b" *)"#);
    }

    #[test]
    fn what_is_longer_than_a_question_is_cut() {
        let long = vec!["word"; 1_000].join(" ");
        assert_eq!(Phrases::parse(&long).0.len(), PIECES_MAX);
        let together = Phrases::parse(&vec!["word"; 1_000].join("-")).0;
        assert_eq!((together.len(), together[0].pieces.len(), together[0].is_open), (1, PIECES_MAX, false));
    }
}
