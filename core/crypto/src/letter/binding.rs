//! The binding: what ties a letter to the two devices and the conversation that it is of.

use sotto_protocol::label::{BINDING, hash};
use sotto_protocol::{ConversationId, PROTOCOL_VERSION};

use crate::party::Party;

/// Over protocol version, both accounts, devices and identity keys, and the conversation: whoever passes a letter on to others, or shows
/// it as someone else's, changes one of these.
#[must_use]
pub fn binding(sender: &Party, recipient: &Party, conversation: &ConversationId) -> [u8; 32] {
    hash(
        BINDING,
        &[
            &PROTOCOL_VERSION.to_be_bytes(),
            sender.account.as_ref(),
            sender.device.as_ref(),
            &sender.ed25519,
            &sender.curve25519,
            recipient.account.as_ref(),
            recipient.device.as_ref(),
            &recipient.ed25519,
            &recipient.curve25519,
            conversation.as_ref(),
        ],
    )
}
