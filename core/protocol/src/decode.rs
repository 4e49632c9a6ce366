//! The one way to turn foreign bytes into a message: bounded, and with a typed refusal.
//!
//! Protobuf readers skip fields that they do not know, so a message from a newer peer decodes; whoever must hand it on or check a
//! signature keeps the bytes beside the message, as [`Raw`] does.

use bytes::Bytes;
use prost::Message;

/// Why bytes are not what they claim to be. Nothing was changed; never retry the same bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than this kind of message may be.
    #[error("{length} bytes where at most {length_max} are allowed")]
    TooLong {
        /// Length found.
        length: usize,
        /// Length allowed.
        length_max: usize,
    },
    /// An id or key of the wrong length.
    #[error("{what} of {length} bytes")]
    WrongLength {
        /// Which one.
        what: &'static str,
        /// Length found.
        length: usize,
    },
    /// Made by a version that this code does not speak.
    #[error("unknown version {version}")]
    UnknownVersion {
        /// Version found.
        version: u32,
    },
    /// A kind byte without a meaning.
    #[error("unknown kind {kind}")]
    UnknownKind {
        /// Kind found.
        kind: u8,
    },
    /// Something follows where the message should have ended.
    #[error("trailing bytes")]
    TrailingBytes,
    /// The bytes end too early.
    #[error("truncated")]
    Truncated,
    /// Not a protobuf message of the expected shape.
    #[error("malformed message")]
    Malformed,
    /// A field that must be there is not.
    #[error("{what} is missing")]
    Missing {
        /// Which one.
        what: &'static str,
    },
    /// More elements than allowed, or too few.
    #[error("{count} times {what}")]
    WrongCount {
        /// Of what.
        what: &'static str,
        /// How many were found.
        count: usize,
    },
    /// Nothing that somebody can be called.
    #[error("not a name")]
    BadName,
    /// Padding that is not what this code would have made.
    #[error("bad padding")]
    BadPadding,
    /// Text that is not lower-case hex.
    #[error("not hex")]
    NotHex,
    /// Text that is not unpadded base64url.
    #[error("not base64url")]
    NotBase64,
    /// A checksum that does not match: damaged in copying.
    #[error("damaged: the checksum does not match")]
    BadChecksum,
    /// Not an address of the form this code accepts.
    #[error("not a relay address")]
    BadAddress,
    /// A link that is not an invite.
    #[error("not an invite link")]
    NotAnInvite,
}

/// Decodes at most `length_max` bytes.
///
/// # Errors
/// [`DecodeError::TooLong`] before anything is parsed, [`DecodeError::Malformed`] when it is not such a message.
pub fn message<M: Message + Default>(bytes: &[u8], length_max: usize) -> Result<M, DecodeError> {
    if bytes.len() > length_max {
        return Err(DecodeError::TooLong { length: bytes.len(), length_max });
    }
    M::decode(bytes).map_err(|_| DecodeError::Malformed)
}

/// As [`message`], sharing the buffer with the `bytes` fields of the result.
///
/// # Errors
/// As [`message`].
pub fn shared<M: Message + Default>(bytes: Bytes, length_max: usize) -> Result<M, DecodeError> {
    if bytes.len() > length_max {
        return Err(DecodeError::TooLong { length: bytes.len(), length_max });
    }
    M::decode(bytes).map_err(|_| DecodeError::Malformed)
}

/// A message beside the exact bytes it was read from, for signatures and for fields of the future.
#[derive(Clone, PartialEq)]
pub struct Raw<M> {
    /// The decoded message.
    pub message: M,
    /// What was received: pass this on, never an encoding of `message`.
    pub bytes: Bytes,
}

impl<M: Message + Default> Raw<M> {
    /// Decodes at most `length_max` bytes and keeps them.
    ///
    /// # Errors
    /// As [`message`].
    pub fn decode(bytes: Bytes, length_max: usize) -> Result<Self, DecodeError> {
        Ok(Self { message: shared(bytes.clone(), length_max)?, bytes })
    }

    /// Encodes a message of our own making.
    #[must_use]
    pub fn encode(message: M) -> Self {
        Self { bytes: message.encode_to_vec().into(), message }
    }
}

/// Reads fixed layouts front to back.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("`take` returned N bytes"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Head;

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_parsed() {
        assert_eq!(message::<Head>(&[0xff; 11], 10).err(), Some(DecodeError::TooLong { length: 11, length_max: 10 }));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert_eq!(message::<Head>(&[0xff; 3], 10).err(), Some(DecodeError::Malformed));
    }

    #[test]
    fn fields_of_the_future_survive_in_the_raw_bytes() {
        let mut bytes = Head { epoch: 1, version: 2, hash: Bytes::new() }.encode_to_vec();
        bytes.extend_from_slice(&[0xfa, 0x01, 0x03, b'n', b'e', b'w']); // field 31
        let raw = Raw::<Head>::decode(bytes.clone().into(), 100).unwrap();
        assert_eq!(raw.message.version, 2);
        assert_eq!(raw.bytes, bytes);
    }
}
