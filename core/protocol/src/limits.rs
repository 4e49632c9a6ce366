//! Every bound of the protocol, each with its reason. What a relay bounds for itself is in its own `limits.rs`.

use std::time::Duration;

/// How long a relay keeps what nobody fetched. A month: longer than a holiday, short enough that a seized relay is young.
pub const RETENTION: Duration = days(30);
/// How much longer than [`RETENTION`] repeats of a send are recognised: a sender may hold an accepted row for a week before it asks again.
pub const IDEMPOTENCY_MARGIN: Duration = days(7);
/// How far a signed request's time may be from the relay's: phones' clocks are off by seconds, broken ones by years.
pub const CLOCK_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Payload of an envelope: a long text with its padding. Larger things are attachments and travel as blobs.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Per-recipient header: an opener is 1,153 bytes.
pub const HEADER_BYTES_MAX: usize = 1_200;
/// Body of any relay call: a full batch of small payloads, or eight large ones.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Items in one send: a group of that many member inboxes in one request, and one transaction that still ends quickly.
pub const SEND_ITEMS_MAX: usize = 256;
/// Tokens in one put or drop: all contacts of most people at once.
pub const TOKENS_MAX: usize = 256;
/// Bundle blob: X-Wing key, last-resort key, two signatures, encryption, room for one more key type.
pub const BUNDLE_BYTES_MAX: usize = 4 * 1024;
/// One-time key blob: a key, its signature, encryption.
pub const ONE_TIME_BYTES_MAX: usize = 512;
/// One-time keys that an inbox may hold: twice what a device keeps there, so that a refill never has to wait.
pub const ONE_TIME_KEYS_MAX: usize = 100;
/// Entry of a chain: a manifest of sixteen devices with four inboxes each is half of it.
pub const CHAIN_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Snapshot of a chain: a roster of 1,000 members.
pub const CHAIN_SNAPSHOT_BYTES_MAX: usize = 256 * 1024;
/// Entries in one answer to a chain read.
pub const CHAIN_READ_BYTES_MAX: usize = 1024 * 1024;
/// Envelopes in one peek: what an iOS notification extension has memory for.
pub const PEEK_COUNT_MAX: u32 = 50;
/// Bytes in one peek, likewise.
pub const PEEK_BYTES_MAX: u32 = 256 * 1024;
/// Deliveries of an inbox that may be unacknowledged on a connection: hides a 300 ms round trip at 3,400 a second, as fast as a phone
/// stores them.
pub const WINDOW_COUNT: usize = 1_024;
/// Their bytes.
pub const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// A stream frame from the client: an attach or an ack, both tiny.
pub const CLIENT_FRAME_BYTES_MAX: usize = 4 * 1024;
/// A stream frame from the relay: one delivery of the largest size, or many small ones.
pub const SERVER_FRAME_BYTES_MAX: usize = 512 * 1024;
/// Inboxes on one stream: one per account on the phone, with room.
pub const ATTACHED_MAX: usize = 16;

/// Devices in a manifest.
pub const DEVICES_MAX: usize = 16;
/// Relays, hence inboxes, of a device.
pub const INBOXES_PER_DEVICE_MAX: usize = 4;
/// How long a manifest may be used for first contact; they are signed again weekly.
pub const MANIFEST_VALID: Duration = days(37);
/// How often an owner signs its manifest again.
pub const MANIFEST_RENEWED: Duration = days(7);
/// How often a contact reads a manifest again before sending.
pub const MANIFEST_READ_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How far ahead of its reader's clock a signed object may be dated: a phone set to another time zone is hours off, and a list dated
/// years ahead would be fresh for years.
pub const DATED_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a certificate holds: until the next epoch in practice; old roster operations stay verifiable for years.
pub const CERTIFICATE_VALID: Duration = days(3650);
/// How long a bundle may be used.
pub const BUNDLE_VALID: Duration = days(37);
/// How often a device replaces its KEM key, and a sender fetches a peer's again.
pub const BUNDLE_RENEWED: Duration = Duration::from_secs(48 * 3600);
/// How long a one-time key may be used: a phone in a drawer for half a year is reached by its last-resort key.
pub const ONE_TIME_KEY_VALID: Duration = days(180);

/// Letters under one confirmed opener.
pub const SEAL_LETTERS_MAX: u32 = 100;
/// Age of a confirmed opener.
pub const SEAL_AGE_MAX: Duration = Duration::from_secs(48 * 3600);
/// How far from the reader's now the time of something ephemeral may lie. Phones that hear the time from a relay are a few seconds apart; what
/// a relay holds back is shown no later than this.
pub const EPHEMERAL_WINDOW: Duration = Duration::from_secs(60);
/// Everything ephemeral has this size, padded: nobody sees by it what it says.
pub const EPHEMERAL_PADDED_BYTES: usize = 256;
/// Continuations that wait for their opener, per alias.
pub const WAITING_CONTINUATIONS_MAX: usize = 64;

/// Sequence number of a delivery: what a store holds without a sign. No relay comes near it; one that claims to is lying.
pub const SEQUENCE_MAX: u64 = (1 << 63) - 1;
/// Counter of a letter: one that comes every millisecond reaches it in a hundred million years, and every store can add to it.
pub const COUNTER_MAX: u64 = (1 << 62) - 1;

/// Ranges of counters in a resend request, or in the answer to one: what a relay lost in one night is a few. The rest is asked for later.
pub const RESEND_RANGES_MAX: usize = 64;
/// Inner hashes in a resend request, or in the answer to one: as many as wait under one alias.
pub const RESEND_HASHES_MAX: usize = WAITING_CONTINUATIONS_MAX;
/// Ciphertexts of one letter before it that a letter names: a failover, an unanswered session, a resend, and one more.
pub const EARLIER_HASHES_MAX: usize = 4;

/// Plaintext of a seal, before padding.
pub const SEALED_BYTES_MAX: usize = 120 * 1024;
/// A text message, in bytes of UTF-8: about forty pages.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Messages that one letter deletes: what somebody marks on a few screens.
pub const DELETED_MAX: usize = 64;
/// Messages that one letter says were read: what comes in a busy hour. A long absence is told by several.
pub const RECEIPTS_MAX: usize = 256;
/// Messages whose states one device of an account tells another of in one letter: as for receipts.
pub const STATES_MAX: usize = 256;
/// What is set for a conversation, a draft above all: a text, what it answers and how it looks.
pub const SETTING_BYTES_MAX: usize = 64 * 1024 + 4 * 1024;
/// A reaction, in bytes of UTF-8: the longest emoji there are take half of it.
pub const REACTION_BYTES_MAX: usize = 64;
/// What somebody says of themselves, in bytes of UTF-8.
pub const STATUS_BYTES_MAX: usize = 512;
/// A person's name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;
/// A relay address.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// Puts under one claim of an invite: the request, and sending it again daily while the owner is away.
pub const INVITE_PUTS_PER_CLAIM: u32 = 32;
/// Uses of one invite: a poster on a wall, not a city.
pub const INVITE_USES_MAX: u32 = 1_000;
/// How long an invite may hold.
pub const INVITE_VALID_MAX: Duration = days(30);

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}
