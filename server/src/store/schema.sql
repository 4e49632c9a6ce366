-- Everything a relay knows. A test compares the columns with its own list: a new one is a decision about people's privacy.
--
-- Times are milliseconds since the Unix epoch. Beside these there is one table `seen_<day>` per day (see seen.rs).
-- AUTOINCREMENT where a number must never be given out twice.

CREATE TABLE relay (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    seen_day_min  INTEGER NOT NULL, -- envelopes of earlier days are stale for ever, whatever the clock says later
    chain_bytes   INTEGER NOT NULL, -- what all chains hold together
    sure_at       INTEGER NOT NULL, -- the time that has surely passed (see sure_time.rs)
    clock_lead    INTEGER,          -- the smallest lead of the wall clock over it since it was last believed
    clock_watched INTEGER NOT NULL  -- how long that was watched, in milliseconds
) STRICT;
INSERT INTO relay VALUES (1, 0, 0, 0, NULL, 0);

CREATE TABLE inbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           BLOB    NOT NULL UNIQUE,
    owner_key      BLOB    NOT NULL,
    manage_key     BLOB    NOT NULL,
    sequence       INTEGER NOT NULL DEFAULT 0, -- the last one given out
    acked          INTEGER NOT NULL DEFAULT 0,
    ack_signature  BLOB,                       -- the owner's, of that number
    queued_count   INTEGER NOT NULL DEFAULT 0,
    queued_bytes   INTEGER NOT NULL DEFAULT 0,
    full           INTEGER NOT NULL DEFAULT 0,
    token_count    INTEGER NOT NULL DEFAULT 0,
    claim_day      INTEGER NOT NULL DEFAULT 0, -- the day of the two counts after it
    claim_count    INTEGER NOT NULL DEFAULT 0,
    one_time_count INTEGER NOT NULL DEFAULT 0,
    changes        INTEGER NOT NULL DEFAULT 0  -- calls that changed tokens, prekeys or the manage key: the owner knows by it what was forgotten
) STRICT;

CREATE TABLE token (
    id                      INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox                   INTEGER NOT NULL,
    hash                    BLOB    NOT NULL,
    alias                   INTEGER NOT NULL,
    expires_at              INTEGER NOT NULL, -- 0: never
    puts_per_claim          INTEGER NOT NULL,
    queued_bytes_max        INTEGER NOT NULL,
    claims_max              INTEGER NOT NULL,
    one_time_keys_per_claim INTEGER NOT NULL,
    claims_used             INTEGER NOT NULL DEFAULT 0,
    claim_day               INTEGER NOT NULL DEFAULT 0,
    claim_count             INTEGER NOT NULL DEFAULT 0,
    queued_count            INTEGER NOT NULL DEFAULT 0,
    queued_bytes            INTEGER NOT NULL DEFAULT 0,
    full                    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (inbox, hash)
) STRICT;
CREATE INDEX token_by_expiry ON token (expires_at) WHERE expires_at > 0;

CREATE TABLE claim (
    id          INTEGER PRIMARY KEY,
    token       INTEGER NOT NULL,
    name        BLOB    NOT NULL,
    puts        INTEGER NOT NULL DEFAULT 0,
    answered_at INTEGER NOT NULL DEFAULT 0, -- when it was asked first; 0: bound by a put, or the answer is forgotten
    one_time    BLOB,                       -- that it got, if any
    UNIQUE (token, name)
) STRICT;
CREATE INDEX claim_by_answer ON claim (answered_at) WHERE answered_at > 0;

CREATE TABLE bundle (
    inbox INTEGER PRIMARY KEY,
    body  BLOB NOT NULL
) STRICT;

CREATE TABLE one_time (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox      INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    handed_out INTEGER NOT NULL DEFAULT 0 -- kept until a put does not name it: one that is made again does not bring it back
) STRICT;
CREATE INDEX one_time_by_inbox ON one_time (inbox, handed_out);

-- Appended by row number with an index on the queue's order: clustering by inbox would cost six times as much.
CREATE TABLE envelope (
    id          INTEGER PRIMARY KEY,
    inbox       INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    token       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    shared      INTEGER,          -- the payload stands in shared_payload
    alias       INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    name        BLOB    NOT NULL,
    header      BLOB    NOT NULL,
    payload     BLOB
) STRICT;
CREATE UNIQUE INDEX envelope_by_order ON envelope (inbox, sequence);
CREATE INDEX envelope_by_expiry ON envelope (expires_at);

-- A payload that several items of one send carried. Equal bytes could be matched anyway; storing them once tells nobody more.
CREATE TABLE shared_payload (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    holders INTEGER NOT NULL,
    body    BLOB    NOT NULL
) STRICT;

CREATE TABLE chain (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           BLOB    NOT NULL UNIQUE,
    write_key      BLOB    NOT NULL,
    head_index     INTEGER NOT NULL,
    head_hash      BLOB    NOT NULL,
    entry_bytes    INTEGER NOT NULL, -- of what is held singly
    snapshot_index INTEGER,
    snapshot_hash  BLOB,
    snapshot       BLOB
) STRICT;

CREATE TABLE chain_entry (
    id       INTEGER PRIMARY KEY,
    chain    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB    NOT NULL, -- of the chain up to and with this entry
    body     BLOB    NOT NULL,
    UNIQUE (chain, position)
) STRICT;

-- Nonces of signed calls that had an effect, for as long as their time would still be accepted.
CREATE TABLE nonce (
    time  INTEGER NOT NULL,
    nonce BLOB    NOT NULL,
    PRIMARY KEY (time, nonce)
) STRICT, WITHOUT ROWID;

-- When the call was signed that last changed an inbox's tokens, prekeys or manage key, for as long as one signed earlier would be accepted.
CREATE TABLE managed (
    inbox INTEGER PRIMARY KEY,
    time  INTEGER NOT NULL
) STRICT;
CREATE INDEX managed_by_time ON managed (time);

-- Hashes of the ids of deleted inboxes and chains, which are never given away again.
CREATE TABLE retired (
    hash BLOB NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Inboxes and chains that were deleted; what they held is removed in bounded steps.
CREATE TABLE leaving (
    id    INTEGER PRIMARY KEY,
    inbox INTEGER,
    chain INTEGER
) STRICT;
