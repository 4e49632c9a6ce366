//! What a letter says, and on which channel it may say it (`docs/protocol.md` section 6, "Content").
//!
//! Exactly one body, each legal on exactly one channel (a text also as a note to self), so that nothing meant for one relation is
//! believed in another. A body that this code does not know keeps its bytes for the day when it does, and shows its fallback.

use prost::encoding::{DecodeContext, decode_key, skip_field};
use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::letter::content::Body;
use sotto_protocol::limits::{CHAIN_ENTRY_BYTES_MAX, DELETED_MAX, RECEIPTS_MAX, SEALED_BYTES_MAX, TEXT_BYTES_MAX};
use sotto_protocol::{AccountId, Bytes, ChainId, Message, MessageId, RelayAddress, identity, letter, name};

use super::deeds::{self, Target};
use super::profile::Profile;
use super::resend::{GivenUp, ResendError, ResendRequest};
use super::sync::OwnDeviceSync;
use super::text::{Text, TextError};
use crate::certificate::canonical_address;
use crate::secret::{ChainKey, InviteProof, PairId, PairSecret, ReplySecret};

/// Fields of Content from here on are bodies; those below stand beside one.
const FIRST_BODY_FIELD: u32 = 10;

/// What the delivery's alias was chosen for, or who the authenticated sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// The pair alias of an accepted contact.
    Contact,
    /// An invite's alias.
    Invite,
    /// The alias that a contact request asked to be answered on.
    Reply,
    /// Another device of this account, or this one's note to self.
    Own,
}

/// Why a content is refused: its sender broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentError {
    /// Not a content that this code can read.
    #[error("malformed content: {0}")]
    Malformed(#[from] DecodeError),
    /// No body, or more than one.
    #[error("{count} bodies in one content")]
    BodyCount {
        /// How many.
        count: usize,
    },
    /// Legal, but not on this channel.
    #[error("content on a channel that it is not legal on")]
    Misplaced,
    /// A text that breaks a rule.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A list of letters that breaks a rule.
    #[error(transparent)]
    Resend(#[from] ResendError),
    /// A name that is empty, too long, or has control characters.
    #[error("not a name")]
    BadName,
    /// Longer than a fallback may be.
    #[error("a fallback of {length} bytes")]
    FallbackTooLong {
        /// Length found.
        length: usize,
    },
}

/// What a contact needs to reach an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Card {
    /// Who.
    pub account: AccountId,
    /// Where the manifest chain lives.
    pub relay: RelayAddress,
    /// Which.
    pub chain: ChainId,
    /// Opens its entries.
    pub chain_key: ChainKey,
}

/// One body.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Words.
    Text(Text),
    /// A message of the sender's, said otherwise.
    Edit {
        /// Which.
        message_id: MessageId,
        /// How.
        text: Text,
    },
    /// Messages of the sender's, taken back for everyone: at least one.
    Delete(Vec<MessageId>),
    /// What the sender feels about a message.
    Reaction {
        /// Which.
        target: Target,
        /// `None`: taken back.
        emoji: Option<String>,
    },
    /// Whether a message is kept where both find it.
    Pin {
        /// Which.
        target: Target,
        /// Or not any more.
        pinned: bool,
    },
    /// Look here.
    Nudge,
    /// What the sender wants to be seen as.
    Profile(Profile),
    /// Messages of the reader's that the sender has read: at least one.
    Receipts(Vec<MessageId>),
    /// Carries nothing: the letter around it confirms.
    Confirmation,
    /// What is to be sent again.
    ResendRequest(ResendRequest),
    /// What will not be.
    GivenUp(GivenUp),
    /// The first letter of a scanner to the maker of an invite.
    ContactRequest {
        /// What the scanner wants to be called.
        name: String,
        /// How to reach it.
        card: Card,
        /// A SignedManifest, the head of the card's chain: to be verified as the card's account's.
        manifest: Bytes,
        /// The answer's tokens derive from it.
        reply_secret: ReplySecret,
        /// Which invite it is made under: to be compared with that of the invite on whose alias it came.
        proof: InviteProof,
    },
    /// The owner's answer.
    ContactAccept {
        /// What the owner wants to be called.
        name: String,
        /// How to reach it from now on.
        card: Card,
        /// Both sides' tokens derive from it.
        pair_secret: PairSecret,
    },
    /// The scanner's tokens of the pair stand.
    PairReady,
    /// The sender has removed a device that knew the pair secret, or has answered with it while another device of its account did so with another.
    PairChange {
        /// In its place; its tokens stand at the sender's inboxes.
        pair_secret: PairSecret,
        /// Epoch of the sender's account, which began with that where a device was removed.
        epoch: u32,
        /// The one that both shared, as far as the sender knew.
        before: PairId,
    },
    /// The answer: the sender's tokens of that pair stand.
    PairChanged {
        /// The id of its secret, which the reader's account has drawn.
        pair: PairId,
    },
    /// The sender's chain for this audience moved.
    CardChange(Card),
    /// What another device of this account did.
    OwnDeviceSync(OwnDeviceSync),
    /// A body of the future: its bytes are the letter's content.
    Unknown {
        /// What to show instead; may be empty.
        fallback: String,
    },
}

impl Content {
    /// Reads a letter's content, which came on `channel`.
    ///
    /// # Errors
    /// One variant per check.
    pub fn decode(bytes: &Bytes, channel: Channel) -> Result<Self, ContentError> {
        let message: letter::Content = decode::shared(bytes.clone(), SEALED_BYTES_MAX)?;
        let count = count_bodies(bytes)?;
        if count != 1 {
            return Err(ContentError::BodyCount { count });
        }
        if message.fallback.len() > TEXT_BYTES_MAX {
            return Err(ContentError::FallbackTooLong { length: message.fallback.len() });
        }
        let content = match message.body {
            Some(body) => Self::from_body(body)?,
            None => Self::Unknown { fallback: message.fallback },
        };
        if content.is_legal_on(channel) { Ok(content) } else { Err(ContentError::Misplaced) }
    }

    /// The bytes that a letter carries.
    ///
    /// # Errors
    /// What a reader would refuse.
    pub fn encode(&self) -> Result<Bytes, ContentError> {
        let (fallback, body) = match self {
            Self::Text(text) => (String::new(), Some(Body::Text(text.to_message()?))),
            Self::Edit { message_id, text } => (String::new(), Some(Body::Edit(deeds::edit_to(*message_id, text)?))),
            Self::Delete(ids) => {
                (String::new(), Some(Body::Delete(letter::Delete { message_ids: deeds::ids_to(ids, DELETED_MAX)? })))
            }
            Self::Reaction { target, emoji } => {
                let emoji = deeds::check_emoji(emoji.as_deref().unwrap_or_default())?.to_owned();
                (String::new(), Some(Body::Reaction(letter::Reaction { target: Some(target.to_message()), emoji })))
            }
            Self::Pin { target, pinned } => {
                let pin = letter::Pin { target: Some(target.to_message()), pinned: *pinned };
                (String::new(), Some(Body::Pin(pin)))
            }
            Self::Nudge => (String::new(), Some(Body::Nudge(letter::Nudge {}))),
            Self::Profile(profile) => (String::new(), Some(Body::Profile(profile.to_message()?))),
            Self::Receipts(ids) => {
                (String::new(), Some(Body::Receipts(letter::Receipts { read: deeds::ids_to(ids, RECEIPTS_MAX)? })))
            }
            Self::Confirmation => (String::new(), Some(Body::Confirmation(letter::Confirmation {}))),
            Self::ResendRequest(request) => (String::new(), Some(Body::ResendRequest(request.to_message()?))),
            Self::GivenUp(given_up) => (String::new(), Some(Body::GivenUp(given_up.to_message()?))),
            Self::ContactRequest { name, card, manifest, reply_secret, proof } => {
                let request = letter::ContactRequest {
                    name: check_name(name)?.to_owned(),
                    card: Some(card.to_message()),
                    manifest: manifest.clone(),
                    reply_secret: Bytes::copy_from_slice(reply_secret.as_bytes()),
                    proof: Bytes::copy_from_slice(proof.as_bytes()),
                };
                (String::new(), Some(Body::ContactRequest(request)))
            }
            Self::ContactAccept { name, card, pair_secret } => {
                let accept = letter::ContactAccept {
                    name: check_name(name)?.to_owned(),
                    card: Some(card.to_message()),
                    pair_secret: Bytes::copy_from_slice(pair_secret.as_bytes()),
                };
                (String::new(), Some(Body::ContactAccept(accept)))
            }
            Self::PairReady => (String::new(), Some(Body::PairReady(letter::PairReady {}))),
            Self::PairChange { pair_secret, epoch, before } => {
                let pair_secret = Bytes::copy_from_slice(pair_secret.as_bytes());
                let (epoch, before) = (check_epoch(*epoch)?, Bytes::copy_from_slice(before.as_bytes()));
                (String::new(), Some(Body::PairChange(letter::PairChange { pair_secret, epoch, before })))
            }
            Self::PairChanged { pair } => {
                let pair = Bytes::copy_from_slice(pair.as_bytes());
                (String::new(), Some(Body::PairChanged(letter::PairChanged { pair })))
            }
            Self::CardChange(card) => {
                (String::new(), Some(Body::CardChange(letter::CardChange { card: Some(card.to_message()) })))
            }
            Self::OwnDeviceSync(sync) => (String::new(), Some(Body::OwnDeviceSync(sync.to_message()?))),
            Self::Unknown { .. } => return Err(ContentError::BodyCount { count: 0 }),
        };
        Ok(letter::Content { fallback, body }.encode_to_vec().into())
    }

    /// The table of `docs/protocol.md`, "Content".
    #[must_use]
    pub const fn is_legal_on(&self, channel: Channel) -> bool {
        match self {
            Self::Text(_)
            | Self::Edit { .. }
            | Self::Delete(_)
            | Self::Reaction { .. }
            | Self::Pin { .. }
            | Self::Confirmation
            | Self::ResendRequest(_)
            | Self::GivenUp(_)
            | Self::Unknown { .. } => matches!(channel, Channel::Contact | Channel::Own),
            Self::Nudge
            | Self::Profile(_)
            | Self::Receipts(_)
            | Self::PairReady
            | Self::PairChange { .. }
            | Self::PairChanged { .. }
            | Self::CardChange(_) => {
                matches!(channel, Channel::Contact)
            }
            Self::OwnDeviceSync(_) => matches!(channel, Channel::Own),
            Self::ContactRequest { .. } => matches!(channel, Channel::Invite),
            Self::ContactAccept { .. } => matches!(channel, Channel::Reply),
        }
    }

    fn from_body(body: Body) -> Result<Self, ContentError> {
        Ok(match body {
            Body::Text(text) => Self::Text(Text::from_message(text)?),
            Body::Edit(edit) => {
                let (message_id, text) = deeds::edit_from(edit)?;
                Self::Edit { message_id, text }
            }
            Body::Delete(delete) => Self::Delete(deeds::ids(&delete.message_ids, DELETED_MAX)?),
            Body::Reaction(reaction) => Self::Reaction {
                target: Target::required(reaction.target.as_ref())?,
                emoji: Some(deeds::check_emoji(&reaction.emoji)?.to_owned()).filter(|emoji| !emoji.is_empty()),
            },
            Body::Pin(pin) => Self::Pin { target: Target::required(pin.target.as_ref())?, pinned: pin.pinned },
            Body::Nudge(_) => Self::Nudge,
            Body::Profile(profile) => Self::Profile(Profile::from_message(profile)?),
            Body::Receipts(receipts) => Self::Receipts(deeds::ids(&receipts.read, RECEIPTS_MAX)?),
            Body::Confirmation(_) => Self::Confirmation,
            Body::ResendRequest(request) => Self::ResendRequest(ResendRequest::from_message(&request)??),
            Body::GivenUp(given_up) => Self::GivenUp(GivenUp::from_message(&given_up)??),
            Body::ContactRequest(request) => Self::ContactRequest {
                name: check_name(&request.name)?.to_owned(),
                card: Card::from_message(request.card)?,
                manifest: check_manifest(request.manifest)?,
                reply_secret: ReplySecret::try_from(&*request.reply_secret)?,
                proof: InviteProof::try_from(&*request.proof)?,
            },
            Body::ContactAccept(accept) => Self::ContactAccept {
                name: check_name(&accept.name)?.to_owned(),
                card: Card::from_message(accept.card)?,
                pair_secret: PairSecret::try_from(&*accept.pair_secret)?,
            },
            Body::PairReady(_) => Self::PairReady,
            Body::PairChange(change) => Self::PairChange {
                pair_secret: PairSecret::try_from(&*change.pair_secret)?,
                epoch: check_epoch(change.epoch)?,
                before: PairId::try_from(&*change.before)?,
            },
            Body::PairChanged(changed) => Self::PairChanged { pair: PairId::try_from(&*changed.pair)? },
            Body::CardChange(change) => Self::CardChange(Card::from_message(change.card)?),
            Body::OwnDeviceSync(sync) => Self::OwnDeviceSync(OwnDeviceSync::from_message(sync)?),
        })
    }
}

impl Card {
    pub(super) fn to_message(&self) -> identity::Card {
        identity::Card {
            account: self.account.into(),
            relay: self.relay.to_string(),
            chain: self.chain.into(),
            chain_key: Bytes::copy_from_slice(self.chain_key.as_bytes()),
        }
    }

    pub(super) fn from_message(message: Option<identity::Card>) -> Result<Self, DecodeError> {
        let message = message.ok_or(DecodeError::Missing { what: "card" })?;
        Ok(Self {
            account: AccountId::try_from(&*message.account)?,
            relay: canonical_address(&message.relay)?,
            chain: ChainId::try_from(&*message.chain)?,
            chain_key: ChainKey::try_from(&*message.chain_key)?,
        })
    }
}

/// As it stands in the chain; what it says is checked where its sender is (`manifest.rs`).
pub(super) fn check_manifest(manifest: Bytes) -> Result<Bytes, DecodeError> {
    match manifest.len() {
        0 => Err(DecodeError::Missing { what: "manifest" }),
        length if length > CHAIN_ENTRY_BYTES_MAX => {
            Err(DecodeError::TooLong { length, length_max: CHAIN_ENTRY_BYTES_MAX })
        }
        _ => Ok(manifest),
    }
}

pub(super) fn check_name(name: &str) -> Result<&str, ContentError> {
    name::check(name).map(|()| name).map_err(|_| ContentError::BadName)
}

/// Epochs are counted from 1.
fn check_epoch(epoch: u32) -> Result<u32, DecodeError> {
    if epoch > 0 { Ok(epoch) } else { Err(DecodeError::Malformed) }
}

/// A protobuf reader skips what it does not know and takes the last of what it knows; only the fields themselves say whether there is
/// exactly one body.
fn count_bodies(mut bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).map_err(|_| DecodeError::Malformed)?;
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).map_err(|_| DecodeError::Malformed)?;
        count += usize::from(tag >= FIRST_BODY_FIELD);
    }
    Ok(count)
}
