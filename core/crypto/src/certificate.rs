//! Certificates: the root key's word that a list key speaks for the account during one epoch (PROTOCOL B1).
//!
//! A certificate names the manifest that its epoch continues and the relay that is home to the account's own chain. The bytes that
//! were signed are kept and passed on as they are. Not here: that two certificates for one epoch mean a stolen root key; that needs
//! memory, and is checked where manifests are compared with what is known (`manifest.rs`).

use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::identity;
use sotto_protocol::label::{CERTIFICATE, labelled};
use sotto_protocol::limits::{ADDRESS_BYTES_MAX, CERTIFICATE_VALID};
use sotto_protocol::{AccountId, Bytes, Message, RelayAddress, Timestamp};

use crate::keys::{ListKey, RootKey, verify};

/// Every field at its longest, with room for fields of the future.
const CERTIFICATE_BYTES_MAX: usize = ADDRESS_BYTES_MAX + 724;
const FORMAT: u32 = 1;

/// Why a certificate is refused. The peer, or someone in between, made it: never retry the same bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate that this code can read.
    #[error("malformed certificate: {0}")]
    Malformed(#[from] DecodeError),
    /// Not signed by the account that was asked for.
    #[error("the certificate is not signed by the account")]
    BadSignature,
    /// Signed by the account, but it says that it is another's.
    #[error("the certificate names another account")]
    WrongAccount,
    /// Epochs count from 1.
    #[error("the certificate is for epoch 0")]
    EpochZero,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
}

/// A place in the own-devices chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Continues {
    /// The last version of the epoch before.
    pub version: u32,
    /// Its hash.
    pub hash: [u8; 32],
}

/// What the root key decides when it begins an epoch.
#[derive(Clone)]
pub struct Epoch {
    /// From 1; removing a device always begins the next.
    pub number: u32,
    /// Who signs manifests in it.
    pub list_key: [u8; 32],
    /// Where the epoch before ended; `None` in the first.
    pub continues: Option<Continues>,
    /// Where the own-devices chain lives.
    pub home: RelayAddress,
}

/// A certificate whose signature has been verified, or that was made here.
#[derive(Clone)]
pub struct Certificate {
    account: AccountId,
    epoch: Epoch,
    issued_at: Timestamp,
    expires_at: Timestamp,
    bytes: Bytes,
    signature: [u8; 64],
}

impl Certificate {
    /// Begins an epoch.
    #[must_use]
    pub fn issue(root: &RootKey, epoch: Epoch, now: Timestamp) -> Self {
        let account = root.account();
        let expires_at = now.after(CERTIFICATE_VALID);
        let message = identity::Certificate {
            format: FORMAT,
            account: account.into(),
            epoch: epoch.number,
            list_key: Bytes::copy_from_slice(&epoch.list_key),
            continues_version: epoch.continues.map_or(0, |continues| continues.version),
            continues_hash: epoch
                .continues
                .map_or_else(Bytes::new, |continues| Bytes::copy_from_slice(&continues.hash)),
            home: epoch.home.to_string(),
            issued_at_ms: now.as_ms(),
            expires_at_ms: expires_at.as_ms(),
        };
        let bytes = Bytes::from(message.encode_to_vec());
        let signature = root.sign(CERTIFICATE, &[account.as_ref(), &bytes]);
        Self { account, epoch, issued_at: now, expires_at, bytes, signature }
    }

    /// Reads a certificate of the account that the caller asked for. Its time is the caller's to check: [`Self::check_time`].
    ///
    /// # Errors
    /// One variant per check, in the order of `docs/protocol.md` section 3.
    pub fn verify(account: &AccountId, bytes: Bytes, signature: &[u8]) -> Result<Self, CertificateError> {
        let certificate = Self::parse(bytes, signature)?;
        certificate.check(account)?;
        Ok(certificate)
    }

    /// Lengths and version only: nothing in the result may be believed before [`Self::check`].
    pub(crate) fn parse(bytes: Bytes, signature: &[u8]) -> Result<Self, DecodeError> {
        let message: identity::Certificate = decode::shared(bytes.clone(), CERTIFICATE_BYTES_MAX)?;
        if message.format != FORMAT {
            return Err(DecodeError::UnknownVersion { version: message.format });
        }
        Ok(Self {
            account: AccountId::try_from(&*message.account)?,
            epoch: Epoch {
                number: message.epoch,
                list_key: array("list key", &message.list_key)?,
                continues: read_continues(&message)?,
                home: canonical_address(&message.home)?,
            },
            issued_at: Timestamp::from_ms(message.issued_at_ms),
            expires_at: Timestamp::from_ms(message.expires_at_ms),
            bytes,
            signature: array("signature", signature)?,
        })
    }

    pub(crate) fn check(&self, account: &AccountId) -> Result<(), CertificateError> {
        verify(account.as_bytes(), &labelled(CERTIFICATE, &[account.as_ref(), &self.bytes]), &self.signature)
            .map_err(|_| CertificateError::BadSignature)?;
        if self.account != *account {
            return Err(CertificateError::WrongAccount);
        }
        if self.epoch.number == 0 {
            return Err(CertificateError::EpochZero);
        }
        Ok(())
    }

    /// Refuses it when its time is over.
    ///
    /// # Errors
    /// [`CertificateError::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), CertificateError> {
        if now >= self.expires_at { Err(CertificateError::Expired) } else { Ok(()) }
    }

    /// Whose it is.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// What it certifies.
    #[must_use]
    pub const fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// When the epoch began.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The bytes that the root key signed.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The root key's signature.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Whether `key` is the list key of this epoch.
    #[must_use]
    pub fn certifies(&self, key: &ListKey) -> bool {
        self.epoch.list_key == key.public()
    }
}

fn read_continues(message: &identity::Certificate) -> Result<Option<Continues>, DecodeError> {
    match (message.continues_version, message.continues_hash.is_empty()) {
        (0, true) => Ok(None),
        (0, false) | (_, true) => Err(DecodeError::Missing { what: "what the epoch continues" }),
        (version, false) => Ok(Some(Continues { version, hash: array("hash", &message.continues_hash)? })),
    }
}

/// Reads an address and refuses every spelling but the one that this code writes, so that equal relays are equal bytes.
pub(crate) fn canonical_address(text: &str) -> Result<RelayAddress, DecodeError> {
    let address: RelayAddress = text.parse()?;
    if address.to_string() == text { Ok(address) } else { Err(DecodeError::BadAddress) }
}

pub(crate) fn array<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::WrongLength { what, length: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, epoch, rng};

    fn issue(root: &RootKey, number: u32) -> Certificate {
        Certificate::issue(root, epoch(number, &ListKey::generate(&mut rng(9))), NOW)
    }

    fn read(account: &AccountId, certificate: &Certificate) -> Result<Certificate, CertificateError> {
        Certificate::verify(account, certificate.bytes().clone(), certificate.signature())
    }

    /// Signed by `root`, saying whatever `change` makes of it.
    fn signed(
        root: &RootKey,
        change: impl FnOnce(&mut identity::Certificate),
    ) -> Result<Certificate, CertificateError> {
        let mut message = identity::Certificate::decode(issue(root, 1).bytes().clone()).unwrap();
        change(&mut message);
        let bytes = Bytes::from(message.encode_to_vec());
        let signature = root.sign(CERTIFICATE, &[root.account().as_ref(), &bytes]);
        Certificate::verify(&root.account(), bytes, &signature)
    }

    #[test]
    fn b1_a_certificate_says_who_signs_what_it_continues_and_where_home_is() {
        let root = RootKey::generate(&mut rng(1));
        let list_key = ListKey::generate(&mut rng(2));
        let continues = Some(Continues { version: 7, hash: [3; 32] });
        let certificate = Certificate::issue(&root, Epoch { continues, ..epoch(2, &list_key) }, NOW);
        let read = read(&root.account(), &certificate).unwrap();
        assert!(read.certifies(&list_key) && read.epoch().number == 2 && read.epoch().continues == continues);
        assert_eq!(read.epoch().home, "https://relay.example".parse().unwrap());
        assert_eq!((read.account(), read.issued_at()), (&root.account(), NOW));
    }

    #[test]
    fn b1_a_certificate_of_another_root_key_is_refused() {
        let (root, other) = (RootKey::generate(&mut rng(1)), RootKey::generate(&mut rng(2)));
        assert_eq!(read(&root.account(), &issue(&other, 1)).err(), Some(CertificateError::BadSignature));
    }

    #[test]
    fn b1_a_certificate_that_was_changed_is_refused() {
        let root = RootKey::generate(&mut rng(1));
        let certificate = issue(&root, 1);
        let mut bytes = certificate.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1; // in the expiry
        let changed = Certificate::verify(&root.account(), bytes.into(), certificate.signature());
        assert_eq!(changed.err(), Some(CertificateError::BadSignature));
    }

    #[test]
    fn b1_a_certificate_that_names_another_account_is_refused() {
        let root = RootKey::generate(&mut rng(1));
        let changed = signed(&root, |message| message.account = Bytes::from_static(&[1; 32]));
        assert_eq!(changed.err(), Some(CertificateError::WrongAccount));
    }

    #[test]
    fn d5_a_signature_for_another_purpose_is_no_certificate() {
        let root = RootKey::generate(&mut rng(1));
        let certificate = issue(&root, 1);
        let signature = root.sign(sotto_protocol::label::MANIFEST, &[root.account().as_ref(), certificate.bytes()]);
        let read = Certificate::verify(&root.account(), certificate.bytes().clone(), &signature);
        assert_eq!(read.err(), Some(CertificateError::BadSignature));
    }

    #[test]
    fn d5_a_certificate_expires() {
        let certificate = issue(&RootKey::generate(&mut rng(1)), 1);
        let end = NOW.after(CERTIFICATE_VALID);
        assert_eq!(certificate.check_time(Timestamp::from_ms(end.as_ms() - 1)), Ok(()));
        assert_eq!(certificate.check_time(end), Err(CertificateError::Expired));
    }

    #[test]
    fn malformed_certificates_are_refused() {
        let root = RootKey::generate(&mut rng(1));
        let refusal = |change: fn(&mut identity::Certificate)| signed(&root, change).err().unwrap();
        assert_eq!(refusal(|message| message.epoch = 0), CertificateError::EpochZero);
        let malformed = [
            refusal(|message| message.format = 2),
            refusal(|message| message.list_key = Bytes::from_static(&[1; 31])),
            refusal(|message| message.account = Bytes::new()),
            refusal(|message| message.home = "https://Relay.example".to_owned()),
            refusal(|message| message.home = "http://relay.example".to_owned()),
            refusal(|message| message.continues_version = 1),
            refusal(|message| message.continues_hash = Bytes::from_static(&[1; 32])),
        ];
        assert!(malformed.iter().all(|refusal| matches!(refusal, CertificateError::Malformed(_))), "{malformed:?}");
        assert_eq!(malformed[0], CertificateError::Malformed(DecodeError::UnknownVersion { version: 2 }));

        let length = CERTIFICATE_BYTES_MAX + 1;
        let filler = [[0xfa, 0x01, 0xff, 0x07].as_slice(), &[0; 1_023]].concat(); // field 31
        let bytes = Bytes::from([issue(&root, 1).bytes(), filler.as_slice()].concat()[..length].to_vec());
        let too_long = Certificate::verify(&root.account(), bytes, &[0; 64]).err();
        assert!(matches!(too_long, Some(CertificateError::Malformed(DecodeError::TooLong { .. }))));
    }
}
