//! Where a relay keeps what it must not lose: the storage trait, and what crosses it.
//!
//! Each method is one atomic step: its answer comes once the change is on stable storage, or says that nothing was changed.
//! Whatever decides about a refusal is decided inside the step, next to the rows it reads, so that no two steps can interleave
//! between a check and its effect. Implementations: [`SqliteStore`], embedded. One for a database server would implement the same
//! trait; blobs (`BlobStore`) and push endpoints (`WakeUp`) will stand beside it as traits of their own.
//! Not here: parsing, signatures and policies (the calls in `relay.rs` and its neighbours), who is attached (`hub.rs`).

mod answer;
mod chains;
mod commit;
mod envelopes;
mod fleeting;
mod inboxes;
mod lanes;
mod ledger;
mod open;
mod prekeys;
mod reserve;
mod seen;
mod sqlite;
mod sure_time;
mod sweep;
mod tokens;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use sotto_protocol::relay::Lifetime;
use sotto_protocol::{Alias, Bytes, ChainId, ClaimId, EnvelopeId, InboxId, Timestamp, TokenHash};

pub use answer::Answer;
pub use commit::Crash;
pub(crate) use ledger::QueueBounds;
pub use open::{OpenError, Running, SqliteOptions, StatementHook, make_directory};
pub use sqlite::SqliteStore;
pub use sweep::Swept;
pub use transaction::{StepFate, StepHook};

/// An Ed25519 public key as the store keeps it.
pub type PublicKey = [u8; 32];

/// An owner's signature over what its device acknowledged. Nobody here checks it: it is kept for the owner.
pub type AckSignature = [u8; 64];

/// What a signed call proved before it reached the store; the store compares the key and spends the nonce with the effect.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Whose signature was verified.
    pub key: PublicKey,
    /// When the call was signed.
    pub time: Timestamp,
    /// Spent by the first success.
    pub nonce: [u8; 16],
}

/// Why a step changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// There is no such thing, or the caller may not: one answer for both.
    Refused,
    /// The nonce was spent before.
    Replayed,
    /// A call that was signed later has changed it already.
    Overtaken,
    /// A bound of the owner's own things is reached (tokens, one-time keys, chain length).
    Full,
    /// A chain's last entry is another one than the writer thought.
    Conflict(Head),
    /// Too many of these today.
    RateLimited {
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
    /// Not now: the disk is full, the queue is full, the database cannot be read, or the owner has not put what was asked for.
    Unavailable,
}

/// A chain's last entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// From 0.
    pub index: u64,
    /// Hash over the whole chain up to it.
    pub hash: [u8; 32],
}

/// The store's own number for an inbox; never given to another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mailbox(pub(crate) i64);

/// The keys of an inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InboxKeys {
    /// Attach, acknowledge, peek, delete.
    pub owner: PublicKey,
    /// Tokens and prekeys.
    pub manage: PublicKey,
}

/// Whether the operator's policy lets the caller create what is not there yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Creation {
    /// It may be created.
    Admitted,
    /// Only what is there already is found.
    Refused,
}

/// A token as its owner puts it.
#[derive(Clone, Copy)]
pub struct TokenGrant {
    /// All that is kept of the token itself.
    pub hash: TokenHash,
    /// What deliveries say instead of it.
    pub alias: Alias,
    /// `None`: never.
    pub expires_at: Option<Timestamp>,
    /// 0: any number, without a claim id.
    pub puts_per_claim: u32,
    /// 0: as much as one token may.
    pub queued_bytes_max: u64,
    /// 0: any number.
    pub claims_max: u32,
    /// Whether a claim gets a one-time key.
    pub one_time_keys_per_claim: u32,
}

/// What an owner changes about its prekeys.
pub struct PrekeyChange {
    /// The new bundle, if it changes.
    pub bundle: Option<Bytes>,
    /// To be pushed.
    pub one_time: Vec<Bytes>,
    /// Whether the stack is emptied first.
    pub replace_one_time: bool,
}

/// A sender asks for prekeys.
pub struct ClaimRequest {
    /// Whose.
    pub inbox: InboxId,
    /// The right to ask, hashed.
    pub token: TokenHash,
    /// The same id gets the same one-time key.
    pub claim: ClaimId,
    /// Whether the sender wants no one-time key.
    pub bundle_only: bool,
}

/// What a claim got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// The current one.
    pub bundle: Bytes,
    /// Empty when there was none for this claim.
    pub one_time: Bytes,
}

/// One envelope for one inbox.
pub struct Put {
    /// Where to.
    pub inbox: InboxId,
    /// The right to put there, hashed.
    pub token: TokenHash,
    /// The sender's name for it: a repeat is recognised by it.
    pub envelope: EnvelopeId,
    /// Per-recipient header.
    pub header: Bytes,
    /// Shared by all puts of one send that carry the same bytes.
    pub payload: Payload,
    /// How long it is kept if nobody fetches it.
    pub lifetime: Lifetime,
    /// Names whose share of the token it uses, where the token asks for it.
    pub claim: Option<ClaimId>,
    /// Whether it is kept.
    pub keep: Keep,
}

/// A payload and its place in the send.
#[derive(Clone)]
pub struct Payload {
    /// Equal within one send for equal bytes.
    pub index: u32,
    /// The bytes.
    pub bytes: Bytes,
}

/// Whether an envelope waits for its recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Until acknowledged or expired.
    Stored,
    /// For whoever is attached now; never stored.
    Ephemeral,
}

/// What became of a [`Put`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutOutcome {
    /// On stable storage, now or by an earlier send of the same id.
    Accepted,
    /// To be handed to whoever is attached, under this alias.
    Passed(Alias),
    /// No such inbox, no such token, expired, used up.
    Refused,
    /// The inbox, or the token's share of it.
    Full,
    /// Made on a day whose repeats are not remembered.
    Stale,
    /// Not now; nothing kept.
    Busy,
    /// Too much under this token; nothing kept.
    RateLimited {
        /// When there is room again.
        retry_after_ms: u64,
    },
}

/// One waiting envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Its place in the inbox.
    pub sequence: u64,
    /// The token it came by.
    pub alias: Alias,
    /// The sender's name for it.
    pub envelope: EnvelopeId,
    /// As sent.
    pub header: Bytes,
    /// As sent.
    pub payload: Bytes,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl Waiting {
    /// What it counts for in windows and quotas.
    #[must_use]
    pub fn size(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// What a look at a queue found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WaitingPage {
    /// In order.
    pub envelopes: Vec<Waiting>,
    /// Whether nothing waits after these.
    pub is_end: bool,
}

/// How much of a queue to read.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Sequence number to begin after.
    pub after: u64,
    /// Envelopes.
    pub count_max: usize,
    /// Bytes; the first envelope comes even when it alone is larger.
    pub bytes_max: usize,
}

/// What a peek saw.
pub struct Glimpse {
    /// In order.
    pub envelopes: Vec<Waiting>,
    /// How many more wait; counted up to a bound.
    pub waiting: u32,
}

/// Who may attach.
#[derive(Clone, Copy)]
pub struct Owner {
    /// The store's number.
    pub mailbox: Mailbox,
    /// Whose signature attaches.
    pub key: PublicKey,
}

/// Where an inbox stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The highest sequence number ever acknowledged.
    pub acked: u64,
    /// The owner's word for that; none when nothing was.
    pub ack_signature: Option<AckSignature>,
    /// The highest one ever given out.
    pub last: u64,
    /// How many calls have changed its tokens, prekeys and manage key.
    pub changes: u64,
}

/// What putting prekeys came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrekeysPut {
    /// One-time keys that are left to give away.
    pub one_time: u32,
    /// How many calls have changed the inbox's tokens, prekeys and manage key, this one among them.
    pub changes: u64,
}

/// What a chain holds from some index on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainSlice {
    /// The last entry.
    pub head: Head,
    /// Index of the first entry here; with a snapshot, the one it stands for.
    pub first: u64,
    /// Hash before the first entry here; empty at the beginning of the chain.
    pub previous: Bytes,
    /// Everything up to `first`, when the reader asked for what is not held singly any more.
    pub snapshot: Option<Bytes>,
    /// In order.
    pub entries: Vec<Bytes>,
}

/// A new envelope, at hand so that whoever is attached need not read it back.
pub struct Arrival {
    /// Where it waits.
    pub inbox: InboxId,
    /// What waits.
    pub envelope: Waiting,
}

/// Hears from the store after a commit, never inside one.
pub trait MailObserver: Send + Sync {
    /// These envelopes wait now, each inbox's in order.
    fn mail_arrived(&self, arrivals: Vec<Arrival>);
    /// These inboxes are no more.
    fn inboxes_deleted(&self, inboxes: &[InboxId]);
}

/// Everything the relay remembers.
pub trait MailboxStore: Send + Sync {
    /// Tells `observer` about every commit from now on; there is one observer, the first.
    fn observe(&self, observer: Arc<dyn MailObserver>);

    /// Creates an inbox, or finds it there with the same keys.
    fn create_inbox(&self, caller: Caller, inbox: InboxId, keys: InboxKeys, creation: Creation) -> Answer<()>;
    /// Deletes it with all it holds.
    fn delete_inbox(&self, caller: Caller, inbox: InboxId) -> Answer<()>;
    /// Replaces the manage key.
    fn replace_manage_key(&self, caller: Caller, inbox: InboxId, manage: PublicKey) -> Answer<u64>;
    /// Puts tokens, keeping what they have used up.
    fn put_tokens(&self, caller: Caller, inbox: InboxId, tokens: Vec<TokenGrant>) -> Answer<u64>;
    /// Drops tokens.
    fn drop_tokens(&self, caller: Caller, inbox: InboxId, hashes: Vec<TokenHash>) -> Answer<u64>;
    /// Changes prekeys; answers with the number of one-time keys there are then.
    fn put_prekeys(&self, caller: Caller, inbox: InboxId, change: PrekeyChange) -> Answer<PrekeysPut>;
    /// Takes prekeys.
    fn claim_prekey(&self, request: ClaimRequest, now: Timestamp) -> Answer<Claimed>;

    /// Appends to a chain whose last entry has the hash `previous`; an empty one creates it.
    fn append_chain(
        &self,
        caller: Caller,
        chain: ChainId,
        previous: Bytes,
        entry: Bytes,
        creation: Creation,
    ) -> Answer<Head>;
    /// Replaces everything up to the head by a snapshot.
    fn compact_chain(&self, caller: Caller, chain: ChainId, head: Bytes, snapshot: Bytes) -> Answer<Head>;
    /// Deletes a chain.
    fn delete_chain(&self, caller: Caller, chain: ChainId) -> Answer<()>;
    /// Reads a chain.
    fn read_chain(&self, chain: ChainId, from: u64) -> Answer<ChainSlice>;

    /// Puts envelopes, each with an outcome of its own.
    fn put_envelopes(&self, puts: Vec<Put>, now: Timestamp) -> Answer<Vec<PutOutcome>>;
    /// Who may attach an inbox.
    fn owner(&self, inbox: InboxId) -> Answer<Option<Owner>>;
    /// Where it stands, after every step that was asked for before this one.
    fn position(&self, mailbox: Mailbox) -> Answer<Option<Position>>;
    /// What waits.
    fn waiting(&self, mailbox: Mailbox, page: Page) -> Answer<WaitingPage>;
    /// What waits, for the holder of the owner key who is not attached.
    fn peek(&self, key: PublicKey, inbox: InboxId, page: Page) -> Answer<Glimpse>;
    /// Deletes everything up to `sequence`, for whoever has the right to acknowledge. Nobody is told when: before any position that
    /// is asked for after this returned, and soon.
    /// The signature stays with the number that it is for.
    fn acknowledge(&self, mailbox: Mailbox, sequence: u64, signature: AckSignature);

    /// Removes a bounded amount of what is due, by the time that has surely passed and not by `now`. `elapsed` is what the
    /// monotonic clock says passed since the last call that succeeded.
    fn sweep(&self, now: Timestamp, elapsed: Duration) -> Answer<Swept>;
    /// Moves everything into the main file and empties the log, so that nothing deleted stays in it.
    fn checkpoint(&self) -> Answer<()>;
}
