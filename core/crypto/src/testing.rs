//! People for tests: an account with its keys, one device, one inbox, and all that others need to write to it.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sotto_protocol::{AccountId, ConversationId, DeviceId, InboxId, KeyId, MessageId, Timestamp};

use crate::certificate::{Certificate, Epoch};
use crate::kem::KemPrivateKey;
use crate::keys::{ListKey, RootKey};
use crate::letter::{Content, Letter, Text};
use crate::manifest::{Audience, Device, DeviceKind, Head, InboxAddress, ManifestDraft, VerifiedManifest};
use crate::olm::OlmAccount;
use crate::party::Party;
use crate::prekey::{Bundle, seal_bundle, sign_kem_key, sign_last_resort_key};
use crate::secret::PrekeyKey;

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn random<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Points of small order on Curve25519, and the spellings of them that X25519 takes too.
pub(crate) fn keys_that_contribute_nothing() -> Vec<[u8; 32]> {
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ]
    .map(|text| unhex(text).try_into().unwrap())
    .to_vec()
}

pub(crate) struct Person {
    pub(crate) root: RootKey,
    pub(crate) list_key: ListKey,
    pub(crate) certificate: Certificate,
    pub(crate) olm: OlmAccount,
    pub(crate) device: Device,
    pub(crate) kem: KemPrivateKey,
    pub(crate) rng: ChaCha20Rng,
}

impl Person {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let (root, list_key) = (RootKey::generate(&mut rng), ListKey::generate(&mut rng));
        let certificate = Certificate::issue(&root, epoch(1, &list_key), NOW);
        let olm = OlmAccount::generate(NOW);
        let device = device(&olm, &mut rng);
        let kem = KemPrivateKey::generate(&mut rng);
        Self { root, list_key, certificate, olm, device, kem, rng }
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
        self.draft(version, previous).sign(&self.list_key, NOW).unwrap()
    }

    /// As a sender has it from the relay.
    pub(crate) fn bundle(&mut self) -> Bundle {
        let blob = self.bundle_blob(NOW);
        let inbox = self.inbox();
        Bundle::open(&blob, &inbox.prekey_key, &inbox.inbox, &self.party(), NOW).unwrap()
    }

    pub(crate) fn bundle_blob(&mut self, now: Timestamp) -> Vec<u8> {
        let owner = self.party().name();
        let last_resort = self.olm.last_resort();
        let kem = sign_kem_key(&self.olm, &owner, KeyId::from_bytes(*b"kem key1"), &self.kem.public(), now);
        let last_resort = sign_last_resort_key(&self.olm, &owner, last_resort.id(), &last_resort.key(), now);
        let inbox = self.device.inboxes[0].clone();
        seal_bundle(&kem, &last_resort, &inbox.prekey_key, &inbox.inbox, &mut self.rng)
    }

    /// A letter of this person's to `recipient`, the first of their 1:1.
    pub(crate) fn letter(&self, recipient: &Self, words: &str) -> Letter {
        Letter {
            message_id: MessageId::from_bytes([9; 16]),
            counter: 1,
            oldest: 1,
            confirmed: 0,
            sent_at: NOW,
            head: Head { epoch: 1, version: 1, hash: [8; 32] },
            opener: None,
            opened: None,
            reply_inbox: Some(self.inbox().inbox),
            conversation: ConversationId::between(&self.account(), &recipient.account()),
            earlier: Vec::new(),
            ordinal: 1,
            content: Content::Text(Text::plain(words)).encode().unwrap(),
        }
    }
}

pub(crate) fn epoch(number: u32, list_key: &ListKey) -> Epoch {
    Epoch { number, list_key: list_key.public(), continues: None, home: "https://relay.example".parse().unwrap() }
}

pub(crate) fn device(olm: &OlmAccount, rng: &mut ChaCha20Rng) -> Device {
    let address = InboxAddress {
        relay: "https://relay.example".parse().unwrap(),
        inbox: InboxId::from_bytes(random(rng)),
        prekey_key: PrekeyKey::generate(rng),
    };
    Device {
        id: DeviceId::from_bytes(random(rng)),
        kind: DeviceKind::Phone,
        ed25519: olm.ed25519(),
        curve25519: olm.curve25519(),
        inboxes: vec![address],
        added_at: NOW,
        replaces: None,
    }
}
