//! Calls about prekeys: put by the owner, claim by whoever holds a token.

use sotto_protocol::limits::{BUNDLE_BYTES_MAX, ONE_TIME_BYTES_MAX, ONE_TIME_KEYS_MAX};
use sotto_protocol::relay::{PrekeyClaim, PrekeyClaimed, PrekeyCount, PrekeyPut};
use sotto_protocol::{Timestamp, Token};

use crate::problem::{Problem, Response};
use crate::relay::{Relay, at_most, id};
use crate::store::{Caller, ClaimRequest, PrekeyChange, PrekeysPut};

impl Relay {
    pub(crate) async fn put_prekeys(&self, caller: Caller, message: PrekeyPut) -> Result<Response, Problem> {
        at_most(message.bundle.len(), BUNDLE_BYTES_MAX)?;
        at_most(message.one_time.len(), ONE_TIME_KEYS_MAX)?;
        for key in &message.one_time {
            at_most(key.len(), ONE_TIME_BYTES_MAX)?;
            if key.is_empty() {
                return Err(Problem::BadRequest);
            }
        }
        let change = PrekeyChange {
            bundle: Some(message.bundle).filter(|bundle| !bundle.is_empty()),
            one_time: message.one_time,
            replace_one_time: message.replace_one_time,
        };
        let PrekeysPut { one_time, changes } = self.store.put_prekeys(caller, id(&message.inbox)?, change).await?;
        Ok(Response::message(&PrekeyCount { one_time, changes }))
    }

    pub(crate) async fn claim_prekey(&self, message: PrekeyClaim, now: Timestamp) -> Result<Response, Problem> {
        let request = ClaimRequest {
            inbox: id(&message.inbox)?,
            token: id::<Token>(&message.token)?.hash(),
            claim: id(&message.claim)?,
            bundle_only: message.bundle_only,
        };
        let claimed = self.store.claim_prekey(request, now).await?;
        Ok(Response::message(&PrekeyClaimed { bundle: claimed.bundle, one_time: claimed.one_time }))
    }
}
