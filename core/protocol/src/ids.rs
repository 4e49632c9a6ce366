//! One type per id, so that no two can be swapped by mistake.
//!
//! Public ids print as hex. [`Token`] and [`ChainId`] are capabilities: whoever knows one may use it, so they never print.

use std::fmt;

use data_encoding::HEXLOWER;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Timestamp;
use crate::decode::DecodeError;
use crate::label::{self, hash};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// From its bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = DecodeError;

            /// # Errors
            /// [`DecodeError::WrongLength`] for any other length.
            fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
                bytes.try_into().map(Self).map_err(|_| DecodeError::WrongLength { what: stringify!($name), length: bytes.len() })
            }
        }

        impl From<$name> for bytes::Bytes {
            fn from(id: $name) -> Self {
                bytes::Bytes::copy_from_slice(&id.0)
            }
        }
    };
}

macro_rules! printable {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| DecodeError::NotHex)?;
                Self::try_from(bytes.as_slice())
            }
        }
    )*};
}

macro_rules! secret {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

id!(
    /// A person: the public half of their Ed25519 root key.
    AccountId, 32
);
id!(
    /// One installation.
    DeviceId, 16
);
id!(
    /// A device's queue on one relay. Random, made for that alone.
    InboxId, 16
);
id!(
    /// What a relay stores of a token.
    TokenHash, 32
);
id!(
    /// What a sender names an envelope: the day it was made, then twelve random bytes.
    EnvelopeId, 16
);
id!(
    /// Names one claim of prekeys, so that asking again gets the same one-time key.
    ClaimId, 16
);
id!(
    /// Names a message across devices.
    MessageId, 16
);
id!(
    /// A 1:1, a group or the note to self.
    ConversationId, 32
);
id!(
    /// Names one public key of a device.
    KeyId, 8
);
id!(
    /// An append-only list on a relay. Knowing it is the right to read it.
    ChainId, 32
);
printable!(AccountId, DeviceId, InboxId, TokenHash, EnvelopeId, ClaimId, MessageId, ConversationId, KeyId);
secret!(ChainId);

impl EnvelopeId {
    /// An id made now, from twelve random bytes.
    #[must_use]
    pub fn new(now: Timestamp, random: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&now.day().to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }

    /// Days since the epoch when it was made.
    #[must_use]
    pub fn day(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl ConversationId {
    /// The 1:1 of two accounts, the same whichever way round they are given; of one account with itself, the note to self.
    #[must_use]
    pub fn between(one: &AccountId, other: &AccountId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self(hash(label::CONVERSATION, &[low.as_ref(), high.as_ref()]))
    }
}

/// The right to put into one inbox, given to one contact, invite or group.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 16]);

impl Token {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes: only for the wire and the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What the relay stores of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hash(label::TOKEN_HASH, &[&self.0]))
    }
}

impl TryFrom<&[u8]> for Token {
    type Error = DecodeError;

    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        bytes.try_into().map(Self).map_err(|_| DecodeError::WrongLength { what: "Token", length: bytes.len() })
    }
}

secret!(Token);

/// The small number that an inbox's owner chose for a token; deliveries carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Alias(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_length_is_refused() {
        assert!(matches!(InboxId::try_from([0; 15].as_slice()), Err(DecodeError::WrongLength { length: 15, .. })));
        assert!(matches!(InboxId::try_from([0; 17].as_slice()), Err(DecodeError::WrongLength { length: 17, .. })));
    }

    #[test]
    fn capabilities_never_print() {
        assert_eq!(format!("{:?}", Token::from_bytes([7; 16])), "Token(..)");
        assert_eq!(format!("{:?}", ChainId::from_bytes([7; 32])), "ChainId(..)");
    }

    #[test]
    fn a_conversation_has_one_id_whichever_side_names_it() {
        let (alice, bob) = (AccountId::from_bytes([1; 32]), AccountId::from_bytes([2; 32]));
        assert_eq!(ConversationId::between(&alice, &bob), ConversationId::between(&bob, &alice));
        assert_ne!(ConversationId::between(&alice, &bob), ConversationId::between(&alice, &alice));
    }

    #[test]
    fn an_envelope_id_begins_with_its_day() {
        let id = EnvelopeId::new(Timestamp::from_ms(86_400_000 * 20_000 + 5), [9; 12]);
        assert_eq!(id.day(), 20_000);
    }
}
