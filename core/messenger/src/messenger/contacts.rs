//! Who is reached: invites made and used, requests accepted, contacts renamed, blocked, removed, compared.

use std::sync::Arc;

use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::safety::SafetyNumber;
use sotto_protocol::decode::DecodeError;
use sotto_protocol::invite::Invite;
use sotto_protocol::{AccountId, Bytes, Timestamp};

use super::{Messenger, check_name};
use crate::contact::{self, ContactRow, ContactState};
use crate::conversation;
use crate::engine::Engine;
use crate::error::{Error, InputError, InviteError};
use crate::events::Event;
use crate::handshake::{self, Dropped, InviteOptions, join};
use crate::outbox;
use crate::own;
use crate::profile;
use crate::receipts;
use crate::receive::{self, Received, Why};
use crate::records::{Contact, Failure, InviteLink};
use crate::settings::{self, Key, Of};
use crate::store::{Query, StoreError, Tx};

impl Messenger {
    /// Makes an invite. The link works once the relays have its tokens, which [`Messenger::catch_up`] waits for.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`], [`Error::RolledBack`], [`Error::Store`].
    pub async fn invite(&self, options: InviteOptions) -> Result<InviteLink, Error> {
        options.check()?;
        self.refuse_if_rolled_back()?;
        let make = move |engine: &Engine, tx: &mut Tx<'_>| {
            handshake::invite(tx, &engine.own(), &options, engine.network_now(), &mut engine.chance())
                .map(|(link, _)| link)
        };
        self.engine().write_then(make, |engine, _| engine.wake()).await
    }

    /// Uses an invite: reads who made it, claims their prekeys, and asks them. Returns their account.
    /// A contact is asked again, for they may have removed us: what was said to them and has not arrived waits for their answer.
    ///
    /// # Errors
    /// [`InviteError`] for a link that cannot be used, [`Error::Relay`] when their relay is not reached, [`Error::Peer`] when what they
    /// published is refused, [`Error::RolledBack`]. Nothing was changed then.
    pub async fn join(&self, link: &str) -> Result<AccountId, Error> {
        let invite: Invite = link.parse().map_err(|error: DecodeError| InviteError::Garbage(error))?;
        self.refuse_if_rolled_back()?;
        let engine = self.engine();
        let now = engine.network_now();
        if invite.is_expired(now) {
            return Err(InviteError::Expired.into());
        }
        let account = invite.account;
        if account == engine.own().account {
            return Err(InviteError::Own.into());
        }
        let known = engine.read(move |_, view| contact::by_account(view, &account)).await?;
        match known {
            Some(contact) if contact.was_asked_under(&invite.secret) => {
                return Err(InviteError::AlreadyContact.into());
            }
            Some(contact) if contact.blocked => return Err(InputError::WrongState { what: "is blocked" }.into()),
            // They have asked already, and to scan their invite is the owner's word.
            Some(contact) if contact.state == ContactState::Asking => {
                let row = contact.row;
                if engine.read(move |_, view| handshake::can_be_answered(view, row, now)).await? {
                    self.accept(account).await?;
                    return Ok(account);
                }
            }
            Some(_) | None => {}
        }
        join::join(engine, invite).await?;
        Ok(account)
    }

    /// All contacts that were not removed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, Error> {
        self.engine()
            .read(|engine, view| {
                let now = engine.network_now();
                contact::all(view)?.into_iter().map(|contact| contact_record(view, &contact, now)).collect()
            })
            .await
    }

    /// The contact that a person means by a name, an account id, or the beginning of one.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::Ambiguous`].
    pub async fn find_contact(&self, who: &str) -> Result<Contact, Error> {
        let who = who.to_owned();
        self.engine()
            .read(move |engine, view| contact_record(view, &contact::find(view, &who)?, engine.network_now()))
            .await
    }

    /// Accepts a request.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::WrongState`] for somebody who has not asked, asked so long ago that they would not hear the
    /// answer, or is blocked; [`Error::RolledBack`].
    pub async fn accept(&self, account: AccountId) -> Result<(), Error> {
        self.engine()
            .write_then(
                move |engine, tx| -> Result<_, Error> {
                    engine.refuse_if_rolled_back()?;
                    let contact = known_contact(tx, &account)?;
                    if contact.blocked {
                        return Err(InputError::WrongState { what: "is blocked" }.into());
                    }
                    let is_asking = contact.state == ContactState::Asking;
                    if is_asking && !handshake::can_be_answered(tx, contact.row, engine.network_now())? {
                        return Err(InputError::WrongState { what: "has asked too long ago" }.into());
                    }
                    handshake::accept(tx, &engine.own(), contact.row, engine.times(), &mut engine.chance())?;
                    let waited_for = [Why::NotAnswered];
                    Ok(receive::retry_waiting(
                        tx,
                        &engine.own(),
                        contact.row,
                        &waited_for,
                        engine.times(),
                        &mut engine.chance(),
                    )?)
                },
                contact_may_speak,
            )
            .await
            .map(drop)
    }

    /// Calls a contact by another name, on this account only; `None` calls them by their own.
    ///
    /// # Errors
    /// [`InputError`].
    pub async fn rename(&self, account: AccountId, name: Option<String>) -> Result<(), Error> {
        if let Some(name) = &name {
            check_name(name)?;
        }
        self.change_contact(account, move |_, tx, contact| {
            Ok(contact::set_given_name(tx, contact.row, name.as_deref())?)
        })
        .await
    }

    /// Blocks a contact: at once nothing of theirs is shown or confirmed, and their tokens are dropped at every relay.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn block(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            contact::set_blocked(tx, contact.row, true)?;
            receipts::take_back(tx, Some(contact.row), engine.judging_now())?;
            Ok(handshake::drop_tokens(tx, &engine.own(), contact.row, Dropped::Blocked, engine.judging_now())?)
        })
        .await
    }

    /// Takes a blocking back: their tokens are put again, and what was under way when they were blocked arrives. Somebody who was removed as well may only ask again.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::WrongState`] for somebody who is not blocked.
    pub async fn unblock(&self, account: AccountId) -> Result<(), Error> {
        self.engine()
            .write_then(
                move |engine, tx| -> Result<_, Error> {
                    // What has waited is opened: ratchets move.
                    engine.refuse_if_rolled_back()?;
                    let contact = contact::known(tx, &account)?.ok_or(InputError::NotFound { what: "contact" })?;
                    if !contact.blocked {
                        return Err(InputError::WrongState { what: "is not blocked" }.into());
                    }
                    contact::set_blocked(tx, contact.row, false)?;
                    if contact.state != ContactState::Removed {
                        handshake::restore_tokens(tx, &engine.own(), &contact, engine.judging_now())?;
                        own::knows_no_chain(tx, &engine.own(), contact.row)?;
                    }
                    share(engine, tx, contact.row)?;
                    Ok(receive::retry_waiting(
                        tx,
                        &engine.own(),
                        contact.row,
                        &[Why::Blocked],
                        engine.times(),
                        &mut engine.chance(),
                    )?)
                },
                contact_may_speak,
            )
            .await
            .map(drop)
    }

    /// Removes a contact: they can no longer reach us, and what was still to leave to them fails. What was said stays; what a relay has
    /// taken may arrive, and nobody will confirm it.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn remove(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            contact::set_state(tx, contact.row, ContactState::Removed)?;
            outbox::fail_all(tx, contact.row, Failure::Removed, engine.network_now())?;
            Ok(handshake::drop_tokens(tx, &engine.own(), contact.row, Dropped::Removed, engine.judging_now())?)
        })
        .await
    }

    async fn change_contact(
        &self,
        account: AccountId,
        change: impl FnOnce(&Engine, &mut Tx<'_>, &contact::Contact) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let change = move |engine: &Engine, tx: &mut Tx<'_>| {
            let contact = known_contact(tx, &account)?;
            change(engine, tx, &contact)?;
            share(engine, tx, contact.row)
        };
        self.engine()
            .write_then(change, |engine, ()| {
                engine.wake();
                // Messages may have failed: our other devices hear of it.
                engine.look_after();
                engine.tell(Event::ContactsChanged);
            })
            .await
    }

    /// What both compare to know that nobody stands between them.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn safety_number(&self, account: AccountId) -> Result<SafetyNumber, Error> {
        self.engine()
            .read(move |engine, view| {
                known_contact(view, &account)?;
                Ok(SafetyNumber::between(&engine.own().account, &account))
            })
            .await
    }
}

/// A contact is heard who was not before, and what they had said.
fn contact_may_speak(engine: &Arc<Engine>, received: &Received) {
    engine.tell(Event::ContactsChanged);
    engine.look_after();
    engine.after_receive(received);
}

/// Our other devices hear what became of a contact here.
fn share(engine: &Engine, tx: &mut Tx<'_>, row: ContactRow) -> Result<(), Error> {
    own::sync::contact_changed(tx, &engine.own(), row, engine.network_now(), &mut engine.chance())
}

pub(super) fn known_contact(view: &impl Query, account: &AccountId) -> Result<contact::Contact, Error> {
    let found = contact::known(view, account)?.filter(|contact| contact.state != ContactState::Removed);
    found.ok_or(InputError::NotFound { what: "contact" }.into())
}

fn contact_record(view: &impl Query, contact: &contact::Contact, now: Timestamp) -> Result<Contact, Error> {
    let manifest = VerifiedManifest::reload(&contact.account, Bytes::copy_from_slice(&contact.manifest))
        .map_err(|_| StoreError::Corrupt)?;
    Ok(Contact {
        id: contact.account,
        name: contact.shown_name().to_owned(),
        own_name: contact.name.clone(),
        status: profile::known(view, contact.row)?.map_or_else(String::new, |profile| profile.status),
        state: contact.state,
        blocked: contact.blocked,
        trust: contact.trust,
        outdated: !manifest.is_fresh(now),
        is_verified: contact.verified,
        is_held: contact.held,
        keys: contact::verified::place(&contact.head),
        note: note_of(view, contact.row)?,
    })
}

fn note_of(view: &impl Query, row: ContactRow) -> Result<Option<String>, StoreError> {
    let Some(conversation) = conversation::with_contact(view, row)? else { return Ok(None) };
    let note = settings::get(view, Of::Conversation(conversation), Key::Note)?;
    Ok(String::from_utf8(note).ok().filter(|note| !note.is_empty()))
}
