//! What this account is to others, and what is the matter with it: its profile, a report, and what is left of a profile that does not open.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sotto_core::records::Profile;
use sotto_core::world::SecretStore;
use sotto_core::{Messenger, Salvaged};

use crate::failed::Failed;
use crate::output::Output;
use crate::readable;

/// What contacts see.
#[derive(Args, Debug)]
pub(crate) struct Shown {
    /// What you call yourself.
    #[arg(long)]
    name: Option<String>,
    /// What you say of yourself; nothing: nothing.
    #[arg(long, allow_hyphen_values = true)]
    status: Option<String>,
}

/// Where what can be saved is written.
#[derive(Args, Debug)]
pub(crate) struct Salvage {
    /// A new file, readable for you alone; standard output unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl Shown {
    /// Whether nothing of it is changed.
    pub(crate) const fn only_shows(&self) -> bool {
        self.name.is_none() && self.status.is_none()
    }
}

/// Sets it where that is wanted, and shows it.
pub(crate) async fn profile(messenger: &Messenger, shown: &Shown, output: &mut Output<'_>) -> Result<(), Failed> {
    let mut profile = messenger.profile().await?;
    if !shown.only_shows() {
        let Shown { name, status } = shown;
        profile =
            Profile { name: name.clone().unwrap_or(profile.name), status: status.clone().unwrap_or(profile.status) };
        messenger.set_profile(profile.clone()).await?;
    }
    let object = json!({ "kind": "profile", "name": profile.name, "status": profile.status });
    let human = match profile.status.as_str() {
        "" => profile.name,
        status => format!("{}: {status}", profile.name),
    };
    output.show(&object, &readable::line(&human));
    Ok(())
}

/// Shows the report.
pub(crate) async fn diagnostics(messenger: &Messenger, output: &mut Output<'_>) -> Result<(), Failed> {
    let report = messenger.diagnostics().await?;
    for (what, how) in report.lines().filter_map(|line| line.split_once(": ")) {
        output.show(&json!({ "kind": "diagnostics", "what": what, "how": how }), &format!("{what}: {how}"));
    }
    Ok(())
}

/// Saves what is readable of a profile that nobody has open.
pub(crate) fn salvage(secrets: &dyn SecretStore, profile: &Path, output: &mut Output<'_>) -> Result<(), Failed> {
    let mut lines = Lines { output, line: Vec::new() };
    let salvaged = Messenger::salvage(secrets, profile, &mut lines)?;
    let Salvaged { messages, holes, is_cut_short } = salvaged;
    let object = json!({ "kind": "salvaged", "messages": messages, "holes": holes, "is_cut_short": is_cut_short });
    output.summary(&object);
    let end = if is_cut_short { ", and nothing behind the last of them" } else { "" };
    output.note(&format!("({messages} messages; {holes} stretches cannot be read{end})"));
    Ok(())
}

/// Hands on what is written by lines.
struct Lines<'a, 'b> {
    output: &'a mut Output<'b>,
    line: Vec<u8>,
}

impl Write for Lines<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            match byte {
                b'\n' => {
                    self.output.line(&String::from_utf8_lossy(&self.line));
                    self.line.clear();
                }
                byte => self.line.push(*byte),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
