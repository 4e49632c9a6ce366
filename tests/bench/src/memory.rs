//! How much memory a large profile takes while somebody uses it: in a process that has done nothing else.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sotto_core::net::HttpTransport;
use sotto_core::protocol::AccountId;
use sotto_core::records::{Chats, SearchQuery};
use sotto_core::subscriptions::Start;
use sotto_core::world::{SystemClock, SystemRng};
use sotto_core::{Messenger, Threading, World};
use sotto_sim::FileSecrets;

use crate::Outcome;
use crate::large::Large;
use crate::meter::anonymous_kib;
use crate::report::{Budget, Report};
use crate::search;

/// First word of the command line that makes this binary somebody who reads.
pub(crate) const WORD: &str = "reader-process";

pub(crate) fn measure(large: &Large, report: &mut Report) -> Outcome<()> {
    let secrets = tempfile::tempdir()?;
    large.closed.secrets_to(secrets.path())?;
    let mut process = Command::new(std::env::current_exe()?)
        .arg(WORD)
        .args([large.closed.directory(), secrets.path()])
        .arg(large.longest.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    process.stdout.take().ok_or("no output")?.read_to_string(&mut said)?;
    if !process.wait()?.success() {
        return Err("the reader failed".into());
    }
    report.table("Memory of somebody who reads a million messages: anonymous, of the whole process");
    for line in said.lines() {
        let (what, kib) = line.rsplit_once(' ').ok_or("an unknown line")?;
        report.row(what, kib.parse::<f64>()? / 1024.0, "MiB", Budget::None);
    }
    report.note("One process, one thing after the other: what is kept for later is in the rows below.");
    Ok(())
}

/// The process.
pub(crate) async fn read(words: impl Iterator<Item = std::ffi::OsString>) -> Outcome<()> {
    let words: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let [directory, secrets, longest] = words.as_slice() else { return Err("three words".into()) };
    let longest: AccountId = longest.to_string_lossy().parse()?;
    say("before anything is opened")?;
    let messenger = open(directory, secrets).await?;
    say("the profile is open")?;
    messenger.conversations(Chats::Main, None, 30).await?;
    messenger.messages(longest, None, 30).await?;
    say("a page of the chat list, a page of the longest chat")?;
    let list = messenger.chat_list(Chats::Main, 50);
    list.next().await?;
    let timeline = messenger.timeline(longest, Start::Newest, 100);
    let mut has_older = timeline.next().await?.has_older;
    say("both as subscriptions, 100 messages")?;
    let mut held = 100;
    while has_older && held < 1_000 {
        timeline.older(100);
        has_older = timeline.next().await?.has_older;
        held += 100;
    }
    say("scrolled to 1,000 messages, the bound")?;
    for typed in search::typed() {
        messenger.search(SearchQuery::from(typed), None, 30).await?;
    }
    say("everything of the search mix was looked for")?;
    messenger.shut_down();
    Ok(())
}

async fn open(directory: &Path, secrets: &Path) -> Outcome<Messenger> {
    let world = World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(FileSecrets::at(secrets.to_path_buf())),
        threading: Threading::Threads,
    };
    Ok(Messenger::open(world, directory).await?)
}

fn say(what: &str) -> Outcome<()> {
    println!("{what} {}", anonymous_kib(std::process::id())?);
    Ok(())
}
