//! What stands where words would: for what has none, or none that can be shown.

use sotto_core::records::{KeyChange, Kind, Missing};

/// What is shown of a message: its own words, or ours in their place.
pub(crate) fn shown(kind: Kind, text: &str) -> &str {
    match kind {
        Kind::Text => text,
        Kind::Unknown if text.is_empty() => "(something that this version does not know)",
        Kind::Unknown => text,
        Kind::Unopened(_) => "(a message that cannot be opened yet: it was asked for again)",
        Kind::Missing(Missing::GivenUp) => "(something is missing here: its sender no longer has it)",
        Kind::Missing(Missing::Unanswered) => "(something is missing here: it was asked for in vain)",
        Kind::Missing(Missing::Malformed) => "(something came that is no message)",
        Kind::KeyChange(KeyChange::Replaced) => {
            "(keys have changed: their device was restored or copied, and says so itself)"
        }
        Kind::KeyChange(KeyChange::DeviceAdded) => "(keys have changed: they have another device)",
        Kind::KeyChange(KeyChange::NewEpoch) => {
            "(keys have changed: they have named the devices of their account anew)"
        }
        Kind::Deleted => "(taken back)",
        Kind::Nudge => "(a nudge)",
    }
}
