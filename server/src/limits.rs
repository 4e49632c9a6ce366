//! Every bound that this relay sets for itself, each with its reason. What both ends must agree on is in `sotto_protocol::limits`.

use std::time::Duration;

use crate::store::QueueBounds;

/// Envelopes in one group commit: a sync costs the same for one as for this many, and more would make the last caller wait for
/// too many others.
pub const BATCH_WEIGHT_MAX: usize = 256;
/// How long a writer that has company waits for more: less than a sync on most disks.
pub const BATCH_WAIT: Duration = Duration::from_millis(2);
/// How long acknowledgements wait for a batch to travel with. A kill within this time delivers again what the device has already,
/// which it knows how to drop.
pub const ACKNOWLEDGE_WAIT: Duration = Duration::from_millis(50);
/// Steps that may wait for the writer; what is over is told to come back. A second of work.
pub const WRITER_QUEUE_MAX: usize = 4_096;
/// Bytes that may wait for the writer, also of callers who went away: half a second of a disk that is not fast.
pub const WRITER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Reads that may wait for a reader: about one per connection that has news at the same time.
pub const READER_QUEUE_MAX: usize = 16_384;
/// Threads that read: with two cores, one more than the writer leaves free while it syncs.
pub const READERS: usize = 2;
/// Writing statements between two moves of the log into the main file: a log of about 64 MiB, read back in a blink after a kill,
/// in which a page that changed often is moved once.
pub const CHECKPOINT_STEPS: u64 = 32_000;
/// Bytes from which on no further step joins a batch: with the largest step after it, what one commit adds to the log stays well below
/// the smallest reserve. A sync takes as long as writing this much.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Kept free on the disk for deleting and for moving the log, unless an operator says otherwise: the log is emptied at a quarter of
/// it, the largest commit that deletes (a sweep of the largest envelopes) takes half of it.
pub const RESERVE_BYTES: u64 = 128 * 1024 * 1024;
/// The same with `--dev`, on a developer's own disk.
pub const RESERVE_BYTES_DEVELOPMENT: u64 = 16 * 1024 * 1024;
/// The least that is worth keeping: the longest log that goes with it and one more commit fit in.
pub const RESERVE_BYTES_MIN: u64 = 3 * 1024 * 1024;
/// Which part of what is free the reserve takes at most, as far as that is not less than the least.
pub const RESERVE_PART_OF_DISK: u64 = 4;
/// Which part of the reserve the log may become long before it is emptied.
pub const LOG_PART_OF_RESERVE: u64 = 4;
/// Room in the main file without which nothing is put: indexes, tables of a new day and half-filled pages.
pub const GROWTH_SLACK_BYTES: u64 = 256 * 1024;
/// Inboxes and tokens whose rows are held in memory: 8 MiB.
pub const LEDGER_ROWS_MAX: usize = 32_768;
/// Pages that SQLite holds in memory for the writer, in KiB: the current day's table of seen envelopes of a busy relay.
pub const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// The same for each reader: what was just written is read right away.
pub const READER_CACHE_KIB: u32 = 8 * 1024;

/// A payload that several items of a send carry is stored once from this size on: below it a row of its own costs as much.
pub const SHARED_PAYLOAD_BYTES_MIN: usize = 512;
/// How far a peek counts what it does not return: a badge that says "many".
pub const PEEK_WAITING_MAX: u32 = 10_000;

/// Tokens of one inbox: contacts and groups, several times what people have.
pub const TOKENS_PER_INBOX_MAX: u32 = 10_000;
/// Claims under one token a day: a contact renews a KEM key every other day, on several devices; an invite on a poster is read by
/// many.
pub const CLAIMS_PER_TOKEN_A_DAY: u32 = 200;
/// Claims at one inbox a day: thousands of contacts that look every other day.
pub const CLAIMS_PER_INBOX_A_DAY: u32 = 5_000;
/// One-time keys that one inbox gives away a day: the stack, twice. Later claims of that day get the bundle alone, so that nobody
/// can empty a stack faster than its owner fills it.
pub const ONE_TIME_KEYS_PER_INBOX_A_DAY: u32 = 200;
/// How long a claim is given the same one-time key again: as long as an envelope that was made with it may wait.
pub const CLAIM_REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an expired token is remembered, so that putting it again does not renew what it has used up.
pub const TOKEN_REMEMBERED: Duration = Duration::from_secs(37 * 24 * 3600);
/// Entries of a chain that are held singly: of a list of eight kilobytes, which is the largest account's, weekly ones of ten years; of most
/// people's, more than anybody's life. Nobody compacts meanwhile, but who goes on behind a head that a relay has fallen back to.
pub const CHAIN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How long the relay must have run with a wall clock that is ahead before it believes it: longer than it takes anybody to notice
/// a clock that is wrong, or a time server to correct it. What would be due meanwhile is kept that much longer.
pub const CLOCK_AGREEMENT: Duration = Duration::from_secs(24 * 3600);
/// Envelopes that one sweep removes: a millisecond or two of the writer.
pub const SWEEP_ENVELOPES: u32 = 500;
/// The same on a full disk: a log of a megabyte at most.
pub const SWEEP_ENVELOPES_FULL: u32 = 8;
/// Small rows that one sweep removes of each kind.
pub const SWEEP_ROWS: u32 = 1_000;

/// Nonces of one key's peeks that are remembered: the only signed call that writes nothing. Over it the oldest go, and with them
/// that key's right to sign that far in the past. A device peeks once per wake-up.
pub const PEEK_NONCES_PER_KEY_MAX: usize = 256;
/// What a key keeps of them once all keys together have too many.
pub const PEEK_NONCES_PER_KEY_LEAST: usize = 16;
/// Of all keys: 5 MiB. Only who owns an inbox gets in here; it takes thousands of them, all peeking, to fill it.
pub const PEEK_NONCES_MAX: usize = 65_536;
/// Fields of one body, counted before any of them is read: two bytes on the wire are a hundred in memory. The largest call has a
/// payload and an item each, 256 times.
pub const BODY_FIELDS_MAX: usize = 600;
/// Bytes of ephemeral puts under one token a minute: a live drawing at thirty small frames a second.
pub const EPHEMERAL_BYTES_A_MINUTE: u64 = 2 * 1024 * 1024;
/// When a sender that was told *full* should ask again: the longest step of its back-off.
pub const RETRY_FULL_MS: u64 = 60_000;
/// When a caller that was told *not now* should ask again.
pub const RETRY_BUSY_MS: u64 = 2_000;

/// Deliveries in one stream frame.
pub const FRAME_COUNT_MAX: usize = 64;
/// Their bytes: one frame of the largest size stays below the protocol's bound with room for the fields around it.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Ephemeral deliveries that wait for one connection; what is over is dropped, as everything ephemeral may be.
pub const EPHEMERAL_COUNT_MAX: usize = 64;
/// New envelopes that are held in memory for one connection; what is over is read from the store.
pub const FRESH_COUNT_MAX: usize = 64;
/// Bytes of either.
pub const MAILBAG_BYTES_MAX: usize = 256 * 1024;

/// Attempts to attach on one connection: each costs a signature check, and honest devices need one per inbox and change of mind.
pub const ATTACH_ATTEMPTS_MAX: usize = 256;

/// What the store enforces per inbox.
#[derive(Clone, Debug)]
pub struct StoreBounds {
    /// Envelopes that may wait in one inbox: a month of a busy group.
    pub inbox_count_max: u64,
    /// Their bytes.
    pub inbox_bytes_max: u64,
    /// What all chains hold together: whoever may create one could fill the disk otherwise.
    pub chains_bytes_max: u64,
    /// How long what nobody fetched is kept.
    pub retention: Duration,
}

impl Default for StoreBounds {
    fn default() -> Self {
        Self {
            inbox_count_max: 100_000,
            inbox_bytes_max: 256 * 1024 * 1024,
            // Manifests of half a million people.
            chains_bytes_max: 8 * 1024 * 1024 * 1024,
            retention: sotto_protocol::limits::RETENTION,
        }
    }
}

impl StoreBounds {
    pub(crate) const fn queue(&self) -> QueueBounds {
        QueueBounds { count_max: self.inbox_count_max, bytes_max: self.inbox_bytes_max }
    }
}

/// What the shell enforces per connection. An operator changes the first two, tests change the times.
#[derive(Clone, Debug)]
pub struct ShellLimits {
    /// Open connections: at 16 KiB each, a quarter of a gibibyte.
    pub connections_max: usize,
    /// Open connections from one IPv4 address or IPv6 /64, besides streams with an inbox attached: what a thousand phones behind one
    /// carrier's address have open when each of them sends now and then. An IPv6 /48 gets four times that. 0: any number, for a relay
    /// behind a proxy.
    pub connections_per_address_max: usize,
    /// TLS handshakes that are computed at the same time: half the cores, so that a flood of them leaves the others to everybody
    /// who is connected.
    pub handshakes_max: usize,
    /// Of one address's handshakes, how many may be in the queue: what it may hold up the others by.
    pub handshakes_per_address_max: usize,
    /// A handshake takes two round trips; on the worst mobile link a few seconds.
    pub handshake_timeout: Duration,
    /// Headers are one packet.
    pub header_timeout: Duration,
    /// A megabyte at 300 kbit/s.
    pub body_timeout: Duration,
    /// How long an answer may take to be taken: a megabyte at 150 kbit/s. Then the connection is closed; a peer may read on and open
    /// no window, which `write_timeout` does not see.
    pub answer_timeout: Duration,
    /// Bytes of bodies and answers in memory, of all calls: a quarter of the smallest server that is worth renting.
    pub load_bytes_max: usize,
    /// Of one address's calls, so that it takes no more than an eighth from the others; the same as the whole for a relay behind a
    /// proxy. An IPv6 /48 gets twice that.
    pub load_bytes_per_address_max: usize,
    /// How long a call may wait for its peer before it makes room for another when memory is full: as long as one that is refused
    /// for want of room is told to stay away, so that it finds some then.
    pub load_patience: Duration,
    /// How long a connection may carry nothing before it is closed. A client that comes back later connects again, which also
    /// keeps its calls apart.
    pub idle_timeout: Duration,
    /// How long a peer may take nothing of what is written to it: a slow reader is shed, its mail waits in the store.
    pub write_timeout: Duration,
    /// How long a stream may stay without an attached inbox.
    pub attach_timeout: Duration,
    /// Between pings on a stream: longer than four minutes, because every one wakes a phone's radio.
    pub ping_interval: Duration,
    /// How long running calls and streams may take to end when the relay stops.
    pub drain_timeout: Duration,
}

impl Default for ShellLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_address_max: 256,
            handshakes_max: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            handshakes_per_address_max: 4,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(60),
            load_bytes_max: 256 * 1024 * 1024,
            load_bytes_per_address_max: 32 * 1024 * 1024,
            load_patience: Duration::from_millis(RETRY_BUSY_MS),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            attach_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(270),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// How many streams with an inbox attached an address may have for each connection of the other kind: with the default a thousand phones,
/// a sixteenth of all places. Each of them holds an inbox, which an operator may ask something for. Thirteen addresses at both bounds fill
/// a relay: whoever is attacked so lowers the one that the configuration has.
pub const ATTACHED_PER_CONNECTION: usize = 4;
/// Calls below this, answer included, count as small: letters and what keeps an inbox going.
pub const SMALL_CALL_BYTES_MAX: usize = 64 * 1024;
/// Which part of `load_bytes_max` they have for themselves: with a quarter, a thousand of them come in at once however full the rest is.
pub const SMALL_CALLS_PART: usize = 4;
/// All headers of a request: ours are a few hundred bytes.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Header lines: ours are about ten.
pub const HEADERS_COUNT_MAX: usize = 32;
/// Calls in flight on one HTTP/2 connection: a sender needs one per batch.
pub const H2_STREAMS_MAX: u32 = 32;
/// Streams that a peer opened and reset before they were accepted: the rapid-reset attack lives on a large number here.
pub const H2_PENDING_RESETS_MAX: usize = 20;
/// Streams that this side reset because of the peer's errors, likewise.
pub const H2_ERROR_RESETS_MAX: usize = 64;
/// Flow-control window of one HTTP/2 call: a full body without waiting.
pub const H2_STREAM_WINDOW: u32 = 1024 * 1024;
/// Flow-control window of an HTTP/2 connection: what one peer may have sent that no call has read yet.
pub const H2_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Pieces that an answer leaves in: what a call may leave behind in the connection's buffers once it no longer counts.
pub const ANSWER_PIECE_BYTES: usize = 16 * 1024;
/// What HTTP/2 may buffer per call on the way out.
pub const H2_SEND_BUFFER: usize = 256 * 1024;
/// Read buffer of a WebSocket: client frames are tiny, and the library's default of 128 KiB would be paid by every idle phone.
pub const WEBSOCKET_READ_BUFFER: usize = 1024;
/// Write buffer of a WebSocket: frames are flushed one by one.
pub const WEBSOCKET_WRITE_BUFFER: usize = 4 * 1024;
/// Connections that the kernel holds for us while all are being accepted.
pub const ACCEPT_QUEUE: u32 = 1_024;
/// Between sweeps: lifetimes are hours, and each sweep stores the time, which is a sync.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Between moves of the whole log into the main file: how long deleted bytes may stay in the log.
pub const LOG_EMPTIED_INTERVAL: Duration = Duration::from_secs(300);
