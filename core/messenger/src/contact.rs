//! Contacts: who may reach us, how we reach them, and what we know of their lists.
//!
//! ```text
//! Asked    --their answer----> Accepted  (we scanned their invite)
//! Asked    --their request---> Accepted  (they scanned ours at the same time: both have said yes)
//! Asking   --our accept------> Accepted  (they scanned ours)
//! Asking   --we scan theirs--> Accepted
//! Accepted --their request---> Accepted  (they have removed us, and come back: a new pair)
//! Accepted --we scan another-> Accepted  (they may have removed us: what leaves waits for their answer, what comes in is heard)
//! Asked    --we scan another-> Asked     (the first was not answered)
//! any      --remove----------> Removed   --we scan theirs--> Asked;  --their request--> Asking
//! ```
//! Blocking is beside the state: nothing of a blocked contact is shown, answered or confirmed, and unblocking restores what was.
//! - `contact/trust.rs`: what their lists have shown; `contact/way.rs`: whose tokens reach them; `contact/verified.rs`: whose keys
//!   were compared
//!
//! Not here: their devices (`peer.rs`), the letters that move these states (`handshake.rs`), reading their manifests (`manifests.rs`).

pub(crate) mod pair_change;
mod trust;
pub(crate) mod verified;
mod way;

use pair_change::PairChange;
pub use trust::Trust;
pub(crate) use trust::{
    ChainAddress, answered_from_chain, chain_read, distrust, forget_chain_before, led_to_chain, list_is,
    manifest_is_due, manifest_is_stale, manifest_read, to_read_again, turn_back_to_chain, turn_to_chain,
    was_read_behind, was_read_in_vain,
};
pub(crate) use way::{
    HAS_WAY, PairOf, another_has_asked, ask_again, asked_at, asker, end_requests, forget_pair, has_asked_now,
    has_told_chain, has_told_no_chain, invite_of, is_met_elsewhere, pair_is_usable, pair_version, set_invite, set_pair,
    set_reply, set_shared_pair, was_told_chain,
};

use std::time::Duration;

use rusqlite::{Row, params};
use sotto_crypto::manifest::{Head, VerifiedManifest};
use sotto_crypto::secret::{ChainKey, PairSecret, ReplySecret};
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::{AccountId, ChainId, ClaimId, ConversationId, Timestamp};

use crate::conversation;
use crate::error::{Error, InputError};
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};

/// Row of a contact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ContactRow(pub(crate) i64);

impl ContactRow {
    /// This account itself, for its other devices: nobody whom anybody means by a contact.
    pub(crate) const OWN: Self = Self(0);
}

/// How far the handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContactState {
    /// We scanned their invite and wait for their answer.
    Asked,
    /// They scanned ours and wait for ours.
    Asking,
    /// Contacts.
    Accepted,
    /// Removed here; they can no longer reach us.
    Removed,
}

impl ContactState {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Asked => 1,
            Self::Asking => 2,
            Self::Accepted => 3,
            Self::Removed => 4,
        }
    }

    fn from_code(code: i64) -> Result<Self, StoreError> {
        match code {
            1 => Ok(Self::Asked),
            2 => Ok(Self::Asking),
            3 => Ok(Self::Accepted),
            4 => Ok(Self::Removed),
            _ => Err(StoreError::Corrupt),
        }
    }
}

/// A contact.
#[derive(Clone)]
pub(crate) struct Contact {
    pub(crate) row: ContactRow,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) given_name: Option<String>,
    pub(crate) state: ContactState,
    pub(crate) blocked: bool,
    pub(crate) chain: ChainAddress,
    pub(crate) head: Head,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_read_at: Timestamp,
    pub(crate) chain_next: u64,
    /// Nothing of the chain was read yet: the head known is another chain's.
    pub(crate) chain_is_new: bool,
    /// The chain that was read before a letter of theirs led us to this one.
    pub(crate) chain_before: Option<ChainAddress>,
    pub(crate) trust: Trust,
    pub(crate) verified: bool,
    /// Nothing leaves to them until somebody decides.
    pub(crate) held: bool,
    pair_secret: Option<PairSecret>,
    pair_is_ours: bool,
    pair_usable: bool,
    change: PairChange,
    reply_secret: Option<ReplySecret>,
    invite_secret: Option<InviteSecret>,
    pub(crate) claim: Option<ClaimId>,
}

impl Contact {
    /// What we call them.
    pub(crate) fn shown_name(&self) -> &str {
        self.given_name.as_deref().unwrap_or(&self.name)
    }

    fn is_called(&self, name: &str) -> bool {
        self.shown_name() == name
    }

    fn has_id_beginning(&self, beginning: &str) -> bool {
        beginning.len() >= ID_PREFIX_MIN && self.account.to_string().starts_with(&beginning.to_ascii_lowercase())
    }
}

const COLUMNS: &str = "id, account, name, given_name, state, blocked, relay, chain, chain_key, epoch, version, hash, manifest_read_at, \
                       chain_next, trust, pair_secret, pair_usable, reply_secret, invite_secret, claim, manifest, chain_is_new, pair_is_ours, \
                       chain_before_relay, chain_before, chain_before_key, pair_before, pair_changing, pair_due, pair_epoch, pair_former, pair_last, \
                       verified, held";

struct Unparsed {
    contact: Result<Contact, StoreError>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Unparsed> {
    let state: i64 = row.get(4)?;
    let relay: String = row.get(6)?;
    let trust: i64 = row.get(14)?;
    let account: [u8; 32] = row.get(1)?;
    let chain: [u8; 32] = row.get(7)?;
    let (epoch, version, hash) = (row.get(9)?, row.get(10)?, row.get(11)?);
    let (row_id, name, given_name, blocked) = (ContactRow(row.get(0)?), row.get(2)?, row.get(3)?, row.get(5)?);
    let (manifest_read_at, chain_next): (i64, i64) = (row.get(12)?, row.get(13)?);
    let key = ChainKey::from_bytes(row.get(8)?);
    let pair_usable = row.get(16)?;
    let pair_secret = row.get::<_, Option<_>>(15)?.map(PairSecret::from_bytes);
    let reply_secret = row.get::<_, Option<_>>(17)?.map(ReplySecret::from_bytes);
    let invite_secret = row.get::<_, Option<_>>(18)?.map(InviteSecret::from_bytes);
    let claim: Option<[u8; 16]> = row.get(19)?;
    let (manifest, chain_is_new, pair_is_ours) = (row.get(20)?, row.get(21)?, row.get(22)?);
    let before: (Option<String>, Option<[u8; 32]>, Option<[u8; 32]>) = (row.get(23)?, row.get(24)?, row.get(25)?);
    let change = PairChange {
        before: row.get::<_, Option<_>>(26)?.map(PairSecret::from_bytes),
        under_way: row.get(27)?,
        is_due: row.get(28)?,
        heard_of: row.get(29)?,
        has_former: row.get(30)?,
        last: row.get::<_, Option<_>>(31)?.map(PairSecret::from_bytes),
    };
    let (verified, held) = (row.get(32)?, row.get(33)?);
    let parse = || {
        Ok(Contact {
            row: row_id,
            account: AccountId::from_bytes(account),
            name,
            given_name,
            state: ContactState::from_code(state)?,
            blocked,
            chain: ChainAddress {
                relay: relay.parse().map_err(|_| StoreError::Corrupt)?,
                chain: ChainId::from_bytes(chain),
                key,
            },
            head: Head { epoch, version, hash },
            manifest,
            manifest_read_at: timestamp(manifest_read_at),
            chain_next: u64::try_from(chain_next).map_err(|_| StoreError::Corrupt)?,
            chain_is_new,
            chain_before: match before {
                (Some(relay), Some(chain), Some(key)) => Some(ChainAddress {
                    relay: relay.parse().map_err(|_| StoreError::Corrupt)?,
                    chain: ChainId::from_bytes(chain),
                    key: ChainKey::from_bytes(key),
                }),
                _ => None,
            },
            trust: Trust::from_code(trust)?,
            verified,
            held,
            pair_secret,
            pair_is_ours,
            pair_usable,
            change,
            reply_secret,
            invite_secret,
            claim: claim.map(ClaimId::from_bytes),
        })
    };
    Ok(Unparsed { contact: parse() })
}

/// The contact in a row.
pub(crate) fn by_row(view: &impl Query, row: ContactRow) -> Result<Contact, StoreError> {
    let found = view.one(&format!("SELECT {COLUMNS} FROM contact WHERE id = ?1"), [row.0], read)?;
    found.ok_or(StoreError::Corrupt)?.contact
}

/// The contact of an account.
pub(crate) fn by_account(view: &impl Query, account: &AccountId) -> Result<Option<Contact>, StoreError> {
    let found = view.one(&format!("SELECT {COLUMNS} FROM contact WHERE account = ?1"), [account.as_ref()], read)?;
    found.map(|unparsed| unparsed.contact).transpose()
}

/// This account, where it has other devices.
pub(crate) fn own(view: &impl Query) -> Result<Option<Contact>, StoreError> {
    let found = view.one(&format!("SELECT {COLUMNS} FROM contact WHERE id = 0"), [], read)?;
    found.map(|unparsed| unparsed.contact).transpose()
}

/// The contact of an account that is not ours.
pub(crate) fn known(view: &impl Query, account: &AccountId) -> Result<Option<Contact>, StoreError> {
    Ok(by_account(view, account)?.filter(|contact| contact.row != ContactRow::OWN))
}

/// All contacts that were not removed, by the name we call them.
pub(crate) fn all(view: &impl Query) -> Result<Vec<Contact>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM contact WHERE state != 4 AND id != 0 ORDER BY coalesce(given_name, name), id");
    view.all(&sql, [], read)?.into_iter().map(|unparsed| unparsed.contact).collect()
}

/// How many wait for our word.
pub(crate) fn asking(view: &impl Query) -> Result<u32, StoreError> {
    let sql = "SELECT count(*) FROM contact WHERE state = 2 AND blocked = 0";
    Ok(view.one(sql, [], |row| row.get(0))?.unwrap_or(0))
}

/// The fewest characters of an id that stand for it.
const ID_PREFIX_MIN: usize = 4;

/// The contact that a person means by a name, an account id or the beginning of one.
///
/// Others choose their names, so no name may take anybody's place: a whole id means that account and nobody called so; a name that is
/// also the beginning of another's id is ambiguous; and somebody who only asks to be a contact does not stand beside one who is.
/// Who was removed is found when nobody else is meant: what they said stays.
pub(crate) fn find(view: &impl Query, who: &str) -> Result<Contact, Error> {
    let unknown = || InputError::NotFound { what: "contact" };
    if let Ok(account) = who.to_ascii_lowercase().parse::<AccountId>() {
        return known(view, &account)?.ok_or_else(|| unknown().into());
    }
    let sql = format!("SELECT {COLUMNS} FROM contact WHERE id != 0 ORDER BY id");
    let contacts = view.all(&sql, [], read)?.into_iter().map(|unparsed| unparsed.contact);
    let (removed, known): (Vec<_>, Vec<_>) = contacts
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|contact| contact.is_called(who) || contact.has_id_beginning(who))
        .partition(|contact| contact.state == ContactState::Removed);
    let meant = if known.is_empty() { removed } else { without_requesters(known, who) };
    match <[Contact; 1]>::try_from(meant) {
        Ok([contact]) => Ok(contact),
        Err(none) if none.is_empty() => Err(unknown().into()),
        Err(_) => Err(InputError::Ambiguous { what: "contact" }.into()),
    }
}

/// Leaves out those whose name was never accepted, where somebody accepted is meant. Ids are nobody's choice and stay.
fn without_requesters(mut meant: Vec<Contact>, who: &str) -> Vec<Contact> {
    if meant.iter().any(|contact| contact.state == ContactState::Accepted) {
        meant.retain(|contact| contact.state == ContactState::Accepted || contact.has_id_beginning(who));
    }
    meant
}

/// What is known of somebody when the handshake begins.
pub(crate) struct NewContact<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: ContactState,
    pub(crate) chain: &'a ChainAddress,
    pub(crate) manifest: &'a VerifiedManifest,
    /// Index of the next entry of that chain to read.
    pub(crate) chain_next: u64,
}

/// Adds a contact or begins anew with one that was known; their devices stand in the same transaction. The manifest was checked against
/// what is known.
pub(crate) fn begin(tx: &mut Tx<'_>, new: &NewContact<'_>, now: Timestamp) -> Result<ContactRow, StoreError> {
    let head = new.manifest.head();
    tx.execute(
        "INSERT INTO contact (account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, chain_next, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?11)
         ON CONFLICT (account) DO UPDATE SET name = ?2, state = ?3, relay = ?4, chain = ?5, chain_key = ?6, manifest_read_at = ?11,
             chain_next = ?12, chain_is_new = 0, chain_before_relay = NULL, chain_before = NULL, chain_before_key = NULL",
        params![
            new.manifest.account().as_ref(),
            new.name,
            new.state.code(),
            new.chain.relay.to_string(),
            new.chain.chain.as_bytes(),
            new.chain.key.as_bytes(),
            new.manifest.bytes().as_ref(),
            head.epoch,
            head.version,
            head.hash,
            ms(now),
            i64::try_from(new.chain_next).unwrap_or(i64::MAX),
        ],
    )?;
    let row = tx
        .one("SELECT id FROM contact WHERE account = ?1", [new.manifest.account().as_ref()], |row| row.get(0))?
        .map(ContactRow)
        .ok_or(StoreError::Corrupt)?;
    trust::believe(tx, row, (&[], new.manifest), now)?;
    Ok(row)
}

/// Begins anew with a contact whose list and chain stay what they are known to be: the chain is read again before anything is sent. Where its
/// relay does not answer, the known list does for this as for any other letter, unless somebody has told of a later epoch.
pub(crate) fn begin_again(tx: &mut Tx<'_>, row: ContactRow, name: &str, state: ContactState) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET name = ?2, state = ?3, manifest_read_at = min(manifest_read_at, 1), manifest_tried_at = 0 WHERE id = ?1",
        params![row.0, name, state.code()],
    )?;
    Ok(())
}

pub(crate) fn set_state(tx: &mut Tx<'_>, row: ContactRow, state: ContactState) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET state = ?2 WHERE id = ?1", params![row.0, state.code()])?;
    Ok(())
}

/// How often in a day somebody who is known may begin anew. Who was removed or has lost everything comes once, and perhaps scans a few times
/// more. Each time puts and drops a token at every inbox of ours, and sends all again that they have not confirmed: without a bound, a
/// contact's script would make signed calls of ours out of its own letters. What is too much is asked again a day later, by itself.
const MEETINGS_PER_DAY_MAX: u32 = 8;

/// Counts that a contact begins anew. Says whether they may.
pub(crate) fn may_meet(tx: &mut Tx<'_>, row: ContactRow, now: Timestamp) -> Result<bool, StoreError> {
    // A day that began after now was dated by a wild clock.
    tx.execute(
        "UPDATE contact SET meetings = 0, meetings_since = ?2 WHERE id = ?1 AND (meetings_since <= ?3 OR meetings_since > ?2)",
        params![row.0, ms(now), ms(now.before(Duration::from_secs(24 * 3600)))],
    )?;
    let counted = tx.execute(
        "UPDATE contact SET meetings = meetings + 1 WHERE id = ?1 AND meetings < ?2",
        params![row.0, MEETINGS_PER_DAY_MAX],
    )?;
    Ok(counted > 0)
}

pub(crate) fn set_blocked(tx: &mut Tx<'_>, row: ContactRow, blocked: bool) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET blocked = ?2 WHERE id = ?1", params![row.0, blocked])?;
    Ok(())
}

pub(crate) fn set_given_name(tx: &mut Tx<'_>, row: ContactRow, name: Option<&str>) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET given_name = ?2 WHERE id = ?1", params![row.0, name])?;
    Ok(())
}

pub(crate) fn set_name(tx: &mut Tx<'_>, row: ContactRow, name: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET name = ?2 WHERE id = ?1", params![row.0, name])?;
    Ok(())
}

/// The 1:1 with a contact, made when it is first needed; with ourselves that is the note to self.
pub(crate) fn conversation(tx: &mut Tx<'_>, own: &AccountId, contact: &Contact) -> Result<i64, StoreError> {
    if contact.row == ContactRow::OWN {
        return Ok(conversation::note_to_self(tx, own)?.0);
    }
    let found = tx.one("SELECT id FROM conversation WHERE contact = ?1", [contact.row.0], |row| row.get(0))?;
    match found {
        Some(conversation) => Ok(conversation),
        None => tx.insert(
            "INSERT INTO conversation (conversation, contact) VALUES (?1, ?2)",
            params![ConversationId::between(own, &contact.account).as_ref(), contact.row.0],
        ),
    }
}
