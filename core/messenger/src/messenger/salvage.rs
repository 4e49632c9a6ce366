//! A profile that does not open: what is readable of it is saved, and its owner begins anew (`Messenger::wipe`, then `create`).

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::Messenger;
use crate::error::Error;
use crate::keystore;
use crate::store::{ProfileLock, SalvagedMessage, StoreError, salvage};
use crate::world::SecretStore;

/// What could be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Messages.
    pub messages: u64,
    /// Stretches of messages that could not be read.
    pub holes: u64,
    /// Nothing could be read behind the last of them: there may have been any number of messages.
    pub is_cut_short: bool,
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    /// The account of the other side; null in notes to self, and where that could not be read.
    with: Option<String>,
    name: Option<&'a str>,
    is_own: bool,
    sent_at_ms: u64,
    text: &'a str,
}

impl Messenger {
    /// Saves what can be read of the messages of a profile that is not open, a JSON object a line in the order in which they came, also past
    /// damaged pages. Nothing of the profile is changed. What is saved is readable for everybody who has it.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing can be read, because somebody has it open (`ProfileInUse`), there is none (`Absent`), its key is gone or its
    /// first page damaged (`WrongKey`), the pages that say what is where are damaged (`Corrupt`), or `to` takes no more (`DiskFull`, `Failed`). [`Error::SecretStore`].
    pub fn salvage(secrets: &dyn SecretStore, directory: &Path, to: &mut dyn Write) -> Result<Salvaged, Error> {
        let lock = ProfileLock::of_existing(directory)?;
        let key = keystore::database_key(secrets)?;
        let mut messages = 0;
        let unread = salvage(&lock, &key, |message| {
            messages += 1;
            write_line(&message, to)
        })?;
        to.flush().map_err(|error| failed(&error))?;
        Ok(Salvaged { messages, holes: unread.holes, is_cut_short: unread.is_cut_short })
    }
}

fn write_line(message: &SalvagedMessage, to: &mut dyn Write) -> Result<(), Error> {
    let line = Line {
        with: message.with.as_ref().map(|(account, _)| account.to_string()),
        name: message.with.as_ref().map(|(_, name)| name.as_str()),
        is_own: message.is_own,
        sent_at_ms: message.sent_at.as_ms(),
        text: &message.text,
    };
    let line = serde_json::to_string(&line).map_err(|_| StoreError::Failed)?;
    writeln!(to, "{line}").map_err(|error| failed(&error))
}

fn failed(error: &std::io::Error) -> Error {
    let is_full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    if is_full { StoreError::DiskFull.into() } else { StoreError::Failed.into() }
}
