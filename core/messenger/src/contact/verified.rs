//! Verified contacts: somebody has compared that their root key is theirs, and wants to hear before anything goes to other devices of theirs.
//!
//! What verifies an account never changes. Its devices do: a verified contact's new device or epoch holds back all that is for them until
//! somebody decides, on any device of ours (PROTOCOL B3). The decision names the list up to which it holds, so that a device of ours which
//! reads of the change later knows that it was decided.

use rusqlite::params;
use sotto_crypto::manifest::Head;

use super::ContactRow;
use crate::conversation::ConversationRow;
use crate::settings::{self, Key, Of};
use crate::store::{Query, StoreError, Tx};

/// Where a list stands among all of its account.
pub(crate) fn place(head: &Head) -> u64 {
    u64::from(head.epoch) << 32 | u64::from(head.version)
}

/// The list up to which changes of a contact's keys were decided.
pub(crate) fn decided(view: &impl Query, conversation: ConversationRow) -> Result<u64, StoreError> {
    Ok(settings::number(&settings::get(view, Of::Conversation(conversation), Key::KeysUpTo)?))
}

/// A contact's keys have changed, as that list of theirs says.
pub(super) fn keys_changed(tx: &mut Tx<'_>, row: ContactRow, head: &Head) -> Result<(), StoreError> {
    let sql = "UPDATE contact SET changed_epoch = ?2, changed_version = ?3 WHERE id = ?1";
    tx.execute(sql, params![row.0, head.epoch, head.version])?;
    match crate::conversation::with_contact(tx, row)? {
        Some(conversation) => settle(tx, conversation),
        None => Ok(()),
    }
}

/// A contact is as verified as is set, and held back from accordingly.
pub(crate) fn settle(tx: &mut Tx<'_>, conversation: ConversationRow) -> Result<(), StoreError> {
    let sql = "SELECT contact.id, changed_epoch, changed_version FROM conversation JOIN contact ON contact.id = conversation.contact
               WHERE conversation.id = ?1";
    let found = tx.one(sql, [conversation.0], |row| {
        Ok((row.get::<_, i64>(0)?, u64::from(row.get::<_, u32>(1)?) << 32 | u64::from(row.get::<_, u32>(2)?)))
    })?;
    let Some((row, changed)) = found else { return Ok(()) };
    let of = Of::Conversation(conversation);
    let is_verified = settings::get(tx, of, Key::Verified)? == settings::flag(true);
    let is_held = is_verified && changed > decided(tx, conversation)?;
    let sql = "UPDATE contact SET verified = ?2, held = ?3 WHERE id = ?1 AND (verified != ?2 OR held != ?3)";
    tx.execute(sql, params![row, is_verified, is_held]).map(drop)
}
