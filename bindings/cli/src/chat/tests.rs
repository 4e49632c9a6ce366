//! The model driven by events, and its screens as text.

mod boxes;
mod hostile;
mod keys;
mod screens;

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use sotto_core::protocol::{AccountId, ConversationId, MessageId, Timestamp};
use sotto_core::records::{Kind, Message, MessageState};
use sotto_core::subscriptions::{Change, TimelineChanges};

use super::calendar::Calendar;
use super::look::Look;
use super::model::{Command, Event, Model};
use super::view;

const OWN: AccountId = AccountId::from_bytes([1; 32]);
const BOB: AccountId = AccountId::from_bytes([2; 32]);
/// 2027-01-15 08:00 UTC, a Friday.
const MORNING: Timestamp = Timestamp::from_ms(1_800_000_000_000);

/// Something that Bob said so many minutes after the morning.
fn theirs(number: i64, minutes: u64, text: &str) -> Message {
    let at = MORNING.after(Duration::from_secs(60 * minutes));
    Message {
        number,
        position: number * 10,
        arrival: number,
        id: MessageId::from_bytes([u8::try_from(number).unwrap_or(u8::MAX); 16]),
        conversation: ConversationId::from_bytes([9; 32]),
        sender: BOB,
        sent_at: at,
        received_at: at,
        kind: Kind::Text,
        text: text.to_owned(),
        ranges: Vec::new(),
        reply_to: None,
        is_forwarded: false,
        edited_at: None,
        reactions: Vec::new(),
        is_pinned: false,
        is_unread: false,
        state: MessageState::Received,
    }
}

/// Something that we said.
fn ours(number: i64, minutes: u64, text: &str, state: MessageState) -> Message {
    Message { sender: OWN, state, ..theirs(number, minutes, text) }
}

fn unread(message: Message) -> Message {
    Message { is_unread: true, ..message }
}

/// A conversation with Bob on a small screen, with these messages.
fn chat(messages: Vec<Message>) -> Model {
    let mut model = Model::new(OWN, BOB, "Bob".to_owned(), Calendar::utc(), Look::plain());
    model.now = MORNING.after(Duration::from_secs(3600));
    model.size = Size::new(60, 16);
    model.timeline = 1;
    come(&mut model, vec![Change::Reset { items: messages }]);
    model
}

fn come(model: &mut Model, changes: Vec<Change<Message>>) {
    let changes = TimelineChanges { changes, has_older: model.has_older, has_newer: model.has_newer };
    assert_eq!(model.update(Event::Changes(model.timeline, changes)), []);
}

/// Presses keys: letters, and what has a name between angle brackets.
fn press(model: &mut Model, keys: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut rest = keys;
    while let Some(letter) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|named| named.split_once('>'));
        let (code, modifiers) = match named {
            Some((name, behind)) => {
                rest = behind;
                named_key(name)
            }
            None => {
                rest = &rest[letter.len_utf8()..];
                (KeyCode::Char(letter), KeyModifiers::NONE)
            }
        };
        commands.extend(model.update(Event::Key(KeyEvent::new(code, modifiers))));
    }
    commands.retain(|command| !matches!(command, Command::Typing(_)));
    commands
}

fn named_key(name: &str) -> (KeyCode, KeyModifiers) {
    let plain = |code| (code, KeyModifiers::NONE);
    match name {
        "Enter" => plain(KeyCode::Enter),
        "Esc" => plain(KeyCode::Esc),
        "Up" => plain(KeyCode::Up),
        "Down" => plain(KeyCode::Down),
        "PageUp" => plain(KeyCode::PageUp),
        "PageDown" => plain(KeyCode::PageDown),
        "End" => plain(KeyCode::End),
        "Home" => plain(KeyCode::Home),
        "Alt+Enter" => (KeyCode::Enter, KeyModifiers::ALT),
        "Ctrl+C" => (KeyCode::Char('c'), KeyModifiers::CONTROL),
        "Ctrl+J" => (KeyCode::Char('j'), KeyModifiers::CONTROL),
        other => unreachable!("no key is called {other}"),
    }
}

/// What is seen, row by row.
fn screen(model: &Model) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(model.size.width, model.size.height)).unwrap();
    terminal.draw(|frame| view::draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(model.size.width.max(1)));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let mut text = String::new();
        let mut hidden = 0;
        for cell in cells {
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            hidden = usize::from(ratatui::buffer::CellWidth::cell_width(cell.symbol())).saturating_sub(1);
            text.push_str(cell.symbol());
        }
        text.trim_end().to_owned()
    };
    rows.map(row).collect()
}

#[track_caller]
fn assert_screen(model: &Model, expected: &str) {
    let expected: Vec<&str> = expected.trim_matches('\n').lines().map(|row| row.trim_end()).collect();
    let seen = screen(model);
    assert_eq!(seen, expected, "\n{}", seen.join("\n"));
}
