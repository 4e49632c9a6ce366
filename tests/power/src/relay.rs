//! A relay's store that is asked for everything while its power is cut again and again, beside a memory of what it answered.
//!
//! Whatever was answered holds afterwards; what was under way may hold or not, and never by half. The first cut comes while the
//! database is made. Invariants that are checked after each cut: no envelope that was accepted and not acknowledged is gone or there twice;
//! a sequence number that was shown stands for the same envelope for ever; what was said to be acknowledged stays so; no one-time
//! key is given to two; no chain loses an entry. A write that fails is the end of the process, never tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use rusqlite::Connection;
use sotto_protocol::relay::Lifetime;
use sotto_protocol::{Alias, Bytes, ChainId, ClaimId, EnvelopeId, InboxId, Timestamp, TokenHash};
use sotto_relay::store::{
    Caller, ClaimRequest, Creation, Denied, Head, InboxKeys, Keep, MailboxStore as _, Page, Payload, PrekeyChange, Put,
    PutOutcome, SqliteOptions, SqliteStore, TokenGrant,
};
use tempfile::TempDir;

use crate::play::{Chance, Numbers, Violation, promise};
use crate::{LeftOut, Machine, temporary};

/// Cuts of one play.
const CUTS: usize = 4;
/// Noon of some day.
const BEGINNING: Timestamp = Timestamp::from_ms(20_500 * 86_400_000 + 43_200_000);

/// Plays with one seed.
///
/// # Errors
/// The first promise that was broken.
pub fn play(seed: u64, left_out: LeftOut) -> Result<Numbers, Violation> {
    let mut stage = Stage::set(seed, left_out);
    for _ in 0..CUTS {
        stage.machine.cut_at(stage.chance.cut_step());
        stage.run_until_cut()?;
        stage.come_back()?;
        stage.check()?;
    }
    stage.numbers.steps = stage.machine.steps();
    Ok(stage.numbers)
}

/// A store, and what its process would have died of.
struct Running {
    store: SqliteStore,
    has_crashed: Arc<AtomicBool>,
}

struct Stage {
    chance: Chance,
    now: Timestamp,
    machine: Machine,
    directory: TempDir,
    running: Option<Running>,
    inboxes: Vec<Inbox>,
    chains: Vec<Chain>,
    numbers: Numbers,
}

/// An inbox as those who used it remember it.
struct Inbox {
    id: InboxId,
    caller: [u8; 32],
    /// Whether it was said to be there.
    is_made: bool,
    tokens: Vec<TokenHash>,
    /// Envelopes by what was said of them.
    envelopes: BTreeMap<EnvelopeId, Word>,
    /// What every number that was shown stands for.
    shown: BTreeMap<u64, EnvelopeId>,
    /// The highest number that the owner acknowledged, heard or not.
    acked: u64,
    /// The highest that the relay has named as acknowledged.
    acked_named: u64,
    /// How many changes it has last counted.
    changes: u64,
    one_time: BTreeSet<Bytes>,
    claims: BTreeMap<ClaimId, Option<Bytes>>,
}

impl Inbox {
    fn count_changes(&mut self, changes: u64) -> Result<(), Violation> {
        promise!(changes > self.changes, "a change was forgotten");
        self.changes = changes;
        Ok(())
    }
}

/// What a relay has said of an envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Accepted,
    /// Nothing: the power went first.
    None,
}

/// A chain as its writer remembers it.
struct Chain {
    id: ChainId,
    key: [u8; 32],
    /// The last entry that was confirmed, and how many there are with it.
    head: Option<Head>,
    entries: Vec<Bytes>,
    /// One whose answer never came.
    under_way: Option<Bytes>,
}

/// What a step came to.
enum Came<T> {
    Answer(T),
    /// The power is gone.
    Cut,
}

impl Stage {
    fn set(seed: u64, left_out: LeftOut) -> Self {
        let directory = temporary();
        let machine = Machine::new(directory.path()).leaving_out(left_out);
        Self {
            chance: Chance::seeded(seed),
            now: BEGINNING,
            machine,
            directory,
            running: None,
            inboxes: Vec::new(),
            chains: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("relay.sqlite")
    }

    /// Opens the store, unless the power goes meanwhile.
    fn open(&mut self) -> Result<bool, Violation> {
        let has_crashed = Arc::new(AtomicBool::new(false));
        let crash = Arc::clone(&has_crashed);
        let options = SqliteOptions {
            crash: Arc::new(move |_| crash.store(true, Ordering::SeqCst)),
            ..SqliteOptions::file(self.path()).inline()
        };
        match SqliteStore::open(options) {
            Ok(store) => self.running = Some(Running { store, has_crashed }),
            Err(error) => promise!(self.machine.is_cut(), "the store does not open: {error}"),
        }
        Ok(self.running.is_some())
    }

    fn come_back(&mut self) -> Result<(), Violation> {
        self.running = None;
        self.numbers.cuts += 1;
        self.machine.come_back(self.chance.seed());
        promise!(self.open()?, "the store does not open");
        let connection = Connection::open(self.path()).map_err(|error| Violation(error.to_string()))?;
        let check: Result<String, _> = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0));
        promise!(check.as_deref() == Ok("ok"), "the database is damaged: {check:?}");
        Ok(())
    }

    fn store(&self) -> Option<&SqliteStore> {
        self.running.as_ref().map(|running| &running.store)
    }

    /// The answer to a step that only a cut may deny.
    fn came<T>(&self, answer: Result<T, Denied>) -> Result<Came<T>, Violation> {
        match answer {
            Ok(answer) => Ok(Came::Answer(answer)),
            Err(Denied::Unavailable) if self.machine.is_cut() => Ok(Came::Cut),
            Err(denied) => Err(Violation(format!("denied: {denied:?}"))),
        }
    }

    fn run_until_cut(&mut self) -> Result<(), Violation> {
        if self.running.is_none() && !self.open()? {
            return Ok(());
        }
        while !self.machine.is_cut() {
            self.now = self.now.after(std::time::Duration::from_secs(1));
            let made = self.inboxes.iter().filter(|inbox| inbox.is_made && !inbox.tokens.is_empty()).count();
            match self.chance.below(16) {
                0 => self.make_inbox()?,
                1 => self.append()?,
                2 => self.sweep()?,
                3 => self.checkpoint(),
                _ if made == 0 => self.make_inbox()?,
                4 => self.put_prekeys()?,
                5 => self.claim()?,
                6 => self.repeat()?,
                7..=10 => self.read()?,
                _ => self.put()?,
            }
        }
        // A store that could not write, or not be sure that it had, has ended its process.
        self.put_once_more()
    }

    /// Whatever a crashed process does not do any more.
    fn put_once_more(&mut self) -> Result<(), Violation> {
        if self.inboxes.iter().any(|inbox| inbox.is_made && !inbox.tokens.is_empty()) {
            self.put()?;
            let has_crashed = self.running.as_ref().is_some_and(|running| running.has_crashed.load(Ordering::SeqCst));
            promise!(has_crashed, "a write failed, and the process went on");
        }
        Ok(())
    }

    fn caller(&mut self, key: [u8; 32]) -> Caller {
        Caller { key, time: self.now, nonce: self.chance.bytes() }
    }

    fn make_inbox(&mut self) -> Result<(), Violation> {
        let key = self.chance.bytes();
        let id = InboxId::from_bytes(self.chance.bytes());
        let caller = self.caller(key);
        self.inboxes.push(Inbox {
            id,
            caller: key,
            is_made: false,
            tokens: Vec::new(),
            envelopes: BTreeMap::new(),
            shown: BTreeMap::new(),
            acked: 0,
            acked_named: 0,
            changes: 0,
            one_time: BTreeSet::new(),
            claims: BTreeMap::new(),
        });
        let inbox = self.inboxes.len() - 1;
        let Some(store) = self.store() else { return Ok(()) };
        let keys = InboxKeys { owner: key, manage: key };
        if let Came::Cut = self.came(now(store.create_inbox(caller, id, keys, Creation::Admitted)))? {
            return Ok(());
        }
        self.inboxes[inbox].is_made = true;
        let tokens: Vec<_> =
            (0..1 + self.chance.below(3)).map(|_| TokenHash::from_bytes(self.chance.bytes())).collect();
        let grants = tokens.iter().map(|hash| TokenGrant {
            hash: *hash,
            alias: Alias(7),
            expires_at: None,
            puts_per_claim: 0,
            queued_bytes_max: 0,
            claims_max: 0,
            one_time_keys_per_claim: 1,
        });
        let (grants, caller) = (grants.collect(), self.caller(key));
        let Some(store) = self.store() else { return Ok(()) };
        if let Came::Answer(changes) = self.came(now(store.put_tokens(caller, id, grants)))? {
            self.inboxes[inbox].tokens = tokens;
            self.inboxes[inbox].count_changes(changes)?;
        }
        Ok(())
    }

    /// One that can be put to.
    fn some_inbox(&mut self) -> usize {
        let is_ready = |inbox: &Inbox| inbox.is_made && !inbox.tokens.is_empty();
        let ready: Vec<_> = (0..self.inboxes.len()).filter(|number| is_ready(&self.inboxes[*number])).collect();
        ready[self.chance.below(ready.len())]
    }

    fn put(&mut self) -> Result<(), Violation> {
        let puts: Vec<_> = (0..1 + self.chance.below(6))
            .map(|_| (self.some_inbox(), EnvelopeId::new(self.now, self.chance.bytes())))
            .collect();
        self.send(&puts)
    }

    /// What was sent once is sent again, as by somebody whose answer got lost: it is harmless.
    fn repeat(&mut self) -> Result<(), Violation> {
        let inbox = self.some_inbox();
        let known: Vec<_> = self.inboxes[inbox].envelopes.keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let envelope = known[self.chance.below(known.len())];
        self.send(&[(inbox, envelope)])
    }

    fn send(&mut self, puts: &[(usize, EnvelopeId)]) -> Result<(), Violation> {
        let is_shared = self.chance.once_in(2);
        let length = if self.chance.once_in(4) { 20_000 } else { 300 };
        let payload = Bytes::from(vec![self.chance.bytes::<1>()[0]; length]);
        let made: Vec<_> = puts
            .iter()
            .enumerate()
            .map(|(index, (inbox, envelope))| {
                let inbox = &self.inboxes[*inbox];
                let index = if is_shared { 0 } else { u32::try_from(index).unwrap_or(0) };
                Put {
                    inbox: inbox.id,
                    token: inbox.tokens[envelope.as_bytes()[15] as usize % inbox.tokens.len()],
                    envelope: *envelope,
                    header: Bytes::from_static(&[1; 40]),
                    payload: Payload { index, bytes: payload.clone() },
                    lifetime: Lifetime::Retention,
                    claim: None,
                    keep: Keep::Stored,
                }
            })
            .collect();
        let Some(store) = self.store() else { return Ok(()) };
        let came = self.came(now(store.put_envelopes(made, self.now)))?;
        for (index, (inbox, envelope)) in puts.iter().enumerate() {
            let inbox = &mut self.inboxes[*inbox];
            match &came {
                Came::Cut => drop(inbox.envelopes.entry(*envelope).or_insert(Word::None)),
                Came::Answer(outcomes) => {
                    promise!(outcomes[index] == PutOutcome::Accepted, "not accepted: {:?}", outcomes[index]);
                    self.numbers.accepted += 1;
                    inbox.envelopes.insert(*envelope, Word::Accepted);
                }
            }
        }
        Ok(())
    }

    /// A device looks at its inbox, and acknowledges some of what it was shown.
    fn read(&mut self) -> Result<(), Violation> {
        let number = self.some_inbox();
        if !self.look(number)? {
            return Ok(());
        }
        let inbox = &self.inboxes[number];
        let waiting: Vec<_> = inbox.shown.range(inbox.acked + 1..).map(|(sequence, _)| *sequence).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let sequence = waiting[self.chance.below(waiting.len())];
        let id = inbox.id;
        let Some(store) = self.store() else { return Ok(()) };
        let Came::Answer(Some(owner)) = self.came(now(store.owner(id)))? else { return Ok(()) };
        store.acknowledge(owner.mailbox, sequence, [3; 64]);
        self.inboxes[number].acked = sequence;
        if self.chance.once_in(2) {
            self.ask_position(number)?;
        }
        Ok(())
    }

    /// Whatever the relay shows, it shows under one number for ever, and under one only.
    fn look(&mut self, number: usize) -> Result<bool, Violation> {
        let Some(store) = self.store() else { return Ok(false) };
        let id = self.inboxes[number].id;
        let owner = match self.came(now(store.owner(id)))? {
            Came::Answer(Some(owner)) => owner,
            Came::Answer(None) => return Err(Violation("an inbox is gone".to_owned())),
            Came::Cut => return Ok(false),
        };
        let page = Page { after: 0, count_max: usize::MAX, bytes_max: usize::MAX };
        let Came::Answer(page) = self.came(now(store.waiting(owner.mailbox, page)))? else { return Ok(false) };
        let inbox = &mut self.inboxes[number];
        let mut seen = BTreeSet::new();
        for waiting in page.envelopes {
            let known = inbox.shown.insert(waiting.sequence, waiting.envelope);
            let is_same = known.is_none_or(|known| known == waiting.envelope);
            promise!(is_same, "number {} stands for another envelope than before", waiting.sequence);
            promise!(seen.insert(waiting.envelope), "an envelope is there twice");
            promise!(inbox.envelopes.contains_key(&waiting.envelope), "an envelope that nobody sent");
            promise!(waiting.sequence > inbox.acked_named, "what was acknowledged is back");
        }
        let acked: BTreeSet<_> = inbox.shown.range(..=inbox.acked).map(|(_, envelope)| *envelope).collect();
        for (envelope, word) in &inbox.envelopes {
            let is_there = seen.contains(envelope) || acked.contains(envelope);
            promise!(is_there || *word == Word::None, "an envelope that was accepted is gone");
        }
        Ok(true)
    }

    fn ask_position(&mut self, number: usize) -> Result<(), Violation> {
        let Some(store) = self.store() else { return Ok(()) };
        let id = self.inboxes[number].id;
        let Came::Answer(Some(owner)) = self.came(now(store.owner(id)))? else { return Ok(()) };
        let Came::Answer(position) = self.came(now(store.position(owner.mailbox)))? else { return Ok(()) };
        let Some(position) = position else { return Err(Violation("an inbox is gone".to_owned())) };
        let inbox = &mut self.inboxes[number];
        promise!(position.acked >= inbox.acked_named, "less is acknowledged than was said before");
        promise!(position.acked <= inbox.acked, "more is acknowledged than was");
        let last = inbox.shown.keys().next_back().copied().unwrap_or(0);
        promise!(position.last >= last, "numbers that were shown will be given out again");
        promise!(position.changes >= inbox.changes, "fewer changes are counted than were answered");
        inbox.acked_named = position.acked;
        Ok(())
    }

    fn put_prekeys(&mut self) -> Result<(), Violation> {
        let number = self.some_inbox();
        let key = self.inboxes[number].caller;
        let caller = self.caller(key);
        let one_time: Vec<_> = (0..3).map(|_| Bytes::copy_from_slice(&self.chance.bytes::<40>())).collect();
        let bundle = Some(Bytes::copy_from_slice(&self.chance.bytes::<60>()));
        let change = PrekeyChange { bundle, one_time: one_time.clone(), replace_one_time: false };
        let Some(store) = self.store() else { return Ok(()) };
        let answer = now(store.put_prekeys(caller, self.inboxes[number].id, change));
        if answer != Err(Denied::Full) {
            if let Came::Answer(put) = self.came(answer)? {
                self.inboxes[number].count_changes(put.changes)?;
            }
            self.inboxes[number].one_time.extend(one_time);
        }
        Ok(())
    }

    fn claim(&mut self) -> Result<(), Violation> {
        let number = self.some_inbox();
        let inbox = &self.inboxes[number];
        if inbox.one_time.is_empty() {
            return Ok(());
        }
        let unanswered = inbox.claims.iter().find(|(_, answer)| answer.is_none()).map(|(claim, _)| *claim);
        let claim = unanswered.unwrap_or_else(|| ClaimId::from_bytes(self.chance.bytes()));
        self.claim_as(number, claim)
    }

    fn claim_as(&mut self, number: usize, claim: ClaimId) -> Result<(), Violation> {
        let inbox = &self.inboxes[number];
        let request = ClaimRequest { inbox: inbox.id, token: inbox.tokens[0], claim, bundle_only: false };
        let Some(store) = self.store() else { return Ok(()) };
        let answer = now(store.claim_prekey(request, self.now));
        if answer == Err(Denied::Unavailable) && !self.machine.is_cut() {
            // The bundle went with the power, before its owner was told that it was there.
            return Ok(());
        }
        let came = self.came(answer)?;
        let inbox = &mut self.inboxes[number];
        let Came::Answer(claimed) = came else {
            inbox.claims.entry(claim).or_insert(None);
            return Ok(());
        };
        if let Some(Some(before)) = inbox.claims.get(&claim) {
            promise!(*before == claimed.one_time, "a claim that is asked again is answered otherwise");
        }
        let of_another =
            |(other, key): (&ClaimId, &Option<Bytes>)| *other != claim && key.as_ref() == Some(&claimed.one_time);
        let is_fresh = claimed.one_time.is_empty() || !inbox.claims.iter().any(of_another);
        promise!(is_fresh, "a one-time key was given to two");
        inbox.claims.insert(claim, Some(claimed.one_time));
        Ok(())
    }

    fn append(&mut self) -> Result<(), Violation> {
        if self.chains.is_empty() || self.chance.once_in(5) {
            let (id, key) = (ChainId::from_bytes(self.chance.bytes()), self.chance.bytes());
            self.chains.push(Chain { id, key, head: None, entries: Vec::new(), under_way: None });
        }
        let number = self.chance.below(self.chains.len());
        let length = 100 + self.chance.below(3_000);
        let entry = Bytes::from(vec![self.chance.bytes::<1>()[0]; length]);
        let caller = self.caller(self.chains[number].key);
        let chain = &self.chains[number];
        if chain.under_way.is_some() {
            return Ok(());
        }
        let previous = chain.head.map_or(Bytes::new(), |head| Bytes::copy_from_slice(&head.hash));
        let Some(store) = self.store() else { return Ok(()) };
        let came = self.came(now(store.append_chain(caller, chain.id, previous, entry.clone(), Creation::Admitted)))?;
        let chain = &mut self.chains[number];
        match came {
            Came::Cut => chain.under_way = Some(entry),
            Came::Answer(head) => {
                chain.head = Some(head);
                chain.entries.push(entry);
            }
        }
        Ok(())
    }

    fn sweep(&self) -> Result<(), Violation> {
        let Some(store) = self.store() else { return Ok(()) };
        self.came(now(store.sweep(self.now, std::time::Duration::from_secs(1)))).map(drop)
    }

    fn checkpoint(&self) {
        if let Some(store) = self.store() {
            // Readers, or a cut, may be in its way.
            let _ = now(store.checkpoint());
        }
    }

    /// What was answered before a cut holds after it.
    fn check(&mut self) -> Result<(), Violation> {
        for number in 0..self.inboxes.len() {
            if !self.inboxes[number].is_made {
                continue;
            }
            promise!(self.look(number)?, "an inbox cannot be read");
            // An acknowledgement is not answered: what went with the power is shown again, and acknowledged again.
            self.ask_position(number)?;
            let inbox = &mut self.inboxes[number];
            inbox.acked = inbox.acked_named;
            promise!(self.look(number)?, "an inbox cannot be read");
            let inbox = &self.inboxes[number];
            let answered: Vec<_> = inbox.claims.iter().filter(|(_, key)| key.is_some()).map(|(id, _)| *id).collect();
            for claim in answered {
                self.claim_as(number, claim)?;
            }
        }
        for number in 0..self.chains.len() {
            self.check_chain(number)?;
        }
        Ok(())
    }

    fn check_chain(&mut self, number: usize) -> Result<(), Violation> {
        let Some(store) = self.store() else { return Ok(()) };
        let chain = &self.chains[number];
        let found = now(store.read_chain(chain.id, 0));
        let (head, entries) = match found {
            Ok(found) => (Some(found.head), found.entries),
            Err(_) => (None, Vec::new()),
        };
        let with_the_last: Vec<_> = chain.entries.iter().chain(&chain.under_way).cloned().collect();
        promise!(entries == chain.entries || entries == with_the_last, "a chain has other entries than were confirmed");
        let chain = &mut self.chains[number];
        (chain.head, chain.entries, chain.under_way) = (head, entries, None);
        Ok(())
    }
}

/// The answer of a store that runs inline: it is there at once.
fn now<T: Unpin>(mut answer: sotto_relay::store::Answer<T>) -> Result<T, Denied> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut answer).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(Denied::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_what_a_relay_answered_survives_power_cuts() {
        for seed in 0..60 {
            play(seed, LeftOut::Nothing).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        }
    }

    #[test]
    fn a1_the_directory_of_a_store_survives_and_what_is_made_above_it() {
        for seed in 0..20 {
            let directory = temporary();
            let machine = Machine::new(directory.path());
            let place = directory.path().join("var/lib/relay");
            sotto_relay::store::make_directory(&place).unwrap();
            machine.come_back(seed);
            assert!(place.is_dir(), "seed {seed}");
            assert!(!machine.is_cut());
        }
    }

    #[test]
    fn a1_a_relay_that_does_not_sync_its_commits_is_found_out() {
        let found_out = (0..20).filter(|seed| play(*seed, LeftOut::SyncsOfCommits).is_err()).count();
        assert!(found_out > 15, "{found_out} of 20");
    }
}
