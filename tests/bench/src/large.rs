//! A profile as large as somebody's after years: a million messages in ten thousand chats, in real languages, every word of them found.
//!
//! It is filled once; opening, screens, searching and memory are measured on it one after the other.

use std::time::{Duration, Instant};

use sotto_core::danger;
use sotto_core::protocol::AccountId;

use crate::meter::Meter;
use crate::people::{Closed, Person};
use crate::relay_process::RelayProcess;
use crate::report::Report;
use crate::texts::Texts;
use crate::{Outcome, Size, memory, open, screens, search};

/// What is measured on it.
pub(crate) const PARTS: [&str; 4] = ["open", "screens", "search", "memory"];
/// How long filling the index may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A profile that is closed, and what it holds.
pub(crate) struct Large {
    pub(crate) closed: Closed,
    pub(crate) texts: Texts,
    pub(crate) messages: u32,
    pub(crate) chats: u32,
    /// The chat with a tenth of all messages.
    pub(crate) longest: AccountId,
}

impl Large {
    async fn fill(texts: &Texts, chats: u32, messages: u32) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let relay = RelayProcess::plain(&directory.path().join("relay"))?;
        // Its files outlive the relay's.
        let person = Person::create("reader", relay.address(), &std::env::temp_dir()).await?;
        person.catch_up().await?;
        drop(relay);
        let said = texts.clone();
        let longest =
            danger::fill_with_chats(&person.messenger, chats, messages, move |number| said.of(number).to_owned())
                .await?;
        let begun = Instant::now();
        while !person.messenger.search("a", None, 1).await?.is_complete {
            if begun.elapsed() > PATIENCE {
                return Err("the index is not filled".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Then it is made one piece, which nobody is told.
        loop {
            let meter = Meter::start();
            tokio::time::sleep(Duration::from_millis(500)).await;
            if meter.stop().cpu < Duration::from_millis(5) {
                break;
            }
        }
        Ok(Self { closed: person.shut_down().await?, texts: texts.clone(), messages, chats, longest })
    }
}

/// Those of `open`, `screens`, `search` and `memory` that are wanted.
pub(crate) async fn measure(
    size: Size,
    messages: Option<u32>,
    is_wanted: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Outcome<()> {
    let texts = Texts::read()?;
    let messages = messages.unwrap_or(u32::try_from(size.pick(1_000_000, 5_000))?);
    let chats = u32::try_from(size.pick(10_000, 50))?.min(messages / 10);
    let mut large = Large::fill(&texts, chats, messages).await?;
    if is_wanted("open") {
        let few = Large::fill(&texts, chats, messages.min(u32::try_from(size.pick(10_000, 1_000))?)).await?;
        large = open::measure(few, large, report).await?;
    }
    if is_wanted("search") {
        large = search::measure(large, report).await?;
    }
    if is_wanted("memory") {
        memory::measure(&large, report)?;
    }
    // Last: it takes messages away.
    if is_wanted("screens") {
        screens::measure(large, size, report).await?;
    }
    Ok(())
}
