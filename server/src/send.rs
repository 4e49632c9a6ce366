//! Sending: a batch of items for any number of inboxes, each with a result of its own.
//!
//! Whether the recipient is attached changes nothing about the answer. What is stored is delivered from the store, after it is
//! stored; what is ephemeral goes to whoever is attached now, and is gone.

use sotto_protocol::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, SEND_ITEMS_MAX};
use sotto_protocol::relay::{Delivery, Lifetime, Send, SendItem, SendOutcome, SendResult, SendResults};
use sotto_protocol::{Alias, Timestamp, Token};

use crate::limits::{RETRY_BUSY_MS, RETRY_FULL_MS};
use crate::problem::{Problem, Response};
use crate::relay::{Relay, at_most, id};
use crate::store::{Denied, Keep, Payload, Put, PutOutcome};

impl Relay {
    pub(crate) async fn send(&self, message: Send, now: Timestamp) -> Result<Response, Problem> {
        at_most(message.items.len(), SEND_ITEMS_MAX)?;
        for payload in &message.payloads {
            at_most(payload.len(), PAYLOAD_BYTES_MAX)?;
        }
        let puts: Vec<Put> = message.items.iter().map(|item| put(&message, item)).collect::<Result<_, _>>()?;
        let outcomes = match self.store.put_envelopes(puts, now).await {
            Ok(outcomes) => outcomes,
            Err(Denied::Unavailable) => vec![PutOutcome::Busy; message.items.len()],
            Err(denied) => return Err(denied.into()),
        };
        self.metrics.sent(&outcomes);
        for (item, outcome) in message.items.iter().zip(&outcomes) {
            if let PutOutcome::Passed(alias) = outcome {
                self.pass(&message, item, *alias, now)?;
            }
        }
        Ok(Response::message(&SendResults { results: outcomes.iter().map(result).collect() }))
    }

    fn pass(&self, message: &Send, item: &SendItem, alias: Alias, now: Timestamp) -> Result<(), Problem> {
        let delivery = Delivery {
            sequence: 0,
            alias: alias.0,
            envelope: item.envelope.clone(),
            header: item.header.clone(),
            payload: payload(message, item)?.bytes,
            accepted_at_ms: now.as_ms(),
        };
        self.hub.pass(&id(&item.inbox)?, delivery);
        Ok(())
    }
}

fn put(message: &Send, item: &SendItem) -> Result<Put, Problem> {
    at_most(item.header.len(), HEADER_BYTES_MAX)?;
    Ok(Put {
        inbox: id(&item.inbox)?,
        token: id::<Token>(&item.token)?.hash(),
        envelope: id(&item.envelope)?,
        header: item.header.clone(),
        payload: payload(message, item)?,
        lifetime: Lifetime::try_from(item.lifetime).map_err(|_| Problem::BadRequest)?,
        claim: if item.claim.is_empty() { None } else { Some(id(&item.claim)?) },
        keep: if item.ephemeral { Keep::Ephemeral } else { Keep::Stored },
    })
}

fn payload(message: &Send, item: &SendItem) -> Result<Payload, Problem> {
    let bytes = usize::try_from(item.payload).ok().and_then(|index| message.payloads.get(index));
    Ok(Payload { index: item.payload, bytes: bytes.ok_or(Problem::BadRequest)?.clone() })
}

fn result(outcome: &PutOutcome) -> SendResult {
    let (outcome, retry_after_ms) = match outcome {
        PutOutcome::Accepted | PutOutcome::Passed(_) => (SendOutcome::Accepted, 0),
        PutOutcome::Refused => (SendOutcome::Refused, 0),
        PutOutcome::Full => (SendOutcome::Full, RETRY_FULL_MS),
        PutOutcome::Stale => (SendOutcome::Stale, 0),
        PutOutcome::Busy => (SendOutcome::Busy, RETRY_BUSY_MS),
        PutOutcome::RateLimited { retry_after_ms } => (SendOutcome::Busy, *retry_after_ms),
    };
    SendResult { outcome: outcome.into(), retry_after_ms }
}
