//! What somebody wants to be seen as (`docs/protocol.md` section 6, "Profiles").

use std::cmp::Ordering;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::limits::STATUS_BYTES_MAX;
use sotto_protocol::{DeviceId, letter};

use super::content::{ContentError, check_name};
use super::sync::VERSIONS_END;

/// What somebody wants to be seen as.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// From 1: of two the higher counts.
    pub version: u64,
    /// Which device of the account has set it.
    pub device: DeviceId,
    /// What they call themselves.
    pub name: String,
    /// What they say of themselves; may be empty.
    pub status: String,
}

impl Profile {
    /// Which of two counts: that of the higher version, and of one version that of the device with the higher id.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |profile: &Self| (profile.version, *profile.device.as_bytes());
        key(self).cmp(&key(other))
    }

    pub(super) fn to_message(&self) -> Result<letter::Profile, ContentError> {
        self.check()?;
        let (name, status) = (self.name.clone(), self.status.clone());
        Ok(letter::Profile { version: self.version, name, status, device: self.device.into() })
    }

    pub(super) fn from_message(message: letter::Profile) -> Result<Self, ContentError> {
        let device = DeviceId::try_from(&*message.device)?;
        let profile = Self { version: message.version, device, name: message.name, status: message.status };
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), ContentError> {
        if self.version == 0 {
            return Err(DecodeError::Missing { what: "version" }.into());
        }
        if self.version >= VERSIONS_END {
            return Err(DecodeError::Malformed.into());
        }
        check_name(&self.name)?;
        match self.status.len() {
            length if length > STATUS_BYTES_MAX => {
                Err(DecodeError::TooLong { length, length_max: STATUS_BYTES_MAX }.into())
            }
            _ => Ok(()),
        }
    }
}
