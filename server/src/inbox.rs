//! Calls about inboxes: create by the relay's policy, delete, replace the manage key, peek.

use sotto_protocol::limits::{PEEK_BYTES_MAX, PEEK_COUNT_MAX};
use sotto_protocol::relay::{InboxCreate, InboxDelete, InboxManageKey, Managed, Peek, Peeked};
use sotto_protocol::{InboxId, Timestamp, work};
use subtle::ConstantTimeEq as _;

use crate::problem::{Problem, Response};
use crate::relay::{Relay, id, key};
use crate::store::{Caller, Creation, InboxKeys, Page};
use crate::stream::delivery;

impl Relay {
    pub(crate) async fn create_inbox(&self, caller: Caller, message: InboxCreate) -> Result<Response, Problem> {
        let inbox: InboxId = id(&message.inbox)?;
        let keys = InboxKeys { owner: key(&message.owner_key)?, manage: key(&message.manage_key)? };
        if !bool::from(keys.owner.ct_eq(&caller.key)) {
            return Err(Problem::SignatureRefused);
        }
        let creation = self.creation(inbox.as_ref(), &message.invite_code, &message.proof_of_work);
        self.store.create_inbox(caller, inbox, keys, creation).await?;
        Ok(Response::empty())
    }

    /// Whether the operator's policy lets the caller create what has this id: an inbox or a chain.
    pub(crate) fn creation(&self, id: &[u8], code: &str, proof: &[u8]) -> Creation {
        let bits_min = self.config.proof_of_work_bits;
        let has_worked = bits_min == 0 || proof.try_into().is_ok_and(|nonce| work::bits(id, nonce) >= bits_min);
        if self.config.inbox_policy.admits(code) && has_worked { Creation::Admitted } else { Creation::Refused }
    }

    pub(crate) async fn delete_inbox(&self, caller: Caller, message: InboxDelete) -> Result<Response, Problem> {
        self.store.delete_inbox(caller, id(&message.inbox)?).await?;
        Ok(Response::empty())
    }

    pub(crate) async fn replace_manage_key(
        &self,
        caller: Caller,
        message: InboxManageKey,
    ) -> Result<Response, Problem> {
        let changes = self.store.replace_manage_key(caller, id(&message.inbox)?, key(&message.manage_key)?).await?;
        Ok(Response::message(&Managed { changes }))
    }

    pub(crate) async fn peek(&self, caller: Caller, message: Peek, now: Timestamp) -> Result<Response, Problem> {
        self.check_peek(&caller, now)?;
        let page = Page {
            after: message.after,
            count_max: message.count_max.min(PEEK_COUNT_MAX) as usize,
            bytes_max: message.bytes_max.min(PEEK_BYTES_MAX) as usize,
        };
        let glimpse = self.store.peek(caller.key, id(&message.inbox)?, page).await?;
        self.spend_peek(&caller, now)?;
        let deliveries = glimpse.envelopes.into_iter().map(delivery).collect();
        Ok(Response::message(&Peeked { deliveries, waiting: glimpse.waiting }))
    }
}
