//! A schedule is played: on a thread of its own, on virtual time, with everything that is chance drawn from its seed.
//!
//! - `stage.rs`: the people, their devices and relays, and what each step does to them
//! - `promises.rs`: what must be true, all the time and in the end; `ratchets.rs`: that no key of a ratchet was used twice

mod promises;
pub mod ratchets;
mod stage;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

pub use promises::{Promise, Violation};

use crate::schedule::Schedule;
use stage::Stage;

/// Begins the line of a story that says to whom nothing goes any more, although nothing broke.
pub const FORKED: &str = "a fork";

/// What became of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Played {
    /// Who did what when, a line each.
    pub story: Vec<String>,
    /// What broke.
    pub violation: Option<Violation>,
    /// Over every envelope, frame and event, in order.
    pub hash: [u8; 32],
    /// Texts that were said.
    pub texts: usize,
}

/// Plays it.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn play(schedule: &Schedule) -> Played {
    hear_panics();
    // Once a process, and it draws: outside, so that the first play is as all others.
    sotto_cipher::begin();
    let seed = schedule.seed;
    sotto_entropy::on_seeded_thread(seed, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime on this thread needs nothing");
        let mut story = Vec::new();
        let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(Stage::play(schedule, &mut story))));
        // A task's panic ends that task and is seen nowhere else.
        let panicked = PANIC.take().map(|panic| Violation { promise: Promise::NothingPanics, what: panic });
        let (ended, hash, texts) = played.unwrap_or((None, [0; 32], 0));
        Played { story, violation: panicked.or(ended), hash, texts }
    })
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Every thread remembers its first panic, whoever catches it.
fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|panic| {
                panic.get_or_insert_with(|| info.to_string());
            });
            before(info);
        }));
    });
}
