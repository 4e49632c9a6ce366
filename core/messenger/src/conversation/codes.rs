//! How the states and kinds of messages are stored: as numbers that mean the same for good.

use crate::records::{Failure, KeyChange, Kind, MessageState, Missing, Unopened};
use crate::store::StoreError;

/// The kind of a row in which something is done to messages: it is not shown.
pub(super) const DEED: i64 = 20;
/// The same, for this account's devices alone.
pub(super) const OWN_DEED: i64 = 21;

impl MessageState {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Sending => 1,
            Self::Sent => 2,
            Self::Delivered => 3,
            Self::Read => 4,
            Self::Failed(_) => 5,
            Self::Received => 10,
        }
    }

    pub(super) fn from_code(code: i64, failure: Option<i64>) -> Result<Self, StoreError> {
        Ok(match code {
            0 => Self::Queued,
            1 => Self::Sending,
            2 => Self::Sent,
            3 => Self::Delivered,
            4 => Self::Read,
            5 => Self::Failed(failure.and_then(Failure::from_code).ok_or(StoreError::Corrupt)?),
            10 => Self::Received,
            _ => return Err(StoreError::Corrupt),
        })
    }
}

impl Failure {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Expired => 1,
            Self::Removed => 2,
        }
    }

    pub(super) const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Expired),
            2 => Some(Self::Removed),
            _ => None,
        }
    }
}

impl Kind {
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Text => 1,
            Self::Unknown => 2,
            Self::Unopened(_) => 3,
            Self::Missing(_) => 4,
            Self::KeyChange(_) => 5,
            Self::Deleted => 6,
            Self::Nudge => 7,
        }
    }

    pub(super) const fn cause(self) -> Option<i64> {
        match self {
            Self::Text | Self::Unknown | Self::Deleted | Self::Nudge => None,
            Self::Unopened(Unopened::SessionLost) | Self::Missing(Missing::GivenUp) => Some(1),
            Self::Unopened(Unopened::KeyGone) | Self::Missing(Missing::Unanswered) => Some(2),
            Self::Unopened(Unopened::TooFarAhead) | Self::Missing(Missing::Malformed) => Some(3),
            Self::Unopened(Unopened::PrekeyGone) => Some(4),
            Self::KeyChange(KeyChange::Replaced) => Some(1),
            Self::KeyChange(KeyChange::DeviceAdded) => Some(2),
            Self::KeyChange(KeyChange::NewEpoch) => Some(3),
        }
    }

    pub(super) fn from_codes(code: i64, cause: Option<i64>) -> Result<Self, StoreError> {
        match (code, cause) {
            (1, _) => Ok(Self::Text),
            (2, _) => Ok(Self::Unknown),
            (3, Some(1)) => Ok(Self::Unopened(Unopened::SessionLost)),
            (3, Some(2)) => Ok(Self::Unopened(Unopened::KeyGone)),
            (3, Some(3)) => Ok(Self::Unopened(Unopened::TooFarAhead)),
            (3, Some(4)) => Ok(Self::Unopened(Unopened::PrekeyGone)),
            (4, Some(1)) => Ok(Self::Missing(Missing::GivenUp)),
            (4, Some(2)) => Ok(Self::Missing(Missing::Unanswered)),
            (4, Some(3)) => Ok(Self::Missing(Missing::Malformed)),
            (5, Some(1)) => Ok(Self::KeyChange(KeyChange::Replaced)),
            (5, Some(2)) => Ok(Self::KeyChange(KeyChange::DeviceAdded)),
            (5, Some(3)) => Ok(Self::KeyChange(KeyChange::NewEpoch)),
            (6, _) => Ok(Self::Deleted),
            (7, _) => Ok(Self::Nudge),
            _ => Err(StoreError::Corrupt),
        }
    }
}
