//! Somebody who holds an account's keys, or serves its chain, and shows a reader what an honest owner never would.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use sotto_core::world::SecretStore as _;
use sotto_crypto::certificate::{Certificate, Epoch};
use sotto_crypto::keys::{ListKey, RootKey};
use sotto_crypto::manifest::{Audience, Device, ManifestDraft, VerifiedManifest, seal_entry};
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::secret::{ChainKey, StateKey, invite_chain};
use sotto_crypto::state::{StateRow, open_state};
use sotto_protocol::invite::Invite;
use sotto_protocol::relay::{ChainEntries, ChainHead, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, ChainId, DeviceId, Message as _, Timestamp};

use crate::{Fate, Network, Person, hex};

/// An owner's keys, and the chain in which one reader looks for them.
pub struct Forger {
    root: RootKey,
    list_key: ListKey,
    known: VerifiedManifest,
    chain: ChainId,
    chain_key: ChainKey,
    rng: ChaCha20Rng,
}

impl Forger {
    /// With the keys of `owner`, for `reader`, who has no other contact.
    ///
    /// # Panics
    /// When one of the two databases does not hold what it must.
    #[must_use]
    pub fn new(owner: &Person, reader: &Person) -> Self {
        let secret = |name| owner.secrets.get(name).expect("the keystore answers").expect("an owner has it");
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("32 bytes");
        let one = |person: &Person, sql: &str| person.database().blobs(sql).pop().expect("a row");
        let root = RootKey::from_bytes(&array(&secret("root")));
        let state_key = StateKey::of_database(&array(&secret("database")));
        let sealed = one(owner, "SELECT list_key_sealed FROM account");
        let row = StateRow { table: "account.list_key", id: b"1", version: 1 };
        let list_key = open_state(&sealed, &state_key, &row).expect("the owner's list key opens");
        let known = VerifiedManifest::reload(&root.account(), one(reader, "SELECT manifest FROM contact").into());
        Self {
            known: known.expect("the reader knows a manifest"),
            chain: ChainId::from_bytes(array(&one(reader, "SELECT chain FROM contact"))),
            chain_key: ChainKey::from_bytes(array(&one(reader, "SELECT chain_key FROM contact"))),
            root,
            list_key,
            rng: ChaCha20Rng::seed_from_u64(1),
        }
    }

    /// In the chain of an invite instead.
    ///
    /// # Panics
    /// When the link is none.
    #[must_use]
    pub fn of_invite(self, link: &str) -> Self {
        let invite: Invite = link.parse().unwrap_or_else(|_| unreachable!("a test's link is whole"));
        let (chain, chain_key) = invite_chain(&invite.secret);
        Self { chain, chain_key, ..self }
    }

    /// In the account's own chain instead, as one of its devices knows it.
    ///
    /// # Panics
    /// When that device has no others beside it.
    #[must_use]
    pub fn of_own_list(self, device: &Person) -> Self {
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("32 bytes");
        let one = |sql: &str| device.database().blobs(sql).pop().expect("a row");
        let known =
            VerifiedManifest::reload(&self.root.account(), one("SELECT manifest FROM contact WHERE id = 0").into());
        Self {
            known: known.expect("the device knows a list"),
            chain: ChainId::from_bytes(array(&one("SELECT chain FROM contact WHERE id = 0"))),
            chain_key: ChainKey::from_bytes(array(&one("SELECT chain_key FROM contact WHERE id = 0"))),
            ..self
        }
    }

    /// A device in the place of the owner's, by the word of the owner's device: with everything that stands in its database.
    ///
    /// # Panics
    /// When its database does not hold what it must.
    pub fn succeed(&self, owner: &Person, device: &mut Device) {
        let key = owner.secrets.get("database").expect("the keystore answers").expect("an owner has it");
        let state_key = StateKey::of_database(&<[u8; 32]>::try_from(&key[..]).expect("32 bytes"));
        let sealed = owner.database().blobs("SELECT olm_sealed FROM account").pop().expect("a row");
        let row = StateRow { table: "account.olm", id: b"1", version: 1 };
        let olm: OlmAccount = open_state(&sealed, &state_key, &row).expect("the owner's Olm account opens");
        let id = owner.database().blobs("SELECT device FROM account").pop().expect("a row");
        let predecessor = DeviceId::try_from(&id[..]).expect("an id");
        device.succeed(&self.root.account(), predecessor, &olm);
    }

    /// What the reader knows.
    #[must_use]
    pub const fn known(&self) -> &VerifiedManifest {
        &self.known
    }

    /// A manifest of the account's own list key, so many versions after the known one.
    ///
    /// # Panics
    /// When it breaks a rule of its own.
    #[must_use]
    pub fn manifest(&self, versions_on: u32, previous: Option<[u8; 32]>, now: Timestamp) -> VerifiedManifest {
        self.sign(self.known.certificate(), &self.list_key, self.known.head().version + versions_on, previous, now)
    }

    /// The next manifest, by a second list key that the root key has certified for the same epoch.
    #[must_use]
    pub fn manifest_of_a_second_certificate(&mut self, now: Timestamp) -> VerifiedManifest {
        let list_key = ListKey::generate(&mut self.rng);
        let of = self.known.certificate().epoch();
        let epoch = Epoch { number: of.number, list_key: list_key.public(), continues: None, home: of.home.clone() };
        let certificate = Certificate::issue(&self.root, epoch, now);
        self.sign(&certificate, &list_key, self.known.head().version + 1, Some(self.known.head().hash), now)
    }

    /// The first manifest of a later epoch, which the root key has certified.
    pub fn manifest_of_a_later_epoch(&mut self, epochs_on: u32, now: Timestamp) -> VerifiedManifest {
        let devices = self.known.devices().to_vec();
        self.manifest_of_a_later_epoch_with(epochs_on, &devices, now)
    }

    /// Likewise, with other devices.
    pub fn manifest_of_a_later_epoch_with(
        &mut self,
        epochs_on: u32,
        devices: &[Device],
        now: Timestamp,
    ) -> VerifiedManifest {
        let list_key = ListKey::generate(&mut self.rng);
        let of = self.known.certificate().epoch();
        let number = of.number + epochs_on;
        let epoch = Epoch { number, list_key: list_key.public(), continues: None, home: of.home.clone() };
        let certificate = Certificate::issue(&self.root, epoch, now);
        self.sign_devices(&certificate, &list_key, 1, None, now, devices)
    }

    /// The next manifest with other devices.
    #[must_use]
    pub fn manifest_with_devices(&self, devices: &[Device], now: Timestamp) -> VerifiedManifest {
        let head = self.known.head();
        self.sign_devices(self.known.certificate(), &self.list_key, head.version + 1, Some(head.hash), now, devices)
    }

    /// The manifest behind that one, with other devices.
    ///
    /// # Panics
    /// When it breaks a rule of its own.
    #[must_use]
    pub fn manifest_behind(&self, last: &VerifiedManifest, devices: &[Device], now: Timestamp) -> VerifiedManifest {
        let head = last.head();
        self.sign_devices(self.known.certificate(), &self.list_key, head.version + 1, Some(head.hash), now, devices)
    }

    fn sign(
        &self,
        certificate: &Certificate,
        list_key: &ListKey,
        version: u32,
        previous: Option<[u8; 32]>,
        now: Timestamp,
    ) -> VerifiedManifest {
        self.sign_devices(certificate, list_key, version, previous, now, self.known.devices())
    }

    fn sign_devices(
        &self,
        certificate: &Certificate,
        list_key: &ListKey,
        version: u32,
        previous: Option<[u8; 32]>,
        now: Timestamp,
        devices: &[Device],
    ) -> VerifiedManifest {
        let draft = ManifestDraft { certificate, version, previous, devices, audience: Audience::Others };
        draft.sign(list_key, now).expect("a manifest that breaks no rule of its own")
    }

    /// From now on the chain answers with these, whatever it is asked for.
    pub fn serve(&mut self, network: &Network, manifests: &[&VerifiedManifest]) {
        let (chain, key, rng) = (&self.chain, &self.chain_key, &mut self.rng);
        let entries = manifests.iter().map(|manifest| seal_entry(manifest, chain, key, rng).into()).collect();
        self.serve_entries(network, entries);
    }

    /// From now on the chain holds these in place of all that was there: who has read it before gets those behind the first.
    pub fn serve_instead(&mut self, network: &Network, manifests: &[&VerifiedManifest]) {
        let (chain, key, rng) = (&self.chain, &self.chain_key, &mut self.rng);
        let entries: Vec<Bytes> =
            manifests.iter().map(|manifest| seal_entry(manifest, chain, key, rng).into()).collect();
        self.serve_by(network, move |from| {
            let entries = entries.iter().skip(usize::from(from > 0)).cloned().collect();
            ChainEntries { first: from, entries, ..Default::default() }
        });
    }

    /// From now on the chain holds that one, as the snapshot of all that was there.
    pub fn serve_snapshot(&mut self, network: &Network, manifest: &VerifiedManifest) {
        let snapshot: Bytes = seal_entry(manifest, &self.chain, &self.chain_key, &mut self.rng).into();
        self.serve_by(network, move |from| {
            let snapshot = if from == 0 { snapshot.clone() } else { Bytes::new() };
            ChainEntries { first: from, snapshot, ..Default::default() }
        });
    }

    fn serve_by(&self, network: &Network, answer: impl Fn(u64) -> ChainEntries + Send + 'static) {
        let chain = self.chain;
        network.meddle(Some(Box::new(move |call| {
            let read = ChainRead::decode(call.body.clone()).unwrap_or_default();
            if call.path != path::CHAIN_READ || *read.chain != *chain.as_bytes() {
                return Fate::Passes;
            }
            let answer = answer(read.from);
            let index = (answer.first + answer.entries.len() as u64).saturating_sub(1);
            let head = Some(ChainHead { index, hash: Bytes::from_static(&[0; 32]) });
            Fate::Answered(ChainEntries { head, ..answer }.encode_to_vec().into())
        })));
    }

    /// Likewise, with entries of any kind.
    pub fn serve_entries(&self, network: &Network, entries: Vec<Bytes>) {
        let chain = self.chain;
        network.meddle(Some(Box::new(move |call| {
            let read = ChainRead::decode(call.body.clone()).unwrap_or_default();
            if call.path != path::CHAIN_READ || *read.chain != *chain.as_bytes() {
                return Fate::Passes;
            }
            let last = (read.from + entries.len() as u64).saturating_sub(1);
            let head = Some(ChainHead { index: last, hash: Bytes::from_static(&[0; 32]) });
            let answer = ChainEntries { head, first: read.from, entries: entries.clone(), ..Default::default() };
            Fate::Answered(answer.encode_to_vec().into())
        })));
    }
}

impl Person {
    /// The requests of this person's device come with another manifest than the one that it wrote.
    pub fn hand_in(&self, manifest: &VerifiedManifest) {
        let manifest = hex(manifest.bytes());
        self.database().change(&format!("UPDATE own_chain SET manifest = x'{manifest}' WHERE audience = 1"));
    }
}
