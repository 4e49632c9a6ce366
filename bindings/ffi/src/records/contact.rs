//! People, and the invites by which they come.

use std::time::Duration;

use sotto_core::protocol::AccountId;
use sotto_core::records;

use super::{mirror, record};

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

record! {
    /// An invite as its owner sees it.
    InviteLink from records::InviteLink as invite {
        /// The link, which is also what the QR code holds.
        link: String = invite.link,
        /// After this it is refused.
        expires_at_ms: u64 = invite.expires_at.as_ms(),
        /// How many may use it.
        uses: u32 = invite.uses,
    }
}

record! {
    /// Somebody we can talk to, or who wants to.
    Contact from records::Contact as contact {
        /// Their account.
        id: AccountId = contact.id,
        /// What to show: the name we gave, else theirs.
        name: String = contact.name,
        /// The name they gave themselves.
        own_name: String = contact.own_name,
        /// What they say of themselves, on as many lines as they want; empty where they say nothing.
        status: String = contact.status,
        /// How far the handshake is.
        state: ContactState = contact.state.into(),
        /// Whether we blocked them.
        is_blocked: bool = contact.blocked,
        /// What their list of devices has shown.
        trust: Trust = contact.trust.into(),
        /// Whether that list was not renewed for longer than it should have been.
        is_outdated: bool = contact.outdated,
        /// Whether somebody has compared that their account is theirs.
        is_verified: bool = contact.is_verified,
        /// Whether nothing leaves to them, because they are verified and have other devices than when that was decided last.
        is_held: bool = contact.is_held,
        /// Which list of their devices this was: what [`accept_keys`](crate::Messenger::accept_keys) is about.
        keys: u64 = contact.keys,
        /// What was noted of them, for ourselves.
        note: Option<String> = contact.note,
    }
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
