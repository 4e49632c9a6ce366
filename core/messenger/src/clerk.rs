//! The clerks: signed calls that wait in `task` rows are made here, one relay beside the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::{Bytes, InboxId, Message as _, RelayAddress, Timestamp, relay};
use tokio::sync::Notify;

use crate::engine::{Engine, LOOK_AGAIN};
use crate::error::Error;
use crate::outbox::backoff::{Backoff, REFUSED_DELAY_MAX};
use crate::relay_client::{RelayError, Signer};
use crate::second_copy::{self, Found};
use crate::status::{Doing, State};
use crate::store::{StoreError, Tx};
use crate::task::{self, Kind, Subject, Task};
use crate::watched::Watcher;
use crate::witness::Word;
use crate::world::{Chance, Isolation, TransportError};
use crate::{admission, forgetful, own, prekey};

/// Starts a clerk per relay that has calls waiting, and wakes it when there are more.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut clerks: HashMap<RelayAddress, Arc<Notify>> = HashMap::new();
    loop {
        let relays = engine.read_after_write(task::relays).await;
        let has_looked = relays.is_ok();
        if let Ok(relays) = relays {
            for relay in relays {
                let wake = clerks.entry(relay.clone()).or_insert_with(|| {
                    let wake = Arc::new(Notify::new());
                    engine.spawn(run_clerk(Arc::clone(&engine), relay, Arc::clone(&wake)));
                    wake
                });
                wake.notify_one();
            }
        }
        tokio::select! {
            biased;
            () = engine.tasks_changed() => {}
            () = engine.clock.sleep(LOOK_AGAIN), if !has_looked => {}
        }
    }
}

async fn run_clerk(engine: Arc<Engine>, relay: RelayAddress, wake: Arc<Notify>) {
    let mut backoff = Backoff::default();
    let mut refusals = Refusals::default();
    let (mut hint, mut retry) = (engine.hints(), engine.retries());
    wait_for_witness(&engine, &relay, &wake).await;
    loop {
        if engine.is_rolled_back() {
            return;
        }
        match work_off(&engine, &relay, &mut refusals).await {
            Ok(None) => {
                backoff.reset();
                engine.status.ended(Doing::Clerk(relay.clone()));
                wake.notified().await;
            }
            Ok(Some((code, wait))) => {
                backoff.reset();
                engine.status.failed(Doing::Clerk(relay.clone()), code);
                tokio::select! {
                    biased;
                    () = hint.changed() => refusals.forget(),
                    // Perhaps for something else that may be done at once.
                    () = wake.notified() => {}
                    () = engine.clock.sleep(wait) => {}
                }
            }
            Err(error) => {
                engine.status.failed(Doing::Clerk(relay.clone()), error.code());
                let wait = backoff.failed(error.retry_after(), &engine.chance());
                if wait_away(&engine, &relay, &wake, wait, &mut retry).await {
                    backoff.reset();
                }
            }
        }
    }
}

/// Nothing is published while this may be a copy of a profile that has gone on elsewhere (PROTOCOL H1): not before our relays have said
/// what they remember of us, and never at one that does not say it. What is queued for a relay that is away counts as tried.
async fn wait_for_witness(engine: &Arc<Engine>, relay: &RelayAddress, wake: &Notify) {
    engine.witness.is_complete().await;
    loop {
        let word = engine.witness.next_word();
        match engine.witness.word_of(relay) {
            Word::Spoken => return,
            Word::Away | Word::Silent => {
                let code = match engine.status.of(&Doing::Stream(relay.clone())) {
                    Some(State::Failing(code)) => code,
                    _ => Error::from(RelayError::Transport(TransportError::Broken)).code(),
                };
                engine.status.failed(Doing::Clerk(relay.clone()), code);
                tried_in_vain(engine, relay, None).await;
            }
        }
        tokio::select! {
            biased;
            () = word => {}
            () = wake.notified() => {}
        }
    }
}

/// Waits for a relay that is away. What is queued for it meanwhile counts as tried. Says whether the network may be back.
async fn wait_away(
    engine: &Arc<Engine>,
    relay: &RelayAddress,
    wake: &Notify,
    wait: Duration,
    retry: &mut Watcher<u64>,
) -> bool {
    let mut over = std::pin::pin!(engine.clock.sleep(wait));
    loop {
        tried_in_vain(engine, relay, None).await;
        tokio::select! {
            biased;
            () = retry.changed() => return true,
            () = &mut over => return false,
            () = wake.notified() => {}
        }
    }
}

/// What waits for calls that were tried in vain may have another way.
async fn tried_in_vain(engine: &Arc<Engine>, relay: &RelayAddress, subject: Option<Subject>) {
    let relay = relay.clone();
    let tried = move |engine: &Engine, tx: &mut Tx<'_>| -> Result<bool, Error> {
        let is_news = task::tried_in_vain(tx, &relay, subject.as_ref(), engine.judging_now())?;
        let goes_on = own::go_on_without_stuck(engine, tx)?;
        Ok(is_news || goes_on)
    };
    let news = engine.write(tried).await;
    if news.unwrap_or(false) {
        engine.wake();
    }
}

/// Subjects of which a relay refused a call, with when to try again: they are asked about less and less often, and hold up nobody else.
#[derive(Default)]
struct Refusals(BTreeMap<Subject, Refused>);

struct Refused {
    backoff: Backoff,
    code: &'static str,
    until: Timestamp,
    /// What was worked out for it: for as long as it is refused, the work is done once.
    proof: Bytes,
}

impl Refusals {
    fn holds(&self, subject: &Subject, now: Timestamp) -> bool {
        // A wait that is longer than any was begun under a clock that has fallen back since: it is over.
        self.0.get(subject).is_some_and(|refused| now < refused.until && refused.until.since(now) <= REFUSED_DELAY_MAX)
    }

    fn add(&mut self, subject: Subject, code: &'static str, now: Timestamp, chance: &Chance<'_>) {
        let refused = self.0.entry(subject).or_insert_with(|| Refused {
            backoff: Backoff::default(),
            code,
            until: now,
            proof: Bytes::new(),
        });
        refused.code = code;
        refused.until = now.after(refused.backoff.refused(chance));
    }

    /// The first of these that may be tried again: its code, and how long that is. The others are over.
    fn first_of(&mut self, waiting: &[Subject], now: Timestamp) -> Option<(&'static str, Duration)> {
        self.0.retain(|subject, _| waiting.contains(subject));
        let first = self.0.values().min_by_key(|refused| refused.until)?;
        Some((first.code, first.until.since(now)))
    }

    /// Somebody wants to know now.
    fn forget(&mut self) {
        self.0.values_mut().for_each(|refused| {
            refused.backoff.reset();
            refused.until = Timestamp::EPOCH;
        });
    }
}

/// Makes all calls that wait for a relay. Those of one subject keep their order; one that is refused holds up its own subject only. Says
/// when the first of those may be tried again.
async fn work_off(
    engine: &Arc<Engine>,
    relay: &RelayAddress,
    refusals: &mut Refusals,
) -> Result<Option<(&'static str, Duration)>, Error> {
    loop {
        let at = relay.clone();
        let tasks = engine.read(move |_, view| task::due(view, &at)).await?;
        let waiting: Vec<_> = tasks.iter().map(|task| task.subject).collect();
        let now = engine.clock.now();
        let tasks: Vec<_> = tasks.into_iter().filter(|task| !refusals.holds(&task.subject, now)).collect();
        if tasks.is_empty() {
            return Ok(refusals.first_of(&waiting, now));
        }
        engine.status.working(Doing::Clerk(relay.clone()));
        for task in tasks {
            if engine.is_rolled_back() {
                return Err(Error::RolledBack);
            }
            let (id, subject, kind) = (task.id, task.subject, task.kind);
            match perform(engine, relay, task, refusals).await {
                Ok(counted) => {
                    refusals.0.remove(&subject);
                    let is_told_again = engine
                        .write(move |engine, tx| -> Result<bool, Error> {
                            task::done(tx, id)?;
                            let mut is_told_again = false;
                            match (subject, kind) {
                                (Subject::Chain(chain), Kind::ChainDelete) => own::chain_is_gone(tx, &chain)?,
                                (Subject::Chain(chain), _) => {
                                    let now = engine.network_now();
                                    own::was_appended(tx, &engine.own(), &chain, now, &mut engine.chance())?;
                                }
                                (Subject::Inbox(inbox), Kind::InboxDelete) => own::is_deleted(tx, &inbox)?,
                                (Subject::Inbox(inbox), kind) => {
                                    if kind == Kind::PrekeyPut {
                                        prekey::were_taken(tx, &inbox, engine.judging_now())?;
                                    }
                                    own::go_on_without_stuck(engine, tx)?;
                                    if let (Some(counted), Some(inbox)) = (counted, engine.own().inbox(&inbox)) {
                                        let Counted { before, with_it } = counted;
                                        is_told_again = forgetful::heed_changes(engine, tx, inbox, before, with_it)?;
                                    }
                                }
                            }
                            Ok(is_told_again)
                        })
                        .await?;
                    if is_told_again {
                        forgetful::is_told_again(engine, relay);
                    }
                    // Letters may have waited for it, and lists at other relays.
                    engine.wake();
                }
                Err(Error::Relay(error)) if error.is_refusal() => {
                    tracing::warn!(%error, "a relay refuses a call of ours");
                    let is_by_manage_key = matches!(kind, Kind::TokenPut | Kind::TokenDrop | Kind::PrekeyPut);
                    if let (Subject::Inbox(inbox), true) = (subject, is_by_manage_key && error.is("refused")) {
                        engine.write(move |engine, tx| own::manage_key_was_refused(tx, &engine.own(), &inbox)).await?;
                    }
                    refusals.add(subject, Error::from(error).code(), now, &engine.chance());
                    tried_in_vain(engine, relay, Some(subject)).await;
                }
                // What the relay serves of ours is not acceptable: that is of this subject, and nothing is written over it meanwhile.
                Err(error @ Error::Peer { .. }) => {
                    tracing::warn!(code = error.code(), "a chain of ours cannot be read");
                    refusals.add(subject, error.code(), now, &engine.chance());
                    tried_in_vain(engine, relay, Some(subject)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a relay has counted of the changes of an inbox: known before a call, and with it.
#[derive(Clone, Copy)]
struct Counted {
    before: u64,
    with_it: u64,
}

/// Makes a call. Says what its relay has counted, if it has changed an inbox of ours.
async fn perform(
    engine: &Arc<Engine>,
    relay: &RelayAddress,
    task: Task,
    refusals: &mut Refusals,
) -> Result<Option<Counted>, Error> {
    let (path, isolation, body) = (task.kind.path(), task.subject.isolation(), Bytes::from(task.body));
    match task.subject {
        Subject::Inbox(inbox) => {
            let own = engine.own();
            let Some(own) = own.inbox(&inbox) else {
                return delete_former(engine, relay, inbox, path, body).await.map(|()| None);
            };
            if task.kind == Kind::InboxDelete {
                match engine.client.signed::<Nothing>(relay, isolation, path, body, &own.owner_key).await {
                    // It was deleted before a crash.
                    Err(error) if error.is("refused") => {}
                    answer => answer.map(|_| ())?,
                }
                return Ok(None);
            }
            let row = own.row;
            let before = engine.read(|_, view| forgetful::counted(view)).await?.get(&row).copied().unwrap_or_default();
            if task.kind == Kind::PrekeyPut {
                let left: relay::PrekeyCount =
                    engine.client.signed(relay, isolation, path, body, &own.manage_key).await?;
                engine.write(move |_, tx| prekey::one_time_keys_left(tx, row, left.one_time)).await?;
                return Ok(Some(Counted { before, with_it: left.changes }));
            }
            let key: &dyn Signer = if task.kind == Kind::InboxManageKey { &own.owner_key } else { &own.manage_key };
            let managed: relay::Managed = engine.client.signed(relay, isolation, path, body, key).await?;
            Ok(Some(Counted { before, with_it: managed.changes }))
        }
        Subject::Chain(chain) => {
            let key = engine.read(move |engine, view| own::write_key(view, &engine.own().seal, &chain)).await?;
            let Some(key) = key else { return Ok(None) };
            let append = (task.kind == Kind::ChainAppend).then(|| append(&body)).transpose()?;
            let head = append.as_ref().map(|append| chain_entry_hash(&append.previous, &append.entry));
            let goes_on = append.as_ref().is_some_and(|append| !append.previous.is_empty());
            let body = match append {
                Some(first) if first.previous.is_empty() => {
                    let known = refusals.0.get(&task.subject).map(|refused| refused.proof.clone()).unwrap_or_default();
                    let (body, proof) = admitted(engine, relay, isolation, first, &known).await?;
                    if let Some(refused) = refusals.0.get_mut(&task.subject) {
                        refused.proof = proof;
                    }
                    body
                }
                _ => body,
            };
            match engine.client.signed::<relay::ChainHead>(relay, isolation, path, body, &key).await {
                // It is there from before a crash.
                Err(RelayError::Refused(problem)) if head.is_some() && problem.head_hash() == head => Ok(None),
                // Another head: another device of ours was faster, or the relay has lost entries, as after its operator brought a backup
                // back. Then readers find the newest list as a snapshot in place of whatever it still has. Unless it is another copy of
                // this device that wrote there.
                Err(RelayError::Refused(problem)) if problem.head_hash().is_some() => {
                    match second_copy::look_at(engine, relay, chain).await? {
                        Found::Copy => {
                            engine.declare_rolled_back().await;
                            return Err(Error::RolledBack);
                        }
                        // What is still to be said is queued behind what stands there.
                        Found::Sibling => return Ok(None),
                        Found::Loss => {}
                    }
                    let head = problem.head_hash().unwrap_or_default();
                    engine.write(move |engine, tx| own::begin_behind(tx, &chain, &head, &mut engine.chance())).await?;
                    Err(RelayError::Refused(problem).into())
                }
                // It refuses so what it knows nothing of. Where it has lost the chain, that begins anew.
                Err(error) if error.is("refused") && goes_on => {
                    let end = engine.client.end_of_own_chain(relay, chain).await;
                    if end.is_err_and(|error| error.is("refused")) {
                        engine
                            .write(move |engine, tx| own::begin_behind(tx, &chain, &[], &mut engine.chance()))
                            .await?;
                    }
                    Err(error.into())
                }
                Err(error) if error.is("refused") && task.kind == Kind::ChainDelete => Ok(None),
                answer => Ok(answer.map(|_| None)?),
            }
        }
    }
}

/// Deletes an inbox of the device that this one was before.
async fn delete_former(
    engine: &Arc<Engine>,
    relay: &RelayAddress,
    inbox: InboxId,
    path: &'static str,
    body: Bytes,
) -> Result<(), Error> {
    let key = engine.read(move |engine, view| own::former_owner_key(view, &engine.own().seal, &inbox)).await?;
    let Some(key) = key.filter(|_| path == Kind::InboxDelete.path()) else { return Ok(()) };
    match engine.client.signed::<Nothing>(relay, Isolation::Inbox(inbox), path, body, &key).await {
        // It was deleted before a crash, or by another copy.
        Err(error) if error.is("refused") => Ok(()),
        answer => Ok(answer.map(|_| ())?),
    }
}

fn append(body: &Bytes) -> Result<relay::ChainAppend, StoreError> {
    relay::ChainAppend::decode(body.clone()).map_err(|_| StoreError::Corrupt)
}

/// The append that begins a chain, with what its relay asks for. That is found out now: what was asked for when the call was queued
/// may be old.
async fn admitted(
    engine: &Engine,
    relay: &RelayAddress,
    isolation: Isolation,
    append: relay::ChainAppend,
    known: &Bytes,
) -> Result<(Bytes, Bytes), RelayError> {
    let code = engine.own().inboxes_at(relay).next().map(|own| own.relay_code.clone()).unwrap_or_default();
    let proof = admission::prove(&engine.client, relay, isolation, &append.chain, &code, known).await?;
    let append = relay::ChainAppend { invite_code: code, proof_of_work: proof.clone(), ..append };
    Ok((append.encode_to_vec().into(), proof))
}

/// The empty answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SystemRng;

    #[test]
    fn a_clock_that_falls_back_makes_no_wait_longer_than_an_hour() {
        let subject = Subject::Chain(sotto_protocol::ChainId::from_bytes([7; 32]));
        let now = Timestamp::from_ms(1_800_000_000_000);
        let mut refusals = Refusals::default();
        for _ in 0..20 {
            refusals.add(subject, "refused", now, &Chance(&SystemRng));
        }
        assert!(refusals.holds(&subject, now));
        assert!(!refusals.holds(&subject, now.after(REFUSED_DELAY_MAX)));
        assert!(!refusals.holds(&subject, now.before(Duration::from_secs(365 * 24 * 3600))));
    }
}
