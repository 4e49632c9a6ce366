//! What is being written: words, and where in them one is.
//!
//! Own words are drawn like others': what was pasted may hold anything.

use ratatui::style::Style;
use ratatui::text::Line;
use unicode_segmentation::UnicodeSegmentation as _;

use super::glyphs::{self, Glyph};

/// Words under the hands of their author.
#[derive(Clone, Default, Debug)]
pub(super) struct Composer {
    text: String,
    /// In bytes, between two graphemes.
    cursor: usize,
}

/// A row of what is written: which bytes stand in it.
struct Row {
    glyphs: Vec<Glyph>,
    /// How many bytes of the text each glyph stands for.
    bytes: Vec<usize>,
    start: usize,
    end: usize,
    /// Whether the line of the text ends here, and not only the row.
    is_last: bool,
}

/// A way to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Left,
    Right,
    WordLeft,
    WordRight,
    LineStart,
    LineEnd,
    Start,
    End,
}

impl Composer {
    pub(super) fn with(text: &str) -> Self {
        let mut composer = Self::default();
        composer.insert(text);
        composer
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts words where the cursor is. Line ends are made one, tabs are spaces, and what nobody can see goes.
    pub(super) fn insert(&mut self, words: &str) {
        let words = words.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        let words: String = words.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect();
        self.text.insert_str(self.cursor, &words);
        self.cursor += words.len();
        // A mark that was typed joins the letter before it.
        self.cursor = self.boundary_at_or_after(self.cursor);
    }

    /// Takes away what lies between the cursor and where a step leads.
    pub(super) fn delete(&mut self, step: Step) {
        let to = self.place_of(step);
        let (from, to) = (self.cursor.min(to), self.cursor.max(to));
        self.text.replace_range(from..to, "");
        self.cursor = self.boundary_at_or_after(from);
    }

    pub(super) fn go(&mut self, step: Step) {
        self.cursor = self.place_of(step);
    }

    fn place_of(&self, step: Step) -> usize {
        let (before, behind) = self.text.split_at(self.cursor);
        match step {
            Step::Left => before.grapheme_indices(true).next_back().map_or(0, |(place, _)| place),
            Step::Right => self.cursor + behind.graphemes(true).next().map_or(0, str::len),
            Step::WordLeft => before.unicode_word_indices().next_back().map_or(0, |(place, _)| place),
            Step::WordRight => {
                let word = behind.unicode_word_indices().next();
                self.cursor + word.map_or(behind.len(), |(place, word)| place + word.len())
            }
            Step::LineStart => before.rfind('\n').map_or(0, |end| end + 1),
            Step::LineEnd => self.cursor + behind.find('\n').unwrap_or(behind.len()),
            Step::Start => 0,
            Step::End => self.text.len(),
        }
    }

    fn boundary_at_or_after(&self, place: usize) -> usize {
        let mut boundaries = self.text.grapheme_indices(true).map(|(boundary, _)| boundary);
        boundaries.find(|boundary| *boundary >= place).unwrap_or(self.text.len())
    }

    /// Goes a row up or down, as it is drawn in so many columns; says whether there was one.
    pub(super) fn go_vertically(&mut self, width: usize, is_up: bool) -> bool {
        let rows = self.rows(width);
        let (column, row) = self.cursor_in(&rows);
        let target = if is_up { row.checked_sub(1) } else { Some(row + 1) };
        let Some(target) = target.and_then(|target| rows.get(target)) else { return false };
        let mut used = 0;
        let mut cursor = target.start;
        // The end of a row that goes on is the beginning of the next.
        let count = if target.is_last { target.glyphs.len() } else { target.glyphs.len().saturating_sub(1) };
        for (glyph, bytes) in target.glyphs.iter().zip(&target.bytes).take(count) {
            if used + glyph.width > column {
                break;
            }
            used += glyph.width;
            cursor += bytes;
        }
        self.cursor = self.boundary_at_or_after(cursor);
        true
    }

    /// What is drawn in so many columns.
    pub(super) fn lines(&self, width: usize) -> Vec<Line<'static>> {
        self.rows(width).iter().map(|row| glyphs::line(&row.glyphs)).collect()
    }

    /// Column and row of the cursor there.
    pub(super) fn cursor(&self, width: usize) -> (usize, usize) {
        self.cursor_in(&self.rows(width))
    }

    fn cursor_in(&self, rows: &[Row]) -> (usize, usize) {
        let is_in = |row: &Row| self.cursor < row.end || self.cursor == row.end && row.is_last;
        let at = rows.iter().position(|row| self.cursor >= row.start && is_in(row)).unwrap_or(rows.len() - 1);
        let before = &self.text[rows[at].start..self.cursor.clamp(rows[at].start, rows[at].end)];
        let column = glyphs::glyphs(before, |_| Style::new()).iter().map(|glyph| glyph.width).sum();
        (column, at)
    }

    fn rows(&self, width: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut start = 0;
        for line in self.text.split('\n') {
            // Drawn grapheme by grapheme, so that each keeps its bytes.
            let (mut drawn, mut bytes) = (Vec::new(), Vec::new());
            for grapheme in line.graphemes(true) {
                let glyphs = glyphs::glyphs(grapheme, |_| Style::new());
                let count = glyphs.len();
                drawn.extend(glyphs);
                bytes.push(grapheme.len());
                bytes.extend(std::iter::repeat_n(0, count.saturating_sub(1)));
            }
            let ranges = glyphs::rows(&drawn, width.max(1));
            let count = ranges.len();
            for (number, range) in ranges.into_iter().enumerate() {
                let bytes = bytes[range.clone()].to_vec();
                let end = start + bytes.iter().sum::<usize>();
                rows.push(Row { glyphs: drawn[range].to_vec(), bytes, start, end, is_last: number + 1 == count });
                start = end;
            }
            start += 1;
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(composer: &Composer, width: usize) -> Vec<String> {
        composer.lines(width).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_typed_and_taken_back_goes_by_what_people_see_as_one() {
        let mut composer = Composer::with("a👩‍👩‍👧e\u{301}");
        composer.delete(Step::Left);
        assert_eq!(composer.text(), "a👩‍👩‍👧");
        composer.delete(Step::Left);
        assert_eq!(composer.text(), "a");
        composer.insert("\u{308}");
        assert_eq!((composer.text(), composer.cursor(10)), ("a\u{308}", (1, 0)), "a mark joins its letter");
        composer.go(Step::Left);
        composer.delete(Step::Right);
        assert!(composer.is_empty());
        composer.insert("🇪");
        composer.go(Step::Left);
        composer.insert("🇩");
        assert_eq!(composer.cursor(10), (2, 0), "two letters made one flag, and the cursor is behind it");
    }

    #[test]
    fn words_and_lines_are_steps_too() {
        let mut composer = Composer::with("one two\nthree four");
        composer.delete(Step::WordLeft);
        assert_eq!(composer.text(), "one two\nthree ");
        composer.go(Step::LineStart);
        composer.insert("and ");
        assert_eq!(composer.text(), "one two\nand three ");
        composer.go(Step::Start);
        composer.go(Step::WordRight);
        composer.delete(Step::LineEnd);
        assert_eq!(composer.text(), "one\nand three ");
        composer.go(Step::End);
        composer.delete(Step::Start);
        assert!(composer.is_empty());
    }

    #[test]
    fn the_cursor_stands_where_the_next_letter_would() {
        let mut composer = Composer::with("漢字 and more");
        assert_eq!(drawn(&composer, 9), ["漢字 and ", "more"]);
        assert_eq!(composer.cursor(9), (4, 1));
        assert!(composer.go_vertically(9, true));
        assert_eq!(composer.cursor(9), (4, 0), "behind the two wide letters");
        assert!(!composer.go_vertically(9, true), "there is no row above");
        composer.insert("!");
        assert_eq!(composer.text(), "漢字! and more");
        assert!(composer.go_vertically(9, false));
        assert!(!composer.go_vertically(9, false));
        let mut composer = Composer::with("line\n");
        assert_eq!((drawn(&composer, 9), composer.cursor(9)), (vec!["line".to_owned(), String::new()], (0, 1)));
        assert!(composer.go_vertically(9, true));
        assert_eq!(composer.cursor(9), (0, 0));
    }

    #[test]
    fn what_is_pasted_is_words() {
        let composer = Composer::with("one\r\ntwo\rthree\tfour\u{1b}[2J\u{9b}5\u{7f}");
        assert_eq!(composer.text(), "one\ntwo\nthree    four[2J5");
        assert_eq!(drawn(&Composer::with("a\u{202e}b"), 9), ["a\u{fffd}b"], "and drawn like anybody's");
    }
}
