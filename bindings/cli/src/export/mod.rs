//! `sotto export`: one conversation to keep, to be read in a browser or by programs.
//!
//! Pages are read, written and forgotten, so a conversation of any length takes the memory of one. Lines go where a command's results go; with
//! `--output`, whoever typed the command writes them to a new file of theirs (`run.rs`).
//! - `html.rs`: a page that needs nothing but itself; JSON is the objects of `message.rs`

mod html;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use sotto_core::Messenger;

use crate::commands::account;
use crate::failed::Failed;
use crate::message;
use crate::names::Names;
use crate::output::Output;
use crate::readable;

/// Messages in memory at a time.
const PAGE: u32 = 200;

/// What to write.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// With whom.
    who: String,
    /// For people, or for programs.
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// A new file, readable for you alone; standard output unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Format {
    Html,
    Json,
}

/// Writes it, oldest first.
pub(crate) async fn run(messenger: &Messenger, export: &Export, output: &mut Output<'_>) -> Result<(), Failed> {
    let with = account(messenger, &export.who).await?;
    let mut names = Names::read(messenger).await?;
    let name = names.of(messenger, &with).await?;
    match export.format {
        Format::Html => output.line(&html::beginning(name.as_str())),
        Format::Json => {
            let about = json!({ "kind": "export", "with": with.to_string(), "with_name": name.as_str() });
            let about = readable::json(&about);
            output.line(&format!("{},\"messages\":[", about.trim_end_matches('}')));
        }
    }
    let (mut after, mut day, mut count) = (i64::MIN, None, 0_u64);
    loop {
        let page = messenger.messages_after(with, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        names.meet(messenger, &page).await?;
        for said in &page {
            match export.format {
                Format::Html => {
                    if day.replace(said.sent_at.day()) != Some(said.sent_at.day()) {
                        output.line(&html::day(said.sent_at));
                    }
                    output.line(&html::message(said, &names));
                }
                Format::Json => {
                    let comma = if count == 0 { "" } else { "," };
                    output.line(&format!("{comma}{}", readable::json(&message::object(said, &names))));
                }
            }
            count += 1;
        }
    }
    output.line(match export.format {
        Format::Html => html::END,
        Format::Json => "]}",
    });
    output.note(&format!("({count} {})", if count == 1 { "message" } else { "messages" }));
    Ok(())
}
