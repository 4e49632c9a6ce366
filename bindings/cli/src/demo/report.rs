//! What the demo prints at the end: both transcripts, and beside them everything the relay knows.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Teller;

/// A line of a transcript.
pub(super) struct Line {
    sender: String,
    text: String,
    state: String,
}

impl Line {
    /// From a message as `sotto messages --json` shows it.
    pub(super) fn read(message: &Value, names: &BTreeMap<String, String>) -> Result<Self, String> {
        let field =
            |name: &str| message[name].as_str().map(str::to_owned).ok_or_else(|| format!("a message without {name}"));
        let sender = field("sender")?;
        let sender = names.get(&sender).cloned().ok_or("a message of somebody else")?;
        Ok(Self { sender, text: field("text")?, state: field("state")? })
    }
}

/// Who said what, sorted by sender and then in the order of that sender: what both devices must agree on while messages cross.
pub(super) fn said(transcript: &[Line]) -> Vec<(&str, &str)> {
    let mut said: Vec<_> = transcript.iter().map(|line| (line.sender.as_str(), line.text.as_str())).collect();
    said.sort_by(|one, other| one.0.cmp(other.0));
    said
}

/// Prints it all.
pub(super) fn print(
    people: &[String; 2],
    transcripts: &[Vec<Line>; 2],
    relay: &Path,
    teller: Teller,
) -> Result<(), String> {
    for (name, transcript) in people.iter().zip(transcripts) {
        teller.say(&format!("\n── what {name}'s device has {}", "─".repeat(40)));
        for line in transcript {
            let state = if line.state == "received" { String::new() } else { format!("  ({})", line.state) };
            teller.say(&format!("  {}: {}{state}", line.sender, line.text));
        }
    }
    teller.say(&format!("\n── everything the relay knows {}", "─".repeat(40)));
    print_relay(relay, teller)?;
    teller.say("While it ran, it also knew which address each connection came from, and which inboxes were read on it. It keeps neither.");
    Ok(())
}

/// Prints what is on a relay's disk.
pub(super) fn print_relay(relay: &Path, teller: Teller) -> Result<(), String> {
    let report = sotto_relay::inspect::report(relay).map_err(|error| format!("the relay's files: {error}"))?;
    teller.say(&report.to_string());
    Ok(())
}
