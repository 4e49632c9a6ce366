//! Reading contacts' manifest chains: before sending when a day has passed, and when a letter names a head that we do not know.
//!
//! What is read is verified from the head known on; an older list, a fork or a second certificate changes nothing but the contact's
//! [`Trust`], and is shown.

use std::sync::Arc;

use sotto_crypto::manifest::{History, HistoryError, ManifestError, VerifiedManifest, open_entry, read_chain};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, Bytes, Timestamp, relay};

use crate::contact::{self, ChainAddress, Contact, ContactRow, Trust};
use crate::engine::Engine;
use crate::error::Error;
use crate::relay_client::{RelayClient, RelayError};

/// The most answers that one reading takes: a chain that is longer was not compacted by anyone honest.
const ANSWERS_MAX: usize = 16;

/// A part of a chain, decrypted.
pub(crate) struct Part {
    /// A snapshot first, where the chain no longer holds what was asked for singly.
    pub(crate) snapshot: bool,
    pub(crate) entries: Vec<Bytes>,
    /// Index of the entry after the last.
    pub(crate) next: u64,
}

/// Reads a chain from an index to its end.
pub(crate) async fn read(client: &RelayClient, chain: &ChainAddress, from: u64) -> Result<Part, Error> {
    let key = ChainKey::from_bytes(chain.key);
    let mut part = Part { snapshot: false, entries: Vec::new(), next: from };
    for _ in 0..ANSWERS_MAX {
        let body = relay::ChainRead { chain: chain.chain.into(), from: part.next };
        let answer: relay::ChainEntries = client.anonymous(&chain.relay, path::CHAIN_READ, &body).await?;
        let head = answer.head.ok_or(RelayError::Malformed)?;
        let count = u64::try_from(answer.entries.len()).map_err(|_| RelayError::Malformed)?;
        let open =
            |entry: &Bytes| open_entry(entry, &chain.chain, &key).map_err(|_| Error::Peer { code: "manifest_refused" });
        if !answer.snapshot.is_empty() {
            part.snapshot = true;
            part.entries = vec![open(&answer.snapshot)?];
        }
        for entry in &answer.entries {
            let opened = open(entry)?;
            part.entries.push(opened);
        }
        let next = answer.first.checked_add(count).ok_or(RelayError::Malformed)?.max(part.next);
        let is_all = next > head.index || count == 0;
        part.next = next;
        if is_all {
            return Ok(part);
        }
    }
    Err(RelayError::Malformed.into())
}

/// Reads a contact's chain again and stores what it says.
pub(crate) async fn refresh(engine: &Arc<Engine>, row: ContactRow) -> Result<(), Error> {
    let contact = engine.read(move |_, view| contact::by_row(view, row)).await?;
    let part = read(&engine.client, &contact.chain, contact.chain_next).await?;
    engine
        .write(move |engine, tx| {
            let now = engine.network_now();
            let contact = contact::by_row(tx, row)?;
            match judge(&contact, &part, now) {
                Ok(newest) => Ok(contact::manifest_read(tx, row, newest.as_ref(), part.next, now)?),
                Err(ManifestError::History(HistoryError::Compromised)) => {
                    Ok(contact::distrust(tx, row, Trust::Compromised)?)
                }
                Err(ManifestError::History(HistoryError::Fork | HistoryError::Unlinked)) => {
                    Ok(contact::distrust(tx, row, Trust::Forked)?)
                }
                Err(error) => {
                    tracing::warn!(%error, "a contact's manifest is refused");
                    Err(Error::Peer { code: refusal_code(&error) })
                }
            }
        })
        .await
}

/// What a chain's part says of a contact; `None` when nothing is new.
fn judge(contact: &Contact, part: &Part, now: Timestamp) -> Result<Option<VerifiedManifest>, ManifestError> {
    let known = VerifiedManifest::reload(&contact.account, Bytes::copy_from_slice(&contact.manifest))?.known();
    if contact.chain_is_new {
        // The first entry says nothing of what was before; the last one must not be older than the chain that we came from.
        let first = read_chain(&contact.account, &part.entries, History::Unknown, now)?;
        return match first {
            Some(manifest) => {
                VerifiedManifest::verify(&contact.account, manifest.bytes().clone(), History::OtherChain(&known), now)
                    .map(Some)
            }
            None => Ok(None),
        };
    }
    // After a request we know an entry, and not its index: begin behind it.
    let new = match part.entries.iter().position(|entry| **entry == *contact.manifest) {
        Some(position) => &part.entries[position + 1..],
        None => &part.entries[..],
    };
    let history = if part.snapshot { History::Later(&known) } else { History::Next(&known) };
    read_chain(&contact.account, new, history, now)
}

/// Reads a chain for first contact: its head must be fresh.
pub(crate) fn first_contact(account: &AccountId, part: &Part, now: Timestamp) -> Result<VerifiedManifest, Error> {
    let manifest = read_chain(account, &part.entries, History::Unknown, now)
        .map_err(|error| Error::Peer { code: refusal_code(&error) })?;
    let manifest = manifest.ok_or(Error::Peer { code: "manifest_refused" })?;
    if manifest.is_fresh(now) { Ok(manifest) } else { Err(Error::Peer { code: "manifest_outdated" }) }
}

const fn refusal_code(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::Expired => "manifest_expired",
        ManifestError::History(HistoryError::Older) => "manifest_older",
        ManifestError::History(HistoryError::Fork | HistoryError::Unlinked) => "manifest_forked",
        ManifestError::History(HistoryError::Compromised) => "account_compromised",
        _ => "manifest_refused",
    }
}
