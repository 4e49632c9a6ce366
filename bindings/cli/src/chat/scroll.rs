//! Where in the conversation one is: by the message at the top, so that what comes above or below moves nothing; or at its end.

use super::model::Model;

/// Messages that are asked for at a time.
pub(super) const PAGE: u32 = 100;
/// So near to an end of the window more is asked for.
const NEAR: usize = 20;

/// What stands at the top of the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Whatever lets the last row stand at the bottom.
    End,
    /// A row of the message that stands at a position, or behind it.
    Top { position: i64, row: usize },
}

/// A row of the history: of which message, and which of its rows.
pub(super) type RowAt = (usize, usize);

impl Model {
    /// The rows that are shown in so many, from the top.
    pub(super) fn visible(&self, height: usize) -> Vec<RowAt> {
        if let Place::Top { position, row } = self.place {
            let first = self.messages.partition_point(|message| message.position < position);
            let rows = (first..self.messages.len()).flat_map(|at| (0..self.height_of(at)).map(move |row| (at, row)));
            let rows: Vec<RowAt> = rows.skip_while(|at| *at < (first, row)).take(height).collect();
            if rows.len() == height {
                return rows;
            }
        }
        self.back_from(self.messages.len(), height)
    }

    /// All rows above a message, from the last one on.
    fn rows_back(&self, end: usize) -> impl Iterator<Item = RowAt> {
        (0..end).rev().flat_map(|at| (0..self.height_of(at)).rev().map(move |row| (at, row)))
    }

    /// So many rows above a message.
    fn back_from(&self, end: usize, height: usize) -> Vec<RowAt> {
        let mut rows: Vec<RowAt> = self.rows_back(end).take(height).collect();
        rows.reverse();
        rows
    }

    fn height_of(&self, at: usize) -> usize {
        self.block(at).len()
    }

    /// Whether the last message is shown to its end.
    pub(super) fn is_at_end(&self) -> bool {
        let last = self.messages.len().checked_sub(1).map(|at| (at, self.height_of(at).saturating_sub(1)));
        !self.has_newer && self.visible(self.history_height()).last().copied() == last
    }

    fn put_at_top(&mut self, (at, row): RowAt) {
        self.place = self.messages.get(at).map_or(Place::End, |top| Place::Top { position: top.position, row });
    }

    pub(super) fn scroll_up(&mut self, count: usize) {
        let height = self.history_height();
        let Some(&(at, row)) = self.visible(height).first() else { return };
        let above = self.rows_back(at + 1).skip_while(|place| *place >= (at, row)).take(count).last();
        if let Some(top) = above {
            self.put_at_top(top);
        }
    }

    pub(super) fn scroll_down(&mut self, count: usize) {
        let height = self.history_height();
        let Some(&(at, row)) = self.visible(height).first() else { return };
        let rows = (at..self.messages.len()).flat_map(|at| (0..self.height_of(at)).map(move |row| (at, row)));
        if let Some(top) = rows.skip_while(|place| *place < (at, row)).nth(count) {
            self.put_at_top(top);
        }
        self.settle();
    }

    /// Who has come to the end stays there.
    pub(super) fn settle(&mut self) {
        if self.place != Place::End && self.is_at_end() {
            self.place = Place::End;
        }
    }

    /// Puts the beginning of a message so many rows below the top.
    pub(super) fn show_below(&mut self, number: i64, rows_above: usize) {
        let Some(at) = self.messages.iter().position(|message| message.number == number) else { return };
        let above = self.back_from(at, rows_above);
        self.put_at_top(above.first().copied().unwrap_or((at, 0)));
        self.settle();
    }

    /// Scrolls no further than it takes to show a message: its end, and its beginning where both fit.
    pub(super) fn reveal(&mut self, number: i64) {
        let Some(at) = self.messages.iter().position(|message| message.number == number) else { return };
        let (height, own) = (self.history_height(), self.height_of(at));
        let visible = self.visible(height);
        let is_shown = |row| visible.contains(&(at, row));
        if is_shown(0) && is_shown(own.saturating_sub(1)) || height == 0 {
            return;
        }
        let is_above = visible.first().is_some_and(|first| (at, 0) < *first);
        if is_above || own >= height {
            self.put_at_top((at, 0));
        } else {
            let rows = self.back_from(at + 1, height);
            self.put_at_top(rows.first().copied().unwrap_or((at, 0)));
        }
        self.settle();
    }

    /// Messages that are shown to their end.
    pub(super) fn shown(&self) -> Vec<i64> {
        let visible = self.visible(self.history_height());
        let of_each = visible.chunk_by(|one, other| one.0 == other.0).filter_map(|rows| rows.last());
        let ended = of_each.filter(|(at, row)| *row + 1 == self.height_of(*at));
        ended.map(|(at, _)| self.messages[*at].number).collect()
    }

    /// Which more to ask for: whether older ones, whether newer ones.
    pub(super) fn lacks(&self) -> (bool, bool) {
        let visible = self.visible(self.history_height());
        let (Some((first, _)), Some((last, _))) = (visible.first(), visible.last()) else { return (false, false) };
        (self.has_older && *first < NEAR, self.has_newer && self.messages.len() - last < NEAR)
    }
}
