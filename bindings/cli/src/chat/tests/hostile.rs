//! What others send is drawn and never obeyed: no letter that steers a terminal or turns what stands around it leaves the model.

use sotto_core::protocol::{MessageId, letter};
use sotto_core::records::{
    Live, Meaning, Presence, Quote, Quoted, Range, Reaction, SearchHit, SearchPage, Snippet, Version,
};

use super::super::model::{Details, Mode, Purpose};
use super::*;

/// Clears the screen, sets a title, colours by C1, turns the direction, ends a line, hides letters, and piles marks up.
const ACTIVE: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31mb\u{202e}c\u{2066}d\u{2069}\u{2028}e\u{85}f\rg\u{8}h\u{e0041}\u{7f}\u{0}\u{200f}i";

/// Reads from right to left, on more than one row, and ends an isolation that it did not begin.
const TURNING: &str = "\u{2069}مرحبا بكم في هذه المحادثة الطويلة جدا التي لا تنتهي أبدا\u{202b} مرحبا";

fn hostile() -> String {
    format!("{ACTIVE}\n{TURNING}\nz{}", "\u{301}".repeat(500))
}

#[track_caller]
fn assert_inert(model: &Model) {
    for row in screen(model) {
        let is_obeyed = |letter: char| {
            letter.is_control()
                || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}' | '\u{2067}' | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}')
        };
        assert!(!row.contains(is_obeyed), "{row:?}");
        // What is isolated ends on its row.
        let depth = row.chars().try_fold(0_i32, |depth, letter| match letter {
            '\u{2068}' => Some(depth + 1),
            '\u{2069}' => (depth > 0).then_some(depth - 1),
            _ => Some(depth),
        });
        assert_eq!(depth, Some(0), "{row:?}");
        assert!(row.matches('\u{301}').count() < 30, "{row:?}");
    }
}

fn hostile_chat() -> Model {
    let text = hostile();
    let quoted = Quoted { number: 1, kind: Kind::Text, text: text.clone() };
    let everywhere = |meaning| Range { start: 0, length: u32::MAX, meaning };
    let mut model = chat(vec![
        theirs(1, 0, &text),
        Message { kind: Kind::Unknown, ..theirs(2, 0, &text) },
        Message {
            reply_to: Some(Quote { author: BOB, id: MessageId::from_bytes([1; 16]), here: Some(quoted) }),
            reactions: vec![Reaction { author: BOB, emoji: text.clone(), at: MORNING }],
            ranges: vec![
                everywhere(Meaning::Link(text.clone())),
                everywhere(Meaning::Style(letter::Style::Bold)),
                Range { start: u32::MAX, length: u32::MAX, meaning: Meaning::Unknown },
            ],
            ..unread(theirs(3, 1, "words"))
        },
        ours(4, 2, &text, MessageState::Sent),
    ]);
    model.name.clone_from(&text);
    model.live = Live { is_typing: true, presence: Presence::Online };
    model
}

#[test]
fn nothing_of_others_reaches_the_terminal_as_it_is() {
    let mut model = hostile_chat();
    for width in [9, 20, 39, 40, 60, 200] {
        model.update(Event::Resize(Size::new(width, 40)));
        assert_inert(&model);
        press(&mut model, "<PageUp>");
        assert_inert(&model);
    }
}

#[test]
fn nor_where_it_is_quoted_written_found_or_looked_up() {
    let text = hostile();
    let mut model = hostile_chat();
    model.size = Size::new(60, 30);
    model.update(Event::Paste(text.clone()));
    model.purpose = Purpose::Reply(1);
    assert_inert(&model);
    press(&mut model, "<Up><Up><Up>");
    let details = Details {
        message: theirs(1, 0, &text),
        deliveries: Vec::new(),
        history: [(); 3].map(|()| Version { text: text.clone(), ranges: Vec::new(), said_at: MORNING }).to_vec(),
    };
    press(&mut model, "<Up><Up><Up><Up><Up><Up><Up><Up>");
    model.mode = Mode::Details(Box::new(details));
    assert_inert(&model);
    press(&mut model, "<Esc>/");
    model.update(Event::Paste(text.clone()));
    assert_inert(&model);
    let snippet =
        Snippet { text: text.clone(), matches: vec![sotto_core::records::Span { start: 1, length: u32::MAX }] };
    let hits = vec![SearchHit { message: theirs(1, 0, &text), with: BOB, snippet }];
    model.update(Event::Found(model.search, SearchPage { hits, next: None, is_complete: true }));
    assert_inert(&model);
    press(&mut model, "<Esc>");
    model.update(Event::Failed(super::super::model::Failure { why: text, undone: None }));
    assert_inert(&model);
}

#[test]
fn what_is_long_and_wide_breaks_no_row() {
    let families = "👩‍👩‍👧‍👦".repeat(300);
    let joined = "👩\u{200d}".repeat(3000);
    let mut model = chat(vec![theirs(1, 0, &families), theirs(2, 0, &joined), theirs(3, 0, &"漢".repeat(500))]);
    for width in [5, 11, 14, 60] {
        model.update(Event::Resize(Size::new(width, 30)));
        for row in screen(&model) {
            let width_of_row = usize::from(ratatui::buffer::CellWidth::cell_width(row.as_str()));
            assert!(width_of_row <= usize::from(width), "{row:?}");
        }
    }
}
