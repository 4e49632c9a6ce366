//! Reading contacts' manifest chains: before sending when a day has passed, when a letter names a head or a device that we do not know,
//! and again and again while a contact is not trusted.
//!
//! What is read is verified from the head known on; an older list, a fork or a second certificate changes nothing but the contact's
//! [`Trust`], and is shown. A gap says nothing of the account: whoever served the chain left something out, and it is read again.
//! Invariant: a part is judged against what is known of its own chain. While one is read, a letter may lead to another chain, whose
//! entries have hashes of their own: what was read of the one before is dropped, and the new one is read.
//! Not here: what trust means (`contact/trust.rs`).

mod judging;

use std::sync::Arc;

use sotto_crypto::manifest::{History, HistoryError, ManifestError, VerifiedManifest, open_entry, read_chain};
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, Bytes, ChainId, relay};

use crate::contact::{self, ChainAddress, Contact, ContactRow, Trust};
use crate::conversation;
use crate::engine::Engine;
use crate::error::Error;
use crate::own;
use crate::peer;
use crate::receive::{self, Why};
use crate::relay_client::{RelayClient, RelayError};
use crate::store::{StoreError, Tx};
use crate::world::Isolation;

use judging::{KEYS_CHANGED, TOO_MANY, between, distrust_for, from_later_epoch, judge, judge_later, refusal_code};
pub(crate) use judging::{Unbelieved, first_contact, introduce, is_of_less, leading_to};

/// The most answers that one reading takes: a chain that is longer was not compacted by anyone honest.
const ANSWERS_MAX: usize = 16;
/// How often a reading begins anew because the contact has turned to another chain meanwhile. Honest ones do so once, with their answer;
/// one who does so all the time makes nobody read all the time.
const READINGS_MAX: usize = 3;

/// A part of a chain, decrypted.
pub(crate) struct Part {
    /// Which chain. Entries of one chain say nothing of another's.
    chain: ChainId,
    /// A snapshot first, where the chain no longer holds what was asked for singly.
    pub(crate) snapshot: bool,
    pub(crate) entries: Vec<Bytes>,
    /// Index of the entry after the last.
    pub(crate) next: u64,
    /// Hash of the last entry, as the relay says.
    pub(crate) end: Bytes,
    /// The chain ends before the entry that was asked for.
    is_shorter: bool,
    /// It was asked for from its beginning.
    is_whole: bool,
}

/// Reads somebody's chain from an index to its end.
pub(crate) async fn read(client: &RelayClient, chain: &ChainAddress, from: u64) -> Result<Part, Error> {
    read_as(client, Isolation::Anonymous, chain, from).await
}

/// Reads a chain of ours, likewise.
pub(crate) async fn read_own(client: &RelayClient, chain: &ChainAddress) -> Result<Part, Error> {
    read_as(client, Isolation::Reading(chain.chain), chain, 0).await
}

/// Reads the chain of a contact, or our own.
async fn read_of(client: &RelayClient, row: ContactRow, chain: &ChainAddress, from: u64) -> Result<Part, Error> {
    let isolation = if row == ContactRow::OWN { Isolation::Reading(chain.chain) } else { Isolation::Anonymous };
    read_as(client, isolation, chain, from).await
}

async fn read_as(client: &RelayClient, isolation: Isolation, chain: &ChainAddress, from: u64) -> Result<Part, Error> {
    let mut part = Part {
        chain: chain.chain,
        snapshot: false,
        entries: Vec::new(),
        next: from,
        end: Bytes::new(),
        is_shorter: false,
        is_whole: from == 0,
    };
    for _ in 0..ANSWERS_MAX {
        let body = relay::ChainRead { chain: chain.chain.into(), from: part.next };
        let answer: relay::ChainEntries = client.unsigned(&chain.relay, isolation, path::CHAIN_READ, &body).await?;
        let head = answer.head.ok_or(RelayError::Malformed)?;
        part.is_shorter = head.index.saturating_add(1) < from;
        part.end = head.hash;
        let open = |entry: &Bytes| {
            open_entry(entry, &chain.chain, &chain.key).map_err(|_| Error::Peer { code: "manifest_refused" })
        };
        if !answer.snapshot.is_empty() {
            part.snapshot = true;
            part.entries = vec![open(&answer.snapshot)?];
        } else if answer.first != part.next && !answer.entries.is_empty() {
            return Err(RelayError::Malformed.into());
        }
        for entry in &answer.entries {
            let opened = open(entry)?;
            part.entries.push(opened);
        }
        // An answer without entries moves nothing, whatever it says of its place: we would be blind to all before that place.
        if answer.entries.is_empty() && answer.snapshot.is_empty() {
            return Ok(part);
        }
        let count = u64::try_from(answer.entries.len()).map_err(|_| RelayError::Malformed)?;
        part.next = answer.first.checked_add(count).ok_or(RelayError::Malformed)?.max(part.next);
        if part.next > head.index || answer.entries.is_empty() {
            return Ok(part);
        }
    }
    Err(RelayError::Malformed.into())
}

/// Reads a contact's chain again, stores what it says, and tries again what waited for it.
pub(crate) async fn refresh(engine: &Arc<Engine>, row: ContactRow) -> Result<(), Error> {
    for _ in 0..READINGS_MAX {
        if read_once(engine, row).await? == Reading::Heeded {
            return Ok(());
        }
    }
    Err(Error::Peer { code: "manifest_overtaken" })
}

/// What came of a reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It was judged, and stored.
    Heeded,
    /// The contact's lists stand in another chain by now: it says nothing.
    Overtaken,
}

async fn read_once(engine: &Arc<Engine>, row: ContactRow) -> Result<Reading, Error> {
    let known = engine.read(move |_, view| Ok::<_, Error>((contact::by_row(view, row)?, conversation::newest(view)?)));
    let (contact, said_before) = known.await?;
    if let Some(before) = &contact.chain_before
        && read_before(engine, &contact, before, said_before).await?
    {
        return Ok(Reading::Heeded);
    }
    // The epoch that heals a fork may stand anywhere in the chain, also before the entry at which we stopped.
    let from = if contact.trust == Trust::Sound { contact.chain_next } else { 0 };
    let mut part = Arc::new(read_of(&engine.client, row, &contact.chain, from).await?);
    // Either somebody has shown us a longer chain, or a place in it that does not exist; or its relay has lost entries, and the owner has
    // gone on behind the rest: from the beginning there is a snapshot of all that was.
    if part.is_shorter || from > 0 && follows_on_other(engine, row, &part).await? {
        part = Arc::new(read_of(&engine.client, row, &contact.chain, 0).await?);
    }
    let stored = engine
        .write(move |engine, tx| -> Result<_, Error> {
            // What waited for it is opened: no ratchet of a copy moves.
            let is_copy = row == ContactRow::OWN && own::has_unknown_of_ours(tx, &engine.own(), &part.entries)?;
            if is_copy || engine.is_rolled_back() {
                Err(Error::RolledBack)
            } else {
                match store(engine, tx, row, &part, said_before)? {
                    // What shows it is read again by whoever dies before it is declared.
                    Some(Err(Error::DeviceReplaced)) => Err(Error::DeviceReplaced),
                    stored => Ok(stored),
                }
            }
        })
        .await;
    match &stored {
        Err(Error::RolledBack) => engine.declare_rolled_back().await,
        Err(Error::DeviceReplaced) => engine.declare_replaced().await,
        _ => {}
    }
    let Some(mut received) = stored?.transpose()? else { return Ok(Reading::Overtaken) };
    // What still names a head or a device that this reading did not find is no reason to read again at once.
    received.stale.clear();
    engine.after_receive(&received);
    Ok(Reading::Heeded)
}

/// Reads the chain that a contact has led us from. Says whether the root key has spoken there, and all is read.
async fn read_before(
    engine: &Arc<Engine>,
    contact: &Contact,
    before: &ChainAddress,
    said_before: i64,
) -> Result<bool, Error> {
    let row = contact.row;
    let part = match read(&engine.client, before, 0).await {
        Ok(part) => part,
        // Whoever moves to another chain deletes the one before.
        Err(Error::Relay(error)) if error.is("refused") => {
            let gone = before.chain;
            engine.write(move |_, tx| contact::forget_chain_before(tx, row, &gone)).await?;
            return Ok(false);
        }
        // It says nothing today, and the chain that is read beside it does.
        Err(_) => return Ok(false),
    };
    let later = from_later_epoch(contact, &part.entries);
    let Some(epoch) = later.last().and_then(|entry| epoch_of(&contact.account, entry)) else { return Ok(false) };
    if reaches(engine, contact, epoch).await {
        // The root key has spoken in both: whoever led us away from it knew, and had its word.
        return Ok(false);
    }
    let stored = engine
        .write(move |engine, tx| -> Result<_, StoreError> {
            let contact = contact::by_row(tx, row)?;
            if contact.chain_before.as_ref().is_none_or(|before| before.chain != part.chain) {
                return Ok(None);
            }
            let later = Part { entries: from_later_epoch(&contact, &part.entries).to_vec(), snapshot: false, ..part };
            // Only what is verified turns us back; a list that merely claims a later epoch changes nothing.
            if !matches!(judge_later(&contact, &later, engine.judging_now())?, Ok(Some(_))) {
                return Ok(None);
            }
            contact::turn_back_to_chain(tx, row)?;
            store(engine, tx, row, &later, said_before)
        })
        .await?;
    let mut received = stored.transpose()?.unwrap_or_default();
    received.stale.clear();
    let is_read = engine.read(move |_, view| contact::by_row(view, row)).await?.chain_before.is_none();
    engine.after_receive(&received);
    Ok(is_read)
}

/// Whether the chain that a contact has led us to shows that epoch as well.
async fn reaches(engine: &Arc<Engine>, contact: &Contact, epoch: u32) -> bool {
    let Ok(part) = read(&engine.client, &contact.chain, 0).await else { return false };
    let Ok(known) = contact.known() else { return false };
    let last = read_chain(&contact.account, &part.entries, History::Unknown, engine.judging_now());
    let is_sound = |last: &VerifiedManifest| last.head().epoch >= epoch && last.head().order() >= known.head.order();
    last.is_ok_and(|last| last.as_ref().is_some_and(is_sound))
}

/// The epoch that an entry of a contact's chain is of.
fn epoch_of(account: &AccountId, entry: &Bytes) -> Option<u32> {
    VerifiedManifest::reload(account, entry.clone()).ok().map(|manifest| manifest.head().epoch)
}

/// Whether a part of a chain is no continuation of what we know, and yet shows nothing of its owner: that stands in the part itself, and
/// no other reading takes it back.
async fn follows_on_other(engine: &Arc<Engine>, row: ContactRow, part: &Arc<Part>) -> Result<bool, Error> {
    let part = Arc::clone(part);
    let judged = engine.read(move |engine, view| -> Result<_, StoreError> {
        let contact = contact::by_row(view, row)?;
        if contact.chain.chain != part.chain {
            return Ok((false, Ok(None)));
        }
        // The same length says nothing: another device of ours may have written in the place of what was lost.
        let ends_otherwise = row == ContactRow::OWN
            && part.entries.is_empty()
            && own::end_of_chain(view, &part.chain)?.is_some_and(|end| end != *part.end);
        Ok((ends_otherwise, judge(&contact, &part, engine.judging_now())?))
    });
    let (ends_otherwise, judged) = judged.await?;
    let is_fork = matches!(judged, Err(ManifestError::History(HistoryError::Fork)));
    let is_other = matches!(judged, Err(ManifestError::History(HistoryError::Unlinked | HistoryError::Older)));
    Ok(ends_otherwise || is_other || is_fork && row == ContactRow::OWN)
}

/// Judges a part of the chain in which the contact's lists stand, and stores what it says. `said_before`: the last message before it was asked
/// for. `None`: they stand in another one by now.
fn store(
    engine: &Engine,
    tx: &mut Tx<'_>,
    row: ContactRow,
    part: &Part,
    said_before: i64,
) -> Result<Option<Result<receive::Received, Error>>, StoreError> {
    let contact = contact::by_row(tx, row)?;
    if contact.chain.chain != part.chain {
        return Ok(None);
    }
    heed(engine, tx, &contact, part, said_before).map(Some)
}

fn heed(
    engine: &Engine,
    tx: &mut Tx<'_>,
    contact: &Contact,
    part: &Part,
    said_before: i64,
) -> Result<Result<receive::Received, Error>, StoreError> {
    let row = contact.row;
    let newest = match judge(contact, part, engine.judging_now())? {
        Ok(newest) => newest,
        Err(error) => {
            tracing::warn!(%error, "a contact's manifest is refused");
            let Some(trust) = distrust_for(&error) else {
                return Ok(Err(Error::Peer { code: refusal_code(&error) }));
            };
            contact::distrust(tx, row, trust)?;
            contact::chain_read(tx, row, contact.chain_next, engine.network_now())?;
            if row == ContactRow::OWN {
                // Nothing of ours is written over it.
                return Ok(Err(Error::Peer { code: refusal_code(&error) }));
            }
            return Ok(Ok(receive::Received { contacts_changed: true, ..Default::default() }));
        }
    };
    let mut notice = None;
    if row == ContactRow::OWN && newest.is_some() {
        own::siblings::no_fork(tx)?;
    }
    match newest {
        Some(newest) if peer::changes_keys(tx, row, &newest)? => return Ok(Err(Error::Peer { code: KEYS_CHANGED })),
        Some(newest) if peer::has_too_many(tx, row, &newest)? => return Ok(Err(Error::Peer { code: TOO_MANY })),
        Some(newest) => {
            let lists = (&*between(contact, part, &newest), &newest);
            notice = contact::manifest_read(tx, row, lists, part.next, engine.network_now())?;
        }
        // A chain that they have turned to and that is empty was never shown to us.
        None if contact.chain_is_new => return Ok(Err(Error::Peer { code: "manifest_missing" })),
        None => contact::chain_read(tx, row, part.next, engine.network_now())?,
    }
    if row == ContactRow::OWN {
        let (own, now, chance) = (engine.own(), engine.network_now(), &mut engine.chance());
        match own::take_up_own_list(tx, &own, &part.entries, &part.end, now, chance) {
            Err(Error::Store(error)) => return Err(error),
            Err(error) => return Ok(Err(error)),
            Ok(()) => {}
        }
    }
    contact::was_read_behind(tx, row, said_before)?;
    let waited_for = [Why::UnknownDevice, Why::Distrusted];
    let mut received =
        receive::retry_waiting(tx, &engine.own(), row, &waited_for, engine.times(), &mut engine.chance())?;
    received.messages.splice(0..0, notice);
    received.contacts_changed |= contact::by_row(tx, row)?.trust != contact.trust;
    Ok(Ok(received))
}
