//! How far a message is with each device that it is for.

use sotto_core::protocol::{DeviceId, RelayAddress};
use sotto_core::records;

use super::{mirror, record};

record! {
    /// How far a message is with one device that it is for.
    Delivery from records::Delivery as delivery {
        /// Which.
        device: DeviceId = delivery.device,
        /// Whether it is one of ours.
        is_own: bool = delivery.is_own,
        /// How far.
        state: DeliveryState = delivery.state.into(),
        /// Since when.
        at_ms: Option<u64> = delivery.at.map(|at| at.as_ms()),
        /// The relay that it went to.
        relay: Option<RelayAddress> = delivery.relay,
    }
}

mirror! {
    /// How far a message is with a device.
    DeliveryState from records::DeliveryState {
        /// It has not left.
        Waiting = records::DeliveryState::Waiting,
        /// A relay took it.
        Accepted = records::DeliveryState::Accepted,
        /// The device has it.
        Confirmed = records::DeliveryState::Confirmed,
        /// It will not arrive there.
        Failed = records::DeliveryState::Failed,
    }
}
