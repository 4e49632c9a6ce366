//! Healing: what is missing of others' letters is asked for, and what others miss of ours is sent again (PROTOCOL E6).
//!
//! ```text
//! a counter is missing, or a letter cannot be opened
//!     --a short wait, and all own relays drained----> asked for
//! asked for   --it comes, or is said to be nothing--> nothing is lacking
//!             --some of it comes--------------------> asked for the rest, soon
//!             --nothing comes-----------------------> asked again, after twice as long each time
//!             --its sender has given it up, or never answers--> shown as missing
//! ```
//! Only devices in the list of an accepted contact ask and are asked, in letters like all others: a stranger learns nothing, and a relay
//! cannot make one of them. Both directions are bounded per device: how often it is asked, how often it is answered, how much an answer is.
//! Before a letter is opened that skips so many others that their keys may be forgotten, it waits for them as well.
//! - `asking.rs`: when to ask, and for what; `answering.rs`: what becomes of a request; `gaps.rs`: when what skips others is opened
//! - `predecessor.rs`: what a device asks for in the name of the one in whose place it came
//!
//! Not here: which counters came (`receive/counters.rs`), what takes the place of what could not be opened (`receive`).

mod answering;
mod asking;
mod gaps;
mod predecessor;

pub(crate) use answering::answer;
pub(crate) use asking::{News, ask_what_is_due, due_at, note};
pub(crate) use gaps::open_gaps;
pub(crate) use predecessor::{ask_for_predecessors, due_at as predecessors_due_at, note_predecessor};

use crate::engine::Engine;
use crate::status::{Doing, State};

/// Whether nothing waits for us at any relay of ours, as far as they say.
fn are_drained(engine: &Engine) -> bool {
    let is_drained = |relay| engine.status.of(&Doing::Stream(relay)) == Some(State::Drained);
    engine.own().inboxes.iter().all(|inbox| is_drained(inbox.relay.clone()))
}
