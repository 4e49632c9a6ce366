//! What keys do, and what is to be done then.

use sotto_core::records::{Failure as Cause, NewText, SearchHit, SearchPage, Snippet};
use sotto_core::subscriptions::Start;

use super::super::model::{Failure, Mode, Notice, Wanted};
use super::super::scroll::{PAGE, Place};
use super::*;

fn reply(number: i64, words: &str) -> NewText {
    NewText { reply_to: Some(number), ..words.into() }
}

/// So many messages of Bob's.
fn many(count: i64) -> Vec<Message> {
    (1..=count).map(|number| theirs(number, number.unsigned_abs(), &format!("Message {number}"))).collect()
}

fn seen(model: &Model, words: &str) -> bool {
    screen(model).iter().any(|row| row.contains(words))
}

#[test]
fn enter_says_what_was_written_and_nothing_is_not_said() {
    let mut model = chat(many(1));
    assert_eq!(press(&mut model, "<Enter> <Enter><Ctrl+J>"), []);
    assert_eq!(press(&mut model, "Hello<Alt+Enter>there  <Enter>"), [Command::Send(" \nHello\nthere".into())]);
    assert!(model.composer.is_empty());
}

#[test]
fn a_reply_answers_the_chosen_message_until_somebody_thinks_better_of_it() {
    let mut model = chat(many(3));
    assert_eq!(press(&mut model, "<Up><Up>ryes<Enter>"), [Command::Send(reply(2, "yes"))]);
    assert_eq!(press(&mut model, "<Up>r<Esc>no<Enter>"), [Command::Send("no".into())]);
}

#[test]
fn an_edit_begins_with_what_was_said_and_what_was_being_written_waits() {
    let mut model = chat(vec![theirs(1, 0, "Hi"), ours(2, 0, "Hullo", MessageState::Sent)]);
    press(&mut model, "half a thought<Up>e");
    assert_eq!(model.composer.text(), "Hullo");
    assert_eq!(press(&mut model, "!<Enter>"), [Command::Edit(2, "Hullo!".to_owned())]);
    assert_eq!(model.composer.text(), "half a thought");
    press(&mut model, "<Up>exyz<Esc>");
    assert_eq!(model.composer.text(), "half a thought", "as it was");
    press(&mut model, "<Up><Up>e");
    assert!(matches!(model.notice, Some(Notice::Failed(_))), "somebody else's words are theirs");
}

#[test]
fn what_can_be_done_to_a_message_is_done_to_the_chosen_one() {
    let mut model = chat(vec![theirs(1, 0, "Hi"), ours(2, 0, "Hullo", MessageState::Failed(Cause::Expired))]);
    assert_eq!(press(&mut model, "<Up>t"), [Command::Retry(2)]);
    assert_eq!(press(&mut model, "p"), [Command::Pin(2, true)]);
    assert_eq!(press(&mut model, "i"), [Command::Details(2)]);
    assert_eq!(press(&mut model, "y"), [Command::Copy("2".to_owned())]);
    assert_eq!(press(&mut model, "+3"), [Command::React(2, Some("😂".to_owned()))]);
    assert_eq!(press(&mut model, "+0"), [Command::React(2, None)]);
    assert_eq!(press(&mut model, "+🦊<Enter>"), [Command::React(2, Some("🦊".to_owned()))]);
    assert_eq!(press(&mut model, "+<Esc>"), []);
    assert_eq!(press(&mut model, "<Up>t"), [], "that one has not failed");
}

#[test]
fn nothing_is_deleted_by_one_key() {
    let mut model = chat(vec![theirs(1, 0, "Hi"), ours(2, 0, "Hullo", MessageState::Sent)]);
    assert_eq!(press(&mut model, "<Up>d"), []);
    assert_eq!(press(&mut model, "x"), []);
    assert_eq!(press(&mut model, "d<Esc>"), []);
    assert_eq!(press(&mut model, "dm"), [Command::DeleteForMe(2)]);
    assert_eq!(press(&mut model, "de"), [Command::DeleteForEveryone(2)]);
    assert_eq!(press(&mut model, "<Up>de"), [], "nobody takes back what others said");
}

#[test]
fn what_goes_while_it_is_chosen_leaves_the_choice_to_its_neighbour() {
    let mut model = chat(many(3));
    press(&mut model, "<Up><Up>d");
    come(&mut model, vec![Change::Remove { index: 1 }]);
    assert_eq!(model.chosen, Some((3, 30)));
    assert!(matches!(model.mode, Mode::Select), "nobody deletes another one by the next key");
    come(&mut model, vec![Change::Remove { index: 1 }, Change::Remove { index: 0 }]);
    assert_eq!(model.chosen, None);
    assert!(matches!(model.mode, Mode::Write));
}

#[test]
fn messages_are_read_once_they_were_drawn_to_their_end_before_somebody() {
    let mut model = chat(many(30).into_iter().map(unread).collect());
    // The beginning, a day, the line and a name take four of the rows.
    assert_eq!(model.drawn(), [Command::MarkRead((1..=8).collect())]);
    assert_eq!(model.drawn(), [], "and that is said once");
    press(&mut model, "?<PageDown>");
    assert_eq!(model.drawn(), [], "they are behind the keys");
    model.update(Event::Focus(false));
    press(&mut model, "<Esc>");
    assert_eq!(model.drawn(), [], "nobody looks");
    model.update(Event::Focus(true));
    assert_eq!(model.drawn(), [Command::MarkRead((9..=18).collect())]);
}

#[test]
fn a_long_message_is_read_when_its_end_is_reached() {
    let long = (1..=30).map(|line| format!("Line {line}")).collect::<Vec<_>>().join("\n");
    let mut model = chat(vec![unread(theirs(1, 0, &long))]);
    assert!(seen(&model, "Line 8") && !seen(&model, "Line 10"));
    assert_eq!(model.drawn(), []);
    press(&mut model, "<Up><Down><Down>");
    assert_eq!(model.drawn(), []);
    press(&mut model, "<PageDown><PageDown>");
    assert!(seen(&model, "Line 30"));
    assert_eq!(model.drawn(), [Command::MarkRead(vec![1])]);
}

#[test]
fn what_comes_while_nobody_looks_is_below_a_line() {
    let mut model = chat(many(3));
    let fourth = unread(theirs(4, 4, "Seen at once"));
    come(&mut model, vec![Change::Insert { index: 3, item: fourth }]);
    assert_eq!(model.unread_line, None);
    come(&mut model, vec![Change::Update { index: 3, item: theirs(4, 4, "Seen at once") }]);
    model.update(Event::Focus(false));
    come(&mut model, vec![Change::Insert { index: 4, item: unread(theirs(5, 5, "Not seen")) }]);
    come(&mut model, vec![Change::Insert { index: 5, item: unread(theirs(6, 6, "Nor this")) }]);
    assert_eq!(model.unread_line, Some(5));
    press(&mut model, "ok<Enter>");
    assert_eq!(model.unread_line, None, "whoever answers has read it");
}

#[test]
fn what_is_read_stays_where_it_is_whatever_comes_above_or_below() {
    let mut model = chat(many(40));
    press(&mut model, "<PageUp><PageUp>");
    let before = screen(&model);
    let above = Message { position: 5, ..theirs(0, 0, "From long ago\nin two lines") };
    come(&mut model, vec![Change::Insert { index: 0, item: above }]);
    come(&mut model, vec![Change::Insert { index: 41, item: theirs(41, 41, "New") }]);
    assert_eq!(screen(&model), before);
    press(&mut model, "<PageDown><PageDown><PageDown>");
    assert!(seen(&model, "New"));
    assert_eq!(model.place, Place::End);
}

#[test]
fn more_is_asked_for_before_the_end_is_reached_and_once() {
    let mut model = chat(many(60));
    (model.has_older, model.has_newer) = (true, false);
    assert_eq!(model.drawn(), []);
    press(&mut model, "<PageUp><PageUp><PageUp>");
    assert_eq!(model.drawn(), [Command::Older(PAGE)]);
    press(&mut model, "<PageUp>");
    assert_eq!(model.drawn(), [], "it was asked for");
    come(&mut model, vec![Change::Insert { index: 0, item: Message { position: 1, ..theirs(0, 0, "Older") } }]);
    assert_eq!(model.drawn(), [Command::Older(PAGE)]);
    model.has_newer = true;
    press(&mut model, "<Up>");
    assert_eq!(press(&mut model, "<End>"), [Command::Open(2, Start::Newest)]);
}

#[test]
fn who_searches_goes_there_from_one_to_the_next_and_back_again() {
    let mut model = chat(many(40));
    press(&mut model, "<PageUp>");
    let before = model.place;
    assert_eq!(
        press(&mut model, "<Up>/me"),
        [Command::Search(1, "m".to_owned(), None), Command::Search(2, "me".to_owned(), None)]
    );
    let snippet = Snippet { text: "Message".to_owned(), matches: Vec::new() };
    let hit = |number| SearchHit { message: theirs(number, 0, "Message"), with: BOB, snippet: snippet.clone() };
    let page =
        |hits: &[i64], next| SearchPage { hits: hits.iter().copied().map(hit).collect(), next, is_complete: true };
    model.update(Event::Found(1, page(&[1], None)));
    assert!(matches!(&model.mode, Mode::Search(search) if search.hits.is_empty()), "that was for other words");
    model.update(Event::Found(2, page(&[39, 3], Some(7))));
    assert_eq!(press(&mut model, "<Down>"), [Command::Search(2, "me".to_owned(), Some(7))]);
    model.update(Event::Found(2, page(&[-50], None)));
    assert_eq!(press(&mut model, "<Enter>"), []);
    assert_eq!(model.chosen, Some((3, 30)));
    assert!(seen(&model, "▌08:03    Message 3"));
    // The next one is far off.
    assert_eq!(press(&mut model, "n"), [Command::Open(2, Start::Around(-500))]);
    let far = Message { position: -500, ..theirs(-50, 0, "Message -50") };
    come(&mut model, vec![Change::Reset { items: vec![far] }]);
    assert!(seen(&model, "▌08:00    Message -50"));
    assert_eq!(press(&mut model, "n"), []);
    let Place::Top { position, .. } = before else { unreachable!("it was scrolled") };
    assert_eq!(press(&mut model, "<Esc>"), [Command::Open(3, Start::Around(position))]);
    assert_eq!(model.wanted, Some(Wanted::Place(before)));
}

#[test]
fn what_was_not_looked_through_yet_is_looked_through_again() {
    let mut model = chat(many(1));
    let second = |model: &mut Model| model.update(Event::Tick(MORNING));
    press(&mut model, "/m");
    assert_eq!(second(&mut model), [], "the first answer has not come");
    let page = |is_complete| SearchPage { hits: Vec::new(), next: None, is_complete };
    model.update(Event::Found(1, page(false)));
    assert!(seen(&model, "not everything was looked through"));
    assert_eq!(second(&mut model), [Command::Search(1, "m".to_owned(), None)]);
    model.update(Event::Found(1, page(true)));
    assert!(seen(&model, "Nothing was found."));
    assert_eq!(second(&mut model), []);
}

#[test]
fn a_message_may_begin_with_the_keys_of_search_and_help() {
    let mut model = chat(many(1));
    assert_eq!(press(&mut model, "//home<Enter>"), [Command::Send("/home".into())]);
    assert_eq!(press(&mut model, "??<Enter>"), [Command::Send("?".into())]);
    assert_eq!(press(&mut model, "a/?<Enter>"), [Command::Send("a/?".into())]);
}

#[test]
fn what_was_not_said_is_not_lost() {
    let mut model = chat(many(1));
    let failed = |undone| Event::Failed(Failure { why: "the disk is full".to_owned(), undone: Some(undone) });
    press(&mut model, "<Up>rHello<Enter>");
    model.update(failed(Command::Send(reply(1, "Hello"))));
    assert!(seen(&model, "the disk is full"));
    assert_eq!(model.draft(), reply(1, "Hello"));
    // Something else was begun meanwhile.
    model.update(failed(Command::Send("Before".into())));
    assert_eq!(model.composer.text(), "Before\nHello");
    let mut model = chat(many(1));
    model.update(failed(Command::Edit(1, "otherwise".to_owned())));
    assert_eq!(press(&mut model, "!<Enter>"), [Command::Edit(1, "otherwise!".to_owned())]);
}

#[test]
fn a_draft_is_kept_when_somebody_pauses_and_when_they_leave() {
    let mut model = chat(many(1));
    let second = |model: &mut Model| model.update(Event::Tick(MORNING));
    model.take_draft(reply(1, "Half"));
    assert_eq!(model.last_words(), [Command::Typing(false)], "it is kept already");
    press(&mut model, " a word");
    assert_eq!([second(&mut model), second(&mut model)], [[], []]);
    assert_eq!(second(&mut model), [Command::SaveDraft(Some(reply(1, "Half a word")))]);
    assert_eq!(second(&mut model), []);
    assert_eq!(press(&mut model, "<Enter>"), [Command::Send(reply(1, "Half a word")), Command::SaveDraft(None)]);
    let undone = Some(Command::SaveDraft(None));
    model.update(Event::Failed(Failure { why: "the disk is full".to_owned(), undone }));
    assert_eq!(model.last_words(), [Command::Typing(false), Command::SaveDraft(None)], "once more");
    press(&mut model, "Next");
    assert_eq!(model.last_words(), [Command::Typing(false), Command::SaveDraft(Some("Next".into()))]);
}

#[test]
fn whoever_may_know_hears_that_somebody_types() {
    let mut model = chat(many(1));
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    assert_eq!(model.update(key(KeyCode::Char('a'))), [Command::Typing(true)]);
    assert_eq!(model.update(key(KeyCode::Backspace)), [Command::Typing(false)]);
    assert_eq!(model.update(Event::Paste("one\r\ntwo".to_owned())), [Command::Typing(true)]);
    assert_eq!(model.composer.text(), "one\ntwo");
    model.with = OWN;
    assert_eq!(model.update(key(KeyCode::Char('a'))), [], "nobody else does");
}

#[test]
fn who_leaves_leaves() {
    for keys in ["<Ctrl+C>", "<Up><Ctrl+C>", "/x<Ctrl+C>", "?<Ctrl+C>", "<Up>d<Ctrl+C>"] {
        assert_eq!(press(&mut chat(many(1)), keys).last(), Some(&Command::Quit), "{keys}");
    }
}
