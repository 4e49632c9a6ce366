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

#[cfg(test)]
mod tests {
    use sotto_protocol::{AccountId, DeviceId};

    use super::*;

    const fn party(byte: u8) -> Party {
        Party {
            account: AccountId::from_bytes([byte; 32]),
            device: DeviceId::from_bytes([byte; 16]),
            ed25519: [byte; 32],
            curve25519: [byte; 32],
        }
    }

    #[test]
    fn e7_each_part_changes_the_binding() {
        let (sender, recipient, other) = (party(1), party(2), party(9));
        let (conversation, elsewhere) = (ConversationId::from_bytes([3; 32]), ConversationId::from_bytes([9; 32]));
        let changed = |party: Party| {
            [
                Party { account: other.account, ..party },
                Party { device: other.device, ..party },
                Party { ed25519: other.ed25519, ..party },
                Party { curve25519: other.curve25519, ..party },
            ]
        };
        let mut bindings = vec![binding(&sender, &recipient, &conversation), binding(&sender, &recipient, &elsewhere)];
        bindings.push(binding(&recipient, &sender, &conversation));
        bindings.extend(changed(sender).map(|sender| binding(&sender, &recipient, &conversation)));
        bindings.extend(changed(recipient).map(|recipient| binding(&sender, &recipient, &conversation)));
        bindings.sort_unstable();
        bindings.dedup();
        assert_eq!(bindings.len(), 11);
    }
}
