//! The clerks: signed calls that wait in `task` rows are made here, one relay beside the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::{Bytes, Message as _, RelayAddress, relay};
use tokio::sync::Notify;

use crate::engine::Engine;
use crate::error::Error;
use crate::outbox::backoff::Backoff;
use crate::relay_client::RelayError;
use crate::status::Doing;
use crate::store::StoreError;
use crate::task::{self, Kind, Subject, Task};
use crate::{admission, own, prekey};

/// Starts a clerk per relay that has calls waiting, and wakes it when there are more.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut clerks: HashMap<RelayAddress, Arc<Notify>> = HashMap::new();
    loop {
        if let Ok(relays) = engine.read_after_write(task::relays).await {
            for relay in relays {
                let wake = clerks.entry(relay.clone()).or_insert_with(|| {
                    let wake = Arc::new(Notify::new());
                    engine.spawn(run_clerk(Arc::clone(&engine), relay, Arc::clone(&wake)));
                    wake
                });
                wake.notify_one();
            }
        }
        engine.tasks_changed().await;
    }
}

async fn run_clerk(engine: Arc<Engine>, relay: RelayAddress, wake: Arc<Notify>) {
    let mut backoff = Backoff::default();
    let mut hint = engine.retries();
    loop {
        match work_off(&engine, &relay).await {
            Ok(()) => {
                backoff.reset();
                engine.status.ended(Doing::Clerk(relay.clone()));
                wake.notified().await;
            }
            Err(error) => {
                engine.status.failed(Doing::Clerk(relay.clone()), error.code());
                let wait = backoff.failed(error.retry_after(), &engine.chance());
                if engine.wait_or_hint(wait, &mut hint).await {
                    backoff.reset();
                }
            }
        }
    }
}

/// Makes all calls that wait for a relay. Those of one subject keep their order; one that is refused holds up its own subject only.
async fn work_off(engine: &Arc<Engine>, relay: &RelayAddress) -> Result<(), Error> {
    let mut refused: BTreeSet<Subject> = BTreeSet::new();
    let mut refusal = None;
    loop {
        let at = relay.clone();
        let tasks = engine.read(move |_, view| task::due(view, &at)).await?;
        let tasks: Vec<_> = tasks.into_iter().filter(|task| !refused.contains(&task.subject)).collect();
        if tasks.is_empty() {
            return refusal.map_or(Ok(()), Err);
        }
        engine.status.working(Doing::Clerk(relay.clone()));
        for task in tasks {
            let (id, subject, kind) = (task.id, task.subject, task.kind);
            match perform(engine, relay, task).await {
                Ok(()) => {
                    engine
                        .write(move |_, tx| {
                            if let (Subject::Chain(chain), Kind::ChainDelete) = (subject, kind) {
                                own::chain_is_gone(tx, &chain)?;
                            }
                            task::done(tx, id)
                        })
                        .await?;
                    // Letters may have waited for it, and lists at other relays.
                    engine.wake();
                }
                Err(Error::Relay(error)) if error.is_refusal() => {
                    tracing::warn!(%error, "a relay refuses a call of ours");
                    refused.insert(subject);
                    refusal = Some(error.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn perform(engine: &Arc<Engine>, relay: &RelayAddress, task: Task) -> Result<(), Error> {
    let (path, isolation, body) = (task.kind.path(), task.subject.isolation(), Bytes::from(task.body));
    match task.subject {
        Subject::Inbox(inbox) => {
            let Some(own) = engine.own.inbox(&inbox) else { return Ok(()) };
            if task.kind == Kind::PrekeyPut {
                let row = own.row;
                let left: relay::PrekeyCount =
                    engine.client.signed(relay, isolation, path, body, &own.manage_key).await?;
                engine.write(move |_, tx| prekey::one_time_keys_left(tx, row, left.one_time)).await?;
            } else {
                engine.client.signed::<Nothing>(relay, isolation, path, body, &own.manage_key).await?;
            }
            Ok(())
        }
        Subject::Chain(chain) => {
            let key = engine.read(move |engine, view| own::write_key(view, &engine.own.seal, &chain)).await?;
            let Some(key) = key else { return Ok(()) };
            let append = (task.kind == Kind::ChainAppend).then(|| append(&body)).transpose()?;
            let head = append.as_ref().map(|append| chain_entry_hash(&append.previous, &append.entry));
            let body = match append {
                Some(first) if first.previous.is_empty() => admitted(engine, relay, first).await?,
                _ => body,
            };
            match engine.client.signed::<relay::ChainHead>(relay, isolation, path, body, &key).await {
                // It is there from before a crash. Any other head means that the relay has lost entries: that is no success.
                Err(RelayError::Refused(problem)) if head.is_some() && problem.head_hash() == head => Ok(()),
                Err(error) if error.is("refused") && task.kind == Kind::ChainDelete => Ok(()),
                answer => Ok(answer.map(drop)?),
            }
        }
    }
}

fn append(body: &Bytes) -> Result<relay::ChainAppend, StoreError> {
    relay::ChainAppend::decode(body.clone()).map_err(|_| StoreError::Corrupt)
}

/// The append that begins a chain, with what its relay asks for. That is found out now: what was asked for when the call was queued
/// may be old.
async fn admitted(engine: &Engine, relay: &RelayAddress, append: relay::ChainAppend) -> Result<Bytes, RelayError> {
    let code = engine.own.inboxes_at(relay).next().map(|own| own.relay_code.clone()).unwrap_or_default();
    let proof_of_work = admission::prove(&engine.client, relay, &append.chain, &code).await?;
    Ok(relay::ChainAppend { invite_code: code, proof_of_work, ..append }.encode_to_vec().into())
}

/// The empty answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}
