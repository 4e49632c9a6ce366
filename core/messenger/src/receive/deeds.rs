//! What letters do to messages: by whom, to which.
//!
//! Whoever sends an edit or a deletion is the author of what it names: nobody else's message can be meant. Where one of that id is
//! somebody else's, that is an attempt, counted and forgotten.

use sotto_crypto::letter::{Content, Letter, Target};
use sotto_protocol::{AccountId, MessageId};

use super::{Batch, count_refusals};
use crate::contact::{Contact, ContactRow};
use crate::conversation::ConversationRow;
use crate::conversation::deeds::{self, DeedKind, Named, NewDeed};
use crate::peer::Line;
use crate::records::MessageState;
use crate::store::StoreError;

/// What is done to which messages.
pub(super) struct Done {
    kind: DeedKind,
    targets: Vec<Target>,
}

impl Done {
    /// What a content of an author's does, where it does something to messages.
    pub(super) fn of(content: &Content, author: AccountId) -> Option<Self> {
        let own = |message_id: &MessageId| Target { author, message_id: *message_id };
        let (kind, targets) = match content {
            Content::Edit { message_id, .. } => (DeedKind::Edit, vec![own(message_id)]),
            Content::Delete(ids) => (DeedKind::Delete, ids.iter().map(own).collect()),
            Content::Reaction { target, emoji } => (DeedKind::Reaction { holds: emoji.is_some() }, vec![*target]),
            Content::Pin { target, pinned } => (DeedKind::Pin { holds: *pinned }, vec![*target]),
            _ => return None,
        };
        Some(Self { kind, targets })
    }

    /// For this account's devices alone.
    pub(super) fn hidden(targets: Vec<Target>) -> Self {
        Self { kind: DeedKind::Hide, targets }
    }
}

/// In whose conversation something is done, by whom, in which line.
#[derive(Clone, Copy)]
pub(super) struct Doer<'a> {
    pub(super) conversation: ConversationRow,
    /// The other side of it; `None`: it is the note to self.
    pub(super) contact: Option<&'a Contact>,
    /// `None`: this account.
    pub(super) author: Option<ContactRow>,
    pub(super) line: Line,
}

impl Batch<'_, '_, '_> {
    /// Does to messages what a letter says.
    pub(super) fn do_to_messages(
        &mut self,
        doer: Doer<'_>,
        letter: &Letter,
        done: &Done,
        content: &[u8],
    ) -> Result<(), StoreError> {
        // Deeds change what is counted.
        self.write_arrivals()?;
        let mut targets = Vec::with_capacity(done.targets.len());
        for target in &done.targets {
            match self.named(doer, target)? {
                Some(named) => targets.push(named),
                None => count_refusals(self.tx, "deed_misplaced", 1)?,
            }
        }
        let new = NewDeed {
            conversation: doer.conversation,
            author: doer.author,
            message_id: letter.message_id,
            sent_at: letter.sent_at,
            received_at: self.now,
            line: doer.line,
            kind: done.kind,
            targets: &targets,
            content,
            state: if doer.author.is_some() { MessageState::Received } else { MessageState::Sent },
        };
        deeds::take(self.tx, &new)?;
        Ok(())
    }

    /// A message of the conversation, unless its author is neither of the two, or another has said it.
    fn named(&self, doer: Doer<'_>, target: &Target) -> Result<Option<Named>, StoreError> {
        let sender = match doer.contact {
            _ if target.author == self.own.account => None,
            Some(contact) if target.author == contact.account => Some(contact.row),
            _ => return Ok(None),
        };
        let named = Named { sender, message_id: target.message_id };
        let other = match sender {
            None => doer.contact.map(|contact| contact.row),
            Some(_) => None,
        };
        let is_somebody_elses = (other.is_some() || sender.is_some())
            && deeds::here(self.tx, doer.conversation, &named)?.is_none()
            && deeds::here(self.tx, doer.conversation, &Named { sender: other, ..named })?.is_some();
        Ok((!is_somebody_elses).then_some(named))
    }
}
