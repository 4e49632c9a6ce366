//! Opening a profile and drawing its first two screens, with few and with many messages.

use crate::Outcome;
use crate::large::Large;
use crate::meter::{Meter, median, ms};
use crate::report::{Budget, Report};

/// Lines on a screen, and a few more.
const PAGE: u32 = 30;
/// A cold process each time would be right; opening anew drops all that the engine holds, and leaves only the kernel's page cache.
const TURNS: usize = 15;

/// Medians of several turns, in ms.
struct Opened {
    in_all: f64,
    open: f64,
    chats: f64,
    timeline: f64,
    longest: f64,
    cpu: f64,
}

pub(crate) async fn measure(few: Large, many: Large, report: &mut Report) -> Outcome<Large> {
    let (_, few) = opened(few).await?;
    let (large, many) = opened(many).await?;
    report.table("Open + first chat list page + first timeline page, 10,000 chats");
    report.row("1 M messages: wall, median", many.in_all, "ms", Budget::AtMost(50.0));
    report.row("10 k messages: wall, median", few.in_all, "ms", Budget::None);
    report.row("1 M against 10 k", many.in_all / few.in_all, "x", Budget::AtMost(1.25));
    for (name, opened) in [("1 M", &many), ("10 k", &few)] {
        report.row(format!("{name}: of it opening"), opened.open, "ms", Budget::None);
        report.row(format!("{name}: of it the chat list's page"), opened.chats, "ms", Budget::None);
        report.row(format!("{name}: of it the timeline's page"), opened.timeline, "ms", Budget::None);
        report.row(format!("{name}: CPU of all three"), opened.cpu, "ms", Budget::None);
        report.row(format!("{name}: beside it, a page of the longest timeline"), opened.longest, "ms", Budget::None);
    }
    report.note(format!(
        "Nothing is due, the relay is down, pages hold {PAGE} rows. A tenth of all messages stand in one chat, the others are spread \
         evenly and interleaved. The file is in the kernel's page cache."
    ));
    Ok(large)
}

async fn opened(large: Large) -> Outcome<(Large, Opened)> {
    let Large { mut closed, texts, messages, chats, longest } = large;
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let meter = Meter::start();
        let person = closed.open().await?;
        let open = meter.stop();
        let list = person.messenger.conversations(sotto_core::records::Chats::Main, None, PAGE).await?;
        let listed = meter.stop();
        // The last line: the newest chat of all is the longest one.
        let contact = list.last().and_then(|chat| chat.contact).ok_or("a chat without a contact")?;
        let page = person.messenger.messages(contact, None, PAGE).await?;
        let whole = meter.stop();
        let long_meter = Meter::start();
        let long_page = person.messenger.messages(longest, None, PAGE).await?;
        let long = long_meter.stop();
        if list.len() != PAGE as usize || page.is_empty() || long_page.len() != PAGE as usize {
            return Err("the pages are not full".into());
        }
        closed = person.shut_down().await?;
        turns.push([whole.wall, open.wall, listed.wall - open.wall, whole.wall - listed.wall, long.wall, whole.cpu]);
    }
    let of = |index: usize| median(turns.iter().filter_map(|turn| turn.get(index)).map(|wall| ms(*wall)));
    let opened = Opened { in_all: of(0), open: of(1), chats: of(2), timeline: of(3), longest: of(4), cpu: of(5) };
    Ok((Large { closed, texts, messages, chats, longest }, opened))
}
