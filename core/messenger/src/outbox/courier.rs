//! A courier carries one device's letters: asks what they need, does that, and tries again later when it fails.
//!
//! One runs per device that has letters waiting, so one slow peer or relay delays nobody else; it ends when nothing is left. It keeps
//! nothing but its backoff: everything it must not forget is in the database.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::prekey::{Bundle, open_one_time};
use sotto_crypto::secret::PrekeyKey;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, ClaimId, EnvelopeId, Timestamp, relay};

use super::again;
use super::backoff::Backoff;
use super::plan::{self, Claim, Parcel, Plan};
use super::post::Sealed;
use super::reach::Place;
use crate::contact;
use crate::engine::Engine;
use crate::error::Error;
use crate::manifests;
use crate::own;
use crate::peer::{self, DeviceRow, InboxRow, PeerInbox};
use crate::records::LETTER_REFUSED;
use crate::relay_client::RelayError;
use crate::session::{self, Begun};
use crate::status::Doing;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::world::{Chance, Isolation, TransportError};

/// A relay that has not answered for so long is passed over while it may still answer: a phone on a bad network has sent its batch by then.
const PATIENCE: Duration = Duration::from_secs(15);

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
    /// Who is passed over from now on, where there is another.
    shut: Option<Place>,
}

impl Failure {
    /// It came of what was asked for an inbox.
    fn at(self, inbox: &PeerInbox, is_of_relay: bool) -> Self {
        let shut = if is_of_relay { Place::Relay(inbox.relay.clone()) } else { Place::Inbox(inbox.row) };
        Self { shut: Some(shut), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_refusal = match &error {
            Error::Relay(error) => error.is("refused"),
            Error::Peer { .. } => true,
            _ => false,
        };
        Self { code: error.code(), retry_after: error.retry_after(), is_refusal, shut: None }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

/// A call about an inbox brought nothing: its relay has no time for anybody, or none for us.
fn failed_at(inbox: &PeerInbox, error: Error) -> Failure {
    let is_of_relay = match &error {
        Error::Relay(error) => !error.is_refusal() || error.is("unavailable"),
        _ => false,
    };
    let is_of_inbox = matches!(error, Error::Relay(_) | Error::Peer { .. });
    let failure = Failure::from(error);
    if is_of_inbox { failure.at(inbox, is_of_relay) } else { failure }
}

async fn step(engine: &Arc<Engine>, device: DeviceRow) -> Result<Progress, Failure> {
    match engine.write(move |engine, tx| plan::plan(engine, tx, device)).await? {
        Plan::Idle => Ok(Progress::Nothing),
        Plan::ReadManifest(contact) => {
            let read = manifests::refresh(engine, contact).await;
            if let Err(Error::Relay(error)) = &read {
                tracing::debug!(%error, "a contact's list cannot be had now");
                let tried = engine.write(move |engine, tx| plan::manifest_was_tried(tx, contact, engine.times()));
                if tried.await? {
                    return Ok(Progress::Prepared);
                }
            }
            read?;
            Ok(Progress::Prepared)
        }
        Plan::Ask(inbox) => or_elsewhere(engine, device, ask(engine, &inbox).await).await,
        Plan::Claim(claim) => {
            let claimed = claim_prekeys(engine, claim).await;
            or_elsewhere(engine, device, claimed).await
        }
        Plan::Send(parcel) => {
            engine.status.working(Doing::Courier(device));
            let sent = send(engine, device, parcel).await;
            or_elsewhere(engine, device, sent).await
        }
    }
}

/// Where a step failed at an inbox that another can stand in for, the letters go there at once.
async fn or_elsewhere(
    engine: &Arc<Engine>,
    device: DeviceRow,
    step: Result<Progress, Failure>,
) -> Result<Progress, Failure> {
    let Err(failure) = step else { return step };
    let Some(place) = failure.shut.clone() else { return Err(failure) };
    again::is_passed_over(engine, place, failure.retry_after).await?;
    let inboxes = engine.read(move |_, view| peer::inboxes(view, device)).await?;
    let has_another = inboxes.iter().any(|inbox| !engine.reach.is_shut(inbox));
    if has_another { Ok(Progress::Prepared) } else { Err(failure) }
}

/// Asks a relay that did not answer whether it is back.
async fn ask(engine: &Arc<Engine>, inbox: &PeerInbox) -> Result<Progress, Failure> {
    let asked =
        soon(engine, false, async { Ok(engine.client.features(&inbox.relay, Isolation::Anonymous).await?) }).await;
    asked.map_err(|error| failed_at(inbox, error))?;
    engine.reach.is_back(&inbox.relay, engine.clock.instant());
    Ok(Progress::Prepared)
}

/// The answer to a call, or none when it does not come soon: where there is another relay, that is the better bet then.
async fn soon<T>(engine: &Engine, is_only: bool, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        biased;
        answer = call => answer,
        () = engine.clock.sleep(PATIENCE), if !is_only => Err(RelayError::Transport(TransportError::TimedOut).into()),
    }
}

/// Claims a bundle, and a one-time key where a session must begin, and begins it.
async fn claim_prekeys(engine: &Arc<Engine>, claim: Claim) -> Result<Progress, Failure> {
    let token = Bytes::copy_from_slice(claim.token.as_bytes());
    let body = relay::PrekeyClaim {
        inbox: claim.inbox.inbox.into(),
        token,
        claim: claim.claim.into(),
        bundle_only: claim.bundle_only,
    };
    let call = async {
        Ok(engine.client.anonymous::<relay::PrekeyClaimed>(&claim.inbox.relay, path::PREKEY_CLAIM, &body).await?)
    };
    let claimed = soon(engine, claim.is_only, call).await.map_err(|error| failed_at(&claim.inbox, error))?;
    let inbox = claim.inbox.clone();
    let stored = engine
        .write(move |engine, tx| store_claimed(engine, tx, &claim.inbox, &claim.owner, &claim.claim, &claimed))
        .await;
    let row = inbox.row;
    if matches!(stored, Err(Error::Peer { .. })) {
        // The same claim gets the same one-time key for a month: another that its owner has put is had only under another.
        engine
            .write(move |_, tx| tx.execute("UPDATE peer_inbox SET claim = NULL WHERE id = ?1", [row.0]).map(drop))
            .await?;
    }
    stored.map_err(|error| failed_at(&inbox, error))?;
    Ok(Progress::Prepared)
}

/// Checks what was claimed for an inbox, and begins a session with it where there is none.
pub(crate) fn store_claimed(
    engine: &Engine,
    tx: &mut Tx<'_>,
    inbox: &PeerInbox,
    owner: &Party,
    claim: &ClaimId,
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
    let one_time = if claimed.one_time.is_empty() || is_spent(tx, inbox.row, claim)? {
        bundle.last_resort
    } else {
        tx.execute("UPDATE peer_inbox SET spent_claim = ?2 WHERE id = ?1", params![inbox.row.0, claim.as_ref()])?;
        open_one_time(&claimed.one_time, &key, &inbox.inbox, owner, now)
            .map_err(|error| refused("one_time_key_refused", &error))?
    };
    let olm = own::olm(tx, &engine.own().seal)?;
    let session = olm.begin(&owner.curve25519, &one_time).map_err(|error| refused("session_refused", &error))?;
    session::add(tx, &engine.own().seal, inbox.row, session, Begun::ByUs, engine.network_now(), &mut engine.chance())?;
    Ok(())
}

/// Whether the one-time key that a claim is answered with at an inbox has begun a session already, or may have: of this device, or of the one in
/// whose place it came.
fn is_spent(view: &impl Query, inbox: InboxRow, claim: &ClaimId) -> Result<bool, StoreError> {
    let sql = "SELECT coalesce(peer_inbox.spent_claim = ?2, 0) OR coalesce(contact.spent_claim = ?2, 0)
               FROM peer_inbox JOIN peer_device ON peer_device.id = peer_inbox.peer_device JOIN contact ON contact.id = peer_device.contact
               WHERE peer_inbox.id = ?1";
    view.one(sql, params![inbox.0, claim.as_ref()], |row| row.get(0))?.ok_or(StoreError::Corrupt)
}

fn refused(code: &'static str, error: &dyn std::fmt::Display) -> Error {
    tracing::warn!(code, %error, "a peer's prekeys are refused");
    Error::Peer { code }
}

/// Seals the letters now (KEM keys rotate), offers them, and writes down what the relay said of each.
async fn send(engine: &Arc<Engine>, device: DeviceRow, parcel: Parcel) -> Result<Progress, Failure> {
    let items = seal(engine, &parcel)?;
    let call = async { Ok(engine.post.send(&parcel.inbox.relay, Sealed { items }).await?) };
    let results = soon(engine, parcel.is_only, call).await.map_err(|error| failed_at(&parcel.inbox, error))?;
    let verdict = Verdict::of(&parcel, &results);
    if !matches!(verdict.trouble, Some(Trouble::Busy(_))) {
        again::has_taken(engine, Place::Relay(parcel.inbox.relay.clone())).await?;
    }
    let (accepted, trouble) = (verdict.accepted.len(), verdict.trouble);
    let inbox = parcel.inbox.row;
    let written = engine.write(move |engine, tx| write_down(engine, tx, device, inbox, &verdict)).await;
    if written.map_err(Failure::from)? {
        engine.look_after();
    }
    if accepted > 0 {
        engine.status.sent(accepted);
    }
    if let Some(trouble) = trouble {
        return Err(trouble.failure(&parcel.inbox));
    }
    again::has_taken(engine, Place::Inbox(inbox)).await?;
    Ok(Progress::Sent)
}

fn seal(engine: &Engine, parcel: &Parcel) -> Result<Vec<(relay::SendItem, Bytes)>, Failure> {
    let mut items = Vec::with_capacity(parcel.letters.len());
    for letter in &parcel.letters {
        let mut chance = engine.chance();
        let sealed = if parcel.is_confirmed {
            parcel.maker.seal_continuation(&letter.message, &mut chance)
        } else {
            parcel.maker.seal_opener(&engine.own().party.name(), &letter.message, &mut chance)
        };
        let too_long = |_| Failure { code: "letter_too_long", retry_after: None, is_refusal: false, shut: None };
        let envelope = sealed.map_err(too_long)?;
        let item = relay::SendItem {
            inbox: parcel.inbox.inbox.into(),
            token: Bytes::copy_from_slice(parcel.token.as_bytes()),
            envelope: letter.envelope.into(),
            header: envelope.header.into(),
            urgent: true,
            claim: parcel.claim.map_or_else(Bytes::new, Bytes::from),
            ..Default::default()
        };
        items.push((item, Bytes::from(envelope.payload)));
    }
    Ok(items)
}

/// What a relay said of a parcel's letters.
struct Verdict {
    accepted: Vec<i64>,
    stale: Vec<i64>,
    trouble: Option<Trouble>,
}

/// Why not all were taken: the gravest reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Stale,
    Busy(Option<Duration>),
    Full(Option<Duration>),
    Refused,
}

impl Verdict {
    fn of(parcel: &Parcel, results: &[relay::SendResult]) -> Self {
        let mut verdict = Self { accepted: Vec::new(), stale: Vec::new(), trouble: None };
        for (letter, result) in parcel.letters.iter().zip(results) {
            let retry_after = (result.retry_after_ms > 0).then(|| Duration::from_millis(result.retry_after_ms));
            let trouble = match result.outcome() {
                relay::SendOutcome::Accepted => {
                    verdict.accepted.push(letter.row);
                    continue;
                }
                relay::SendOutcome::Stale => {
                    verdict.stale.push(letter.row);
                    Trouble::Stale
                }
                relay::SendOutcome::Refused => Trouble::Refused,
                relay::SendOutcome::Full => Trouble::Full(retry_after),
                relay::SendOutcome::Busy | relay::SendOutcome::Unspecified => Trouble::Busy(retry_after),
            };
            verdict.trouble = verdict.trouble.max(Some(trouble));
        }
        verdict
    }
}

impl Trouble {
    /// Why the rest has to be offered again, and who is passed over until then.
    fn failure(self, inbox: &PeerInbox) -> Failure {
        let (code, retry_after) = match self {
            Self::Stale => ("envelope_stale", None),
            Self::Busy(retry_after) => ("relay_busy", retry_after),
            Self::Full(retry_after) => ("inbox_full", retry_after),
            Self::Refused => (LETTER_REFUSED, None),
        };
        let failure = Failure { code, retry_after, is_refusal: self == Self::Refused, shut: None };
        if self == Self::Stale { failure } else { failure.at(inbox, matches!(self, Self::Busy(_))) }
    }
}

/// Writes down what a relay said. Says whether our other devices are to hear of it.
fn write_down(
    engine: &Engine,
    tx: &mut Tx<'_>,
    device: DeviceRow,
    inbox: InboxRow,
    verdict: &Verdict,
) -> Result<bool, StoreError> {
    let now: Timestamp = engine.network_now();
    let is_to_tell = super::accepted(tx, &verdict.accepted, now)?;
    if !verdict.accepted.is_empty() {
        plan::letters_were_taken(tx, inbox)?;
    }
    for row in &verdict.stale {
        let envelope = EnvelopeId::new(now, engine.chance().bytes());
        tx.execute("UPDATE outbox SET envelope = ?2 WHERE id = ?1 AND state = 1", params![row, envelope.as_ref()])?;
    }
    if verdict.trouble == Some(Trouble::Refused) {
        // The inbox or its token is gone: perhaps the contact's list says where to now.
        let device = peer::device_by_row(tx, device)?;
        contact::manifest_is_due(tx, device.contact)?;
    }
    Ok(is_to_tell)
}
