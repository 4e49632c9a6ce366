//! Joining: what is read and claimed before anything is stored, and then stored in one transaction.

use std::sync::Arc;

use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::invite::Invite;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, ClaimId, DeviceId, relay};

use super::owner::{accept, can_be_answered};
use super::scanner::{Reading, ask, forget_claim, invite_chain_address, refuse_claim, remember_claim};
use crate::contact::{self, ContactState};
use crate::engine::Engine;
use crate::error::{Error, InviteError};
use crate::events::Event;
use crate::manifests::{self, Unbelieved};
use crate::outbox::{courier, plan};
use crate::peer;
use crate::receive::{self, Received, Why};
use crate::relay_client::RelayError;
use crate::store::{StoreError, Tx};

/// Uses an invite: reads who made it, claims their prekeys, and asks them.
pub(crate) async fn join(engine: &Arc<Engine>, invite: Invite) -> Result<(), Error> {
    let reading = Arc::new(read_invite(engine, invite).await?);
    for id in &reading.claims {
        match claim(engine, &reading, *id).await {
            // A single-use invite belongs to its first claim id, which may be the one whose prekeys were refused.
            Err(Error::Invite(_)) => {}
            claimed => return ask_under(engine, &reading, *id, claimed?).await,
        }
    }
    let chain = reading.chain.chain;
    engine.write(move |_, tx| forget_claim(tx, &chain)).await?;
    Err(InviteError::UsedUp.into())
}

/// Reads who made an invite, and writes down the claim id under which it is joined.
async fn read_invite(engine: &Arc<Engine>, invite: Invite) -> Result<Reading, Error> {
    let chain = invite_chain_address(&invite);
    let part = manifests::read(&engine.client, &chain, 0).await.map_err(|error| match error {
        Error::Relay(error) if error.is("refused") => InviteError::UsedUp.into(),
        error => error,
    })?;
    let manifest = manifests::first_contact(&invite.account, &part, engine.judging_now())?;
    catch_up_with(engine, &manifest).await?;
    let (id, expires_at, secret) = (chain.chain, invite.expires_at, invite.secret.clone());
    let introduce = move |engine: &Engine, tx: &mut Tx<'_>| -> Result<_, StoreError> {
        // The same link was used twice at once, and the other was faster: nothing more is claimed.
        let known = contact::by_account(tx, manifest.account())?;
        if known.is_some_and(|contact| contact.was_asked_under(&secret)) {
            return Ok(Err(Error::from(InviteError::AlreadyContact)));
        }
        Ok(match believe(engine, tx, &manifest)? {
            Ok(()) => Ok((manifest, remember_claim(tx, &id, expires_at, &engine.chance())?)),
            Err(error) => Err(error),
        })
    };
    let introduced = engine.write_then(introduce, |engine, introduced| {
        if introduced.is_err() {
            engine.tell(Event::ContactsChanged);
        }
    });
    let (manifest, claims) = introduced.await??;
    Ok(Reading { chain, chain_next: part.next, manifest, claims, invite })
}

/// Somebody who is a contact keeps the list and the chain that are known. Where the invite's list is newer, that chain is read now.
async fn catch_up_with(engine: &Arc<Engine>, manifest: &VerifiedManifest) -> Result<(), Error> {
    let account = *manifest.account();
    let known = engine.read(move |_, view| contact::by_account(view, &account)).await?;
    if let Some(contact) = known
        && contact.state == ContactState::Accepted
        && manifest.head().order() > contact.head.order()
        && let Err(error) = manifests::refresh(engine, contact.row).await
    {
        // The request goes where the known list says.
        tracing::debug!(code = error.code(), "a contact's chain was not read");
    }
    Ok(())
}

/// Checks the owner's list beside what is known of them. That it shows their root key in two hands is kept.
fn believe(engine: &Engine, tx: &mut Tx<'_>, manifest: &VerifiedManifest) -> Result<Result<(), Error>, StoreError> {
    let bytes = manifest.bytes().clone();
    match manifests::introduce(tx, manifest.account(), bytes, engine.judging_now())? {
        Ok(_) => Ok(Ok(())),
        Err(Unbelieved { code, distrust }) => {
            if let Some((contact, trust)) = distrust {
                contact::distrust(tx, contact, trust)?;
            }
            Ok(Err(Error::Peer { code }))
        }
    }
}

/// Claims prekeys at the preferred inbox of every device of the invite's owner at which the invite holds.
async fn claim(
    engine: &Arc<Engine>,
    reading: &Reading,
    id: ClaimId,
) -> Result<Vec<(DeviceId, relay::PrekeyClaimed)>, Error> {
    let mut claimed = Vec::with_capacity(reading.manifest.devices().len());
    let mut failure: Option<RelayError> = None;
    for device in reading.manifest.devices() {
        let Some(inbox) = device.inboxes.first() else { continue };
        let token = sotto_crypto::secret::invite_token(&reading.invite.secret, &inbox.inbox);
        let body = relay::PrekeyClaim {
            inbox: inbox.inbox.into(),
            token: Bytes::copy_from_slice(token.as_bytes()),
            claim: id.into(),
            bundle_only: false,
        };
        let answer = engine.client.anonymous(&inbox.relay, path::PREKEY_CLAIM, &body).await;
        match answer {
            Ok(answer) => claimed.push((device.id, answer)),
            // Only the device that made an invite has tokens for it (PROTOCOL C2).
            Err(error) if error.is("refused") => {}
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if claimed.is_empty() => Err(error.into()),
        None if claimed.is_empty() => Err(InviteError::UsedUp.into()),
        _ => Ok(claimed),
    }
}

/// Stores what was read and claimed, and tells what came of it.
async fn ask_under(
    engine: &Arc<Engine>,
    reading: &Arc<Reading>,
    claim: ClaimId,
    claimed: Vec<(DeviceId, relay::PrekeyClaimed)>,
) -> Result<(), Error> {
    let read = Arc::clone(reading);
    let store = move |engine: &Engine, tx: &mut Tx<'_>| store(engine, tx, &read, &claim, &claimed);
    let stored = engine.write_then(store, |engine, stored| match stored {
        Ok(received) => engine.after_receive(received),
        Err(_) => engine.tell(Event::ContactsChanged),
    });
    match stored.await {
        Ok(stored) => stored.map(drop),
        Err(error @ Error::Peer { .. }) => {
            let chain = reading.chain.chain;
            engine.write(move |engine, tx| refuse_claim(tx, &chain, &claim, &engine.chance())).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// One transaction: the contact to be, reply tokens, the request, and the sessions it goes out on. Prekeys that are refused end it, and nothing
/// was changed; a list that is not believed ends it too, and what it shows of their trust stays.
fn store(
    engine: &Engine,
    tx: &mut Tx<'_>,
    reading: &Reading,
    claim: &ClaimId,
    claimed: &[(DeviceId, relay::PrekeyClaimed)],
) -> Result<Result<Received, Error>, Error> {
    engine.refuse_if_rolled_back()?;
    // Their chain may have been read meanwhile, and their own request may have come.
    if let Err(unbelieved) = believe(engine, tx, &reading.manifest)? {
        return Ok(Err(unbelieved));
    }
    let changed = Received { contacts_changed: true, ..Received::default() };
    let known = contact::by_account(tx, &reading.invite.account)?;
    if known.as_ref().is_some_and(|contact| contact.was_asked_under(&reading.invite.secret)) {
        return Err(InviteError::AlreadyContact.into());
    }
    match known.map(|contact| (contact.state, contact.row)) {
        Some((ContactState::Asking, row)) if can_be_answered(tx, row, engine.network_now())? => {
            forget_claim(tx, &reading.chain.chain)?;
            accept(tx, &engine.own(), row, engine.times(), &mut engine.chance())?;
            let waited_for = [Why::NotAnswered];
            let received =
                receive::retry_waiting(tx, &engine.own(), row, &waited_for, engine.times(), &mut engine.chance())?;
            return Ok(Ok(Received { contacts_changed: true, ..received }));
        }
        _ => {}
    }
    let devices: Vec<DeviceId> = claimed.iter().map(|(device, _)| *device).collect();
    let row = ask(tx, &engine.own(), reading, claim, &devices, engine.times(), &mut engine.chance())?;
    let contact = contact::by_row(tx, row)?;
    for (device, claimed) in claimed {
        // Where the list of a contact that is known names other devices or inboxes, their prekeys are claimed when the request leaves.
        let Some(device) = peer::device_by_id(tx, row, device)?.filter(|device| device.listed) else { continue };
        let Some(inbox) = peer::inboxes(tx, device.row)?.into_iter().next() else { continue };
        if !reading.is_claimed_at(&device.device, &inbox.inbox) {
            continue;
        }
        courier::store_claimed(engine, tx, &inbox, &plan::party(&contact, &device), claim, claimed)?;
    }
    Ok(Ok(changed))
}
