//! Which of our relays have said, since the engine opened or was resumed, what they remember of us: the second witness against a restored or copied
//! database (PROTOCOL H1).
//!
//! ```text
//! silent --attached, or refused: nothing is known of us there--> spoken
//! silent --failed--> away --attached, or refused--> spoken (and away again when a later connection fails)
//! ```
//! Letters, in and out, wait until no relay is silent any more, and at most [`PATIENCE`]; what is published at a relay waits until that
//! relay has spoken, and what waits for that goes on without it meanwhile. What shows a copy to be one is judged where it is read (`stream.rs`, `second_copy.rs`).

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use crate::watched::Watched;
use sotto_protocol::RelayAddress;

/// How long letters wait for a relay that neither answers nor fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// What a relay has said of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// What it remembers; or nothing is known of us there.
    Spoken,
    /// Nothing: it was tried and failed.
    Away,
    /// Nothing yet.
    Silent,
}

/// See the file's story.
pub(crate) struct Witness(Watched<Heard>);

struct Heard {
    /// Where we have inboxes.
    ours: HashSet<RelayAddress>,
    /// Neither reached nor failed, and still within the patience for that.
    silent: HashSet<RelayAddress>,
    /// Failed when they were last tried.
    away: HashSet<RelayAddress>,
    /// At least once.
    spoken: HashSet<RelayAddress>,
}

impl Heard {
    /// Of none of these.
    fn nothing(ours: HashSet<RelayAddress>) -> Self {
        Self { silent: ours.clone(), ours, away: HashSet::new(), spoken: HashSet::new() }
    }
}

impl Witness {
    pub(crate) fn new(ours: impl Iterator<Item = RelayAddress>) -> Self {
        Self(Watched::new(Heard::nothing(ours.collect())))
    }

    /// A relay has said what it remembers. Says whether it was away.
    pub(crate) fn spoke(&self, relay: &RelayAddress) -> bool {
        self.0.change(|heard| {
            heard.silent.remove(relay);
            heard.spoken.insert(relay.clone());
            heard.away.remove(relay)
        })
    }

    /// A relay could not be asked.
    pub(crate) fn failed(&self, relay: &RelayAddress) {
        self.0.change(|heard| {
            heard.silent.remove(relay);
            heard.away.insert(relay.clone());
        });
    }

    /// A relay knows no inbox of ours, or no longer: there is nothing else that it could say. Nothing comes from it either.
    pub(crate) fn refused(&self, relay: &RelayAddress) {
        self.0.change(|heard| {
            heard.silent.remove(relay);
            heard.away.insert(relay.clone());
            heard.spoken.insert(relay.clone());
        });
    }

    /// A relay where we have an inbox since now: there is nothing that it could remember.
    pub(crate) fn begins(&self, relay: &RelayAddress) {
        self.0.change(|heard| {
            heard.ours.insert(relay.clone());
            heard.spoken.insert(relay.clone());
        });
    }

    /// This device is another one since now, with inboxes at these relays: there is nothing that any could remember of it.
    pub(crate) fn begin_anew(&self, ours: impl Iterator<Item = RelayAddress>) {
        let ours: HashSet<_> = ours.collect();
        self.0.change(|heard| {
            *heard = Heard { spoken: ours.clone(), ours, silent: HashSet::new(), away: HashSet::new() };
        });
    }

    /// Time has passed that nobody here has seen: every relay is heard again.
    pub(crate) fn ask_anew(&self, ours: impl Iterator<Item = RelayAddress>) {
        self.0.change(|heard| *heard = Heard::nothing(ours.collect()));
    }

    /// We have no inbox there any more.
    pub(crate) fn forget(&self, relay: &RelayAddress) {
        self.0.change(|heard| {
            heard.ours.remove(relay);
            heard.silent.remove(relay);
            heard.away.remove(relay);
        });
    }

    /// Nobody is waited for any longer.
    pub(crate) fn lose_patience(&self) {
        self.0.change(|heard| heard.silent.clear());
    }

    /// Ready once every relay of ours has said what it remembers, or could not be asked, or was waited for long enough.
    pub(crate) async fn is_complete(&self) {
        self.0.watcher().until(|heard| heard.silent.is_empty()).await;
    }

    /// What a relay has said. One where we have no inbox has nothing to say.
    pub(crate) fn word_of(&self, relay: &RelayAddress) -> Word {
        self.0.read(|heard| {
            if heard.spoken.contains(relay) || !heard.ours.contains(relay) {
                Word::Spoken
            } else if heard.away.contains(relay) {
                Word::Away
            } else {
                Word::Silent
            }
        })
    }

    /// Whether any relay of ours has spoken and was not lost since.
    pub(crate) fn is_any_up(&self) -> bool {
        self.0.read(|heard| heard.ours.iter().any(|relay| heard.spoken.contains(relay) && !heard.away.contains(relay)))
    }

    /// Ready when a relay has spoken or failed after the call.
    pub(crate) fn next_word(&self) -> impl Future<Output = ()> + 'static {
        let mut heard = self.0.watcher();
        async move { heard.changed().await }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn h1_nobody_is_believed_to_have_spoken_who_has_not() {
        let [one, two, other]: [RelayAddress; 3] =
            ["https://one.example", "https://two.example", "https://other.example"].map(|relay| relay.parse().unwrap());
        let witness = Witness::new([one.clone(), two.clone()].into_iter());
        assert_eq!((witness.word_of(&one), witness.word_of(&other)), (Word::Silent, Word::Spoken));
        witness.failed(&one);
        assert_eq!(witness.word_of(&one), Word::Away);
        assert!(witness.is_complete().now_or_never().is_none(), "the second is silent");
        witness.refused(&two);
        assert_eq!(witness.word_of(&two), Word::Spoken);
        assert!(witness.is_complete().now_or_never().is_some());
        assert!(witness.spoke(&one) && !witness.spoke(&one), "it was away once");
        assert!(witness.is_any_up());
        witness.failed(&one);
        assert_eq!(witness.word_of(&one), Word::Spoken, "what it said, it has said");
        assert!(!witness.is_any_up(), "one is lost, the other knows nothing of us");
    }

    #[test]
    fn h1_patience_makes_no_word() {
        let one: RelayAddress = "https://one.example".parse().unwrap();
        let witness = Witness::new(std::iter::once(one.clone()));
        witness.lose_patience();
        assert!(witness.is_complete().now_or_never().is_some());
        assert_eq!(witness.word_of(&one), Word::Silent);
        assert!(!witness.is_any_up());
    }
}
