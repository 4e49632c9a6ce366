//! Settings: what the devices of an account agree on, of one conversation or of all.
//!
//! Each is a key with a value and a version: one more than the highest known whenever a device sets it. Of two the higher version counts, of
//! one version that of the device with the higher id, so that all agree in the end, whichever comes first. A key that this version does
//! not know is kept, and handed on to devices that may.
//! Not here: what they mean to a list or a page (`conversation/listed.rs`).

use rusqlite::params;
use sotto_crypto::letter::{Content, OwnDeviceSync, Setting, SyncedContact};
use sotto_protocol::{AccountId, Bytes, DeviceId, Timestamp};

use crate::contact::{self, ContactRow, verified};
use crate::conversation::{self, ConversationRow, listed};
use crate::error::{Error, InputError};
use crate::outbox;
use crate::own::{Own, siblings};
use crate::peer::DeviceRow;
use crate::profile;
use crate::store::column::{counter, stored};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// How many versions of one setting another device may have made of which none has come here: nobody makes as many in a life.
const VERSIONS_AHEAD_MAX: u64 = 1 << 20;

/// What can be set (docs/protocol.md, "Own devices").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// Until when a conversation is silent: milliseconds, 8 bytes.
    MutedUntil,
    /// The position up to which a conversation is put away: 8 bytes.
    ArchivedUpTo,
    /// Whether it stands above the others: one byte.
    Pinned,
    /// Whether it is to look unread: one byte.
    MarkedUnread,
    /// What is being written in it: a Content.
    Draft,
    /// What was noted of the other side, for ourselves: text.
    Note,
    /// Whether the other side's root key was compared: one byte.
    Verified,
    /// The list of theirs up to which changes of their keys were decided: epoch and version, 4 bytes each.
    KeysUpTo,
    /// Whether receipts are given: one byte; yes, if nobody has said so.
    Receipts,
    /// Whether it is told that somebody types: one byte; no, if nobody has said so.
    Typing,
    /// Likewise that somebody is online.
    Presence,
    /// What we want to be seen as: a Content.
    Profile,
}

impl Key {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::MutedUntil => 1,
            Self::ArchivedUpTo => 2,
            Self::Pinned => 3,
            Self::MarkedUnread => 4,
            Self::Draft => 5,
            Self::Note => 6,
            Self::Verified => 7,
            Self::KeysUpTo => 8,
            Self::Receipts => 16,
            Self::Typing => 17,
            Self::Presence => 18,
            Self::Profile => 19,
        }
    }
}

/// What a setting is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    Account,
    Conversation(ConversationRow),
}

impl Of {
    const fn row(self) -> i64 {
        match self {
            Self::Account => 0,
            Self::Conversation(row) => row.0,
        }
    }
}

/// What is set; empty: nothing.
pub(crate) fn get(view: &impl Query, of: Of, key: Key) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT value FROM setting WHERE conversation = ?1 AND key = ?2";
    Ok(view.one(sql, params![of.row(), key.code()], |row| row.get(0))?.unwrap_or_default())
}

/// Whether receipts are given.
pub(crate) fn receipts(view: &impl Query) -> Result<bool, StoreError> {
    Ok(get(view, Of::Account, Key::Receipts)? != [0])
}

/// Sets something here; our other devices hear of it. Nothing is done where it is set so already.
pub(crate) fn set(
    tx: &mut Tx<'_>,
    own: &Own,
    of: Of,
    key: Key,
    value: &[u8],
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if get(tx, of, key)? == value {
        return Ok(());
    }
    let version = next_version(tx, of, key)?;
    write(tx, of, key.code(), (version, &own.party.device), value)?;
    if siblings::are_none(tx)? {
        return Ok(());
    }
    let account = account_of(tx, own, of)?;
    let (device, value) = (own.party.device, Bytes::copy_from_slice(value));
    let setting = Setting { account, key: key.code(), version, device, value };
    let content = Content::OwnDeviceSync(OwnDeviceSync::Setting(setting));
    outbox::queue_content(tx, ContactRow::OWN, &content, None, None, now, chance)
}

/// Another device of ours has set something.
pub(crate) fn take(tx: &mut Tx<'_>, own: &Own, setting: &Setting) -> Result<(), StoreError> {
    let author = &setting.device;
    let of = match &setting.account {
        None => Of::Account,
        Some(account) if *account == own.account => Of::Conversation(conversation::note_to_self(tx, account)?),
        Some(account) => match contact::by_account(tx, account)? {
            Some(contact) => Of::Conversation(ConversationRow(contact::conversation(tx, &own.account, &contact)?)),
            None => return Ok(()),
        },
    };
    let (version, before) = known(tx, of, setting.key)?.unwrap_or((0, DeviceId::from_bytes([0; 16])));
    if setting.version > version.saturating_add(VERSIONS_AHEAD_MAX) {
        tracing::warn!("another device of this account leaves no version of a setting to the others");
        return Ok(());
    }
    if !SyncedContact::order((setting.version, author), (version, &before)).is_gt() {
        return Ok(());
    }
    write(tx, of, setting.key, (setting.version, author), &setting.value)
}

/// Devices of ours that are new hear of everything that is set.
pub(crate) fn hand_over(
    tx: &mut Tx<'_>,
    own: &Own,
    devices: &[DeviceRow],
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let all = tx.all(
        "SELECT conversation, key, version, author, value FROM setting ORDER BY conversation, key",
        [],
        |row| {
            let device = DeviceId::from_bytes(row.get(3)?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, counter(row.get(2)?), device, row.get::<_, Vec<u8>>(4)?))
        },
    )?;
    for (row, key, version, device, value) in all {
        let of = if row == 0 { Of::Account } else { Of::Conversation(ConversationRow(row)) };
        let setting = Setting { account: account_of(tx, own, of)?, key, version, device, value: value.into() };
        let content = Content::OwnDeviceSync(OwnDeviceSync::Setting(setting));
        outbox::queue_content_to(tx, devices, &content, None, None, now, chance)?;
    }
    Ok(())
}

/// The version that a setting gets which is set here now.
pub(crate) fn next_version(view: &impl Query, of: Of, key: Key) -> Result<u64, StoreError> {
    Ok(known(view, of, key.code())?.map_or(0, |(version, _)| version).saturating_add(1))
}

/// Version and author of a setting.
fn known(view: &impl Query, of: Of, key: u32) -> Result<Option<(u64, DeviceId)>, StoreError> {
    let sql = "SELECT version, author FROM setting WHERE conversation = ?1 AND key = ?2";
    view.one(sql, params![of.row(), key], |row| Ok((counter(row.get(0)?), DeviceId::from_bytes(row.get(1)?))))
}

fn write(
    tx: &mut Tx<'_>,
    of: Of,
    key: u32,
    (version, author): (u64, &DeviceId),
    value: &[u8],
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR REPLACE INTO setting (conversation, key, version, author, value) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![of.row(), key, stored(version), author.as_ref(), value],
    )?;
    match of {
        Of::Account if [Key::Typing.code(), Key::Presence.code()].contains(&key) => {
            tx.changes_live();
            Ok(())
        }
        Of::Account if key == Key::Profile.code() => profile::settle(tx, value),
        Of::Account => Ok(()),
        Of::Conversation(conversation) => {
            listed::settle(tx, conversation)?;
            verified::settle(tx, conversation)
        }
    }
}

/// With whom the conversation is that a setting is of.
fn account_of(view: &impl Query, own: &Own, of: Of) -> Result<Option<AccountId>, StoreError> {
    let Of::Conversation(row) = of else { return Ok(None) };
    let sql = "SELECT contact.account FROM conversation LEFT JOIN contact ON contact.id = conversation.contact WHERE conversation.id = ?1";
    let account = view.one(sql, [row.0], |row| row.get::<_, Option<[u8; 32]>>(0))?.ok_or(StoreError::Corrupt)?;
    Ok(Some(account.map_or(own.account, AccountId::from_bytes)))
}

/// A yes or no.
pub(crate) const fn flag(is_set: bool) -> [u8; 1] {
    [is_set as u8]
}

/// A number that was set; 0 where none was, or something else.
pub(crate) fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

/// What is too long to be set.
pub(crate) fn check(value: &[u8]) -> Result<(), InputError> {
    let bytes_max = sotto_protocol::limits::SETTING_BYTES_MAX;
    if value.len() > bytes_max { Err(InputError::TooLong { what: "the setting", bytes_max }) } else { Ok(()) }
}
