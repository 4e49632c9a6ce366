//! From what a relay delivers without a number to a signal of one of a contact's devices: read, never written.

use sotto_crypto::seal::ephemeral::{Ephemeral, EphemeralError};
use sotto_protocol::header::{NONCE_BYTES, TAG_BYTES};
use sotto_protocol::limits::EPHEMERAL_PADDED_BYTES;
use sotto_protocol::{AccountId, relay};

use super::hearing::{Speaker, code};
use super::may_share;
use crate::contact;
use crate::conversation::MessageRow;
use crate::handshake::{self, Purpose};
use crate::own::Own;
use crate::peer;
use crate::seal;
use crate::store::{Query, StoreError};

/// Kind, tag, nonce.
const HEADER_BYTES: usize = 1 + TAG_BYTES + NONCE_BYTES;
/// Everything ephemeral is of one size: with the authentication tag.
const PAYLOAD_BYTES: usize = EPHEMERAL_PADDED_BYTES + 16;

/// Whether it can be anything ephemeral at all.
pub(super) fn has_the_size(delivery: &relay::Delivery) -> bool {
    delivery.header.len() == HEADER_BYTES && delivery.payload.len() == PAYLOAD_BYTES
}

/// Whose it is and what it says, or why it is passed over.
pub(super) fn open(
    own: &Own,
    view: &impl Query,
    own_inbox: i64,
    delivery: &relay::Delivery,
) -> Result<Result<(Speaker, Ephemeral), &'static str>, StoreError> {
    let contact = match handshake::purpose(view, own_inbox, delivery.alias)? {
        Some(Purpose::Pair(contact) | Purpose::Reply(contact)) => contact::by_row(view, contact)?,
        Some(Purpose::Invite(_)) | None => return Ok(Err("unknown_alias")),
    };
    if !may_share(&contact) {
        return Ok(Err("not_shared"));
    }
    for installed in seal::installed(view, &own.seal, contact.row, own_inbox)? {
        match installed.key.for_ephemerals().open(&delivery.header, &delivery.payload) {
            Err(EphemeralError::WrongTag) => {}
            Err(error) => return Ok(Err(code(&error))),
            // One that has left the list speaks no more: nobody waits for what it would say.
            Ok(_) if !peer::device_by_row(view, installed.device)?.listed => return Ok(Err("device_unlisted")),
            Ok(said) => return Ok(Ok((Speaker { account: contact.account, device: installed.device }, said))),
        }
    }
    Ok(Err(code(&EphemeralError::WrongTag)))
}

/// Who has said these.
pub(super) fn senders(view: &impl Query, messages: &[MessageRow]) -> Result<Vec<AccountId>, StoreError> {
    let sql = "SELECT contact.account FROM message JOIN contact ON contact.id = message.sender WHERE message.id = ?1";
    let account = |message: &MessageRow| view.one(sql, [message.0], |row| row.get(0).map(AccountId::from_bytes));
    Ok(messages.iter().map(account).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
