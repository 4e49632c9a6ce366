//! What is set, on all devices of the account: of a conversation, and whether receipts are given.

use sotto_crypto::letter::{Channel, Content, Text};
use sotto_protocol::limits::TEXT_BYTES_MAX;
use sotto_protocol::{AccountId, Bytes, Timestamp};

use super::Messenger;
use super::contacts::known_contact;
use super::messages::{conversation_with, target};
use crate::contact;
use crate::conversation::deeds::{self, Named};
use crate::conversation::{self, ConversationRow, listed};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::receipts;
use crate::records::NewText;
use crate::settings::{self, Key, Of};
use crate::store::Tx;

impl Messenger {
    /// Makes the conversation with a contact (or with oneself) silent until a time; `None`: no longer. It is the app that is silent.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn mute(&self, with: AccountId, until: Option<Timestamp>) -> Result<(), Error> {
        let until = until.map_or_else(Vec::new, |until| listed::until(until).to_vec());
        self.set(with, Key::MutedUntil, move |_, _, _| Ok(until)).await
    }

    /// Puts the conversation with a contact (or with oneself) away, until something is said there again; or takes it back.
    ///
    /// # Errors
    /// As [`Self::mute`].
    pub async fn archive(&self, with: AccountId, is_archived: bool) -> Result<(), Error> {
        self.set(with, Key::ArchivedUpTo, move |_, tx, row| {
            // Something was said there, or nothing: it is put away in either case.
            let up_to = listed::last(tx, row)?.max(1);
            Ok(if is_archived { up_to.to_be_bytes().to_vec() } else { Vec::new() })
        })
        .await
    }

    /// Keeps the conversation with a contact (or with oneself) above the others; or no longer.
    ///
    /// # Errors
    /// As [`Self::mute`].
    pub async fn pin_conversation(&self, with: AccountId, is_pinned: bool) -> Result<(), Error> {
        self.set(with, Key::Pinned, move |_, _, _| Ok(settings::flag(is_pinned).to_vec())).await
    }

    /// Makes the conversation with a contact (or with oneself) look unread, until something in it is read. No message becomes unread.
    ///
    /// # Errors
    /// As [`Self::mute`].
    pub async fn mark_unread(&self, with: AccountId) -> Result<(), Error> {
        self.set(with, Key::MarkedUnread, |_, _, _| Ok(settings::flag(true).to_vec())).await
    }

    /// Keeps what is being written to a contact (or to oneself), for all devices: apps call it when somebody pauses, not with each letter.
    /// `None`, or nothing: nothing is.
    ///
    /// # Errors
    /// As [`Self::mute`], and [`InputError`] for a range beyond the end, or a text that is too long.
    pub async fn set_draft(&self, with: AccountId, draft: Option<NewText>) -> Result<(), Error> {
        self.set(with, Key::Draft, move |engine, tx, _| {
            let Some(draft) = draft.filter(|draft| !draft.body.is_empty()) else { return Ok(Vec::new()) };
            let reply_to = draft.reply_to.map(|number| target(engine, tx, &with, number)).transpose()?;
            let text = Text { body: draft.body, ranges: draft.ranges, reply_to, forwarded: false };
            let out_of_range = |_| InputError::OutOfRange { what: "a range of the text" };
            Ok(Content::Text(text).encode().map_err(out_of_range)?.to_vec())
        })
        .await
    }

    /// What is being written to a contact, or to oneself.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn draft(&self, with: AccountId) -> Result<Option<NewText>, Error> {
        self.engine()
            .read(move |engine, view| {
                let Some(row) = conversation_with(engine, view, &with)? else { return Ok(None) };
                let draft = settings::get(view, Of::Conversation(row), Key::Draft)?;
                let Ok(Content::Text(text)) = Content::decode(&Bytes::from(draft), Channel::Own) else {
                    return Ok(None);
                };
                let reply_to = match text.reply_to {
                    Some(target) => {
                        let sender = contact::by_account(view, &target.author)?.map(|contact| contact.row);
                        let named = Named { sender, message_id: target.message_id };
                        deeds::here(view, row, &named)?.map(|message| message.0)
                    }
                    None => None,
                };
                Ok(Some(NewText { body: text.body, ranges: text.ranges, reply_to }))
            })
            .await
    }

    /// Notes something of a contact, for all our devices and nobody else; `None`, or nothing: nothing.
    ///
    /// # Errors
    /// As [`Self::mute`], and [`InputError::TooLong`].
    pub async fn set_note(&self, of: AccountId, note: Option<String>) -> Result<(), Error> {
        let note = note.unwrap_or_default();
        if note.len() > TEXT_BYTES_MAX {
            return Err(InputError::TooLong { what: "the note", bytes_max: TEXT_BYTES_MAX }.into());
        }
        self.set(of, Key::Note, move |_, _, _| Ok(note.into_bytes())).await
    }

    /// Whether contacts hear which of their messages were shown here. What is read while they do not is never told.
    ///
    /// # Errors
    /// [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn set_receipts(&self, are_given: bool) -> Result<(), Error> {
        self.refuse_if_replaced()?;
        let set = move |engine: &Engine, tx: &mut Tx<'_>| {
            let (own, now) = (engine.own(), engine.network_now());
            if !are_given {
                receipts::take_back(tx, None, now)?;
            }
            settings::set(tx, &own, Of::Account, Key::Receipts, &settings::flag(are_given), now, &mut engine.chance())
        };
        self.engine().write_then(set, |engine, ()| engine.wake_couriers()).await
    }

    /// Whether they do.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn receipts(&self) -> Result<bool, Error> {
        self.engine().read(|_, view| Ok(settings::receipts(view)?)).await
    }

    /// Sets something of a conversation to a value that is found in the same transaction.
    pub(super) async fn set(
        &self,
        with: AccountId,
        key: Key,
        value: impl FnOnce(&Engine, &Tx<'_>, ConversationRow) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.change(move |engine, tx| {
            let row = conversation_of(engine, tx, &with)?;
            let value = value(engine, tx, row)?;
            settings::check(&value)?;
            let (own, now) = (engine.own(), engine.network_now());
            settings::set(tx, &own, Of::Conversation(row), key, &value, now, &mut engine.chance())
        })
        .await
    }
}

/// The conversation with somebody, made where nothing was said yet.
pub(super) fn conversation_of(engine: &Engine, tx: &mut Tx<'_>, with: &AccountId) -> Result<ConversationRow, Error> {
    let own = engine.own().account;
    if *with == own {
        return Ok(conversation::note_to_self(tx, &own)?);
    }
    let contact = known_contact(tx, with)?;
    Ok(ConversationRow(contact::conversation(tx, &own, &contact)?))
}

/// What was marked to look unread does not any more.
pub(super) fn unmark(engine: &Engine, tx: &mut Tx<'_>, row: ConversationRow) -> Result<(), Error> {
    let of = Of::Conversation(row);
    if settings::get(tx, of, Key::MarkedUnread)? != settings::flag(true) {
        return Ok(());
    }
    let (own, now) = (engine.own(), engine.network_now());
    settings::set(tx, &own, of, Key::MarkedUnread, &settings::flag(false), now, &mut engine.chance())
}
