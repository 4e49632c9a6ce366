//! Ids and addresses: typed here, and text on the other side of the border.
//!
//! What does not parse is answered as what is not there: an app has every id from us.

use sotto_core::protocol::{AccountId, ConversationId, DeviceId, MessageId, RelayAddress};
use sotto_core::{Error, InputError};

use crate::error::SottoError;

/// An id crosses as lower-case hex. `$what` is what nobody finds under one that is none.
macro_rules! id {
    ($name:ident, $what:literal) => {
        uniffi::custom_type!($name, String, {
            remote,
            try_lift: |text| {
                let id = text.parse::<$name>();
                Ok(id.map_err(|_| SottoError::from(Error::from(InputError::NotFound { what: $what })))?)
            },
            lower: |id| id.to_string(),
        });
    };
}

id!(AccountId, "contact");
id!(ConversationId, "conversation");
id!(DeviceId, "device");
id!(MessageId, "message");

uniffi::custom_type!(RelayAddress, String, {
    remote,
    try_lift: |text| {
        let address = text.parse::<RelayAddress>();
        Ok(address.map_err(|_| SottoError::from(Error::from(InputError::BadRelayAddress)))?)
    },
    lower: |address| address.to_string(),
});
