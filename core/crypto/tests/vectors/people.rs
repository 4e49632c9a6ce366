//! Accounts and ratchets from fixed secrets.
//!
//! vodozemac draws its own randomness, so its state is written here in the form that it is stored in: then the same seed gives the same
//! Olm message.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::json;
use sha2::Sha256;
use sotto_crypto::Party;
use sotto_crypto::certificate::{Certificate, Epoch};
use sotto_crypto::kem::KemPrivateKey;
use sotto_crypto::keys::{ListKey, RootKey};
use sotto_crypto::manifest::{Audience, Device, DeviceKind, InboxAddress, ManifestDraft, VerifiedManifest};
use sotto_crypto::olm::{OlmAccount, OlmSession};
use sotto_crypto::secret::{PrekeyKey, StateKey};
use sotto_crypto::state::{StateRow, Stored, open_state, seal_state};
use sotto_protocol::label::{STATE_ROW, labelled};
use sotto_protocol::{AccountId, DeviceId, InboxId, KeyId, RelayAddress, Timestamp};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
pub(crate) const KEM_KEY_ID: KeyId = KeyId::from_bytes(*b"kem key1");
const LAST_RESORT_ID: u64 = 7;
const STATE_KEY: [u8; 32] = [1; 32];
const ROW: StateRow<'_> = StateRow { table: "vector", id: b"row", version: 1 };

pub(crate) struct Person {
    pub(crate) root: RootKey,
    pub(crate) list_key: ListKey,
    pub(crate) certificate: Certificate,
    pub(crate) device_seed: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) one_time: [u8; 32],
    pub(crate) last_resort: [u8; 32],
    pub(crate) olm: OlmAccount,
    pub(crate) device: Device,
    pub(crate) kem: KemPrivateKey,
    pub(crate) rng: ChaCha20Rng,
}

impl Person {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (root, list_key) = (RootKey::generate(&mut rng), ListKey::generate(&mut rng));
        let certificate = Certificate::issue(&root, epoch(1, &list_key), NOW);
        let [device_seed, identity, one_time, last_resort] = [(); 4].map(|()| random(&mut rng));
        let olm = olm_account(&device_seed, &identity, &one_time, &last_resort);
        let device = Device {
            id: DeviceId::from_bytes(random(&mut rng)),
            kind: DeviceKind::Phone,
            ed25519: olm.ed25519(),
            curve25519: olm.curve25519(),
            inboxes: vec![inbox(&mut rng)],
            added_at: NOW,
            replaces: None,
        };
        let kem = KemPrivateKey::generate(&mut rng);
        Self { root, list_key, certificate, device_seed, identity, one_time, last_resort, olm, device, kem, rng }
    }

    pub(crate) fn account(&self) -> AccountId {
        self.root.account()
    }

    pub(crate) fn party(&self) -> Party {
        Party {
            account: self.account(),
            device: self.device.id,
            ed25519: self.device.ed25519,
            curve25519: self.device.curve25519,
        }
    }

    pub(crate) fn inbox(&self) -> &InboxAddress {
        &self.device.inboxes[0]
    }

    pub(crate) fn draft(&self, version: u32, previous: Option<[u8; 32]>) -> ManifestDraft<'_> {
        let devices = std::slice::from_ref(&self.device);
        ManifestDraft { certificate: &self.certificate, version, previous, devices, audience: Audience::Others }
    }

    pub(crate) fn manifest(&self, version: u32, previous: Option<[u8; 32]>) -> VerifiedManifest {
        self.draft(version, previous).sign(&self.list_key, NOW).ok().unwrap()
    }

    /// A session to `peer` under its one-time key, as vodozemac would have drawn it.
    pub(crate) fn begin(&mut self, peer: &Self) -> OlmSession {
        let [base, ratchet] = [(); 2].map(|()| random(&mut self.rng));
        let (peer_identity, peer_one_time) = (public(&peer.identity), public(&peer.one_time));
        let secret =
            [agree(&self.identity, &peer_one_time), agree(&base, &peer_identity), agree(&base, &peer_one_time)]
                .concat();
        let mut keys = [0; 64];
        Hkdf::<Sha256>::new(Some(&[0]), &secret).expand(b"OLM_ROOT", &mut keys).unwrap();
        let session = json!({
            "session_keys": {
                "identity_key": public(&self.identity), "base_key": public(&base), "one_time_key": peer_one_time,
            },
            "sending_ratchet": {
                "type": "active",
                "parent_ratchet_key": null,
                "ratchet_count": { "Known": 0 },
                "active_ratchet": { "root_key": keys[..32], "ratchet_key": ratchet },
                "symmetric_key_ratchet": { "key": keys[32..], "index": 0 },
            },
            "receiving_chains": { "inner": [] },
            "config": { "version": "V1" },
        });
        stored(json!({ "session": session, "peer": peer_identity, "chains": [] }).to_string().as_bytes())
    }
}

pub(crate) fn epoch(number: u32, list_key: &ListKey) -> Epoch {
    Epoch { number, list_key: list_key.public(), continues: None, home: relay() }
}

pub(crate) fn relay() -> RelayAddress {
    "https://relay.example".parse().unwrap()
}

pub(crate) fn random<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

pub(crate) fn inbox(rng: &mut ChaCha20Rng) -> InboxAddress {
    InboxAddress { relay: relay(), inbox: InboxId::from_bytes(random(rng)), prekey_key: PrekeyKey::generate(rng) }
}

/// An Olm account with these private keys.
pub(crate) fn olm_account(
    device_seed: &[u8; 32],
    identity: &[u8; 32],
    one_time: &[u8; 32],
    last_resort: &[u8; 32],
) -> OlmAccount {
    let account = json!({
        "signing_key": { "Normal": device_seed },
        "diffie_hellman_key": identity,
        "one_time_keys": { "next_key_id": 1, "public_keys": {}, "private_keys": { "0": one_time } },
        "fallback_keys": {
            "key_id": 1,
            "fallback_key": { "key_id": 0, "key": last_resort, "published": true },
            "previous_fallback_key": null,
        },
    });
    let last_resort = json!({ "id": LAST_RESORT_ID, "key": public(last_resort), "made_at_ms": 0 });
    let row = json!({ "account": account, "last_resort": last_resort, "last_resort_before": null, "next_key_id": 8 });
    stored(row.to_string().as_bytes())
}

pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    Curve25519PublicKey::from(&Curve25519SecretKey::from_slice(secret)).to_bytes()
}

fn agree(secret: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    let shared = Curve25519SecretKey::from_slice(secret).diffie_hellman(&Curve25519PublicKey::from_bytes(*public));
    shared.unwrap().to_bytes()
}

/// State from its bytes, by way of a sealed row: there is no other.
pub(crate) fn stored<S: Stored>(bytes: &[u8]) -> S {
    let (nonce, aad) = ([0; 24], aad());
    let payload = Payload { msg: bytes, aad: &aad };
    let sealed = XChaCha20Poly1305::new(&STATE_KEY.into()).encrypt(&XNonce::from(nonce), payload).unwrap();
    open_state(&[nonce.as_slice(), &sealed].concat(), &StateKey::from_bytes(STATE_KEY), &ROW).unwrap()
}

/// The reverse.
pub(crate) fn bytes_of(state: &impl Stored) -> Vec<u8> {
    let sealed = seal_state(state, &StateKey::from_bytes(STATE_KEY), &ROW, &mut ChaCha20Rng::seed_from_u64(0));
    let (nonce, ciphertext) = sealed.split_first_chunk::<24>().unwrap();
    let payload = Payload { msg: ciphertext, aad: &aad() };
    XChaCha20Poly1305::new(&STATE_KEY.into()).decrypt(&XNonce::from(*nonce), payload).unwrap()
}

fn aad() -> Vec<u8> {
    labelled(STATE_ROW, &[ROW.table.as_bytes(), ROW.id, &ROW.version.to_be_bytes()])
}
