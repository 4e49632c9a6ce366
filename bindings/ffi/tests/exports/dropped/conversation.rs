//! What two people say, do to it, and set.

use sotto_core::protocol::AccountId;
use sotto_ffi::{Chats, Conversation, LiveSettings, Message, MessageKind, Profile, SottoError};

use super::Play;
use crate::stage::{ALL, Person, words};

pub(crate) async fn say(play: &Play) {
    let (alice, bob) = (&play.stage.alice, &play.stage.bob);
    let said = async |is_it: &dyn Fn(&Message) -> bool| alice.all(bob).await.iter().filter(|it| is_it(it)).count();

    play.change_apart(
        "send_text",
        async |polls| format!("said with {polls} polls"),
        async |text| alice.send_text(bob.id, words(text)).await,
        async |text| said(&|it| it.text == *text).await,
    )
    .await;
    let arrived = async || bob.all(alice).await.iter().filter(|it| it.text.starts_with("said with")).count();
    play.stage.until(&[alice, bob], async || arrived().await >= 2).await;
    assert_eq!(arrived().await, 2, "each of them left once");

    play.change_apart(
        "forward",
        async |polls| alice.says(bob, &format!("to be said again {polls}")).await,
        async |message| alice.forward(message.number, bob.id).await,
        async |message| said(&|it| it.text == message.text && it.is_forwarded).await,
    )
    .await;
    let nudges = async || said(&|it| it.kind == MessageKind::Nudge).await;
    play.change(
        "nudge",
        async |_| nudges().await,
        async |_| alice.nudge(bob.id).await,
        async |before| nudges().await - before,
    )
    .await;
}

pub(crate) async fn do_to_what_was_said(play: &Play) {
    let (alice, bob) = (&play.stage.alice, &play.stage.bob);
    let said = async |polls| alice.says(bob, &format!("done to {polls}")).await;
    let now = async |message: &Message| alice.message(message.number).await;

    play.change_apart(
        "edit",
        said,
        async |it| alice.edit(it.number, words("otherwise")).await,
        async |it| alice.history(it.number, ALL).await.unwrap().len() - 1,
    )
    .await;
    play.change_apart(
        "react",
        said,
        async |it| alice.react(it.number, Some("🐈".to_owned())).await,
        async |it| now(it).await.unwrap().reactions.len(),
    )
    .await;
    play.change_apart(
        "pin",
        said,
        async |it| alice.pin(it.number, true).await,
        async |it| alice.pinned(bob.id, None, ALL).await.unwrap().iter().filter(|pinned| pinned.id == it.id).count(),
    )
    .await;
    play.change_apart(
        "delete_for_everyone",
        said,
        async |it| alice.delete_for_everyone(vec![it.number]).await,
        async |it| usize::from(now(it).await.unwrap().kind == MessageKind::Deleted),
    )
    .await;
    play.change_apart(
        "delete_for_me",
        said,
        async |it| alice.delete_for_me(vec![it.number]).await,
        async |it| usize::from(matches!(now(it).await, Err(SottoError::Input { .. }))),
    )
    .await;

    let heard = async |polls| play.stage.heard_by_bob(&format!("heard {polls}")).await;
    let is_read = async |it: &Message| usize::from(!bob.message(it.number).await.unwrap().is_unread);
    play.change_apart("mark_read", heard, async |it| bob.mark_read(vec![it.number]).await, is_read).await;
    let heard = async |polls| play.stage.heard_by_bob(&format!("heard too {polls}")).await;
    play.change("mark_all_read", heard, async |_| bob.mark_all_read(alice.id).await, is_read).await;
}

pub(crate) async fn set(play: &Play) {
    let (alice, bob) = (&play.stage.alice, &play.stage.bob);
    let (with, main) = (bob.id, Chats::Main);

    play.change(
        "mute",
        async |polls| 4_000_000_000_000 + u64::from(polls),
        async |until| alice.mute(with, Some(*until)).await,
        async |until| count(alice, main, with, |chat| chat.muted_until_ms == Some(*until)).await,
    )
    .await;
    play.change(
        "pin_conversation",
        async |_| alice.pin_conversation(with, false).await.unwrap(),
        async |()| alice.pin_conversation(with, true).await,
        async |()| count(alice, main, with, |chat| chat.is_pinned).await,
    )
    .await;
    play.change(
        "mark_unread",
        async |_| alice.mark_all_read(with).await.unwrap(),
        async |()| alice.mark_unread(with).await,
        async |()| count(alice, main, with, |chat| chat.is_marked_unread).await,
    )
    .await;
    play.change(
        "archive",
        async |_| alice.archive(with, false).await.unwrap(),
        async |()| alice.archive(with, true).await,
        async |()| count(alice, Chats::Archived, with, |chat| chat.is_archived).await,
    )
    .await;
    play.change(
        "set_draft",
        async |polls| words(&format!("half a {polls}")),
        async |draft| alice.set_draft(with, Some(draft.clone())).await,
        async |draft| usize::from(alice.draft(with).await.unwrap().as_ref() == Some(draft)),
    )
    .await;
    play.change(
        "set_note",
        async |polls| format!("likes tea {polls}"),
        async |note| alice.set_note(with, Some(note.clone())).await,
        async |note| usize::from(alice.contact(bob).await.unwrap().note.as_ref() == Some(note)),
    )
    .await;
    play.change(
        "set_profile",
        async |polls| Profile { name: "Alice".to_owned(), status: format!("here {polls}") },
        async |profile| alice.set_profile(profile.clone()).await,
        async |profile| usize::from(alice.profile().await.unwrap() == *profile),
    )
    .await;
    play.change(
        "set_receipts",
        async |_| alice.set_receipts(true).await.unwrap(),
        async |()| alice.set_receipts(false).await,
        async |()| usize::from(!alice.receipts().await.unwrap()),
    )
    .await;
    let live = |typing| LiveSettings { typing, presence: false };
    play.change(
        "set_live_settings",
        async |_| alice.set_live_settings(live(false)).await.unwrap(),
        async |()| alice.set_live_settings(live(true)).await,
        async |()| usize::from(alice.live_settings().await.unwrap() == live(true)),
    )
    .await;
}

/// How many lines of a chat list are so, of one contact's.
async fn count(person: &Person, chats: Chats, with: AccountId, is_so: impl Fn(&Conversation) -> bool) -> usize {
    let list = person.conversations(chats, None, ALL).await.unwrap();
    list.iter().filter(|chat| chat.contact == Some(with) && is_so(chat)).count()
}
