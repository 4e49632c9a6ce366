//! Lines: devices of which each has come in the place of the one before, by that one's word, and the ordinals that are theirs.
//!
//! What a device says bears the ordinals behind those that its list gives room for ([`begins_behind`]). So those that come later in its place
//! stand above it, whatever it has said that they do not know of; and what it claims above that says nothing.

/// Epochs of an account, lists of an epoch, and messages of a device in one conversation, for which there is room in an ordinal. Beyond that
/// what two devices of one line have said may be mixed up. A root key that does not know the last epoch leaves up to 65,536 out.
const EPOCH_BITS: u32 = 22;
const VERSION_BITS: u32 = 16;
const MESSAGE_BITS: u32 = 24;

/// A line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) i64);

impl Line {
    /// What is said on this device.
    pub(crate) const HERE: Self = Self(0);
}

/// Behind which ordinals begin for a device that comes by the list of that epoch and version.
pub(crate) const fn begins_behind(epoch: u32, version: u32) -> u64 {
    const fn within(number: u32, bits: u32) -> u64 {
        let most = (1 << bits) - 1;
        if number < most { number as u64 } else { most as u64 }
    }
    (within(epoch, EPOCH_BITS) << VERSION_BITS | within(version, VERSION_BITS)) << MESSAGE_BITS
}

/// The last ordinal of devices that have come by the list of that epoch and version, or before.
pub(crate) const fn ends_at(epoch: u32, version: u32) -> u64 {
    begins_behind(epoch, version) + (1 << MESSAGE_BITS)
}

#[cfg(test)]
mod tests {
    use sotto_protocol::limits::COUNTER_MAX;

    use super::{begins_behind, ends_at};

    #[test]
    fn h2_ordinals_begin_above_those_of_every_list_before_also_where_the_root_key_left_epochs_out() {
        let lists =
            [(1, 1), (1, 2), (1, 65_535), (2, 1), (8_191, 3), (8_192, 1), (65_537, 1), (65_538, 1), (4_000_000, 9)];
        for (before, next) in lists.iter().zip(&lists[1..]) {
            assert!(begins_behind(next.0, next.1) >= ends_at(before.0, before.1), "{next:?} behind {before:?}");
        }
        assert!(begins_behind(u32::MAX, u32::MAX) < COUNTER_MAX);
        assert_eq!(begins_behind(u32::MAX, 1), begins_behind(4_194_303, 1));
    }
}
