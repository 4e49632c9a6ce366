//! A courier carries one device's letters: asks what they need, does that, and tries again later when it fails.
//!
//! One runs per device that has letters waiting, so one slow peer or relay delays nobody else; it ends when nothing is left. It keeps
//! nothing but its backoff: everything it must not forget is in the database.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::prekey::{Bundle, open_one_time};
use sotto_crypto::secret::PrekeyKey;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, EnvelopeId, Timestamp, relay};

use super::backoff::Backoff;
use super::encrypt::{self, Claim, Parcel, Plan};
use super::post::Sealed;
use crate::contact;
use crate::engine::Engine;
use crate::error::Error;
use crate::manifests;
use crate::own;
use crate::peer::{self, DeviceRow, PeerInbox};
use crate::records::LETTER_REFUSED;
use crate::relay_client::RelayError;
use crate::session::{self, Begun};
use crate::status::Doing;
use crate::store::column::ms;
use crate::store::{StoreError, Tx};
use crate::world::Chance;

/// Runs until the device has no letters that may leave.
pub(crate) async fn run(engine: Arc<Engine>, device: DeviceRow) {
    let mut backoff = Backoff::default();
    let (mut hint, mut retry) = (engine.hints(), engine.retries());
    loop {
        match step(&engine, device).await {
            Ok(Progress::Nothing) => {
                engine.status.ended(Doing::Courier(device));
                return;
            }
            // Only letters that a relay took are a success: prekeys and lists can be had from relays that refuse the letter itself.
            Ok(Progress::Sent) => backoff.reset(),
            Ok(Progress::Prepared) => {}
            Err(failure) => {
                let chance = Chance(&*engine.rng);
                // That the network is back makes no difference to somebody who does not want our letters.
                let (wait, hint) = if failure.is_refusal {
                    (backoff.refused(&chance), &mut hint)
                } else {
                    (backoff.failed(failure.retry_after, &chance), &mut retry)
                };
                engine.status.failed(Doing::Courier(device), failure.code);
                if engine.wait_or_hint(wait, hint).await {
                    backoff.reset();
                }
            }
        }
    }
}

enum Progress {
    /// What letters need first is there now.
    Prepared,
    /// Letters are at their relay.
    Sent,
    /// There is nothing to do.
    Nothing,
}

/// Why a step has to be repeated.
struct Failure {
    code: &'static str,
    retry_after: Option<Duration>,
    /// The inbox does not want our letters, its token is gone, or what its owner published is not acceptable: time alone will hardly help.
    is_refusal: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_refusal = match &error {
            Error::Relay(error) => error.is("refused"),
            Error::Peer { .. } => true,
            _ => false,
        };
        Self { code: error.code(), retry_after: error.retry_after(), is_refusal }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        Error::from(error).into()
    }
}

async fn step(engine: &Arc<Engine>, device: DeviceRow) -> Result<Progress, Failure> {
    if engine.is_rolled_back() {
        return Ok(Progress::Nothing);
    }
    let plan = engine
        .write(move |engine, tx| encrypt::plan(tx, &engine.own, device, engine.times(), &mut engine.chance()))
        .await?;
    match plan {
        Plan::Idle => Ok(Progress::Nothing),
        Plan::ReadManifest(contact) => {
            let read = manifests::refresh(engine, contact).await;
            if let Err(Error::Relay(error)) = &read {
                tracing::debug!(%error, "a contact's list cannot be had now");
                let tried = engine.write(move |engine, tx| encrypt::manifest_was_tried(tx, contact, engine.times()));
                if tried.await? {
                    return Ok(Progress::Prepared);
                }
            }
            read?;
            Ok(Progress::Prepared)
        }
        Plan::Claim(claim) => {
            claim_prekeys(engine, claim).await?;
            Ok(Progress::Prepared)
        }
        Plan::Send(parcel) => {
            engine.status.working(Doing::Courier(device));
            send(engine, device, parcel).await
        }
    }
}

/// Claims a bundle, and a one-time key where a session must begin, and begins it.
async fn claim_prekeys(engine: &Arc<Engine>, claim: Claim) -> Result<(), Failure> {
    let token = Bytes::copy_from_slice(claim.token.as_bytes());
    let body = relay::PrekeyClaim {
        inbox: claim.inbox.inbox.into(),
        token,
        claim: claim.claim.into(),
        bundle_only: claim.bundle_only,
    };
    let claimed: relay::PrekeyClaimed = engine.client.anonymous(&claim.inbox.relay, path::PREKEY_CLAIM, &body).await?;
    let inbox = claim.inbox.row;
    let stored = engine.write(move |engine, tx| store_claimed(engine, tx, &claim.inbox, &claim.owner, &claimed)).await;
    if matches!(stored, Err(Error::Peer { .. })) {
        // The same claim is answered with the same for a month: what its owner puts meanwhile is had only under another.
        engine
            .write(move |_, tx| tx.execute("UPDATE peer_inbox SET claim = NULL WHERE id = ?1", [inbox.0]).map(drop))
            .await?;
    }
    stored.map_err(Failure::from)
}

/// Checks what was claimed for an inbox, and begins a session with it where there is none.
pub(crate) fn store_claimed(
    engine: &Engine,
    tx: &mut Tx<'_>,
    inbox: &PeerInbox,
    owner: &Party,
    claimed: &relay::PrekeyClaimed,
) -> Result<(), Error> {
    let now = engine.judging_now();
    let key = PrekeyKey::from_bytes(inbox.prekey_key);
    let bundle = Bundle::open(&claimed.bundle, &key, &inbox.inbox, owner, now)
        .map_err(|error| refused("bundle_refused", &error))?;
    tx.execute(
        "UPDATE peer_inbox SET bundle = ?2, bundle_read_at = ?3, claim = NULL WHERE id = ?1",
        params![inbox.row.0, claimed.bundle.as_ref(), ms(engine.network_now())],
    )?;
    if session::has_sending(tx, inbox.row)? {
        return Ok(());
    }
    let one_time = if claimed.one_time.is_empty() {
        bundle.last_resort
    } else {
        open_one_time(&claimed.one_time, &key, &inbox.inbox, owner, now)
            .map_err(|error| refused("one_time_key_refused", &error))?
    };
    let olm = own::olm(tx, &engine.own.seal)?;
    let session = olm.begin(&owner.curve25519, &one_time).map_err(|error| refused("session_refused", &error))?;
    session::add(tx, &engine.own.seal, inbox.row, session, Begun::ByUs, engine.network_now(), &mut engine.chance())?;
    Ok(())
}

fn refused(code: &'static str, error: &dyn std::fmt::Display) -> Error {
    tracing::warn!(code, %error, "a peer's prekeys are refused");
    Error::Peer { code }
}

/// Seals the letters now (KEM keys rotate), offers them, and writes down what the relay said of each.
async fn send(engine: &Arc<Engine>, device: DeviceRow, parcel: Parcel) -> Result<Progress, Failure> {
    let mut items = Vec::with_capacity(parcel.letters.len());
    for letter in &parcel.letters {
        let mut chance = engine.chance();
        let sealed = if parcel.is_confirmed {
            parcel.maker.seal_continuation(&letter.message, &mut chance)
        } else {
            parcel.maker.seal_opener(&engine.own.party.name(), &letter.message, &mut chance)
        };
        let envelope = sealed.map_err(|_| Failure { code: "letter_too_long", retry_after: None, is_refusal: false })?;
        let item = relay::SendItem {
            inbox: parcel.inbox.into(),
            token: Bytes::copy_from_slice(parcel.token.as_bytes()),
            envelope: letter.envelope.into(),
            header: envelope.header.into(),
            urgent: true,
            claim: parcel.claim.map_or_else(Bytes::new, Bytes::from),
            ..Default::default()
        };
        items.push((item, Bytes::from(envelope.payload)));
    }
    let results = engine.post.send(&parcel.relay, Sealed { items }).await?;
    let verdict = Verdict::of(&parcel, &results);
    let accepted = verdict.accepted.len();
    let (refusal, is_refusal) = (verdict.failure, verdict.is_refused);
    engine.write(move |engine, tx| write_down(engine, tx, device, &verdict)).await.map_err(Failure::from)?;
    if accepted > 0 {
        engine.status.sent(accepted);
    }
    match refusal {
        Some((code, retry_after)) => Err(Failure { code, retry_after, is_refusal }),
        None => Ok(Progress::Sent),
    }
}

/// What a relay said of a parcel's letters.
struct Verdict {
    accepted: Vec<i64>,
    stale: Vec<i64>,
    is_refused: bool,
    failure: Option<(&'static str, Option<Duration>)>,
}

impl Verdict {
    fn of(parcel: &Parcel, results: &[relay::SendResult]) -> Self {
        let mut verdict = Self { accepted: Vec::new(), stale: Vec::new(), is_refused: false, failure: None };
        for (letter, result) in parcel.letters.iter().zip(results) {
            let retry_after = (result.retry_after_ms > 0).then(|| Duration::from_millis(result.retry_after_ms));
            match result.outcome() {
                relay::SendOutcome::Accepted => verdict.accepted.push(letter.row),
                relay::SendOutcome::Stale => {
                    verdict.stale.push(letter.row);
                    verdict.failure = Some(("envelope_stale", None));
                }
                relay::SendOutcome::Refused => {
                    verdict.is_refused = true;
                    verdict.failure = Some((LETTER_REFUSED, None));
                }
                relay::SendOutcome::Full => verdict.failure = Some(("inbox_full", retry_after)),
                relay::SendOutcome::Busy | relay::SendOutcome::Unspecified => {
                    verdict.failure = Some(("relay_busy", retry_after))
                }
            }
        }
        verdict
    }
}

fn write_down(engine: &Engine, tx: &mut Tx<'_>, device: DeviceRow, verdict: &Verdict) -> Result<(), StoreError> {
    let now: Timestamp = engine.network_now();
    super::accepted(tx, &verdict.accepted, now)?;
    for row in &verdict.stale {
        let envelope = EnvelopeId::new(now, engine.chance().bytes());
        tx.execute("UPDATE outbox SET envelope = ?2 WHERE id = ?1 AND state = 1", params![row, envelope.as_ref()])?;
    }
    if verdict.is_refused {
        // The inbox or its token is gone: perhaps the contact's list says where to now.
        let device = peer::device_by_row(tx, device)?;
        contact::manifest_is_stale(tx, device.contact)?;
    }
    Ok(())
}
