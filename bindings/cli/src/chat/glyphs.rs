//! Texts as a terminal draws them: glyph by glyph, each with the columns that it takes, broken into rows.
//!
//! Nothing gets here but through `readable.rs`: what comes out holds no letter that a terminal obeys, and each row that reads from right to
//! left is isolated by itself.

use std::ops::Range;

use ratatui::buffer::CellWidth as _;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::readable;

/// Letters of one glyph: the longest that people write have half as many. What somebody piles up behind that is drawn beside it.
const LETTERS_MAX: usize = 24;

/// What takes its columns together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Glyph {
    pub(super) text: String,
    pub(super) width: usize,
    style: Style,
}

impl Glyph {
    fn is_space(&self) -> bool {
        self.text.starts_with(' ')
    }
}

/// The glyphs of one line of somebody's; `style` is asked with the place of a letter among those of the line.
pub(super) fn glyphs(line: &str, style: impl Fn(usize) -> Style) -> Vec<Glyph> {
    let (places, text): (Vec<usize>, String) = readable::letters(line).unzip();
    let mut glyphs = Vec::new();
    let mut place = 0;
    for grapheme in text.graphemes(true) {
        let letters: Vec<char> = grapheme.chars().collect();
        for letters in letters.chunks(LETTERS_MAX) {
            let text: String = letters.iter().collect();
            let width = usize::from(text.cell_width());
            glyphs.push(Glyph { text, width, style: style(places[place]) });
            place += letters.len();
        }
    }
    glyphs
}

/// Where rows of a width begin and end: behind a space where there is one, before and behind what is two columns wide, else anywhere.
/// There is always one row.
pub(super) fn rows(glyphs: &[Glyph], width: usize) -> Vec<Range<usize>> {
    let (mut rows, mut start, mut used, mut last_break) = (Vec::new(), 0, 0, 0);
    for (at, glyph) in glyphs.iter().enumerate() {
        if glyph.width > 1 {
            last_break = at;
        }
        // Spaces hang over the end of a row, where nobody sees them.
        if used + glyph.width > width && at > start && !glyph.is_space() {
            let end = if last_break > start { last_break } else { at };
            rows.push(start..end);
            start = end;
            used = glyphs[start..at].iter().map(|glyph| glyph.width).sum();
        }
        used += glyph.width;
        if glyph.width > 1 || glyph.is_space() {
            last_break = at + 1;
        }
    }
    rows.push(start..glyphs.len());
    rows
}

/// A row to draw.
pub(super) fn line(glyphs: &[Glyph]) -> Line<'static> {
    let spans = glyphs.chunk_by(|one, other| one.style == other.style).map(|run| {
        let text: String = run.iter().map(|glyph| glyph.text.as_str()).collect();
        // Each span, because the mark stands in the cell of the first letter behind it.
        Span::styled(readable::isolated(text), run[0].style)
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// A text of any length, with its lines joined, in at most so many columns; an ellipsis says that something was cut.
pub(super) fn clipped(text: &str, width: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let glyphs = glyphs(&joined, |_| Style::new());
    let whole: usize = glyphs.iter().map(|glyph| glyph.width).sum();
    let room = if whole > width { width.saturating_sub(1) } else { width };
    let mut used = 0;
    let kept = glyphs.iter().take_while(|glyph| {
        used += glyph.width;
        used <= room
    });
    let mut clipped: String = kept.map(|glyph| glyph.text.as_str()).collect();
    if whole > width && width > 0 {
        clipped.push('…');
    }
    readable::isolated(clipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str, width: usize) -> Vec<String> {
        let glyphs = glyphs(text, |_| Style::new());
        let rows = rows(&glyphs, width).into_iter();
        rows.map(|row| glyphs[row].iter().map(|glyph| glyph.text.as_str()).collect()).collect()
    }

    #[test]
    fn rows_end_behind_spaces_and_between_wide_letters() {
        assert_eq!(broken("one two three", 8), ["one two ", "three"]);
        assert_eq!(broken("one two", 7), ["one two"]);
        assert_eq!(broken("one   two", 4), ["one   ", "two"], "spaces hang over");
        assert_eq!(broken("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(broken("こんにちは", 5), ["こん", "にち", "は"], "two columns each");
        assert_eq!(broken("abこんに", 5), ["abこ", "んに"]);
        assert_eq!(broken("", 5), [""]);
        assert_eq!(broken("漢", 1), ["漢"], "what fits nowhere stands alone");
    }

    #[test]
    fn what_belongs_together_is_one_glyph_and_takes_its_columns() {
        let widths = |text| glyphs(text, |_| Style::new()).iter().map(|glyph| glyph.width).collect::<Vec<_>>();
        assert_eq!(widths("e\u{301}👩‍👩‍👧x"), [1, 2, 1]);
        assert_eq!(widths("🇩🇪❤\u{fe0f}"), [2, 2]);
    }

    #[test]
    fn a_style_stands_at_its_letters_whatever_was_taken_out_before_them() {
        let piled = format!("a{}b", "\u{301}".repeat(40));
        let bold = Style::new().bold();
        let glyphs = glyphs(&piled, |place| if place == 41 { bold } else { Style::new() });
        let styles: Vec<_> = glyphs.iter().map(|glyph| (glyph.text.chars().next(), glyph.style == bold)).collect();
        assert_eq!(styles.last(), Some(&(Some('b'), true)));
        assert!(styles[..styles.len() - 1].iter().all(|(_, is_bold)| !is_bold));
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(clipped("one\n two", 20), "one two");
        assert_eq!(clipped("one two", 5), "one …");
        assert_eq!(clipped("漢字漢字", 6), "漢字…");
        assert_eq!(clipped("abc", 0), "");
        assert_eq!(clipped("a\u{1b}[2Jb", 20), "a\u{fffd}[2Jb");
    }

    #[test]
    fn a_row_from_right_to_left_is_isolated_by_itself() {
        let glyphs = glyphs("مرحبا بكم", |_| Style::new());
        let drawn: Vec<String> = rows(&glyphs, 6).into_iter().map(|row| line(&glyphs[row]).to_string()).collect();
        assert_eq!(drawn, ["\u{2068}مرحبا \u{2069}", "\u{2068}بكم\u{2069}"]);
    }
}
