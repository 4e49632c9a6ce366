//! What a person sees.

use sotto_core::protocol::MessageId;
use sotto_core::records::{Failure, KeyChange, Live, Missing, Presence, Quote, Quoted, Reaction, Unopened};

use super::*;

#[test]
fn an_empty_chat_says_so() {
    assert_screen(
        &chat(Vec::new()),
        "
 Bob






                 Nothing was said here yet.





────────────────────────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn who_said_what_when_and_how_far_it_is() {
    let model = chat(vec![
        theirs(1, 0, "Are you there?"),
        theirs(2, 0, "It is about the boat, and whether we can still take it out on Sunday."),
        ours(3, 2, "Yes!", MessageState::Read),
        ours(4, 3, "I mean, yes, if it does not rain", MessageState::Sent),
        ours(5, 3, "漢字 こんにちは 👋🏽", MessageState::Queued),
    ]);
    assert_screen(
        &model,
        "
 Bob

                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
 08:00    Are you there?
          It is about the boat, and whether we can still
          take it out on Sunday.

          you
 08:02 ✔✔ Yes!
 08:03 ✓  I mean, yes, if it does not rain
       ⋯  漢字 こんにちは 👋🏽
────────────────────────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn what_was_done_to_messages_stands_with_them() {
    let felt = |author, emoji: &str| Reaction { author, emoji: emoji.to_owned(), at: MORNING };
    let here = Quoted { number: 1, kind: Kind::Text, text: "First line\nand another".to_owned() };
    let quote = Quote { author: BOB, id: MessageId::from_bytes([1; 16]), here: Some(here) };
    let mut model = chat(vec![
        Message {
            edited_at: Some(MORNING),
            is_pinned: true,
            reactions: vec![felt(OWN, "👍"), felt(BOB, "❤️")],
            ..theirs(1, 0, "First line\nand another")
        },
        Message { reply_to: Some(quote), ..ours(2, 1, "An answer", MessageState::Delivered) },
        Message { is_forwarded: true, ..theirs(3, 2, "Said elsewhere") },
        ours(4, 3, "Lost", MessageState::Failed(Failure::Expired)),
    ]);
    model.size.height = 22;
    assert_screen(
        &model,
        "
 Bob
────────────────────────────────────────────────────────────
          Bob
 08:00    First line
          and another (edited) ⚑ pinned
          👍 you · ❤️ Bob

          you
 08:01 ✓✓ │ Bob: First line and another
          An answer

          Bob
 08:02    ↪ forwarded
          Said elsewhere

          you
 08:03 ✗  Lost
          Not sent: its time was over. Choose it and press
          t to try again.
────────────────────────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn what_has_no_words_has_some_in_their_place() {
    let kind = |number, kind| Message { kind, ..theirs(number, 0, "") };
    let mut model = chat(vec![
        kind(1, Kind::Unopened(Unopened::KeyGone)),
        kind(2, Kind::Missing(Missing::GivenUp)),
        kind(3, Kind::Deleted),
        kind(4, Kind::Nudge),
        kind(5, Kind::KeyChange(KeyChange::DeviceAdded)),
        Message { kind: Kind::Unknown, ..theirs(6, 0, "A poll: tea or coffee?") },
        kind(7, Kind::Unknown),
    ]);
    model.size.width = 80;
    assert_screen(
        &model,
        "
 Bob


                            This is where it begins.
──────────────────────────────────── Today ─────────────────────────────────────
          Bob
 08:00    (a message that cannot be opened yet: it was asked for again)
          (something is missing here: its sender no longer has it)
          (taken back)
          (a nudge)
          (keys have changed: they have another device)
          A poll: tea or coffee?
          (something that this version does not know)
────────────────────────────────────────────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn it_opens_at_what_is_new_and_says_how_much_there_is_below() {
    let messages = (1..=30).map(|number| {
        let message = theirs(number, number.unsigned_abs(), &format!("Message {number}"));
        if number > 10 { unread(message) } else { message }
    });
    let model = chat(messages.collect());
    assert_screen(
        &model,
        "
 Bob
 08:08    Message 8
 08:09    Message 9
 08:10    Message 10
─────────────────────────── New ────────────────────────────
          Bob
 08:11    Message 11
 08:12    Message 12
 08:13    Message 13
 08:14    Message 14
 08:15    Message 15
 08:16    Message 16
 08:17    Message 17
──────────────────────────────────────────────── ↓ 20 new ──
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn days_begin_with_their_names() {
    let midnight = 16 * 60;
    let mut model = chat(vec![
        theirs(1, midnight - 1, "Friday"),
        theirs(2, midnight + 1, "Saturday"),
        theirs(3, midnight + 24 * 60, "Sunday"),
    ]);
    model.now = MORNING.after(Duration::from_secs(48 * 3600));
    assert_screen(
        &model,
        "
 Bob


                  This is where it begins.
───────────────── Friday, 15 January 2027 ──────────────────
          Bob
 23:59    Friday
──────────────────────── Yesterday ─────────────────────────
          Bob
 00:01    Saturday
────────────────────────── Today ───────────────────────────
          Bob
 00:00    Sunday
────────────────────────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn the_title_says_who_is_there_and_what_is_wrong() {
    let mut model = chat(vec![theirs(1, 0, "Hello")]);
    model.update(Event::Live(Live { is_typing: true, presence: Presence::Online }));
    model.update(Event::Trouble(Some("relay_unreachable")));
    model.size.height = 9;
    assert_screen(
        &model,
        "
 Bob                     no connection (relay_unreachable)

                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
 08:00    Hello
── Bob is typing… ──────────────────────────────────────────
 ❯ Write a message
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn several_lines_are_written_in_several_rows_and_the_history_makes_room() {
    let mut model = chat(vec![theirs(1, 0, "Hello")]);
    press(&mut model, "First<Alt+Enter>Second line, which is so long that it has to be broken somewhere<Ctrl+J>漢字");
    assert_screen(
        &model,
        "
 Bob





                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
 08:00    Hello
────────────────────────────────────────────────────────────
 ❯ First
   Second line, which is so long that it has to be broken
   somewhere
   漢字
 Enter send  ↑ choose  Ctrl+F search  F1 help  Ctrl+C leave
",
    );
}

#[test]
fn a_chosen_message_has_a_bar_and_says_what_can_be_done() {
    let mut model = chat(vec![theirs(1, 0, "Hello\nthere"), ours(2, 1, "Hi", MessageState::Sent)]);
    press(&mut model, "<Up><Up>");
    assert_screen(
        &model,
        "
 Bob




                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
▌08:00    Hello
▌         there

          you
 08:01 ✓  Hi
────────────────────────────────────────────────────────────
 ❯ Write a message
 r reply  + react  d delete  p pin  i info  y copy number
",
    );
    press(&mut model, "r");
    assert_screen(
        &model,
        "
 Bob



                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
 08:00    Hello
          there

          you
 08:01 ✓  Hi
────────────────────────────────────────────────────────────
 ↩ answer to Bob: Hello there
 ❯ Write a message
 Enter send  Esc no answer  ↑ choose  Ctrl+F search
",
    );
    press(&mut model, "<Up>e");
    assert_screen(
        &model,
        "
 Bob



                  This is where it begins.
────────────────────────── Today ───────────────────────────
          Bob
 08:00    Hello
          there

          you
 08:01 ✓  Hi
────────────────────────────────────────────────────────────
 ↩ instead of you: Hi
 ❯ Hi
 Enter change it  Esc as it was  ↑ choose  Ctrl+F search
",
    );
}

#[test]
fn a_small_screen_shows_what_there_is_room_for() {
    let mut model = chat(vec![theirs(1, 0, "Hello, how are you?"), ours(2, 0, "Fine", MessageState::Sent)]);
    model.size = Size::new(20, 8);
    assert_screen(
        &model,
        "
 Bob
    Bob
    Hello, how are
    you?

    you
 ✓  Fine
 ❯ Write a message
",
    );
    // Nothing breaks, however small it is.
    for mode in ["", "<Esc>?", "<Esc>/x", "<Esc><Esc>abc<Up><Up>", "r", "<Up>+", "<Esc>d", "<Esc>e"] {
        press(&mut model, mode);
        for (width, height) in (0..24).flat_map(|width| (0..12).map(move |height| (width, height))) {
            model.update(Event::Resize(Size::new(width, height)));
            screen(&model);
            model.drawn();
        }
    }
}
