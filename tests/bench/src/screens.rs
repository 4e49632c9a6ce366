//! What a person waits for who scrolls through years of chats, and what keeping a screen up to date costs.

use sotto_core::Messenger;
use sotto_core::danger;
use sotto_core::protocol::{AccountId, Timestamp};
use sotto_core::records::Chats;
use sotto_core::subscriptions::Start;

use crate::large::Large;
use crate::meter::{Meter, Spent, median, ms, quantile};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Rows of a screen.
const PAGE: u32 = 30;
/// How often each is asked for; the first time warms up.
const TURNS: u32 = 101;
/// What a screen that somebody has scrolled far holds.
const FAR: u32 = 1_000;
/// What a change of a person's own may take away at once.
const TOGETHER: usize = 64;

/// What was measured, turn by turn.
#[derive(Default)]
struct Waited(Vec<Spent>);

impl Waited {
    fn row(&self, what: &str, report: &mut Report) {
        let walls = || self.0.iter().map(|spent| ms(spent.wall));
        report.row(format!("{what}: wall, median"), median(walls()), "ms", Budget::None);
        report.row(format!("{what}: wall, 95 of 100"), quantile(walls(), 0.95), "ms", Budget::None);
        report.row(
            format!("{what}: CPU, median"),
            median(self.0.iter().map(|spent| ms(spent.cpu))),
            "ms",
            Budget::None,
        );
    }
}

pub(crate) async fn measure(large: Large, size: Size, report: &mut Report) -> Outcome<()> {
    let Large { closed, messages, chats, longest, .. } = large;
    let person = closed.open().await?;
    let messenger = &person.messenger;
    report.table("A million messages in 10,000 chats: pages of 30 rows, warm");
    pages(messenger, messages, chats, longest, report).await?;
    dates(messenger, messages, longest, report).await?;
    report.note("A place in the list or in the chat is a different one each time, spread over all of it; so is a date. The chat has 100,000 messages.");
    report.table("Subscriptions on it: one snapshot, then what one change costs a chat list of 50 and a timeline");
    for held in [100, FAR] {
        differences(messenger, longest, held, size.pick(15, 2), report).await?;
    }
    report.note(format!(
        "A change takes one message, or {TOGETHER}, from view in the longest chat, at its end. It is one commit, which is not counted; then both \
         handles are asked for their differences. A timeline holds 100 messages, as on opening it, or {FAR}, its bound."
    ));
    person.shut_down().await?;
    Ok(())
}

async fn pages(
    messenger: &Messenger,
    messages: u32,
    chats: u32,
    longest: AccountId,
    report: &mut Report,
) -> Outcome<()> {
    let (mut list, mut timeline) = (Waited::default(), Waited::default());
    let mut places = Vec::new();
    let mut before = None;
    while let Some(last) = messenger.conversations(Chats::Main, before, chats / 20).await?.pop() {
        before = Some(last.place());
        places.push(before);
    }
    for turn in 0..TURNS {
        let before = places.get(turn as usize % places.len()).copied().flatten();
        let meter = Meter::start();
        messenger.conversations(Chats::Main, before, PAGE).await?;
        list.0.push(meter.stop());
        let date = danger::filled_at(messages / TURNS * (turn + 1) - 1);
        let before = messenger.first_message_since(longest, date).await?.map(|message| message.position);
        let meter = Meter::start();
        let page = messenger.messages(longest, before, PAGE).await?;
        timeline.0.push(meter.stop());
        if page.is_empty() {
            return Err("an empty page".into());
        }
    }
    list.0.remove(0);
    timeline.0.remove(0);
    list.row("the chat list, anywhere in it", report);
    timeline.row("the longest chat, anywhere in it", report);
    Ok(())
}

async fn dates(messenger: &Messenger, messages: u32, longest: AccountId, report: &mut Report) -> Outcome<()> {
    let mut jumps = Waited::default();
    for turn in 0..TURNS {
        let date: Timestamp = danger::filled_at(messages / TURNS * turn);
        let meter = Meter::start();
        let first = messenger.first_message_since(longest, date).await?.ok_or("nothing is as late")?;
        let page = messenger.messages_around(longest, first.position, PAGE).await?;
        jumps.0.push(meter.stop());
        if !page.iter().any(|message| message.number == first.number) {
            return Err("the date is not on the page".into());
        }
    }
    jumps.0.remove(0);
    jumps.row("a jump to a date of the longest chat", report);
    Ok(())
}

async fn differences(
    messenger: &Messenger,
    longest: AccountId,
    held: u32,
    turns: usize,
    report: &mut Report,
) -> Outcome<()> {
    let mut snapshots = Waited::default();
    for together in [1, TOGETHER] {
        let mut batches = Waited::default();
        for _ in 0..=turns {
            let list = messenger.chat_list(Chats::Main, 50);
            let timeline = messenger.timeline(longest, Start::Newest, held);
            let meter = Meter::start();
            list.next().await?;
            timeline.next().await?;
            snapshots.0.push(meter.stop());
            let newest = messenger.messages(longest, None, u32::try_from(together)?).await?;
            messenger.delete_for_me(newest.iter().map(|message| message.number).collect()).await?;
            let meter = Meter::start();
            list.next().await?;
            let changes = timeline.next().await?;
            batches.0.push(meter.stop());
            if changes.changes.is_empty() {
                return Err("nothing has changed".into());
            }
        }
        batches.0.remove(0);
        batches.row(&format!("{together} of {held} messages go"), report);
    }
    snapshots.0.remove(0);
    snapshots.row(&format!("both snapshots, {held} messages"), report);
    Ok(())
}
