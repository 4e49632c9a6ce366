//! Calls about inboxes: create by the relay's policy, delete, replace the manage key, peek.

use sha2::{Digest, Sha256};
use sotto_protocol::label::{PROOF_OF_WORK, labelled};
use sotto_protocol::limits::{PEEK_BYTES_MAX, PEEK_COUNT_MAX};
use sotto_protocol::relay::{InboxCreate, InboxDelete, InboxManageKey, Peek, Peeked};
use sotto_protocol::{InboxId, Timestamp};
use subtle::{Choice, ConstantTimeEq};

use crate::problem::{Problem, Response};
use crate::relay::{Relay, array, id, key};
use crate::store::{Caller, InboxKeys, Page};
use crate::stream::delivery;

/// Who may create inboxes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InboxPolicy {
    /// Everybody.
    #[default]
    Open,
    /// Whoever knows one of the operator's codes.
    Code(Vec<String>),
    /// Nobody.
    Closed,
}

impl InboxPolicy {
    fn admits(&self, code: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            // Hashes are compared, so that neither content nor length of a code shows in the time.
            Self::Code(codes) => codes
                .iter()
                .fold(Choice::from(0), |found, known| found | digest(known.as_bytes()).ct_eq(&digest(code.as_bytes())))
                .into(),
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Leading zero bits of the proof that a creator made for this very inbox.
fn work_bits(inbox: &InboxId, nonce: &[u8; 8]) -> u32 {
    let hash = digest(&labelled(PROOF_OF_WORK, &[inbox.as_ref(), nonce]));
    let zero_bytes = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zero_bytes * 8).unwrap_or(u32::MAX).saturating_add(rest)
}

impl Relay {
    pub(crate) async fn create_inbox(&self, caller: Caller, message: InboxCreate) -> Result<Response, Problem> {
        let inbox = id(&message.inbox)?;
        let keys = InboxKeys { owner: key(&message.owner_key)?, manage: key(&message.manage_key)? };
        if !bool::from(keys.owner.ct_eq(&caller.key)) {
            return Err(Problem::SignatureRefused);
        }
        if !self.config.inbox_policy.admits(&message.invite_code) {
            return Err(Problem::Refused);
        }
        if self.config.proof_of_work_bits > 0 {
            let nonce = array(&message.proof_of_work)?;
            if work_bits(&inbox, &nonce) < self.config.proof_of_work_bits {
                return Err(Problem::Refused);
            }
        }
        self.store.create_inbox(caller, inbox, keys).await?;
        Ok(Response::empty())
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
        self.store.replace_manage_key(caller, id(&message.inbox)?, key(&message.manage_key)?).await?;
        Ok(Response::empty())
    }

    pub(crate) async fn peek(&self, caller: Caller, message: Peek, now: Timestamp) -> Result<Response, Problem> {
        self.check_peek(&caller)?;
        let page = Page {
            after: message.after,
            count_max: message.count_max.min(PEEK_COUNT_MAX) as usize,
            bytes_max: message.bytes_max.min(PEEK_BYTES_MAX) as usize,
            now,
        };
        let glimpse = self.store.peek(caller.key, id(&message.inbox)?, page).await?;
        self.spend_peek(&caller, now)?;
        let deliveries = glimpse.envelopes.into_iter().map(delivery).collect();
        Ok(Response::message(&Peeked { deliveries, waiting: glimpse.waiting }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_asked_for_exactly_where_the_policy_says_so() {
        let codes = InboxPolicy::Code(vec!["north".to_owned(), "south".to_owned()]);
        assert!(codes.admits("south"));
        assert!(!codes.admits("") && !codes.admits("sout"));
        assert!(InboxPolicy::Open.admits(""));
        assert!(!InboxPolicy::Closed.admits("south"));
    }

    #[test]
    fn a_proof_of_work_holds_for_one_inbox_only() {
        let (one, other) = (InboxId::from_bytes([1; 16]), InboxId::from_bytes([2; 16]));
        let nonce = (0_u64..).map(u64::to_be_bytes).find(|nonce| work_bits(&one, nonce) >= 12).unwrap();
        assert!(work_bits(&other, &nonce) < 12);
    }
}
