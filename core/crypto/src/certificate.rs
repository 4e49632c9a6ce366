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
