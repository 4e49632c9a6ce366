//! What lists say, beside what is known: of a contact's chain that was read, of our own, and of somebody who introduces themselves.

use sotto_crypto::manifest::{History, HistoryError, Known, ManifestError, VerifiedManifest, read_chain};
use sotto_protocol::{AccountId, Bytes, Timestamp};

use super::Part;
use crate::contact::{self, Contact, ContactRow, Trust};
use crate::error::Error;
use crate::peer;
use crate::store::{Query, StoreError};

/// What a chain's part says of a contact; `None` when nothing is new.
pub(super) fn judge(
    contact: &Contact,
    part: &Part,
    now: Timestamp,
) -> Result<Result<Option<VerifiedManifest>, ManifestError>, StoreError> {
    let known = contact.known()?;
    if has_second_certificate(&contact.account, &part.entries, &known) {
        return Ok(Err(HistoryError::Compromised.into()));
    }
    if contact.trust != Trust::Sound {
        return judge_later(contact, part, now);
    }
    // What of ours is out of date is signed again by whoever of us reads it.
    let now = if contact.row == ContactRow::OWN { now.min(issued_at(contact, part).unwrap_or(now)) } else { now };
    if contact.chain_is_new {
        // The first entry says nothing of what was before; the last one must not be older than the chain that we came from.
        let last = read_chain(&contact.account, &part.entries, History::Unknown, now);
        return Ok(last.and_then(|last| match last {
            Some(manifest) => {
                let history = History::OtherChain(&known);
                VerifiedManifest::verify(&contact.account, manifest.bytes().clone(), history, now).map(Some)
            }
            None => Ok(None),
        }));
    }
    // After a request we know an entry, and not its index: begin behind it.
    let new = match part.entries.iter().position(|entry| **entry == *contact.manifest) {
        Some(position) => &part.entries[position + 1..],
        None if contact.row == ContactRow::OWN && part.is_whole => {
            return Ok(judge_without_known(contact, part, &known, now));
        }
        None => &part.entries[..],
    };
    let history =
        if part.snapshot && new.len() == part.entries.len() { History::Later(&known) } else { History::Next(&known) };
    Ok(read_chain(&contact.account, new, history, now))
}

/// The lists of a part that lead from the one that is known to the newest, which was judged.
pub(super) fn between(contact: &Contact, part: &Part, newest: &VerifiedManifest) -> Vec<VerifiedManifest> {
    let reload = |entry: &Bytes| VerifiedManifest::reload(&contact.account, entry.clone()).ok();
    let lists: Vec<_> = part.entries.iter().filter_map(reload).collect();
    leading_to(newest, &lists, contact.head.order())
}

/// Of the lists of a chain, in its order, those behind a known place that lead to the newest: each is named by the one behind it.
pub(crate) fn leading_to(
    newest: &VerifiedManifest,
    lists: &[VerifiedManifest],
    known: (u32, u32),
) -> Vec<VerifiedManifest> {
    let mut next = newest.previous().copied();
    let is_newest = |list: &&VerifiedManifest| list.head().hash == newest.head().hash;
    let mut leading: Vec<_> = lists
        .iter()
        .rev()
        .skip_while(|list| !is_newest(list))
        .skip(1)
        .take_while(|list| {
            let is_named = next == Some(list.head().hash) && list.head().order() > known;
            next = list.previous().copied();
            is_named
        })
        .cloned()
        .collect();
    leading.reverse();
    leading
}

/// When the last list of a part was signed.
fn issued_at(contact: &Contact, part: &Part) -> Option<Timestamp> {
    let last = VerifiedManifest::reload(&contact.account, part.entries.last()?.clone());
    last.ok().map(|last| last.issued_at())
}

/// What our own chain says in which the list that we know does not stand, or no longer singly. Its relay may have come back from a backup, and another
/// device has written there since: what stands decides, also where it has the number of what was lost, and what only we say is signed
/// behind it. Whoever writes there holds the list key, and shows nothing by a fork that it could not have said behind ours.
fn judge_without_known(
    contact: &Contact,
    part: &Part,
    known: &Known,
    now: Timestamp,
) -> Result<Option<VerifiedManifest>, ManifestError> {
    let newest = read_chain(&contact.account, &part.entries, History::Unknown, now)?;
    match newest {
        Some(list) if list.head().order() < known.head.order() => Err(HistoryError::Older.into()),
        newest => Ok(newest),
    }
}

/// What the entries of later epochs say.
pub(super) fn judge_later(
    contact: &Contact,
    part: &Part,
    now: Timestamp,
) -> Result<Result<Option<VerifiedManifest>, ManifestError>, StoreError> {
    let known = contact.known()?;
    Ok(read_chain(&contact.account, from_later_epoch(contact, &part.entries), History::Next(&known), now))
}

/// Whether an entry, in whatever place, shows that the root key has certified two list keys for the known epoch.
fn has_second_certificate(account: &AccountId, entries: &[Bytes], known: &Known) -> bool {
    entries.iter().filter_map(|entry| VerifiedManifest::reload(account, entry.clone()).ok()).any(|manifest| {
        manifest.head().epoch == known.head.epoch && *manifest.certificate().bytes() != known.certificate
    })
}

/// The entries from the first of a later epoch on: the root key's word, which heals whatever stands before it.
pub(super) fn from_later_epoch<'a>(contact: &Contact, entries: &'a [Bytes]) -> &'a [Bytes] {
    let is_later = |entry: &Bytes| {
        VerifiedManifest::reload(&contact.account, entry.clone())
            .is_ok_and(|manifest| manifest.head().epoch > contact.head.epoch)
    };
    entries.iter().position(is_later).map_or(&[], |position| &entries[position..])
}

/// Reads a chain for first contact.
pub(crate) fn first_contact(account: &AccountId, part: &Part, now: Timestamp) -> Result<VerifiedManifest, Error> {
    let manifest = read_chain(account, &part.entries, History::Unknown, now)
        .map_err(|error| Error::Peer { code: refusal_code(&error) })?;
    manifest.ok_or(Error::Peer { code: "manifest_refused" })
}

/// A list that came with a request or an invite, and is not believed.
pub(crate) struct Unbelieved {
    pub(crate) code: &'static str,
    /// What it shows of an account that is known: this alone is kept.
    pub(crate) distrust: Option<(ContactRow, Trust)>,
}

/// Verifies the list by which somebody introduces themselves, beside what is known of the account already: a handshake must not bring
/// back a list that was replaced (PROTOCOL B2), nor one that is no longer fresh (PROTOCOL B5).
pub(crate) fn introduce(
    view: &impl Query,
    account: &AccountId,
    manifest: Bytes,
    now: Timestamp,
) -> Result<Result<VerifiedManifest, Unbelieved>, StoreError> {
    let unbelieved = |code| Ok(Err(Unbelieved { code, distrust: None }));
    let contact = contact::by_account(view, account)?;
    let known = contact.as_ref().map(Contact::known).transpose()?;
    let history = known.as_ref().map_or(History::Unknown, History::OtherChain);
    let manifest = match VerifiedManifest::verify(account, manifest, history, now) {
        Ok(manifest) => manifest,
        Err(error) => {
            let distrust = contact.and_then(|contact| Some((contact.row, distrust_for(&error)?)));
            return Ok(Err(Unbelieved { code: refusal_code(&error), distrust }));
        }
    };
    if !manifest.is_fresh(now) {
        return unbelieved("manifest_outdated");
    }
    let Some(contact) = contact else { return Ok(Ok(manifest)) };
    match contact.trust {
        Trust::Compromised => unbelieved("account_compromised"),
        Trust::Forked if manifest.head().epoch <= contact.head.epoch => unbelieved("manifest_forked"),
        _ if peer::changes_keys(view, contact.row, &manifest)? => unbelieved(KEYS_CHANGED),
        _ if peer::has_too_many(view, contact.row, &manifest)? => unbelieved(TOO_MANY),
        Trust::Forked | Trust::Sound => Ok(Ok(manifest)),
    }
}

/// More devices than anybody has, with those before.
pub(super) const TOO_MANY: &str = "too_many_devices";
/// A device that is known was given other keys.
pub(super) const KEYS_CHANGED: &str = "device_keys_changed";

/// What a refused list shows of its account, where it shows anything: an honest owner never makes it.
pub(super) const fn distrust_for(error: &ManifestError) -> Option<Trust> {
    match error {
        ManifestError::History(HistoryError::Compromised) => Some(Trust::Compromised),
        ManifestError::History(HistoryError::Fork) => Some(Trust::Forked),
        _ => None,
    }
}

/// A chain ends before what is known of it.
const OLDER: &str = "manifest_older";
/// A chain lacks entries.
const UNLINKED: &str = "manifest_unlinked";

/// Whether a reading failed because the chain holds less than is known of it.
pub(crate) fn is_of_less(code: &str) -> bool {
    code == OLDER || code == UNLINKED
}

pub(super) const fn refusal_code(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::Expired => "manifest_expired",
        ManifestError::History(HistoryError::Older) => OLDER,
        ManifestError::History(HistoryError::Fork) => "manifest_forked",
        ManifestError::History(HistoryError::Unlinked) => UNLINKED,
        ManifestError::History(HistoryError::Compromised) => "account_compromised",
        _ => "manifest_refused",
    }
}
