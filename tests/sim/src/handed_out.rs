//! The one-time keys that relays have handed out, and under which claim: none under two, unless its relay came back from a copy and does not
//! know better.

use std::collections::BTreeMap;

use sotto_protocol::relay::{PrekeyClaim, PrekeyClaimed};
use sotto_protocol::{Bytes, Message as _, RelayName, Timestamp};

/// See the file's story.
#[derive(Default)]
pub(crate) struct HandedOut {
    keys: BTreeMap<(RelayName, Bytes), Given>,
    twice: Option<String>,
}

struct Given {
    claim: Bytes,
    first_at: Timestamp,
}

impl HandedOut {
    /// A relay has answered a claim.
    pub(crate) fn answered(&mut self, relay: &RelayName, request: &Bytes, answer: &Bytes, now: Timestamp) {
        let (Ok(request), Ok(answer)) = (PrekeyClaim::decode(request.clone()), PrekeyClaimed::decode(answer.clone()))
        else {
            return;
        };
        if answer.one_time.is_empty() {
            return;
        }
        let given = Given { claim: request.claim.clone(), first_at: now };
        let given = self.keys.entry((relay.clone(), answer.one_time)).or_insert(given);
        if given.claim != request.claim {
            self.twice.get_or_insert_with(|| format!("{relay} hands out one one-time key under two claims"));
        }
    }

    /// A relay came back from a copy: what it handed out since that was made it has forgotten.
    pub(crate) fn are_forgotten(&mut self, relay: &RelayName, copied_at: Timestamp) {
        self.keys.retain(|(of, _), given| of != relay || given.first_at < copied_at);
    }

    /// What was handed out twice.
    pub(crate) fn twice(&self) -> Option<String> {
        self.twice.clone()
    }
}

#[cfg(test)]
mod tests {
    use sotto_protocol::RelayAddress;

    use super::*;

    #[test]
    fn a_key_under_two_claims_is_noticed_and_a_repeated_answer_is_none() {
        let name = |name: &str| format!("https://{name}").parse::<RelayAddress>().unwrap().name().clone();
        let relay = name("one.example");
        let bytes = |claim: u8| {
            let claim = PrekeyClaim { claim: vec![claim].into(), ..PrekeyClaim::default() };
            Bytes::from(claim.encode_to_vec())
        };
        let answer = |key: &'static [u8]| {
            let claimed = PrekeyClaimed { one_time: key.into(), ..PrekeyClaimed::default() };
            Bytes::from(claimed.encode_to_vec())
        };
        let at = |ms| Timestamp::from_ms(ms);
        let mut handed_out = HandedOut::default();
        handed_out.answered(&relay, &bytes(1), &answer(b"key"), at(10));
        handed_out.answered(&relay, &bytes(1), &answer(b"key"), at(20));
        handed_out.answered(&relay, &bytes(2), &answer(b""), at(20));
        handed_out.answered(&relay, &bytes(3), &answer(b""), at(20));
        assert_eq!(handed_out.twice(), None);
        handed_out.are_forgotten(&relay, at(15));
        handed_out.are_forgotten(&name("two.example"), at(0));
        handed_out.answered(&relay, &bytes(2), &answer(b"key"), at(30));
        assert!(handed_out.twice().is_some(), "it was handed out before that copy");
    }
}
