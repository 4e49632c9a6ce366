//! Joining: what is read and claimed before anything is stored, and then stored in one transaction.

use std::sync::Arc;

use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::invite::Invite;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, DeviceId, relay};

use super::owner::accept;
use super::scanner::{Reading, ask, invite_chain_address, remember_claim};
use crate::contact::{self, ContactState};
use crate::engine::{Engine, Event};
use crate::error::{Error, InviteError};
use crate::manifests::{self, Unbelieved};
use crate::outbox::{courier, encrypt};
use crate::peer;
use crate::relay_client::RelayError;
use crate::store::{StoreError, Tx};

/// Reads who made an invite, and writes down the claim id under which it is joined.
pub(crate) async fn read_invite(engine: &Arc<Engine>, invite: Invite) -> Result<Reading, Error> {
    let (chain, _) = invite_chain_address(&invite);
    let part = manifests::read(&engine.client, &chain, 0).await.map_err(|error| match error {
        Error::Relay(error) if error.is("refused") => InviteError::UsedUp.into(),
        error => error,
    })?;
    let manifest = manifests::first_contact(&invite.account, &part, engine.judging_now())?;
    let id = chain.chain;
    let introduced = engine
        .write(move |engine, tx| -> Result<_, StoreError> {
            Ok(match believe(engine, tx, &manifest)? {
                Ok(()) => Ok((manifest, remember_claim(tx, &id, &engine.chance())?)),
                Err(error) => Err(error),
            })
        })
        .await?;
    let (manifest, claim) = introduced?;
    Ok(Reading { chain, chain_next: part.next, manifest, claim, invite })
}

/// Checks the owner's list beside what is known of them. That it shows their root key in two hands is kept.
fn believe(engine: &Engine, tx: &mut Tx<'_>, manifest: &VerifiedManifest) -> Result<Result<(), Error>, StoreError> {
    let bytes = manifest.bytes().clone();
    match manifests::introduce(tx, manifest.account(), bytes, engine.judging_now())? {
        Ok(_) => Ok(Ok(())),
        Err(Unbelieved { code, distrust }) => {
            if let Some((contact, trust)) = distrust {
                contact::distrust(tx, contact, trust)?;
                engine.tell(Event::ContactsChanged);
            }
            Ok(Err(Error::Peer { code }))
        }
    }
}

/// Claims prekeys at the preferred inbox of every device of the invite's owner.
pub(crate) async fn claim(
    engine: &Arc<Engine>,
    reading: &Reading,
) -> Result<Vec<(DeviceId, relay::PrekeyClaimed)>, Error> {
    let mut claimed = Vec::with_capacity(reading.manifest.devices().len());
    for device in reading.manifest.devices() {
        let Some(inbox) = device.inboxes.first() else { continue };
        let token = sotto_crypto::secret::invite_token(&reading.invite.secret, &inbox.inbox);
        let body = relay::PrekeyClaim {
            inbox: inbox.inbox.into(),
            token: Bytes::copy_from_slice(token.as_bytes()),
            claim: reading.claim.into(),
            bundle_only: false,
        };
        let answer = engine.client.anonymous(&inbox.relay, path::PREKEY_CLAIM, &body).await;
        let answer =
            answer.map_err(
                |error: RelayError| {
                    if error.is("refused") { InviteError::UsedUp.into() } else { Error::from(error) }
                },
            )?;
        claimed.push((device.id, answer));
    }
    Ok(claimed)
}

/// One transaction: the contact to be, reply tokens, the request, and the sessions it goes out on.
pub(crate) fn store(
    engine: &Engine,
    tx: &mut Tx<'_>,
    reading: &Reading,
    claimed: &[(DeviceId, relay::PrekeyClaimed)],
) -> Result<(), Error> {
    // Their chain may have been read meanwhile, and their own request may have come.
    believe(engine, tx, &reading.manifest)??;
    let known = contact::by_account(tx, &reading.invite.account)?;
    match known.map(|contact| (contact.state, contact.row)) {
        Some((ContactState::Accepted, _)) => return Err(InviteError::AlreadyContact.into()),
        Some((ContactState::Asking, row)) => {
            return accept(tx, &engine.own, row, engine.network_now(), &mut engine.chance());
        }
        Some((ContactState::Asked | ContactState::Removed, _)) | None => {}
    }
    let row = ask(tx, &engine.own, reading, engine.network_now(), &mut engine.chance())?;
    let contact = contact::by_row(tx, row)?;
    for (device, claimed) in claimed {
        let device = peer::device_by_id(tx, row, device)?.ok_or(StoreError::Corrupt)?;
        let inbox = peer::inboxes(tx, device.row)?.into_iter().next().ok_or(StoreError::Corrupt)?;
        courier::store_claimed(engine, tx, &inbox, &encrypt::party(&contact, &device), claimed)?;
    }
    Ok(())
}
