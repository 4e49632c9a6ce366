//! What the devices of one account tell each other (`docs/protocol.md` section 6, "Own devices"): what was said on one of them, what
//! became of a contact, what was read, how far messages are, and what is set.
//!
//! Whatever one device does to a contact is told whole, with a version: the devices need not hear of every change, nor in one order, to
//! agree in the end. Not here: when it is told, and what a device does with it (the engine).

use std::cmp::Ordering;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::limits::{DELETED_MAX, RECEIPTS_MAX, SEALED_BYTES_MAX, SETTING_BYTES_MAX, STATES_MAX};
use sotto_protocol::{AccountId, Bytes, DeviceId, MessageId, letter};

use super::content::{Card, ContentError, check_manifest, check_name};
use super::deeds::{self, Target};
use super::profile::Profile;
use crate::secret::PairSecret;

/// No version is as high: whoever counts goes on from any that is accepted.
pub(super) const VERSIONS_END: u64 = 1 << 62;

/// See the file's story.
#[derive(Clone, PartialEq, Eq)]
pub enum OwnDeviceSync {
    /// A message of this account: its id and time are the letter's.
    Said {
        /// Whom it was said to.
        account: AccountId,
        /// The content that they get, encoded.
        content: Bytes,
    },
    /// What a contact is.
    Contact(Box<SyncedContact>),
    /// Messages that are not to be seen any more: at least one.
    Hidden {
        /// With whom the conversation is; this account for the note to self.
        account: AccountId,
        /// Which.
        targets: Vec<Target>,
    },
    /// Messages of a contact's that were read: at least one.
    Read {
        /// Whose.
        account: AccountId,
        /// Which.
        message_ids: Vec<MessageId>,
    },
    /// How far messages are that were said on the device that tells it: at least one.
    States {
        /// To whom.
        account: AccountId,
        /// Which, and how far.
        states: Vec<(MessageId, Progress)>,
    },
    /// What is set for a conversation, or for all.
    Setting(Setting),
    /// Something of the future, which this code cannot do.
    Unknown,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A relay took it for a device of its recipient.
    Sent,
    /// A device of its recipient has it.
    Delivered,
    /// It was read.
    Read,
    /// Its time was over before it could be delivered.
    Expired,
    /// Its recipient was removed before.
    Removed,
}

/// One thing that the devices of an account set.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// With whom the conversation is that it is for, this account for the note to self; `None`: for the account.
    pub account: Option<AccountId>,
    /// What is set; keys that are not known are kept.
    pub key: u32,
    /// From 1: of two the higher counts, and of one that of the device with the higher id.
    pub version: u64,
    /// Which device of the account has set it: whoever hands it over to a new one says so.
    pub device: DeviceId,
    /// To what; empty: as if nobody had set it.
    pub value: Bytes,
}

impl Progress {
    const fn to_message(self) -> letter::Progress {
        match self {
            Self::Sent => letter::Progress::Sent,
            Self::Delivered => letter::Progress::Delivered,
            Self::Read => letter::Progress::Read,
            Self::Expired => letter::Progress::Expired,
            Self::Removed => letter::Progress::Removed,
        }
    }

    /// `None`: of the future.
    fn from_message(progress: i32) -> Option<Self> {
        match letter::Progress::try_from(progress) {
            Ok(letter::Progress::Sent) => Some(Self::Sent),
            Ok(letter::Progress::Delivered) => Some(Self::Delivered),
            Ok(letter::Progress::Read) => Some(Self::Read),
            Ok(letter::Progress::Expired) => Some(Self::Expired),
            Ok(letter::Progress::Removed) => Some(Self::Removed),
            Ok(letter::Progress::Unspecified) | Err(_) => None,
        }
    }
}

impl Setting {
    fn check(&self) -> Result<(), DecodeError> {
        match self.value.len() {
            _ if self.version == 0 => Err(DecodeError::Missing { what: "version" }),
            _ if self.version >= VERSIONS_END => Err(DecodeError::Malformed),
            length if length > SETTING_BYTES_MAX => Err(DecodeError::TooLong { length, length_max: SETTING_BYTES_MAX }),
            _ => Ok(()),
        }
    }

    fn to_message(&self) -> Result<letter::Setting, DecodeError> {
        self.check()?;
        Ok(letter::Setting {
            account: self.account.map_or_else(Bytes::new, Bytes::from),
            key: self.key,
            version: self.version,
            value: self.value.clone(),
            device: self.device.into(),
        })
    }

    fn from_message(message: letter::Setting) -> Result<Self, DecodeError> {
        let account = match &*message.account {
            [] => None,
            account => Some(AccountId::try_from(account)?),
        };
        let device = DeviceId::try_from(&*message.device)?;
        let setting = Self { account, key: message.key, version: message.version, device, value: message.value };
        setting.check()?;
        Ok(setting)
    }
}

fn states_from(states: &[letter::State]) -> Result<Vec<(MessageId, Progress)>, DecodeError> {
    let ids: Vec<Bytes> = states.iter().map(|state| state.message_id.clone()).collect();
    let ids = deeds::ids(&ids, STATES_MAX)?;
    // One of the future is not told of here: what is known of that message stays.
    let known = |(id, state): (MessageId, &letter::State)| Some((id, Progress::from_message(state.progress)?));
    Ok(ids.into_iter().zip(states).filter_map(known).collect())
}

fn states_to(states: &[(MessageId, Progress)]) -> Result<Vec<letter::State>, DecodeError> {
    let ids: Vec<MessageId> = states.iter().map(|(id, _)| *id).collect();
    let ids = deeds::ids_to(&ids, STATES_MAX)?;
    let state = |(message_id, (_, progress)): (Bytes, &(MessageId, Progress))| letter::State {
        message_id,
        progress: progress.to_message().into(),
    };
    Ok(ids.into_iter().zip(states).map(state).collect())
}

/// All that the devices of an account share of a contact.
#[derive(Clone, PartialEq, Eq)]
pub struct SyncedContact {
    /// From 1: of two the higher counts.
    pub version: u64,
    /// Where their lists for us are.
    pub card: Card,
    /// A SignedManifest of that chain: to be verified as the card's account's.
    pub manifest: Bytes,
    /// What they call themselves.
    pub name: String,
    /// What we call them.
    pub given_name: Option<String>,
    /// Whether they are a contact.
    pub state: SyncedState,
    /// Nothing of theirs is shown.
    pub blocked: bool,
    /// What tokens between both derive from; none with somebody who was removed.
    pub pair_secret: Option<PairSecret>,
    /// Theirs stand.
    pub pair_usable: bool,
    /// Of two secrets the one of the higher counts, whichever account of the contact does.
    pub pair_version: u64,
    /// What they want to be seen as, where they have said so: a matter of its own.
    pub profile: Option<Profile>,
}

/// What somebody is to all devices of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncedState {
    /// A contact.
    Accepted,
    /// A contact no more.
    Removed,
}

impl SyncedContact {
    /// Which of two accounts of a contact counts: that of the higher version, and of one version that of the device with the higher id.
    #[must_use]
    pub fn order(one: (u64, &DeviceId), other: (u64, &DeviceId)) -> Ordering {
        one.0.cmp(&other.0).then_with(|| one.1.as_bytes().cmp(other.1.as_bytes()))
    }

    /// Which of two secrets counts, each with its version: that of the higher one, and of one version the higher secret. One is more than none.
    #[must_use]
    pub fn order_of_pairs(one: (u64, Option<&PairSecret>), other: (u64, Option<&PairSecret>)) -> Ordering {
        one.0.cmp(&other.0).then_with(|| one.1.map(PairSecret::as_bytes).cmp(&other.1.map(PairSecret::as_bytes)))
    }

    fn to_message(&self) -> Result<letter::SyncedContact, ContentError> {
        Ok(letter::SyncedContact {
            version: self.version,
            card: Some(self.card.to_message()),
            manifest: self.manifest.clone(),
            name: check_name(&self.name)?.to_owned(),
            given_name: match &self.given_name {
                Some(name) => check_name(name)?.to_owned(),
                None => String::new(),
            },
            removed: self.state == SyncedState::Removed,
            blocked: self.blocked,
            pair_secret: match &self.pair_secret {
                Some(secret) => Bytes::copy_from_slice(secret.as_bytes()),
                None => Bytes::new(),
            },
            pair_usable: self.pair_usable,
            pair_version: self.pair_version,
            profile: self.profile.as_ref().map(Profile::to_message).transpose()?,
        })
    }

    fn from_message(message: letter::SyncedContact) -> Result<Self, ContentError> {
        if message.version == 0 {
            return Err(DecodeError::Missing { what: "version" }.into());
        }
        if message.version >= VERSIONS_END || message.pair_version >= VERSIONS_END {
            return Err(DecodeError::Malformed.into());
        }
        let state = if message.removed { SyncedState::Removed } else { SyncedState::Accepted };
        let pair_secret = match &*message.pair_secret {
            [] => None,
            secret => Some(PairSecret::try_from(secret)?),
        };
        if pair_secret.is_some() != (state == SyncedState::Accepted) {
            return Err(DecodeError::Missing { what: "pair secret of a contact" }.into());
        }
        Ok(Self {
            version: message.version,
            card: Card::from_message(message.card)?,
            manifest: check_manifest(message.manifest)?,
            name: check_name(&message.name)?.to_owned(),
            given_name: match message.given_name.as_str() {
                "" => None,
                name => Some(check_name(name)?.to_owned()),
            },
            state,
            blocked: message.blocked,
            pair_secret,
            pair_usable: message.pair_usable,
            pair_version: message.pair_version,
            profile: message.profile.map(Profile::from_message).transpose()?,
        })
    }
}

impl OwnDeviceSync {
    pub(super) fn to_message(&self) -> Result<letter::OwnDeviceSync, ContentError> {
        use letter::own_device_sync::What;
        let what = match self {
            Self::Said { account, content } => {
                What::Said(letter::Said { account: (*account).into(), content: content.clone() })
            }
            Self::Contact(contact) => What::Contact(Box::new(contact.to_message()?)),
            Self::Hidden { account, targets } => {
                deeds::check_apart(targets, DELETED_MAX)?;
                let targets = targets.iter().map(|target| target.to_message()).collect();
                What::Hidden(letter::Hidden { account: (*account).into(), targets })
            }
            Self::Read { account, message_ids } => What::Read(letter::Read {
                account: (*account).into(),
                message_ids: deeds::ids_to(message_ids, RECEIPTS_MAX)?,
            }),
            Self::States { account, states } => {
                What::States(letter::States { account: (*account).into(), states: states_to(states)? })
            }
            Self::Setting(setting) => What::Setting(setting.to_message()?),
            Self::Unknown => return Err(ContentError::BodyCount { count: 0 }),
        };
        Ok(letter::OwnDeviceSync { what: Some(what) })
    }

    pub(super) fn from_message(message: letter::OwnDeviceSync) -> Result<Self, ContentError> {
        use letter::own_device_sync::What;
        Ok(match message.what {
            Some(What::Said(said)) => Self::Said {
                account: AccountId::try_from(&*said.account)?,
                content: match said.content.len() {
                    0 => return Err(DecodeError::Missing { what: "content" }.into()),
                    length if length > SEALED_BYTES_MAX => {
                        return Err(DecodeError::TooLong { length, length_max: SEALED_BYTES_MAX }.into());
                    }
                    _ => said.content,
                },
            },
            Some(What::Contact(contact)) => Self::Contact(Box::new(SyncedContact::from_message(*contact)?)),
            Some(What::Hidden(hidden)) => {
                let targets = hidden.targets.iter().map(Target::from_message).collect::<Result<Vec<_>, _>>()?;
                deeds::check_apart(&targets, DELETED_MAX)?;
                Self::Hidden { account: AccountId::try_from(&*hidden.account)?, targets }
            }
            Some(What::Read(read)) => Self::Read {
                account: AccountId::try_from(&*read.account)?,
                message_ids: deeds::ids(&read.message_ids, RECEIPTS_MAX)?,
            },
            Some(What::States(states)) => {
                Self::States { account: AccountId::try_from(&*states.account)?, states: states_from(&states.states)? }
            }
            Some(What::Setting(setting)) => Self::Setting(Setting::from_message(setting)?),
            None => Self::Unknown,
        })
    }
}
