//! The invite link: `https://RELAY/i#CODE`.
//!
//! CODE is unpadded base64url of
//! ```text
//! version 1 | account 32 | secret 32 | expires at, in hours since the epoch, 4 | name length 1 | name | relay address | checksum 4
//! ```
//! Everything stands in the fragment, which browsers never send: the relay does not see it. From the secret derive the id and key
//! of the invite's manifest chain and the tokens of all the owner's inboxes. The checksum tells a link damaged in copying from a
//! wrong one; it protects nothing.

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::decode::{DecodeError, Reader};
use crate::label::{INVITE_CHECKSUM, hash};
use crate::limits::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX};
use crate::{AccountId, RelayAddress, Timestamp, name};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const HOUR_MS: u64 = 3_600_000;
const LINK_BYTES_MAX: usize = 2 * (NAME_BYTES_MAX + 2 * ADDRESS_BYTES_MAX + 100);

/// The secret of an invite: whoever has it may ask to become a contact.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret([u8; 32]);

impl InviteSecret {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes: only for deriving from, and for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What an invite link says. Like its secret it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Whose it is. Reading it from the owner's own screen verifies them.
    pub account: AccountId,
    /// The right to ask.
    pub secret: InviteSecret,
    /// After this, in whole hours, relays and owner refuse it.
    pub expires_at: Timestamp,
    /// What the owner wants to be called.
    pub name: String,
    /// Where the invite's manifest chain lives.
    pub relay: RelayAddress,
}

impl Invite {
    /// The link, which is also what the QR code holds.
    ///
    /// # Errors
    /// As [`name::check`].
    pub fn to_link(&self) -> Result<String, DecodeError> {
        name::check(&self.name)?;
        let name_length = u8::try_from(self.name.len())
            .map_err(|_| DecodeError::TooLong { length: self.name.len(), length_max: NAME_BYTES_MAX })?;
        let hours = u32::try_from(self.expires_at.as_ms() / HOUR_MS).unwrap_or(u32::MAX);
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.account.as_ref());
        bytes.extend_from_slice(self.secret.as_bytes());
        bytes.extend_from_slice(&hours.to_be_bytes());
        bytes.push(name_length);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(self.relay.to_string().as_bytes());
        let checksum = hash(INVITE_CHECKSUM, &[&bytes]);
        bytes.extend_from_slice(&checksum[..CHECKSUM_BYTES]);
        let link = format!("{}/i#{}", self.relay.base_url(), BASE64URL_NOPAD.encode(&bytes));
        bytes.zeroize();
        Ok(link)
    }

    /// Whether `now` is past its end.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

impl FromStr for Invite {
    type Err = DecodeError;

    /// Reads a link. It may be expired: see [`Invite::is_expired`].
    fn from_str(link: &str) -> Result<Self, DecodeError> {
        let link = link.trim();
        if link.len() > LINK_BYTES_MAX {
            return Err(DecodeError::TooLong { length: link.len(), length_max: LINK_BYTES_MAX });
        }
        let (page, code) = link.split_once("/i#").ok_or(DecodeError::NotAnInvite)?;
        let mut bytes = BASE64URL_NOPAD.decode(code.as_bytes()).map_err(|_| DecodeError::NotBase64)?;
        let invite = decode_code(&bytes);
        bytes.zeroize();
        let invite = invite?;
        // A link whose visible host is not the relay inside would show one relay and use another.
        if page != invite.relay.base_url() { Err(DecodeError::NotAnInvite) } else { Ok(invite) }
    }
}

fn decode_code(bytes: &[u8]) -> Result<Invite, DecodeError> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(&version) => return Err(DecodeError::UnknownVersion { version: u32::from(version) }),
        None => return Err(DecodeError::Truncated),
    }
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DecodeError::Truncated)?;
    if hash(INVITE_CHECKSUM, &[body])[..CHECKSUM_BYTES] != *checksum {
        return Err(DecodeError::BadChecksum);
    }
    let mut reader = Reader::new(body);
    reader.byte()?;
    let account = AccountId::from_bytes(reader.array()?);
    let secret = InviteSecret(reader.array()?);
    let expires_at = Timestamp::from_ms(u64::from(u32::from_be_bytes(reader.array()?)) * HOUR_MS);
    let name_length = usize::from(reader.byte()?);
    let name = text(reader.take(name_length)?)?;
    name::check(&name)?;
    let address = text(reader.rest())?;
    let relay: RelayAddress = address.parse()?;
    if relay.to_string() != address {
        return Err(DecodeError::BadAddress);
    }
    Ok(Invite { account, secret, expires_at, name, relay })
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Invite {
        Invite {
            account: AccountId::from_bytes([1; 32]),
            secret: InviteSecret([2; 32]),
            expires_at: Timestamp::from_ms(490_000 * HOUR_MS),
            name: "Zoë".to_owned(),
            relay: "https://relay.example".parse().unwrap(),
        }
    }

    fn refusal(link: &str) -> Option<DecodeError> {
        link.parse::<Invite>().err()
    }

    #[test]
    fn an_invite_comes_back_as_it_was() {
        let link = example().to_link().unwrap();
        assert!(link.starts_with("https://relay.example/i#"));
        assert!(link.parse() == Ok(example()));
        assert!(format!(" {link}\n").parse() == Ok(example()));
    }

    #[test]
    fn a_damaged_link_is_told_from_a_wrong_one() {
        let link = example().to_link().unwrap();
        let code_start = link.find('#').unwrap() + 1;
        for position in code_start..link.len() {
            let mut damaged = link.clone().into_bytes();
            damaged[position] = if damaged[position] == b'x' { b'y' } else { b'x' };
            assert!(String::from_utf8(damaged).unwrap().parse::<Invite>().is_err(), "at {position}");
        }
        assert_eq!(refusal(&link[..link.len() - 4]), Some(DecodeError::BadChecksum));
        assert_eq!(refusal("https://relay.example/"), Some(DecodeError::NotAnInvite));
        assert_eq!(refusal("https://relay.example/i#"), Some(DecodeError::Truncated));
        assert_eq!(refusal("https://relay.example/i#Ag"), Some(DecodeError::UnknownVersion { version: 2 }));
    }

    #[test]
    fn a_link_that_shows_another_relay_than_it_uses_is_refused() {
        let link = example().to_link().unwrap().replace("relay.example/i", "friendly.example/i");
        assert_eq!(refusal(&link), Some(DecodeError::NotAnInvite));
    }

    #[test]
    fn a_name_that_is_too_long_makes_no_link() {
        let invite = Invite { name: "n".repeat(NAME_BYTES_MAX + 1), ..example() };
        assert!(matches!(invite.to_link(), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn a_link_names_its_owner_on_one_line() {
        for name in ["", " ", "two\nlines"] {
            let invite = Invite { name: name.to_owned(), ..example() };
            assert_eq!(invite.to_link(), Err(DecodeError::BadName));
        }
        // As another implementation might have made it.
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&[1; 32 + 32 + 4]);
        bytes.push(3);
        bytes.extend_from_slice(b"a\nbhttps://relay.example");
        let checksum = hash(INVITE_CHECKSUM, &[&bytes]);
        bytes.extend_from_slice(&checksum[..CHECKSUM_BYTES]);
        assert_eq!(decode_code(&bytes).err(), Some(DecodeError::BadName));
    }
}
