//! What stands before the history, and in the lowest row.

use sotto_core::protocol::DeviceId;
use sotto_core::records::{Delivery, DeliveryState, SearchHit, SearchPage, Snippet, Span, Version};

use super::super::model::{Details, Mode};
use super::*;

#[test]
fn what_is_felt_is_chosen_in_the_lowest_row() {
    let mut model = chat(vec![theirs(1, 0, "Hello")]);
    (model.size.width, model.size.height) = (80, 9);
    press(&mut model, "<Up>+");
    assert_screen(
        &model,
        "
 Bob

                            This is where it begins.
──────────────────────────────────── Today ─────────────────────────────────────
          Bob
▌08:00    Hello
────────────────────────────────────────────────────────────────────────────────
 ❯ Write a message
 React:    1 👍 2 ❤️ 3 😂 4 😮 5 😢 6 🙏   0 none   or type one, Enter
",
    );
}

#[test]
fn the_keys_can_be_looked_up() {
    let mut model = chat(vec![theirs(1, 0, "Hello")]);
    model.size = Size::new(80, 28);
    press(&mut model, "?");
    assert_screen(
        &model,
        "
 Bob
────────────────────────────────────────────────────────────────────────────────

  ┌ Keys ────────────────────────────────────────────────────────────────────┐
  │ Writing                                                                  │
  │ Enter            send; Alt+Enter or Ctrl+J begins a new line             │
  │ ↑                choose a message, from the first row of what is written │
  │ PageUp PageDown  scroll; Esc goes back to the newest                     │
  │ Ctrl+F, or /     search; // begins a message with /                      │
  │ F1, or ?         these keys; ?? begins a message with ?                  │
  │ Ctrl+W U K       delete the word, to the beginning, to the end           │
  │ Ctrl+L  Ctrl+Z   draw anew; pause in the shell's background              │
  │ Ctrl+C           leave; what is written is kept                          │
  │ With a chosen message                                                    │
  │ ↑ ↓  Home End    another one; the first, the last                        │
  │ r  +  e          reply, react, edit                                      │
  │ d  p  t          delete, pin, try again to send                          │
  │ i  y             what there is to know about it; copy its number         │
  │ n  N             the next and the last of what was found                 │
  │ Esc              write again                                             │
  │ Signs                                                                    │
  │ ⋯  ⇡  ✓          waits, is being sent, is at a relay                     │
──│ ✓✓  ✔✔  ✗        has arrived, was read, was not sent                     │──
  └──────────────────────────────────────────────────────────────────────────┘
 08:00    Hello
────────────────────────────────────────────────────────────────────────────────
 ❯ Write a message
 Esc back
",
    );
}

#[test]
fn what_was_found_stands_in_a_list() {
    let mut model = chat(vec![theirs(1, 0, "Hello")]);
    press(&mut model, "/boat");
    let hit = |number, text: &str| SearchHit {
        message: theirs(number, 0, text),
        with: BOB,
        snippet: Snippet { text: text.to_owned(), matches: vec![Span { start: 4, length: 4 }] },
    };
    let hits = vec![hit(9, "The boat leaves"), hit(3, "Our boat, remember?")];
    model.update(Event::Found(model.search, SearchPage { hits, next: None, is_complete: true }));
    assert_screen(
        &model,
        "
 Bob
 Search: boat
▌08:00      Bob: The boat leaves
 08:00      Bob: Our boat, remember?









────────────────────────────────────────────────────────────
 ❯ Write a message
 ↑ ↓ choose  Enter go there  Esc back
",
    );
}

#[test]
fn what_there_is_to_know_about_a_message_stands_in_a_box() {
    let mut model = chat(vec![ours(1, 0, "Hullo", MessageState::Sent)]);
    (model.size.width, model.size.height) = (80, 20);
    let delivery = |byte, is_own, state| Delivery {
        device: DeviceId::from_bytes([byte; 16]),
        is_own,
        state,
        at: Some(MORNING),
        relay: "http://127.0.0.1:8080".parse().ok(),
    };
    let version = |text: &str| Version { text: text.to_owned(), ranges: Vec::new(), said_at: MORNING };
    press(&mut model, "<Up>");
    model.update(Event::Details(Box::new(Details {
        message: ours(1, 0, "Hullo", MessageState::Sent),
        deliveries: vec![
            delivery(1, false, DeliveryState::Confirmed),
            Delivery { at: None, relay: None, ..delivery(2, true, DeliveryState::Waiting) },
        ],
        history: vec![version("Hallo"), version("Hullo")],
    })));
    assert_screen(
        &model,
        "
 Bob
────────────────────────────────────────────────────────────────────────────────


        ┌ Message ─────────────────────────────────────────────────────┐
        │ Number        1                                              │
        │ From          you                                            │
        │ Said          2027-01-15 08:00:00                            │
        │ Stored here   2027-01-15 08:00:00                            │
        │ State         is at a relay                                  │
        │ Their device  01010101… has it, 08:00, http://127.0.0.1:8080 │
        │ Own device    02020202… waits here                           │
        │ It said       08:00 Hallo                                    │
        │ It said       08:00 Hullo                                    │
────────└──────────────────────────────────────────────────────────────┘────────
          you
▌08:00 ✓  Hullo
────────────────────────────────────────────────────────────────────────────────
 ❯ Write a message
 Esc back
",
    );
}

#[test]
fn a_box_stands_whole_over_wide_letters() {
    let mut model = chat((1..=12).map(|number| theirs(number, 0, &"漢字".repeat(12))).collect());
    let details = |message| Details { message, deliveries: Vec::new(), history: Vec::new() };
    model.mode = Mode::Details(Box::new(details(theirs(1, 0, "漢字"))));
    for width in 50..54 {
        model.size.width = width;
        let rows = screen(&model);
        let corners = rows.iter().flat_map(|row| row.chars()).filter(|letter| "┌┐└┘".contains(*letter)).count();
        let bars = rows.iter().filter(|row| row.matches('│').count() == 2).count();
        assert_eq!((corners, bars), (4, 4), "{}", rows.join("\n"));
    }
}
