//! Versions of the protocol: which of them a side speaks, and which side is too old where they have none in common.
//!
//! A relay speaks a range, the version of the release before it among them; a client speaks one, and says it with every call. So a
//! relay is brought up to date first, its clients have until the next release, and each of the two can say who is too old.

/// The version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest that its relay answers: what the release before this one spoke. The first release has none before it.
const PROTOCOL_VERSION_MIN: u32 = 1;
/// What a client speaks that does not say it.
const UNSAID: u32 = 1;

/// The versions that one side speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

/// Which side has to be brought up to date before the two can talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionGap {
    /// This one.
    OursIsOlder,
    /// The other one.
    TheirsIsOlder,
}

impl Versions {
    /// What a relay of this code speaks.
    pub const SPOKEN: Self = Self { min: PROTOCOL_VERSION_MIN, max: PROTOCOL_VERSION };

    /// Whether a version is among them.
    #[must_use]
    pub const fn contains(self, version: u32) -> bool {
        self.min <= version && version <= self.max
    }

    /// The version that a header says, or none that is a number.
    #[must_use]
    pub fn said(header: Option<&str>) -> Option<u32> {
        header.map_or(Some(UNSAID), |header| header.parse().ok())
    }

    /// Who is too old, where these are theirs and ours is this code's; `None`: nobody is.
    #[must_use]
    pub const fn gap(self) -> Option<VersionGap> {
        if PROTOCOL_VERSION < self.min {
            Some(VersionGap::OursIsOlder)
        } else if PROTOCOL_VERSION > self.max {
            Some(VersionGap::TheirsIsOlder)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_is_too_old_is_named() {
        let gap = |min, max| Versions { min, max }.gap();
        assert_eq!(Versions::SPOKEN.gap(), None);
        assert_eq!(gap(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2), Some(VersionGap::OursIsOlder));
        assert_eq!(gap(0, PROTOCOL_VERSION - 1), Some(VersionGap::TheirsIsOlder));
        assert_eq!(gap(0, PROTOCOL_VERSION + 1), None);
    }

    #[test]
    fn a_relay_speaks_the_version_of_the_release_before_it() {
        assert_eq!(Versions::SPOKEN.min, PROTOCOL_VERSION.saturating_sub(1).max(1));
    }

    #[test]
    fn who_says_no_version_speaks_the_first() {
        assert_eq!(Versions::said(None), Some(1));
        assert_eq!(Versions::said(Some("7")), Some(7));
        assert_eq!(Versions::said(Some("seven")), None);
    }
}
