//! Tools that break things on purpose, for tests that walk through every step of an operation.

use crate::Messenger;

/// Lets the `step`th database write from now fail as a full disk would, once; 0: none.
pub fn fail_write(messenger: &Messenger, step: u64) {
    messenger.engine().store.fail_at().arm(step);
}

/// Lets the `step`th database write from now fail, and every one after it: the process died there, as far as its disk knows.
pub fn fail_writes_from(messenger: &Messenger, step: u64) {
    messenger.engine().store.fail_at().arm_for_good(step);
}

/// Database writes since one of the above.
#[must_use]
pub fn writes(messenger: &Messenger) -> u64 {
    messenger.engine().store.fail_at().steps()
}
