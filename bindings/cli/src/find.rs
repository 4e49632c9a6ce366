//! `sotto search`: what was said, by words, place, sender and date.

use clap::Args;
use serde_json::json;
use sotto_core::Messenger;
use sotto_core::protocol::Timestamp;
use sotto_core::records::{Message, SearchHit, SearchPage, SearchQuery};

use crate::age::Age;
use crate::commands::account;
use crate::date;
use crate::failed::Failed;
use crate::message;
use crate::names::Names;
use crate::output::Output;
use crate::readable;

/// What to look for.
#[derive(Args, Debug)]
pub(crate) struct Search {
    /// All of them must be there, the last one as a beginning, and what stands in quotes together.
    words: Vec<String>,
    /// In the conversation with somebody.
    #[arg(long = "in", value_name = "WHO")]
    with: Option<String>,
    /// Said by somebody.
    #[arg(long = "from", value_name = "WHO")]
    sender: Option<String>,
    /// On this day (UTC) or later: 2027-01-14.
    #[arg(long, value_name = "DATE", value_parser = date::beginning)]
    after: Option<Timestamp>,
    /// Before this day (UTC).
    #[arg(long, value_name = "DATE", value_parser = date::beginning)]
    before: Option<Timestamp>,
    /// The newest so many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Finds and shows, the newest first.
pub(crate) async fn run(messenger: &Messenger, search: &Search, output: &mut Output<'_>) -> Result<(), Failed> {
    let mut query = SearchQuery { since: search.after, until: search.before, ..search.words.join(" ").into() };
    if let Some(who) = &search.with {
        query.conversation = Some(account(messenger, who).await?);
    }
    if let Some(who) = &search.sender {
        query.sender = Some(account(messenger, who).await?);
    }
    let mut names = Names::read(messenger).await?;
    let (mut left, mut next) = (search.limit, None);
    let is_complete = loop {
        let page: SearchPage = messenger.search(query.clone(), next, left).await?;
        for hit in page.hits.iter().take(left as usize) {
            show(messenger, hit, &mut names, output).await?;
        }
        left = left.saturating_sub(u32::try_from(page.hits.len()).unwrap_or(u32::MAX));
        next = page.next;
        if next.is_none() || left == 0 {
            break page.is_complete;
        }
    };
    output.summary(&json!({ "kind": "search", "complete": is_complete, "more": next.is_some() }));
    if !is_complete {
        output
            .note("(not everything that was said has been looked through yet: the same search finds more in a moment)");
    }
    Ok(())
}

async fn show(
    messenger: &Messenger,
    hit: &SearchHit,
    names: &mut Names,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let said: &Message = &hit.message;
    names.meet(messenger, std::slice::from_ref(said)).await?;
    let with = names.of(messenger, &hit.with).await?;
    let sender = names.known(&said.sender);
    let (age, snippet) = (Age::of(said.sent_at), readable::line(&hit.snippet.text));
    let (place, sender) = (readable::line(with.as_str()), readable::line(sender.as_str()));
    output.show(&object(hit, names), &format!("{age:>10}  #{} [{place}] {sender}: {snippet}", said.number));
    Ok(())
}

/// A message that was found, for programs.
pub(crate) fn object(hit: &SearchHit, names: &Names) -> serde_json::Value {
    let matches = hit.snippet.matches.iter().map(|span| json!({ "start": span.start, "length": span.length }));
    json!({
        "kind": "hit",
        "message": message::object(&hit.message, names),
        "with": hit.with.to_string(),
        "with_name": names.known(&hit.with).as_str(),
        "snippet": { "text": hit.snippet.text, "matches": matches.collect::<Vec<_>>() },
    })
}
