//! Records: data that crosses by value, in lists, never as objects. Each mirrors one of the core's and says no more than it.

use std::time::Duration;

use sotto_core::protocol::RelayAddress;
use sotto_core::{Error, InputError, records};

/// What a new account is to be.
#[derive(Clone, Debug, uniffi::Record)]
pub struct NewProfile {
    /// What others see.
    pub name: String,
    /// Addresses of one to four relays, the preferred first.
    pub relays: Vec<String>,
    /// What this device is.
    pub kind: DeviceKind,
    /// What the relays' operators want to see of new users, in the order of `relays`; empty where nothing is asked for.
    #[uniffi(default = [])]
    pub relay_codes: Vec<String>,
}

impl TryFrom<NewProfile> for sotto_core::NewProfile {
    type Error = Error;

    fn try_from(profile: NewProfile) -> Result<Self, Error> {
        let relays = profile.relays.iter().map(|relay| relay.parse()).collect::<Result<_, _>>();
        let relays = relays.map_err(|_| InputError::BadRelayAddress)?;
        Ok(Self { name: profile.name, relays, kind: profile.kind.into(), relay_codes: profile.relay_codes })
    }
}

/// What an invite allows.
#[derive(Clone, Copy, Debug, uniffi::Record)]
pub struct InviteOptions {
    /// How many may use it, from 1 to 1,000.
    pub uses: u32,
    /// How long it holds, at most 30 days.
    pub valid_for_ms: u64,
    /// Whether requests are accepted without asking.
    pub auto_accept: bool,
}

impl From<InviteOptions> for sotto_core::InviteOptions {
    fn from(options: InviteOptions) -> Self {
        let InviteOptions { uses, valid_for_ms, auto_accept } = options;
        Self { uses, valid_for: Duration::from_millis(valid_for_ms), auto_accept }
    }
}

/// An invite as its owner sees it.
#[derive(Clone, Debug, uniffi::Record)]
pub struct InviteLink {
    /// The link, which is also what the QR code holds.
    pub link: String,
    /// After this it is refused.
    pub expires_at_ms: u64,
    /// How many may use it.
    pub uses: u32,
}

impl From<records::InviteLink> for InviteLink {
    fn from(invite: records::InviteLink) -> Self {
        Self { link: invite.link, expires_at_ms: invite.expires_at.as_ms(), uses: invite.uses }
    }
}

/// Somebody we can talk to, or who wants to.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Contact {
    /// Their account.
    pub id: String,
    /// What to show: the name we gave, else theirs.
    pub name: String,
    /// The name they gave themselves.
    pub own_name: String,
    /// How far the handshake is.
    pub state: ContactState,
    /// Whether we blocked them.
    pub is_blocked: bool,
    /// What their list of devices has shown.
    pub trust: Trust,
    /// Whether that list was not renewed for longer than it should have been.
    pub is_outdated: bool,
}

impl From<records::Contact> for Contact {
    fn from(contact: records::Contact) -> Self {
        Self {
            id: contact.id.to_string(),
            name: contact.name,
            own_name: contact.own_name,
            state: contact.state.into(),
            is_blocked: contact.blocked,
            trust: contact.trust.into(),
            is_outdated: contact.outdated,
        }
    }
}

/// A message.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Message {
    /// Names it on this device.
    pub number: i64,
    /// Where it stands in its conversation, and the place to continue a page from.
    pub position: i64,
    /// The same on all devices.
    pub id: String,
    /// Where it was said.
    pub conversation: String,
    /// The account that said it.
    pub sender: String,
    /// By the time that relays told its sender.
    pub sent_at_ms: u64,
    /// When this device stored it.
    pub received_at_ms: u64,
    /// What it is.
    pub kind: MessageKind,
    /// What to show.
    pub text: String,
    /// How far it is.
    pub state: MessageState,
}

impl From<records::Message> for Message {
    fn from(message: records::Message) -> Self {
        Self {
            number: message.number,
            position: message.position,
            id: message.id.to_string(),
            conversation: message.conversation.to_string(),
            sender: message.sender.to_string(),
            sent_at_ms: message.sent_at.as_ms(),
            received_at_ms: message.received_at.as_ms(),
            kind: message.kind.into(),
            text: message.text,
            state: message.state.into(),
        }
    }
}

/// What catching up managed.
#[derive(Clone, Debug, uniffi::Record)]
pub struct CatchUp {
    /// Messages that came in.
    pub received: u64,
    /// Letters that relays took.
    pub sent: u64,
    /// Letters still waiting to leave.
    pub waiting: u64,
    /// Whether everything that waited has been dealt with.
    pub is_complete: bool,
    /// Relays that could not be reached.
    pub unreachable: Vec<UnreachableRelay>,
}

/// A relay that could not be reached.
#[derive(Clone, Debug, uniffi::Record)]
pub struct UnreachableRelay {
    /// Its address.
    pub relay: String,
    /// The code of the error.
    pub code: String,
}

/// What became of what an account had at its relays.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Deleted {
    /// Relays that have nothing of this device and of the account's lists any more.
    pub told: Vec<String>,
    /// Those that may have.
    pub not_told: Vec<UnreachableRelay>,
    /// Whether the account has other devices, which go on until they are deleted themselves.
    pub has_other_devices: bool,
}

impl From<records::Deleted> for Deleted {
    fn from(deleted: records::Deleted) -> Self {
        Self {
            told: deleted.told.iter().map(ToString::to_string).collect(),
            not_told: unreachable(deleted.not_told),
            has_other_devices: deleted.has_other_devices,
        }
    }
}

fn unreachable(relays: Vec<(RelayAddress, &'static str)>) -> Vec<UnreachableRelay> {
    let of = |(relay, code): (RelayAddress, &str)| UnreachableRelay { relay: relay.to_string(), code: code.to_owned() };
    relays.into_iter().map(of).collect()
}

impl From<records::CatchUp> for CatchUp {
    fn from(caught_up: records::CatchUp) -> Self {
        Self {
            received: caught_up.received,
            sent: caught_up.sent,
            waiting: caught_up.waiting,
            is_complete: caught_up.is_complete,
            unreachable: unreachable(caught_up.unreachable),
        }
    }
}

/// Mirrors one of the core's enums, variant by variant, so that a new variant there does not compile until it has a name here.
macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident from $core:path { $($(#[$variant_doc:meta])* $variant:ident = $pattern:pat,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl From<$core> for $name {
            fn from(value: $core) -> Self {
                match value { $($pattern => Self::$variant,)* }
            }
        }
    };
}

mirror! {
    /// How far the handshake with somebody is.
    ContactState from records::ContactState {
        /// We used their invite and wait for their answer.
        Asked = records::ContactState::Asked,
        /// They used ours and wait for ours.
        Asking = records::ContactState::Asking,
        /// Contacts.
        Accepted = records::ContactState::Accepted,
        /// Removed here; they can no longer reach us.
        Removed = records::ContactState::Removed,
    }
}

mirror! {
    /// What somebody's list of devices has shown.
    Trust from records::Trust {
        /// One history.
        Sound = records::Trust::Sound,
        /// Two histories: somebody shows different lists. Nothing is sent.
        Forked = records::Trust::Forked,
        /// Their root key is in wrong hands.
        Compromised = records::Trust::Compromised,
    }
}

mirror! {
    /// What a message is.
    MessageKind from records::Kind {
        /// Words.
        Text = records::Kind::Text,
        /// Something that this version does not know; the text is its fallback.
        Unknown = records::Kind::Unknown,
        /// It cannot be opened: one of the two sides has lost their session. It is asked for again, and takes this place.
        SessionLost = records::Kind::Unopened(records::Unopened::SessionLost),
        /// Its key was used or forgotten; likewise.
        KeyGone = records::Kind::Unopened(records::Unopened::KeyGone),
        /// Too much is missing before it; likewise.
        TooFarAhead = records::Kind::Unopened(records::Unopened::TooFarAhead),
        /// It begins a session with a key that is gone; likewise.
        PrekeyGone = records::Kind::Unopened(records::Unopened::PrekeyGone),
        /// Something is missing here, and its sender no longer has it.
        GivenUp = records::Kind::Missing(records::Missing::GivenUp),
        /// Something is missing here, and its sender does not answer.
        Unanswered = records::Kind::Missing(records::Missing::Unanswered),
        /// Something came that is no message.
        Malformed = records::Kind::Missing(records::Missing::Malformed),
        /// No message: from here on it is another device, which has come in the place of one that was restored or copied, by its word.
        DeviceReplaced = records::Kind::KeyChange(records::KeyChange::Replaced),
        /// No message: they have another device from here on.
        DeviceAdded = records::Kind::KeyChange(records::KeyChange::DeviceAdded),
        /// No message: their root key has named their devices anew.
        NewEpoch = records::Kind::KeyChange(records::KeyChange::NewEpoch),
        /// Its author took it back, for everyone: nothing of it is left.
        Deleted = records::Kind::Deleted,
        /// Look here: no words.
        Nudge = records::Kind::Nudge,
    }
}

mirror! {
    /// How far a message is.
    MessageState from records::MessageState {
        /// Stored here, not on its way yet.
        Queued = records::MessageState::Queued,
        /// Encrypted, being offered to a relay.
        Sending = records::MessageState::Sending,
        /// A relay took it.
        Sent = records::MessageState::Sent,
        /// A recipient's device has it.
        Delivered = records::MessageState::Delivered,
        /// It was read.
        Read = records::MessageState::Read,
        /// Its time was over before it could be delivered.
        Expired = records::MessageState::Failed(records::Failure::Expired),
        /// It will not arrive: the contact was removed.
        ContactRemoved = records::MessageState::Failed(records::Failure::Removed),
        /// Theirs.
        Received = records::MessageState::Received,
    }
}

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum DeviceKind {
    /// A phone.
    Phone,
    /// A tablet.
    Tablet,
    /// A computer.
    Desktop,
    /// A program.
    Bot,
    /// A door to another network.
    Bridge,
}

impl From<DeviceKind> for sotto_core::DeviceKind {
    fn from(kind: DeviceKind) -> Self {
        match kind {
            DeviceKind::Phone => Self::Phone,
            DeviceKind::Tablet => Self::Tablet,
            DeviceKind::Desktop => Self::Desktop,
            DeviceKind::Bot => Self::Bot,
            DeviceKind::Bridge => Self::Bridge,
        }
    }
}
