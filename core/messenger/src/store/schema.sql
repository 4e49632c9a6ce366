-- Schema 1. One database per account and device; everything that must agree changes in one transaction.
-- Times are milliseconds since the epoch. Columns named *_sealed hold state rows: encrypted once more, bound to table and row.

-- Single values: generation; is_copy, is_replaced: what this database was found to be; home_away_since: when a copy first asked the relay of
-- the account's list in vain; born_with: the batch of calls that makes the device
-- known that it became; ordinals_from: behind which the ordinals of what is said here begin, since it became another;
-- copied_after: the newest message when a copy was first opened; lists_have_moved: contacts' lists do not stand where they first did;
-- search_moved: how far behind the id of its time a row of the search index may stand, where that is further than usual.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- ---- who we are ---------------------------------------------------------------------------------------------------------------

CREATE TABLE account (
    id                    INTEGER PRIMARY KEY CHECK (id = 1),
    account               BLOB NOT NULL,
    name                  TEXT NOT NULL,
    list_key_sealed       BLOB NOT NULL,
    certificate           BLOB NOT NULL,
    certificate_signature BLOB NOT NULL,
    epoch                 INTEGER NOT NULL,
    version               INTEGER NOT NULL,   -- of the newest manifest
    issued_at             INTEGER NOT NULL,   -- when that one was signed
    device                BLOB NOT NULL,      -- this device
    olm_sealed            BLOB NOT NULL       -- its Olm account
) STRICT;

-- Every device of the account, this one too.
CREATE TABLE own_device (
    id         INTEGER PRIMARY KEY,
    device     BLOB NOT NULL UNIQUE,
    kind       INTEGER NOT NULL,
    ed25519    BLOB NOT NULL,
    curve25519 BLOB NOT NULL,
    added_at   INTEGER NOT NULL,
    replaces   BLOB,                          -- the device in whose place it came
    replaces_signature BLOB                   -- that one's word
) STRICT;

CREATE TABLE own_inbox (
    id                INTEGER PRIMARY KEY,
    own_device        INTEGER NOT NULL REFERENCES own_device (id),
    position          INTEGER NOT NULL,       -- order of preference
    relay             TEXT NOT NULL,
    inbox             BLOB NOT NULL UNIQUE,
    prekey_key        BLOB NOT NULL,
    owner_key_sealed  BLOB,                   -- of this device's inboxes only
    manage_key_sealed BLOB NOT NULL,
    relay_code        TEXT NOT NULL DEFAULT '', -- what the relay's operator wants to see before something is made there
    leaving_at        INTEGER,                 -- when it was taken off the list: it is still read; null: it is on it
    cursor            INTEGER NOT NULL DEFAULT 0,  -- highest sequence number ever dealt with: nothing above it was acknowledged
    drained_at        INTEGER NOT NULL DEFAULT 0,  -- when the relay last said that nothing more waits
    one_time_unused   INTEGER NOT NULL DEFAULT 0,  -- one-time keys at the relay, as it last said, less those used since
    one_time_made_at  INTEGER NOT NULL DEFAULT 0,  -- when the newest stack of one-time keys was made for it
    told_again_at     INTEGER NOT NULL DEFAULT 0,  -- when the relay, which had forgotten something, was last told everything again
    told_again_batch  INTEGER NOT NULL DEFAULT 0,  -- the batch of calls that did so
    remembered        INTEGER NOT NULL DEFAULT 0,  -- what its relay has been known to remember of our acknowledgements since then
    changes           INTEGER NOT NULL DEFAULT 0   -- how many calls of ours that changed what it knows of the inbox it is known to remember; 2^63 - 1: it is to be told again
) STRICT;

-- Inboxes that nobody will read: of the device that this database was before, and those that were drawn for the one that it is now and did not
-- become its own, which a relay may have made. Deleted at their relays once the list names the device that it is now.
CREATE TABLE former_inbox (
    inbox            BLOB PRIMARY KEY,
    relay            TEXT NOT NULL,
    owner_key_sealed BLOB NOT NULL,
    ends_at          INTEGER NOT NULL         -- when its relay is given up
) STRICT, WITHOUT ROWID;

-- Relays of that device that could not be asked for an inbox yet, or have made one and took nothing for it.
CREATE TABLE relay_to_join (
    relay      TEXT PRIMARY KEY,
    relay_code TEXT NOT NULL,
    tried_at   INTEGER NOT NULL DEFAULT 0,
    tries      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The devices in whose place this one has come, one behind the other.
CREATE TABLE predecessor (
    device      BLOB PRIMARY KEY,
    ends_at     INTEGER NOT NULL,             -- when nobody holds anything for it any more
    last_device INTEGER NOT NULL              -- the newest peer_device.id of which it was noted what to ask for
) STRICT, WITHOUT ROWID;

CREATE TABLE kem_key (
    key_id         BLOB PRIMARY KEY,
    private_sealed BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    retired_at     INTEGER,                   -- when a newer one was made for its inbox
    inbox          BLOB NOT NULL,             -- of ours, at whose relay its bundle is
    replaced_at    INTEGER                    -- when that relay had taken the newer one
) STRICT, WITHOUT ROWID;

-- A manifest chain that we write: one per audience.
CREATE TABLE own_chain (
    id               INTEGER PRIMARY KEY,
    audience         INTEGER NOT NULL,        -- 0 own devices, 1 contacts, 2 one invite, 3 nobody: to be deleted,
                                              -- 4 contacts, 5 own devices, who have not all been led to another chain
    relay            TEXT NOT NULL,
    chain            BLOB NOT NULL UNIQUE,
    chain_key        BLOB NOT NULL,
    write_key_sealed BLOB NOT NULL,
    epoch            INTEGER NOT NULL,        -- head: the last manifest written
    version          INTEGER NOT NULL,
    hash             BLOB NOT NULL,
    entry_hash       BLOB NOT NULL,           -- hash of the last entry, for compare-and-append
    manifest         BLOB NOT NULL,           -- the SignedManifest in it
    told             BLOB,                    -- where other devices write too: the last one known to stand there, until this one is; else null
    stood_epoch      INTEGER NOT NULL DEFAULT 0, -- head: the last manifest that its relay is known to have taken
    stood_version    INTEGER NOT NULL DEFAULT 0,
    signed           BLOB NOT NULL DEFAULT x'',  -- hashes of the last 64 that this device has signed, one behind the other
    last_epoch       INTEGER,                 -- of 4 and 5, which a removed device can read: told of the first list of that epoch, and of none behind it
    ends_at          INTEGER                  -- of 4 and 5: when nobody is waited for any longer; of 3: when its relay is not either
) STRICT;

CREATE TABLE invite (
    id          INTEGER PRIMARY KEY,
    secret      BLOB NOT NULL,
    own_chain   INTEGER NOT NULL REFERENCES own_chain (id),
    uses        INTEGER NOT NULL,             -- how many it was made for
    uses_left   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    auto_accept INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- Invites of others that are being joined: a claim id is written down before a relay hears it.
CREATE TABLE joining (
    chain      BLOB PRIMARY KEY,              -- the invite's
    claim      BLOB NOT NULL,
    refused    BLOB,                          -- the claim id before it, whose prekeys were refused
    is_spent   INTEGER NOT NULL DEFAULT 0,    -- the device before had them too: their one-time keys may be used
    expires_at INTEGER NOT NULL               -- the invite's end
) STRICT, WITHOUT ROWID;

-- What an alias on one of our inboxes stands for.
CREATE TABLE alias (
    own_inbox  INTEGER NOT NULL REFERENCES own_inbox (id),
    alias      INTEGER NOT NULL,
    purpose    INTEGER NOT NULL,              -- 1 pair, 2 reply, 3 invite
    contact    INTEGER REFERENCES contact (id),
    invite     INTEGER REFERENCES invite (id),
    token_hash BLOB NOT NULL,
    batch      INTEGER NOT NULL,              -- what was put together is one pair's, one invite's, or one request's; later ones are higher
    answered   INTEGER NOT NULL DEFAULT 0,    -- of a request that was answered, or that one behind it was
    dropped    INTEGER NOT NULL DEFAULT 0,    -- its token is over for good: of a meeting before, or of somebody removed
    over_at    INTEGER,                       -- when nothing can be under way under it any more; null: its token holds
    PRIMARY KEY (own_inbox, alias)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_by_contact ON alias (contact) WHERE contact IS NOT NULL;
CREATE INDEX alias_by_invite ON alias (invite) WHERE invite IS NOT NULL;
CREATE INDEX alias_over ON alias (over_at) WHERE over_at IS NOT NULL;

-- ---- who they are -------------------------------------------------------------------------------------------------------------

CREATE TABLE contact (
    id               INTEGER PRIMARY KEY,     -- 0: this account, for its other devices
    account          BLOB NOT NULL UNIQUE,
    name             TEXT NOT NULL,           -- as they call themselves
    profile          BLOB,                    -- a Content: what they want to be seen as, where they have said so
    given_name       TEXT,                    -- as we call them
    state            INTEGER NOT NULL,        -- 1 we asked, 2 they asked, 3 accepted, 4 removed
    blocked          INTEGER NOT NULL DEFAULT 0,
    relay            TEXT NOT NULL,           -- their manifest chain for us
    chain            BLOB NOT NULL,
    chain_key        BLOB NOT NULL,
    manifest         BLOB NOT NULL,           -- the last one verified
    epoch            INTEGER NOT NULL,        -- its head
    version          INTEGER NOT NULL,
    hash             BLOB NOT NULL,
    manifest_read_at INTEGER NOT NULL,
    manifest_tried_at INTEGER NOT NULL DEFAULT 0, -- when its relay was last asked in vain
    read_in_vain_at  INTEGER NOT NULL DEFAULT 0,  -- when it was last to be read and could not be: what was said may lack a device; 0: it was
    chain_next       INTEGER NOT NULL DEFAULT 0,  -- index of the next entry to read
    said_before      INTEGER NOT NULL DEFAULT 0,  -- last message.id when it was last read: what was said since is also for devices that it did
                                              -- not name then
    chain_is_new     INTEGER NOT NULL DEFAULT 0,  -- the head above is another chain's: nothing of this one was read
    chain_before_relay TEXT,                  -- the chain that they have led us from: read beside it, until it is gone
    chain_before     BLOB,
    chain_before_key BLOB,
    trust            INTEGER NOT NULL DEFAULT 0,  -- 0 sound, 1 fork seen, 2 compromised
    pair_secret      BLOB,                    -- once accepted
    pair_is_ours     INTEGER NOT NULL DEFAULT 0,  -- drawn here, with our answer; theirs does not simply take its place
    pair_usable      INTEGER NOT NULL DEFAULT 0,  -- their tokens of it stand
    pair_before      BLOB,                    -- the one before, by whose tokens they are reached until they have taken this one up
    pair_changing    INTEGER,                 -- our epoch that began with that change; null: none is under way
    pair_due         INTEGER NOT NULL DEFAULT 0,  -- a change waits until the pair is usable and nobody is asked
    pair_epoch       INTEGER NOT NULL DEFAULT 0,  -- their epoch that their last change of it began
    pair_former      INTEGER NOT NULL DEFAULT 0,  -- tokens of pairs before it stand at our inboxes, until something comes under its own
    pair_last        BLOB,                    -- the one before a change of ours, for a device of theirs that comes from a copy of then
    pair_last_at     INTEGER NOT NULL DEFAULT 0,  -- when they had taken ours up
    pair_version     INTEGER NOT NULL DEFAULT 0,  -- one more with every secret in the place of another, on whichever device of ours
    reply_secret     BLOB,                    -- theirs, for our answer
    asker            INTEGER,                 -- the device of theirs that waits for it: peer_device.id
    invite_secret    BLOB,                    -- of the invite we scanned last, for our request
    claim            BLOB,                    -- our claim id of it, while we wait for the answer; only the request leaves then
    spent_claim      BLOB,                    -- that one, where the device before had it too: its one-time keys may be used, at any inbox
    invite_expires_at INTEGER,
    invite           INTEGER REFERENCES invite (id),  -- of ours that they used
    told_chain       BLOB,                    -- the chain of our lists that we have told them of
    asked_at         INTEGER NOT NULL DEFAULT 0,  -- when we heard of it
    meetings         INTEGER NOT NULL DEFAULT 0,  -- how often they began anew in the day that began at
    meetings_since   INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    verified         INTEGER NOT NULL DEFAULT 0,  -- somebody has compared their root key, as the settings say
    held             INTEGER NOT NULL DEFAULT 0,  -- and nothing leaves to them: their keys have changed since
    changed_epoch    INTEGER NOT NULL DEFAULT 0,  -- the last list by which they did
    changed_version  INTEGER NOT NULL DEFAULT 0,
    sync_version     INTEGER NOT NULL DEFAULT 0,  -- of what our devices share of them; 0: nothing yet
    sync_author      BLOB                     -- the device of ours whose word that is
) STRICT;
CREATE INDEX contact_reads_no_more ON contact (told_chain) WHERE blocked = 1 OR state = 4;

CREATE TABLE peer_device (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never given again: messages name lines
    contact       INTEGER NOT NULL REFERENCES contact (id),
    device        BLOB NOT NULL,
    ed25519       BLOB NOT NULL,
    curve25519    BLOB NOT NULL,
    listed        INTEGER NOT NULL,           -- in the newest manifest
    left_at       INTEGER,                    -- when we read that it is listed no more; null: it is
    heard_out     INTEGER NOT NULL DEFAULT 0, -- for a while since then its letters are taken: another came in its place, by its own word
    predecessor   INTEGER REFERENCES peer_device (id), -- in whose place it came, by that one's word
    ordinals_end  INTEGER,                    -- of one in whose place another has come: its last ordinal that counts
    line          INTEGER NOT NULL DEFAULT 0, -- whose ordinals it goes on with: the id of the first of those in whose place it came, or its own
    counter_sent  INTEGER NOT NULL DEFAULT 0, -- last counter given to a letter for it
    confirmed     INTEGER NOT NULL DEFAULT 0, -- highest contiguous counter it says it has
    received      INTEGER NOT NULL DEFAULT 0, -- highest contiguous counter received from it
    met           INTEGER NOT NULL DEFAULT 0, -- counter of the last letter of a handshake that was heeded: earlier ones say nothing
    confirm_due   INTEGER,                    -- when it must hear what we received
    unconfirmed   INTEGER NOT NULL DEFAULT 0, -- letters received since it last heard
    fresh_session_at INTEGER NOT NULL DEFAULT 0, -- when we last began a session because its letters cannot be opened
    fresh_sessions INTEGER NOT NULL DEFAULT 0, -- how often in a row
    ask_at        INTEGER,                    -- when it is asked for what is missing of its letters; null: nothing is, or it does not answer
    asked_at      INTEGER NOT NULL DEFAULT 0, -- when it last was
    asks          INTEGER NOT NULL DEFAULT 0, -- how often, since something that was missing came
    answers       INTEGER NOT NULL DEFAULT 0, -- how many requests of its own were answered in the day that began at
    answers_since INTEGER NOT NULL DEFAULT 0,
    counter_anew  INTEGER NOT NULL DEFAULT 0, -- what was said under counters up to here goes out under others since we began anew
    spoke_at      INTEGER NOT NULL DEFAULT 0, -- when it made its latest letter, by its clock
    pair_behind   INTEGER NOT NULL DEFAULT 0, -- it may come from a copy that knows the pair before: 1 it is to be told the one in use, 2 it was
    handed_over   INTEGER NOT NULL DEFAULT 0, -- of ours: it has got all contacts from here, or has them
    profile_untold INTEGER NOT NULL DEFAULT 1, -- of a contact's: it is to be told our profile, where there is one
    chain_untold  INTEGER NOT NULL DEFAULT 0, -- of a contact's: it may know only where our lists stood before, and is to be told
    UNIQUE (contact, device)
) STRICT;
CREATE INDEX peer_device_left ON peer_device (left_at) WHERE left_at IS NOT NULL;
CREATE INDEX peer_device_behind ON peer_device (pair_behind) WHERE pair_behind = 1;
CREATE INDEX peer_device_untold ON peer_device (chain_untold) WHERE chain_untold = 1;
CREATE INDEX peer_device_profile_untold ON peer_device (profile_untold) WHERE profile_untold = 1;
CREATE INDEX peer_device_ask ON peer_device (ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX peer_device_confirm ON peer_device (confirm_due) WHERE confirm_due IS NOT NULL;

-- Counters received beyond a hole, in ranges that stand apart.
CREATE TABLE received_counter (
    peer_device INTEGER NOT NULL REFERENCES peer_device (id),
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    PRIMARY KEY (peer_device, first)
) STRICT, WITHOUT ROWID;

-- Counters that never came and that their sender gave up, of which it has not said whether they were to be shown.
CREATE TABLE skipped_counter (
    peer_device INTEGER NOT NULL REFERENCES peer_device (id),
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    PRIMARY KEY (peer_device, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE peer_inbox (
    id             INTEGER PRIMARY KEY,
    peer_device    INTEGER NOT NULL REFERENCES peer_device (id),
    position       INTEGER NOT NULL,
    relay          TEXT NOT NULL,
    inbox          BLOB NOT NULL,             -- as their list says: nobody can claim it for everybody
    prekey_key     BLOB NOT NULL,
    listed         INTEGER NOT NULL,
    left_at        INTEGER,                   -- since when it stands in no list
    bundle         BLOB,                      -- the last one claimed, as the relay gave it
    bundle_read_at INTEGER NOT NULL DEFAULT 0,
    claim          BLOB,                      -- claim id under way, so that asking again is the same claim
    renewals       INTEGER NOT NULL DEFAULT 0, -- how often an unanswered session was made again
    spent_claim    BLOB,                      -- the claim id whose one-time key began a session: asked again it is answered with the same
    skipped        INTEGER NOT NULL DEFAULT 0, -- letters that its ratchet was stepped for and that were taken back, since one was taken
    UNIQUE (peer_device, inbox)
) STRICT;
CREATE INDEX peer_inbox_by_device ON peer_inbox (peer_device, position);
CREATE INDEX peer_inbox_left ON peer_inbox (left_at) WHERE left_at IS NOT NULL;

-- Olm: a session per peer inbox, so that each chain keeps the order of one relay.
CREATE TABLE session (
    id           INTEGER PRIMARY KEY,
    session      BLOB NOT NULL UNIQUE,
    peer_inbox   INTEGER NOT NULL REFERENCES peer_inbox (id),
    inbound      INTEGER NOT NULL,            -- they made it
    answered     INTEGER NOT NULL,            -- something under it was received
    sending      INTEGER NOT NULL,            -- the one we send on
    created_at   INTEGER NOT NULL,
    state_sealed BLOB NOT NULL
) STRICT;
CREATE INDEX session_by_inbox ON session (peer_inbox, sending);

-- Sessions made from the last-resort key: their first message can be replayed as long as that key lives.
CREATE TABLE session_tombstone (
    session BLOB PRIMARY KEY,
    key_id  BLOB NOT NULL                     -- of a last-resort key that lives at least as long as the one used
) STRICT, WITHOUT ROWID;

-- The seal under which we send to an inbox.
CREATE TABLE seal_out (
    peer_inbox    INTEGER PRIMARY KEY REFERENCES peer_inbox (id),
    opener        BLOB NOT NULL,              -- its hash
    state_sealed  BLOB NOT NULL,
    made_at       INTEGER NOT NULL,
    confirmed_at  INTEGER,
    letters       INTEGER NOT NULL DEFAULT 0  -- sealed since the confirmation
) STRICT;

-- Seals under which peers send to us: one at a time per inbox of ours. A retired one keeps its hash, as long as its KEM key lives, and
-- loses its secret.
CREATE TABLE seal_in (
    id            INTEGER PRIMARY KEY,
    opener        BLOB NOT NULL UNIQUE,
    peer_device   INTEGER NOT NULL REFERENCES peer_device (id),
    own_inbox     INTEGER NOT NULL REFERENCES own_inbox (id),
    key_id        BLOB NOT NULL,              -- the KEM key of ours that it was made for
    state_sealed  BLOB,
    installed_at  INTEGER NOT NULL,
    retired_at    INTEGER,
    announced     INTEGER NOT NULL DEFAULT 0  -- a continuation came: the maker knows that we hold it
) STRICT;
CREATE INDEX seal_in_by_device ON seal_in (peer_device, own_inbox, id);

-- What a device is still to be asked for in the name of one in whose place this one has come.
CREATE TABLE predecessor_request (
    peer_device INTEGER NOT NULL REFERENCES peer_device (id),
    predecessor BLOB NOT NULL,
    content     BLOB NOT NULL,                -- the Content that asks
    letter      INTEGER,                      -- the row of the outbox that asked last, which may be gone
    PRIMARY KEY (peer_device, predecessor)
) STRICT, WITHOUT ROWID;

-- ---- what was said ------------------------------------------------------------------------------------------------------------

CREATE TABLE conversation (
    id           INTEGER PRIMARY KEY,
    conversation BLOB NOT NULL UNIQUE,
    contact      INTEGER REFERENCES contact (id),  -- null: the note to self
    last_message INTEGER,                     -- message.id
    last_at      INTEGER NOT NULL DEFAULT 0,
    unread       INTEGER NOT NULL DEFAULT 0,  -- how many of its messages are
    ordinal      INTEGER NOT NULL DEFAULT 0,  -- of what was said here last
    -- What is set, as the settings of all devices say.
    muted_until  INTEGER NOT NULL DEFAULT 0,
    archived     INTEGER NOT NULL DEFAULT 0,
    archived_up_to INTEGER NOT NULL DEFAULT 0, -- what stands behind that takes it back
    pinned       INTEGER NOT NULL DEFAULT 0,
    marked_unread INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX conversation_by_time ON conversation (archived, pinned DESC, last_at DESC, id DESC);
CREATE INDEX conversation_by_contact ON conversation (contact);

CREATE TABLE message (
    id           INTEGER PRIMARY KEY,         -- order in which this device saw it
    conversation INTEGER NOT NULL REFERENCES conversation (id),
    sender       INTEGER NOT NULL,            -- contact.id; 0: this account
    message_id   BLOB NOT NULL,
    sent_at      INTEGER NOT NULL,            -- as its sender dated it
    received_at  INTEGER NOT NULL,            -- by ours
    kind         INTEGER NOT NULL,            -- 1 text, 2 unknown body, 3 not opened yet, 4 missing, 5 keys have changed, 6 taken back, 7 nudge;
                                              -- nothing that is shown: 20 a deed, 21 one that is for our own devices alone
    text         TEXT NOT NULL,               -- what is shown
    content      BLOB NOT NULL,               -- the Content as it travelled
    state        INTEGER NOT NULL,            -- ours: 0 queued, 1 sending, 2 sent, 3 delivered, 4 read, 5 failed; theirs: 10
    failure      INTEGER,
    cause        INTEGER,                     -- of kinds 3 to 5: why
    arrival      INTEGER,                     -- when it came late into its place: as which number; null: as its own
    position     INTEGER,                     -- order in the conversation: when it was said, and what tells two of one time apart; null: of a deed
    line         INTEGER NOT NULL DEFAULT 0,  -- peer_device.line of whoever said it; 0: said here, or nobody did
    ordinal      INTEGER NOT NULL DEFAULT 0,  -- where it stands in that line; 0: where its date puts it
    unread       INTEGER NOT NULL DEFAULT 0,
    edit         INTEGER,                     -- message.id of the deed that says it otherwise
    reacted      INTEGER NOT NULL DEFAULT 0,  -- somebody feels something about it
    pinned       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX message_once ON message (conversation, sender, message_id);
CREATE INDEX message_arrival ON message (arrival) WHERE arrival IS NOT NULL;
-- In it the messages of a conversation stand in order: a page costs the same in a long conversation.
CREATE INDEX message_by_conversation ON message (conversation, position);
CREATE INDEX message_by_ordinal ON message (conversation, line, ordinal) WHERE line > 0;
CREATE INDEX message_pinned ON message (conversation, position) WHERE pinned = 1;
CREATE INDEX message_unread ON message (conversation, position) WHERE unread = 1;

-- What was done to messages, each by its sender and id: it need not be here yet. Of reactions and pins the one that counts, of edits all.
CREATE TABLE deed (
    id           INTEGER PRIMARY KEY,
    message      INTEGER REFERENCES message (id), -- in which it was said; null: of what is only known of a message that is not here
    conversation INTEGER NOT NULL REFERENCES conversation (id),
    sender       INTEGER NOT NULL,            -- of the message that it was done to: contact.id; 0: this account
    target       BLOB NOT NULL,               -- that one's id
    kind         INTEGER NOT NULL,            -- 1 edit, 2 taken back, 3 reaction, 4 pin, 5 hidden, 6 read on another device of ours, 7 how far it is
    author       INTEGER NOT NULL,            -- who did it: contact.id; 0: this account
    stamp        INTEGER NOT NULL,            -- when, as a position: of two that cannot both hold the higher counts; of 7: how far, as message.state
    holds        INTEGER NOT NULL,            -- 0: of a reaction or a pin that was taken back
    ends_at      INTEGER                      -- of what waits for its message, and of what keeps one away: when it is forgotten
) STRICT;
CREATE INDEX deed_by_target ON deed (conversation, sender, target, kind, author, stamp);
CREATE INDEX deed_by_message ON deed (message);
-- What whoever stores a message looks at.
CREATE INDEX deed_waiting ON deed (conversation, sender, target, kind, author) WHERE ends_at IS NOT NULL;
CREATE INDEX deed_by_stamp ON deed (stamp);
CREATE INDEX deed_over ON deed (ends_at) WHERE ends_at IS NOT NULL;

-- What the devices of the account agree on.
CREATE TABLE setting (
    conversation INTEGER NOT NULL,            -- conversation.id; 0: of the account
    key          INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    author       BLOB NOT NULL,               -- the device of ours whose word it is
    value        BLOB NOT NULL,               -- empty: as if nobody had set it
    PRIMARY KEY (conversation, key)
) STRICT, WITHOUT ROWID;

-- What others are to be told of messages, a little later and together.
CREATE TABLE to_tell (
    about      INTEGER NOT NULL,              -- 1 that it was read, to its sender; 2 the same, 3 how far it is: to our other devices
    contact    INTEGER NOT NULL REFERENCES contact (id), -- of whose conversation
    message_id BLOB NOT NULL,
    due_at     INTEGER NOT NULL,
    PRIMARY KEY (about, contact, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX to_tell_due ON to_tell (due_at);

-- The words of messages, and of each where it was said and by whom: an index alone, whose texts stand in message (search/mod.rs). Words are
-- cut and folded before they come here: all that is left to be seen is the space between two of them.
-- A page of it makes a row that fills a page of the database.
CREATE VIRTUAL TABLE search USING fts5 (words, place, content = '', columnsize = 0, prefix = '1 2 3', tokenize = 'ascii');
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
INSERT INTO search (search, rank) VALUES ('pgsz', 3950);

-- Which message a row of it is of. Its id is the time at which the message stands, in units of 16 ms, or a little later.
CREATE TABLE search_row (
    id      INTEGER PRIMARY KEY,
    message INTEGER NOT NULL UNIQUE REFERENCES message (id)
) STRICT;

-- How far it has come.
CREATE TABLE search_fill (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    done   INTEGER NOT NULL,                  -- the last message.id that it knows
    merged INTEGER NOT NULL,                  -- the same when all of it was last one piece
    cut    TEXT NOT NULL                      -- what words were cut by: others could not be taken out any more
) STRICT;

-- Letters that came and could not be opened: their places in the conversation.
CREATE TABLE unopened (
    hash        BLOB PRIMARY KEY,             -- of the inner ciphertext
    peer_device INTEGER NOT NULL REFERENCES peer_device (id),  -- whose it is, as far as the seal says
    message     INTEGER NOT NULL REFERENCES message (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX unopened_by_device ON unopened (peer_device, message);

-- Hashes of inner ciphertexts, by day, looked up before any ratchet is touched.
CREATE TABLE seen_inner (
    hash BLOB PRIMARY KEY,
    day  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_inner_by_day ON seen_inner (day);

-- ---- what still has to leave --------------------------------------------------------------------------------------------------

-- One letter to one device. Lives until that device has confirmed it; then without its bytes until resends are over.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    peer_device INTEGER NOT NULL REFERENCES peer_device (id),
    message     INTEGER REFERENCES message (id),
    content     BLOB,                         -- where there is no message
    message_id  BLOB NOT NULL,
    state       INTEGER NOT NULL,             -- 0 queued, 1 encrypted, 2 accepted, 3 confirmed, 4 failed
    sent_at     INTEGER NOT NULL,
    counter     INTEGER,                      -- 0: confirmed to the device in whose place this one came
    peer_inbox  INTEGER REFERENCES peer_inbox (id),
    olm_kind    INTEGER,
    olm         BLOB,
    inner       BLOB,                         -- hash of the inner ciphertext that it was given last: what it is asked for by
    inner_before BLOB,                        -- hashes of those before, the last first, one behind the other
    envelope    BLOB,
    encrypted_at INTEGER,
    accepted_at INTEGER,
    ended_at    INTEGER,                      -- confirmed or failed
    dies_at     INTEGER,                      -- when it is pointless; null: never
    after_batch INTEGER,                      -- relay tasks that must be done first
    to_inbox    INTEGER REFERENCES peer_inbox (id), -- where it has to go now; null: wherever it gets through
    again_at    INTEGER,                      -- when it is put again, unless it is confirmed
    tries       INTEGER NOT NULL DEFAULT 0    -- how often that was looked at
) STRICT;
CREATE INDEX outbox_waiting ON outbox (peer_device, id) WHERE state < 2;
CREATE INDEX outbox_unconfirmed ON outbox (peer_device, counter) WHERE state <= 2 AND counter IS NOT NULL;
CREATE INDEX outbox_behind ON outbox (peer_device, id) WHERE state < 2 AND after_batch IS NOT NULL;
CREATE INDEX outbox_dying ON outbox (dies_at) WHERE dies_at IS NOT NULL;
CREATE INDEX outbox_ended ON outbox (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX outbox_encrypted ON outbox (peer_device, peer_inbox, counter) WHERE state = 1;
CREATE INDEX outbox_accepted ON outbox (accepted_at) WHERE state = 2;
CREATE INDEX outbox_by_inner ON outbox (inner) WHERE inner IS NOT NULL;
CREATE INDEX outbox_sent_again ON outbox (peer_device) WHERE inner_before IS NOT NULL;
-- What is over, for whoever asks for it again.
CREATE INDEX outbox_over ON outbox (peer_device, counter) WHERE state > 2 AND counter IS NOT NULL;
CREATE INDEX outbox_again ON outbox (again_at) WHERE state = 2;
CREATE INDEX outbox_by_message ON outbox (message) WHERE message IS NOT NULL;

-- Relays that took letters of ours and do not answer any more, while others do.
CREATE TABLE relay_out (
    relay TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    moved INTEGER NOT NULL DEFAULT 0          -- what was put there and is not confirmed was put elsewhere
) STRICT, WITHOUT ROWID;

-- Signed calls that still have to be made, in order per (relay, subject).
CREATE TABLE relay_task (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    relay   TEXT NOT NULL,
    subject BLOB NOT NULL,                    -- inbox or chain
    kind    INTEGER NOT NULL,
    body    BLOB NOT NULL,
    batch   INTEGER NOT NULL,                 -- made together; letters can wait for a batch
    failed_at INTEGER NOT NULL DEFAULT 0      -- first tried in vain; 0: not yet. What has a way without it waits no longer
) STRICT;
CREATE INDEX relay_task_by_subject ON relay_task (relay, subject, id);
CREATE INDEX relay_task_by_batch ON relay_task (batch);

-- Envelopes that cannot be opened yet: continuations that came before their opener, letters of a device not listed yet, of
-- somebody whose answer is still to come, of a contact who has shown two lists or is blocked, letters that skip too many others. They are acknowledged: the relay's copy is gone.
CREATE TABLE waiting (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    own_inbox   INTEGER NOT NULL REFERENCES own_inbox (id),
    alias       INTEGER NOT NULL,
    header      BLOB NOT NULL,
    payload     BLOB NOT NULL,
    stored_at   INTEGER NOT NULL,
    reason      INTEGER NOT NULL              -- 1 no opener, 2 unknown device, 3 no answer yet, 4 distrusted contact, 5 blocked, 6 behind a gap
) STRICT;
CREATE INDEX waiting_by_alias ON waiting (own_inbox, alias, id);
CREATE INDEX waiting_behind_gap ON waiting (own_inbox, alias, stored_at) WHERE reason = 6;

-- What was refused and why: counts only.
CREATE TABLE refusal (
    code  TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
