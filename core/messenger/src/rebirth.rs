//! A rolled-back or cloned device replaces itself (PROTOCOL H2): what it asks of relays before its database becomes another device, and what
//! it does when another copy was faster.
//!
//! ```text
//! Copy --the account's own chain names this device--> another device (`own/birth.rs`), and all goes on
//!      --it does not---------------------------------> Replaced: another copy has taken its place. It stops, for good
//!      --it cannot be read----------------------------> Copy: nothing moves, and it is tried again
//!      --its relay is gone, and the root key is here--> another device, in a later epoch, when the user says so
//! ```
//! Nothing is ever replaced blindly: the newest list is read first, and whoever appends to it first is the one. A list that was signed here
//! and came second was never seen by anybody.

use std::sync::Arc;

use sotto_crypto::keys::RootKey;
use sotto_protocol::RelayAddress;

use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::generation::{self, Standing};
use crate::messenger::make_inbox;
use crate::outbox::backoff::Backoff;
use crate::own::{self, Newborn, OwnInbox, Place};
use crate::relay_client::RelayError;
use crate::status::Doing;
use crate::store::StoreError;

/// Tries until this database is another device, or another one has taken its place.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut backoff = Backoff::default();
    let mut hint = engine.hints();
    // Made once, however often the rest fails.
    let mut made = Vec::new();
    while engine.standing() == Standing::Copy {
        engine.status.working(Doing::Rebirth);
        let error = match become_another(&engine, Place::Taken, &mut made).await {
            Ok(()) => return engine.is_reborn(),
            Err(Error::DeviceReplaced) => return engine.declare_replaced().await,
            Err(error) => error,
        };
        tracing::warn!(code = error.code(), "a copy cannot replace itself yet");
        engine.status.failed(Doing::Rebirth, error.code());
        let wait = backoff.failed(error.retry_after(), &engine.chance());
        if engine.wait_or_hint(wait, &mut hint).await {
            backoff.reset();
        }
    }
}

/// Becomes another device. `made` are inboxes that a try before has made.
pub(crate) async fn become_another(engine: &Arc<Engine>, place: Place, made: &mut Vec<OwnInbox>) -> Result<(), Error> {
    let (device, before) = engine.read(|_, view| own::device_names(view)).await?;
    let read = own::read_own_list(engine).await;
    let is_away = matches!(read, Err(Error::Relay(RelayError::Transport(_)) | Error::Peer { .. }));
    engine.write(move |engine, tx| own::note_home(tx, is_away, engine.judging_now())).await?;
    let own_chain = read?;
    let lists = own_chain.lists.clone();
    let is_taken_away = engine.read(move |_, view| own::is_taken_away(view, &lists)).await?;
    let (relays, is_unpublished) = match own_chain.newest() {
        Some(_) if is_taken_away => return Err(Error::DeviceReplaced),
        Some(list) => {
            let listed = list.device(&device).or(before.as_ref().and_then(|before| list.device(before)));
            let listed = match (listed, place) {
                (Some(listed), _) => listed,
                // Its relay has lost all that named us.
                (None, Place::Taken) => return Err(Error::Peer { code: "own_list_older" }),
                (None, Place::Beside) => list.devices().first().ok_or(StoreError::Corrupt)?,
            };
            let epoch = engine.read(|_, view| own::epoch(view)).await?;
            if list.head().epoch != epoch {
                // Signed with a key that this copy never had.
                return Err(Error::NeedsRootKey);
            }
            let relays = listed.inboxes.iter().map(|inbox| inbox.relay.clone()).collect();
            (relays, place == Place::Taken && list.device(&device).is_none())
        }
        // Made before the account's first list stood, and nothing has stood since: nobody knows either device.
        // The one that it was copied from has not said yet what the account has.
        None if place == Place::Beside => return Err(Error::RolledBack),
        None => {
            let relays: Vec<_> = engine.own().listed().map(|inbox| inbox.relay.clone()).collect();
            (relays, before.is_some())
        }
    };
    let mut held = own::read_other_chains(engine).await?;
    held.push(own_chain);
    if is_unpublished {
        let generation = generation::prepare_another(&engine.store, &*engine.secrets).await?;
        return engine.write(move |engine, tx| own::publish_again(engine, tx, &held, generation)).await;
    }
    let to_join = make_inboxes(engine, &relays, made).await?;
    let inboxes = made.clone();
    let generation = generation::prepare_another(&engine.store, &*engine.secrets).await?;
    let new = Newborn { place, inboxes, to_join, held, generation, was: device, root: None };
    engine.write(move |engine, tx| own::become_another(engine, tx, &new)).await
}

/// A copy whose home relay is gone for good becomes another device by the root key's word, in a later epoch: nobody else can say who goes on.
pub(crate) async fn leave_home(engine: &Arc<Engine>, home: &RelayAddress, root: RootKey) -> Result<(), Error> {
    let (was, are_none) =
        engine.read(|_, view| Ok::<_, Error>((own::device_names(view)?.0, own::siblings::are_none(view)?))).await?;
    if !are_none {
        // They would not learn the new list key, nor where the lists are.
        return Err(
            InputError::WrongState { what: "has other devices, which cannot follow to another home yet" }.into()
        );
    }
    let relays: Vec<_> = engine.own().listed().map(|inbox| inbox.relay.clone()).filter(|relay| relay != home).collect();
    if relays.is_empty() {
        return Err(InputError::LastRelay.into());
    }
    let mut inboxes = Vec::new();
    let to_join = make_inboxes(engine, &relays, &mut inboxes).await?;
    let generation = generation::prepare_another(&engine.store, &*engine.secrets).await?;
    let root = Some(root);
    let new = Newborn { place: Place::Taken, inboxes, to_join, held: Vec::new(), generation, was, root };
    engine.write(move |engine, tx| own::become_another(engine, tx, &new)).await?;
    engine.is_reborn();
    Ok(())
}

/// Draws an inbox, and writes it down before its relay is asked to make it.
async fn draw_inbox(engine: &Arc<Engine>, relay: &RelayAddress, code: String) -> Result<OwnInbox, Error> {
    let inbox = OwnInbox::generate(0, relay.clone(), code, &mut engine.chance());
    let drawn = inbox.clone();
    engine
        .write(move |engine, tx| {
            own::will_not_be_read(tx, &drawn, &engine.own().seal, engine.judging_now(), &mut engine.chance())
        })
        .await?;
    Ok(inbox)
}

/// Makes an inbox at each relay that can be asked now: at one of them at least. Returns the others, each with what its operator wants to see.
async fn make_inboxes(
    engine: &Arc<Engine>,
    relays: &[RelayAddress],
    made: &mut Vec<OwnInbox>,
) -> Result<Vec<(RelayAddress, String)>, Error> {
    let own = engine.own();
    let (mut failure, mut others) = (None, Vec::new());
    for relay in relays {
        if made.iter().any(|inbox| inbox.relay == *relay) {
            continue;
        }
        let code = own.inboxes_at(relay).next().map(|inbox| inbox.relay_code.clone()).unwrap_or_default();
        let inbox = draw_inbox(engine, relay, code.clone()).await?;
        match make_inbox(&engine.client, &inbox).await {
            Ok(()) => made.push(inbox),
            Err(error) => {
                others.push((relay.clone(), code));
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if made.is_empty() => Err(error),
        _ => Ok(others),
    }
}

/// Makes an inbox at a relay that could not be asked for one when this device came to be, and puts it on our list. One that was made then, and
/// got nothing of what belongs in it, is made once more: that changes nothing where it is, and says that its relay is there.
pub(crate) async fn join(engine: Arc<Engine>, relay: RelayAddress, code: String) {
    match try_join(&engine, &relay, code).await {
        Ok(()) => engine.wake(),
        Err(error) => tracing::debug!(code = error.code(), "a relay of ours cannot be asked for an inbox yet"),
    }
}

async fn try_join(engine: &Arc<Engine>, relay: &RelayAddress, code: String) -> Result<(), Error> {
    let own = engine.own();
    if let Err(full) = own::is_listed(&own, relay) {
        // The user has chosen others meanwhile.
        let relay = relay.clone();
        engine.write(move |_, tx| own::is_joined(tx, &relay).map(drop)).await?;
        return Err(full.into());
    }
    let made = own.inboxes_at(relay).next().cloned();
    let inbox = match &made {
        Some(made) => made.clone(),
        None => draw_inbox(engine, relay, code).await?,
    };
    make_inbox(&engine.client, &inbox).await?;
    if made.is_none() {
        engine.witness.begins(relay);
    }
    engine.write(move |engine, tx| own::add_relay(engine, tx, &inbox)).await
}

/// Whether another has taken this device's place, as far as the account's own chain can be read.
pub(crate) async fn is_replaced(engine: &Arc<Engine>) -> Result<bool, Error> {
    let held = own::read_own_list(engine).await?;
    Ok(engine.read(move |_, view| own::is_taken_away(view, &held.lists)).await?)
}
