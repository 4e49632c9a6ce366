//! Joining: what is read and claimed before anything is stored, and then stored in one transaction.

use std::sync::Arc;

use sotto_protocol::invite::Invite;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Timestamp, relay};

use super::scanner::{Reading, ask, invite_chain_address, remember_claim};
use crate::contact;
use crate::engine::Engine;
use crate::error::{Error, InviteError};
use crate::outbox::{courier, encrypt};
use crate::relay_client::RelayError;
use crate::store::{StoreError, Tx};
use crate::{manifests, peer};

/// Reads who made an invite, and writes down the claim id under which it is joined.
pub(crate) async fn read_invite(engine: &Arc<Engine>, invite: Invite, now: Timestamp) -> Result<Reading, Error> {
    let (chain, _) = invite_chain_address(&invite);
    let part = manifests::read(&engine.client, &chain, 0).await.map_err(|error| match error {
        Error::Relay(error) if error.is("refused") => InviteError::UsedUp.into(),
        error => error,
    })?;
    let manifest = manifests::first_contact(&invite.account, &part, now)?;
    let id = chain.chain;
    let claim = engine.write(move |engine, tx| remember_claim(tx, &id, &engine.chance())).await?;
    Ok(Reading { chain, chain_next: part.next, manifest, claim, invite })
}

/// Claims prekeys at the preferred inbox of every device of the invite's owner.
pub(crate) async fn claim(engine: &Arc<Engine>, reading: &Reading) -> Result<Vec<relay::PrekeyClaimed>, Error> {
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
        claimed.push(answer.map_err(|error: RelayError| {
            if error.is("refused") { InviteError::UsedUp.into() } else { Error::from(error) }
        })?);
    }
    Ok(claimed)
}

/// One transaction: the contact to be, reply tokens, the request, and the sessions it goes out on.
pub(crate) fn store(
    engine: &Engine,
    tx: &mut Tx<'_>,
    reading: &Reading,
    claimed: &[relay::PrekeyClaimed],
) -> Result<(), Error> {
    let row = ask(tx, &engine.own, reading, engine.network_now(), &mut engine.chance())?;
    let contact = contact::by_row(tx, row)?;
    for (device, claimed) in peer::listed_devices(tx, row)?.into_iter().zip(claimed) {
        let device = peer::device_by_row(tx, device)?;
        let inbox = peer::inboxes(tx, device.row)?.into_iter().next().ok_or(StoreError::Corrupt)?;
        courier::store_claimed(engine, tx, &inbox, &encrypt::party(&contact, &device), claimed)?;
    }
    Ok(())
}
