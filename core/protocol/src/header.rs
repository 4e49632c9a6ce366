//! The small header that every recipient of an envelope gets of their own: it says how to open the payload, and it is the
//! payload's associated data (PROTOCOL D6).
//!
//! ```text
//! opener        0x11 | KEM key id 8 | enc 1,120 | nonce 24
//! continuation  0x12 | tag 8        | nonce 24
//! ephemeral     0x14 | tag 8        | nonce 24
//! ```
//! The first half-byte is the version, the second the kind; 0x13 is kept for group payloads. What is ephemeral is no letter, and its header
//! is no [`Header`]: whoever reads letters cannot be handed one, nor the other way round.

use crate::KeyId;
use crate::decode::{DecodeError, Reader};

/// Encapsulated key of X-Wing, in bytes.
pub const ENC_BYTES: usize = 1_120;
/// Nonce of XChaCha20-Poly1305, in bytes.
pub const NONCE_BYTES: usize = 24;
/// Tag of a continuation, in bytes: eight keys per alias, so a chance match costs one failed decryption in 2^61.
pub const TAG_BYTES: usize = 8;

const VERSION: u8 = 1;
const OPENER: u8 = 0x11;
const CONTINUATION: u8 = 0x12;
const EPHEMERAL: u8 = 0x14;

/// A decoded header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Header {
    /// Opens by decapsulation.
    Opener {
        /// Which of the recipient's KEM keys.
        key_id: KeyId,
        /// The encapsulated key.
        enc: Box<[u8; ENC_BYTES]>,
        /// Fresh for this letter.
        nonce: [u8; NONCE_BYTES],
    },
    /// Opens under a seal key that the recipient has installed.
    Continuation {
        /// Which one: a PRF of the nonce.
        tag: [u8; TAG_BYTES],
        /// Fresh for this letter.
        nonce: [u8; NONCE_BYTES],
    },
}

impl Header {
    /// The bytes: what travels, and the payload's associated data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Opener { key_id, enc, nonce } => {
                [&[OPENER], key_id.as_bytes().as_slice(), enc.as_slice(), nonce].concat()
            }
            Self::Continuation { tag, nonce } => [[CONTINUATION].as_slice(), tag, nonce].concat(),
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// For another version or kind, and for any length but the right one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        let header = match kind {
            OPENER => {
                let key_id = KeyId::from_bytes(reader.array()?);
                let mut enc = Box::new([0; ENC_BYTES]);
                enc.copy_from_slice(reader.take(ENC_BYTES)?);
                Self::Opener { key_id, enc, nonce: reader.array()? }
            }
            CONTINUATION => Self::Continuation { tag: reader.array()?, nonce: reader.array()? },
            _ if kind >> 4 != VERSION => return Err(DecodeError::UnknownVersion { version: u32::from(kind >> 4) }),
            _ => return Err(DecodeError::UnknownKind { kind }),
        };
        reader.end()?;
        Ok(header)
    }
}

/// The header of what is ephemeral: it opens under a key that derives from an installed seal key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EphemeralHeader {
    /// Which one: a PRF of the nonce.
    pub tag: [u8; TAG_BYTES],
    /// Fresh for this one.
    pub nonce: [u8; NONCE_BYTES],
}

impl EphemeralHeader {
    /// The bytes: what travels, and the payload's associated data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [[EPHEMERAL].as_slice(), &self.tag, &self.nonce].concat()
    }

    /// Reads one.
    ///
    /// # Errors
    /// For a letter's header, another version or kind, and any length but the right one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            EPHEMERAL => {}
            kind if kind >> 4 != VERSION => return Err(DecodeError::UnknownVersion { version: u32::from(kind >> 4) }),
            kind => return Err(DecodeError::UnknownKind { kind }),
        }
        let header = Self { tag: reader.array()?, nonce: reader.array()? };
        reader.end()?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEETING: EphemeralHeader = EphemeralHeader { tag: [6; TAG_BYTES], nonce: [7; NONCE_BYTES] };

    fn both() -> [Header; 2] {
        [
            Header::Opener {
                key_id: KeyId::from_bytes([1; 8]),
                enc: Box::new([2; ENC_BYTES]),
                nonce: [3; NONCE_BYTES],
            },
            Header::Continuation { tag: [4; TAG_BYTES], nonce: [5; NONCE_BYTES] },
        ]
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        for header in both() {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_header_of_another_length_is_refused() {
        for header in both() {
            let bytes = header.encode();
            assert_eq!(Header::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
            assert_eq!(Header::decode(&[bytes.as_slice(), &[0]].concat()), Err(DecodeError::TrailingBytes));
        }
    }

    #[test]
    fn an_unknown_version_or_kind_is_refused() {
        assert_eq!(Header::decode(&[0x21; 33]), Err(DecodeError::UnknownVersion { version: 2 }));
        assert_eq!(Header::decode(&[0x1f; 33]), Err(DecodeError::UnknownKind { kind: 0x1f }));
        assert_eq!(Header::decode(&[]), Err(DecodeError::Truncated));
        assert_eq!(EphemeralHeader::decode(&[0x24; 33]), Err(DecodeError::UnknownVersion { version: 2 }));
        assert_eq!(EphemeralHeader::decode(&[0x13; 33]), Err(DecodeError::UnknownKind { kind: 0x13 }));
    }

    #[test]
    fn a_letter_and_what_is_ephemeral_are_never_taken_for_each_other() {
        assert_eq!(EphemeralHeader::decode(&FLEETING.encode()), Ok(FLEETING));
        assert_eq!(Header::decode(&FLEETING.encode()), Err(DecodeError::UnknownKind { kind: EPHEMERAL }));
        for letter in both() {
            let kind = letter.encode()[0];
            assert_eq!(EphemeralHeader::decode(&letter.encode()), Err(DecodeError::UnknownKind { kind }));
        }
    }

    #[test]
    fn an_ephemeral_header_of_another_length_is_refused() {
        let bytes = FLEETING.encode();
        assert_eq!(EphemeralHeader::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
        assert_eq!(EphemeralHeader::decode(&[bytes.as_slice(), &[0]].concat()), Err(DecodeError::TrailingBytes));
    }
}
