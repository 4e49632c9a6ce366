//! Cutting: what of a text can be found, and how both what was said and what is looked for are made comparable.
//!
//! Case, marks and widths do not count: `Ñandú`, `ÑANDU` and `nandu` are one word. Letters between two others that are none are one word, in
//! every script with spaces, with the marks that it writes its vowels by. Han, kana, Hangul, Thai and their like are not cut into words by
//! those who write them, so there every character begins a piece: it and the one behind it, or it alone where nothing follows. A pair is found
//! as one piece, a longer run by its pairs in their order, and a single character as the beginning of a pair. A symbol is a word by itself.
//! Not done by SQLite's `unicode61`: it cuts Indic words at each vowel, drops emoji and all scripts of the last ten years, and what is shown
//! as found would have to imitate it. Here one function serves the index, the question and the snippet.

use unicode_normalization::char::{compose, decompose_canonical, decompose_compatible, is_combining_mark};

/// Characters of a piece: longer than any word, so what is cut off of it is no word. The rest of a key or of a picture in letters would cost more
/// than the text around it, and is found by its beginning.
pub(super) const PIECE_CHARACTERS_MAX: usize = 64;

/// What stands between a unit and the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gap {
    /// Nothing: both are of one run.
    None,
    /// Something that is not looked for.
    Mark,
    /// The like, and a space among it.
    Space,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Word,
    /// Of a script without spaces, with its marks.
    Character,
    Symbol,
}

/// The least that is looked for: a word, a character of a script without spaces, a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    /// As it is compared.
    pub(super) text: String,
    /// Where it stands in the text, in scalars: from here on,
    pub(super) start: usize,
    /// to before this one.
    pub(super) end: usize,
    pub(super) gap: Gap,
}

/// What stands in the index for a place of a text, and where it comes from.
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) start: usize,
    /// The end of its first unit.
    pub(super) first_end: usize,
    pub(super) end: usize,
}

/// The pieces of a text, in order.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let units = units(text);
    let mut pieces = Vec::with_capacity(units.len());
    for (index, unit) in units.iter().enumerate() {
        let (start, first_end) = (unit.start, unit.end);
        let piece = match follower(&units, index) {
            Some(next) => Piece { text: format!("{}{}", unit.text, next.text), start, first_end, end: next.end },
            None => Piece { text: unit.text.clone(), start, first_end, end: first_end },
        };
        pieces.push(piece);
    }
    pieces
}

/// The character that makes a pair with that one.
pub(super) fn follower(units: &[Unit], index: usize) -> Option<&Unit> {
    let (unit, next) = (units.get(index)?, units.get(index + 1)?);
    let is_pair = unit.kind == Kind::Character && next.kind == Kind::Character && next.gap == Gap::None;
    is_pair.then_some(next)
}

/// The units of a text, in order.
pub(super) fn units(text: &str) -> Vec<Unit> {
    let mut cutter = Cutter { units: Vec::new(), gap: Gap::Mark, characters: 0 };
    for (character, at) in fold(text) {
        cutter.take(character, at);
    }
    cutter.units
}

struct Cutter {
    units: Vec<Unit>,
    /// Since the last unit.
    gap: Gap,
    /// Of the last unit.
    characters: usize,
}

impl Cutter {
    fn take(&mut self, character: char, at: usize) {
        match class(character) {
            Class::Space => self.gap = Gap::Space,
            Class::Nothing if self.gap == Gap::None => self.gap = Gap::Mark,
            Class::Nothing => {}
            Class::Joined => match self.units.last_mut() {
                Some(last) if self.gap == Gap::None => go_on(last, &mut self.characters, character, at),
                _ => self.begin(Kind::Word, character, at),
            },
            Class::Letter => match self.units.last_mut() {
                Some(last) if self.gap == Gap::None && last.kind == Kind::Word => {
                    go_on(last, &mut self.characters, character, at);
                }
                _ => self.begin(Kind::Word, character, at),
            },
            Class::Character => self.begin(Kind::Character, character, at),
            Class::Symbol => self.begin(Kind::Symbol, character, at),
        }
    }

    fn begin(&mut self, kind: Kind, character: char, at: usize) {
        self.units.push(Unit { kind, text: character.to_string(), start: at, end: at + 1, gap: self.gap });
        self.gap = Gap::None;
        self.characters = 1;
    }
}

fn go_on(unit: &mut Unit, characters: &mut usize, character: char, at: usize) {
    unit.end = at + 1;
    if *characters < PIECE_CHARACTERS_MAX {
        unit.text.push(character);
        *characters += 1;
    }
}

enum Class {
    Letter,
    /// A mark: it goes on with whatever stands before it.
    Joined,
    Character,
    Symbol,
    Space,
    Nothing,
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' | '0'..='9' => Class::Letter,
        _ if character.is_whitespace() => Class::Space,
        _ if character.is_ascii() => Class::Nothing,
        _ if is_within(SYMBOLS, character) => Class::Symbol,
        _ if is_combining_mark(character) => Class::Joined,
        _ if is_within(WITHOUT_SPACES, character) && character.is_alphanumeric() => Class::Character,
        _ if character.is_alphanumeric() => Class::Letter,
        _ => Class::Nothing,
    }
}

/// A text as it is compared, each character with the scalar of the text that it came of.
fn fold(text: &str) -> Vec<(char, usize)> {
    let mut folded = Folded(Vec::with_capacity(text.len()));
    for (at, character) in text.chars().enumerate() {
        if character.is_ascii() {
            folded.0.push((character.to_ascii_lowercase(), at));
        } else if !is_within(UNSEEN, character) {
            for lower in character.to_lowercase() {
                folded.take_apart(lower, at);
            }
        }
    }
    folded.0
}

struct Folded(Vec<(char, usize)>);

impl Folded {
    fn take_apart(&mut self, character: char, at: usize) {
        match character {
            // Syllables are put together, never taken apart.
            '\u{ac00}'..='\u{d7a3}' => self.put(character, at),
            _ if is_within(OTHER_SHAPES, character) => {
                decompose_compatible(character, |part| part.to_lowercase().for_each(|lower| self.put(lower, at)));
            }
            _ => decompose_canonical(character, |part| self.put(part, at)),
        }
    }

    /// Behind what is there: as a part of it, as nothing, or for itself.
    fn put(&mut self, character: char, at: usize) {
        if let Some(letters) = plain(character) {
            self.0.extend(letters.chars().map(|letter| (letter, at)));
            return;
        }
        if is_within(VOWEL_SIGNS, character) {
            return;
        }
        let last = self.0.last_mut();
        match last {
            // Marks on letters of Europe, but for those that make another letter in Cyrillic: й is not и, and ё is е to most who write it.
            Some((letter, _)) if is_within(MARKS, character) => {
                let other =
                    compose(*letter, character).filter(|_| matches!(letter, 'а'..='я' | 'є'..='ї') && *letter != 'е');
                if let Some(other) = other {
                    *letter = other;
                }
            }
            Some((letter, _)) if !letter.is_ascii() => match compose(*letter, character) {
                Some(whole) => *letter = whole,
                None => self.0.push((character, at)),
            },
            _ => self.0.push((character, at)),
        }
    }
}

/// Letters that are no other letter with a mark, and are typed as others by whoever lacks them.
const fn plain(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ħ' => "h",
        'ı' => "i",
        'ς' => "σ",
        _ => return None,
    })
}

type Ranges = &'static [(u32, u32)];

fn is_within(ranges: Ranges, character: char) -> bool {
    let code = u32::from(character);
    let index = ranges.partition_point(|(_, last)| *last < code);
    ranges.get(index).is_some_and(|(first, _)| *first <= code)
}

/// Blocks of scripts whose writers put no space between words, and Hangul, whose words carry their endings and stand in others.
const WITHOUT_SPACES: Ranges = &[
    (0x0e00, 0x0eff),   // Thai, Lao
    (0x1000, 0x109f),   // Myanmar
    (0x1100, 0x11ff),   // Hangul, its letters
    (0x1780, 0x17ff),   // Khmer
    (0x1950, 0x19ff),   // Tai Le, New Tai Lue, Khmer
    (0x1a20, 0x1b7f),   // Tai Tham, Balinese
    (0x2e80, 0x2fdf),   // Han, its radicals
    (0x3005, 0x3007),   // Han: repeated, closed, zero
    (0x3021, 0x303c),   // Han: numbers and repetitions
    (0x3041, 0x31ff),   // Hiragana, Katakana, Bopomofo, Hangul's letters
    (0x3400, 0x4dbf),   // Han
    (0x4e00, 0xa4cf),   // Han, Yi
    (0xa960, 0xa97f),   // Hangul, its letters
    (0xa980, 0xa9ff),   // Javanese, Myanmar
    (0xaa60, 0xaadf),   // Myanmar, Tai Viet
    (0xac00, 0xd7ff),   // Hangul
    (0xf900, 0xfaff),   // Han
    (0x1b000, 0x1b16f), // kana
    (0x20000, 0x323af), // Han
];

/// Arrows, signs and pictures: whoever looks for one types it.
const SYMBOLS: Ranges = &[
    (0xa9, 0xa9),
    (0xae, 0xae),
    (0x2122, 0x2122),
    (0x2190, 0x2bff),
    (0x3297, 0x3299),
    (0x1f000, 0x1f3fa),
    (0x1f400, 0x1faff),
];

/// What nobody sees, and what only shades or joins pictures: joiners, directions, breaks that are allowed, variants, shades of skin.
const UNSEEN: Ranges = &[
    (0xad, 0xad),
    (0x061c, 0x061c),
    (0x0640, 0x0640), // makes an Arabic word longer
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x2069),
    (0x20d0, 0x20ff), // around what stands before them
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0x1f3fb, 0x1f3ff),
    (0xe0000, 0xe01ef),
];

/// Ligatures, wide and narrow shapes, and the letters of mathematics that some write whole messages in.
const OTHER_SHAPES: Ranges = &[(0xfb00, 0xfb06), (0xff01, 0xffdc), (0x1d400, 0x1d7ff)];

/// Marks of Latin, Greek and Cyrillic.
const MARKS: Ranges = &[(0x0300, 0x036f)];

/// Of Hebrew and Arabic, which most leave out.
const VOWEL_SIGNS: Ranges = &[
    (0x0591, 0x05bd),
    (0x05bf, 0x05bf),
    (0x05c1, 0x05c2),
    (0x05c4, 0x05c5),
    (0x05c7, 0x05c7),
    (0x064b, 0x065f),
    (0x0670, 0x0670),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        pieces(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn words_are_what_stands_between_spaces_and_signs() {
        assert_eq!(
            cut("Don't look: half-past six, a_b 3.14!"),
            ["don", "t", "look", "half", "past", "six", "a", "b", "3", "14"]
        );
        assert_eq!(cut("  \u{0} -- "), [""; 0]);
    }

    #[test]
    fn case_marks_and_widths_do_not_count() {
        for (one, other) in [
            ("Ñandú", "nandu"),
            ("n\u{303}andu\u{301}", "ñandú"),
            ("ÜBER", "uber"),
            ("Straße", "STRASSE"),
            ("İstanbul ılık", "istanbul ilik"),
            ("Łódź København", "lodz kobenhavn"),
            ("ΟΔΥΣΣΕΎΣ", "οδυσσευς"),
            ("Ёлка", "елка"),
            ("замо\u{301}к", "замок"),
            ("и\u{306}", "Й"),
            ("ＡＢＣ１２", "abc12"),
            ("ｶﾞｷﾞ", "ガギ"),
            ("か\u{3099}", "が"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
            ("مُحَمَّد", "محمد"),
            ("أحمد", "احمد"),
            ("שָׁלוֹם", "שלום"),
            ("ﬁn 𝐛𝐨𝐥𝐝", "fin bold"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("👍🏽❤️", "👍❤"),
        ] {
            assert_eq!(cut(one), cut(other), "{one} {other}");
            assert!(!cut(one).is_empty(), "{one}");
        }
        for (one, other) in [("й", "и"), ("が", "か"), ("ї", "і"), ("हिन्दी", "हनद")] {
            assert_ne!(cut(one), cut(other), "{one} {other}");
        }
    }

    #[test]
    fn a_word_with_vowel_signs_is_one_word() {
        assert_eq!(cut("हिन्दी தமிழ்").len(), 2);
    }

    #[test]
    fn runs_without_spaces_are_cut_into_pairs_with_the_last_character_alone() {
        assert_eq!(cut("今日は、雨"), ["今日", "日は", "は", "雨"]);
        assert_eq!(cut("iPhone买了 一"), ["iphone", "买了", "了", "一"]);
        assert_eq!(cut("กินข้าว"), ["กิน", "นข้", "ข้า", "าว", "ว"]);
        assert_eq!(cut("친구가 ok"), ["친구", "구가", "가", "ok"]);
    }

    #[test]
    fn a_symbol_is_a_word_wherever_it_stands() {
        assert_eq!(cut("tea☕now👨\u{200d}👩→🇩🇪"), ["tea", "☕", "now", "👨", "👩", "→", "🇩", "🇪"]);
    }

    #[test]
    fn a_piece_knows_where_it_stands_in_scalars() {
        let pieces = pieces("é 👍🏽 ﬁn 今日");
        let places: Vec<_> = pieces.iter().map(|piece| (piece.start, piece.first_end, piece.end)).collect();
        assert_eq!(places, [(0, 1, 1), (2, 3, 3), (5, 7, 7), (8, 9, 10), (9, 10, 10)]);
        let decomposed = super::pieces("e\u{301}a b");
        assert_eq!((decomposed[0].text.as_str(), decomposed[0].end, decomposed[1].start), ("ea", 3, 4));
    }

    #[test]
    fn what_is_longer_than_a_word_is_found_by_its_beginning() {
        let (long, longer) = ("k".repeat(PIECE_CHARACTERS_MAX), "k".repeat(5_000));
        assert_eq!(cut(&longer), [long]);
        assert_eq!(pieces(&longer)[0].end, 5_000);
        assert_eq!(cut(&format!("a{}", "\u{93f}".repeat(500)))[0].chars().count(), PIECE_CHARACTERS_MAX);
    }

    #[test]
    fn the_ranges_are_in_order() {
        for ranges in [WITHOUT_SPACES, SYMBOLS, UNSEEN, OTHER_SHAPES, MARKS, VOWEL_SIGNS] {
            assert!(
                ranges.windows(2).all(|pair| pair[0].1 < pair[1].0) && ranges.iter().all(|(first, last)| first <= last)
            );
        }
    }
}
