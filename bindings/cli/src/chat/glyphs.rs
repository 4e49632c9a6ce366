//! Texts as a terminal draws them: glyph by glyph, each with the columns that it takes, broken into rows.
//!
//! Nothing gets here but through `readable.rs`: what comes out holds no letter that a terminal obeys, and each row that reads from right to
//! left is isolated by itself.

use std::ops::Range;

use ratatui::buffer::{Buffer, CellWidth as _};
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::readable;

const ISOLATE: &str = "\u{2068}";
const END_OF_ISOLATE: &str = "\u{2069}";

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

/// Columns that a text takes. Not what its library says of the whole: that counts some letters as drawn in one another, which terminals do not.
pub(super) fn columns(text: &str) -> usize {
    text.graphemes(true).map(|grapheme| usize::from(grapheme.cell_width())).sum()
}

/// Columns that a row takes.
pub(super) fn columns_of(line: &Line<'_>) -> usize {
    line.spans.iter().map(|span| columns(&span.content)).sum()
}

/// Draws a row as far as there is room for it. What is isolated ends where it is cut.
pub(super) fn put(line: &Line<'_>, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    // Zero columns before the first letter wait for it.
    let (mut x, mut waiting, mut open) = (area.x, String::new(), 0_usize);
    for grapheme in line.styled_graphemes(line.style) {
        let symbol = grapheme.symbol;
        let width = symbol.cell_width();
        if x + width > area.right() {
            break;
        }
        match symbol {
            ISOLATE => open += 1,
            END_OF_ISOLATE => open = open.saturating_sub(1),
            _ => {}
        }
        // What ends belongs to the letter before it, what begins to the one behind it.
        if width == 0 && (symbol == ISOLATE || x == area.x) {
            waiting.push_str(symbol);
        } else if width == 0 {
            append(symbol, x - 1, area, buffer);
        } else {
            waiting.push_str(symbol);
            buffer[(x, area.y)].set_symbol(&waiting).set_style(grapheme.style);
            (x + 1..x + width).for_each(|hidden| buffer[(hidden, area.y)].reset());
            waiting.clear();
            x += width;
        }
    }
    if x > area.x && open > 0 && waiting.is_empty() {
        append(&END_OF_ISOLATE.repeat(open), x - 1, area, buffer);
    }
}

/// Adds what takes no columns to the letter that is drawn in a column or before it.
fn append(symbol: &str, column: u16, area: Rect, buffer: &mut Buffer) {
    let is_hidden = |at: &u16| *at > area.x && buffer[(*at - 1, area.y)].symbol().cell_width() > 1;
    let column = if is_hidden(&column) { column - 1 } else { column };
    let letter = format!("{}{symbol}", buffer[(column, area.y)].symbol());
    buffer[(column, area.y)].set_symbol(&letter);
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
        let endless = glyphs(&"👩\u{200d}".repeat(1000), |_| Style::new());
        assert!(endless.iter().all(|glyph| glyph.text.chars().count() <= LETTERS_MAX), "and no cell holds all of it");
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
