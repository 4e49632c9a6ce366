//! Prekeys that a device's owner never published, under the key that only its contacts hold: for readers who must refuse them.

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::aead::Payload;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::world::SecretStore as _;
use sotto_crypto::DeviceName;
use sotto_crypto::kem::KemPrivateKey;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::prekey::{SignedKey, seal_bundle, sign_kem_key, sign_last_resort_key, sign_one_time_key};
use sotto_crypto::secret::{PrekeyKey, StateKey};
use sotto_crypto::state::{StateRow, open_state};
use sotto_protocol::label::{PREKEY_BLOB, labelled};
use sotto_protocol::relay::PrekeyClaimed;
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, Bytes, DeviceId, InboxId, KeyId, Message as _, Timestamp, identity};

use crate::{Fate, Network, Person};

/// What is wrong with a prekey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It carries no signature.
    Unsigned,
    /// Its time is over.
    Expired,
    /// It was signed for another purpose.
    Mislabelled,
    /// Another device has signed it.
    OfAnother,
}

impl Flaw {
    /// Every way to be refused.
    pub const ALL: [Self; 4] = [Self::Unsigned, Self::Expired, Self::Mislabelled, Self::OfAnother];
}

/// The keys of a device, and of its first inbox.
pub struct Prekeys {
    device: OlmAccount,
    owner: DeviceName,
    key: PrekeyKey,
    inbox: InboxId,
    rng: ChaCha20Rng,
}

impl Prekeys {
    /// Those of a person's device.
    ///
    /// # Panics
    /// When their database does not hold what it must.
    #[must_use]
    pub fn of(person: &Person) -> Self {
        let database = person.database();
        let one = |sql: &str| database.blobs(sql).swap_remove(0);
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("32 bytes");
        let secret = person.secrets.get("database").expect("the keystore answers").expect("a profile has a key");
        let row = StateRow { table: "account.olm", id: b"1", version: 1 };
        let sealed = one("SELECT olm_sealed FROM account");
        let id = |bytes: Vec<u8>| <[u8; 16]>::try_from(bytes.as_slice()).expect("16 bytes");
        Self {
            device: open_state(&sealed, &StateKey::of_database(&array(&secret)), &row).expect("the account opens"),
            owner: DeviceName {
                account: AccountId::from_bytes(array(&one("SELECT account FROM account"))),
                device: DeviceId::from_bytes(id(one("SELECT device FROM account"))),
            },
            key: PrekeyKey::from_bytes(array(&one("SELECT prekey_key FROM own_inbox ORDER BY position"))),
            inbox: InboxId::from_bytes(id(one("SELECT inbox FROM own_inbox ORDER BY position"))),
            rng: ChaCha20Rng::seed_from_u64(2),
        }
    }

    /// What a relay answers a claim with: a bundle and a one-time key, each with its flaw.
    #[must_use]
    pub fn claimed(&mut self, bundle: Flaw, one_time: Flaw, now: Timestamp) -> PrekeyClaimed {
        PrekeyClaimed { bundle: self.bundle(bundle, now), one_time: self.one_time(one_time, now) }
    }

    /// What an honest relay answers when the one-time keys are gone: the device's own KEM key and last-resort key.
    ///
    /// # Panics
    /// When the person's database does not hold a KEM key.
    #[must_use]
    pub fn claimed_of_last_resort(&mut self, person: &Person, now: Timestamp) -> PrekeyClaimed {
        let database = person.database();
        let id = database.blobs("SELECT key_id FROM kem_key WHERE retired_at IS NULL").swap_remove(0);
        let sealed = database.blobs("SELECT private_sealed FROM kem_key WHERE retired_at IS NULL").swap_remove(0);
        let secret = person.secrets.get("database").expect("the keystore answers").expect("a profile has a key");
        let secret = <[u8; 32]>::try_from(secret.as_slice()).expect("32 bytes");
        let row = StateRow { table: "kem_key", id: &id, version: 1 };
        let private: KemPrivateKey =
            open_state(&sealed, &StateKey::of_database(&secret), &row).expect("the KEM key opens");
        let id = KeyId::try_from(id.as_slice()).expect("8 bytes");
        let kem = sign_kem_key(&self.device, &self.owner, id, &private.public(), now);
        let key = self.device.last_resort();
        let last_resort = sign_last_resort_key(&self.device, &self.owner, key.id(), &key.key(), now);
        let bundle = seal_bundle(&kem, &last_resort, &self.key, &self.inbox, &mut self.rng).into();
        PrekeyClaimed { bundle, one_time: Bytes::new() }
    }

    fn bundle(&mut self, flaw: Flaw, now: Timestamp) -> Bytes {
        const VALID_DAYS: u64 = 38;
        let now =
            if flaw == Flaw::Expired { now.before(std::time::Duration::from_secs(VALID_DAYS * 86_400)) } else { now };
        let stranger = OlmAccount::generate(now);
        let signer = if flaw == Flaw::OfAnother { &stranger } else { &self.device };
        let kem = KemPrivateKey::generate(&mut self.rng).public();
        let key = signer.last_resort().key();
        let kem = sign_kem_key(signer, &self.owner, KeyId::from_bytes([1; 8]), &kem, now);
        let id = KeyId::from_bytes([2; 8]);
        let last_resort: SignedKey = match flaw {
            Flaw::Mislabelled => sign_one_time_key(signer, &self.owner, id, &key, now),
            _ => sign_last_resort_key(signer, &self.owner, id, &key, now),
        };
        if flaw == Flaw::Unsigned {
            let unsigned = |key: Bytes, id: u8| identity::SignedKey {
                id: Bytes::copy_from_slice(&[id; 8]),
                key,
                expires_at_ms: now.after(std::time::Duration::from_secs(86_400)).as_ms(),
                ..Default::default()
            };
            let kem = KemPrivateKey::generate(&mut self.rng).public().to_bytes();
            let bundle = identity::Bundle {
                kem: Some(unsigned(Bytes::copy_from_slice(&kem), 1)),
                last_resort: Some(unsigned(Bytes::copy_from_slice(&key), 2)),
            };
            return self.seal("bundle", &bundle.encode_to_vec());
        }
        seal_bundle(&kem, &last_resort, &self.key, &self.inbox, &mut self.rng).into()
    }

    fn one_time(&mut self, flaw: Flaw, now: Timestamp) -> Bytes {
        const VALID_DAYS: u64 = 181;
        let now =
            if flaw == Flaw::Expired { now.before(std::time::Duration::from_secs(VALID_DAYS * 86_400)) } else { now };
        let stranger = OlmAccount::generate(now);
        let signer = if flaw == Flaw::OfAnother { &stranger } else { &self.device };
        let (id, key) = (KeyId::from_bytes([3; 8]), OlmAccount::generate(now).last_resort().key());
        if flaw == Flaw::Unsigned {
            let unsigned = identity::SignedKey {
                id: id.into(),
                key: Bytes::copy_from_slice(&key),
                expires_at_ms: now.after(std::time::Duration::from_secs(86_400)).as_ms(),
                ..Default::default()
            };
            return self.seal("one-time", &unsigned.encode_to_vec());
        }
        let signed = match flaw {
            Flaw::Mislabelled => sign_last_resort_key(signer, &self.owner, id, &key, now),
            _ => sign_one_time_key(signer, &self.owner, id, &key, now),
        };
        signed.seal_one_time(&self.key, &self.inbox, &mut self.rng).into()
    }

    fn seal(&mut self, kind: &str, message: &[u8]) -> Bytes {
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let aad = labelled(PREKEY_BLOB, &[self.inbox.as_ref(), kind.as_bytes()]);
        let cipher = XChaCha20Poly1305::new(self.key.as_bytes().into());
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: message, aad: &aad }).expect("a short message");
        [nonce.as_slice(), &sealed].concat().into()
    }
}

impl Network {
    /// From now on every claim is answered with this.
    pub fn answer_claims_with(&self, claimed: &PrekeyClaimed) {
        let answer: Bytes = claimed.encode_to_vec().into();
        self.meddle(Some(Box::new(move |call| {
            if call.path == path::PREKEY_CLAIM { Fate::Answered(answer.clone()) } else { Fate::Passes }
        })));
    }
}
