//! What is done to messages that were said: said otherwise, taken back, felt about, pinned, hidden from view.
//!
//! A deed is said in a letter as a message is, and stored where messages are, without a place in the conversation: so it leaves, is
//! confirmed, sent again and handed on like all that is said. What it is done to it names by sender and id, and that need not be here yet.
//! Of two deeds that cannot both hold the one that was said later counts, on every device the same, whichever comes first: one reaction
//! of each person, one pin of all, the last of the edits. What was taken back or hidden stays that.
//! What is known of a message that is not here waits likewise: that it was read, and how far it is.
//! Invariants: nobody edits or takes back what somebody else has said; nothing of what was taken back stays here, neither its words nor
//! what was done to it; what is shown of a message is what its deeds say, computed anew with each of them.
//! Not here: what of it a page shows (`pages.rs`), who may say what to whom (`messenger/deeds.rs`, `receive/deeds.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Channel, Content};
use sotto_protocol::{Bytes, MessageId, Timestamp};

use super::order::{AHEAD_MAX, Position};
use super::{ConversationRow, MessageRow, SELF, note_last_number};
use crate::contact::ContactRow;
use crate::outbox;
use crate::peer::{HEARD_OUT, Line};
use crate::records::{Kind, MessageState};
use crate::search;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};

/// What waits for its message is kept for as long as that may still come, and what keeps a message away likewise.
const WAITS: Duration = HEARD_OUT.saturating_mul(2);

/// Deeds of one contact to messages that are not here, at most: more than anybody does between a message and its arrival. Of more the
/// oldest are forgotten.
pub(crate) const WAITING_MAX: i64 = 1_024;

/// What is done to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeedKind {
    /// Its author says it otherwise.
    Edit,
    /// Its author takes it back, for everyone.
    Delete,
    /// What somebody feels about it; or no longer does.
    Reaction { holds: bool },
    /// Kept where all find it; or no longer.
    Pin { holds: bool },
    /// Taken from view on this account's devices.
    Hide,
}

impl DeedKind {
    const fn code(self) -> i64 {
        match self {
            Self::Edit => 1,
            Self::Delete => 2,
            Self::Reaction { .. } => 3,
            Self::Pin { .. } => 4,
            Self::Hide => 5,
        }
    }

    const fn holds(self) -> bool {
        !matches!(self, Self::Reaction { holds: false } | Self::Pin { holds: false })
    }

    /// The kind of the message in which it is said.
    const fn message_kind(self) -> i64 {
        match self {
            Self::Hide => super::codes::OWN_DEED,
            _ => super::codes::DEED,
        }
    }
}

/// A message of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    /// `None`: this account.
    pub(crate) sender: Option<ContactRow>,
    pub(crate) message_id: MessageId,
}

impl Named {
    fn sender(&self) -> i64 {
        sender(self.sender)
    }
}

fn sender(contact: Option<ContactRow>) -> i64 {
    contact.map_or(SELF, |contact| contact.0)
}

/// A deed to store.
pub(crate) struct NewDeed<'a> {
    pub(crate) conversation: ConversationRow,
    /// `None`: this account.
    pub(crate) author: Option<ContactRow>,
    /// Of the letter.
    pub(crate) message_id: MessageId,
    pub(crate) sent_at: Timestamp,
    pub(crate) received_at: Timestamp,
    pub(crate) line: Line,
    pub(crate) kind: DeedKind,
    pub(crate) targets: &'a [Named],
    /// The Content as it travels.
    pub(crate) content: &'a [u8],
    pub(crate) state: MessageState,
}

impl NewDeed<'_> {
    /// What is dated ahead of our clocks counts as dated so far ahead: nobody has the last word for good.
    fn stamp(&self) -> Position {
        let is_here = self.line == Line::HERE;
        let said_at = if is_here { self.sent_at } else { self.sent_at.min(self.received_at.after(AHEAD_MAX)) };
        Position::at(said_at, &self.message_id)
    }
}

/// Does it, as far as it is news. The row of what was said, where anything of it is.
pub(crate) fn take(tx: &mut Tx<'_>, new: &NewDeed<'_>) -> Result<Option<MessageRow>, StoreError> {
    let stamp = new.stamp();
    let mut news = Vec::with_capacity(new.targets.len());
    for target in new.targets {
        if is_news(tx, new, target, stamp)? {
            news.push(target);
        }
    }
    if news.is_empty() {
        return Ok(None);
    }
    let Some(row) = insert(tx, new)? else { return Ok(None) };
    for target in news {
        replace(tx, new, target)?;
        let here = here(tx, new.conversation, target)?;
        let is_kept_away = matches!(new.kind, DeedKind::Delete | DeedKind::Hide);
        let ends_at = (here.is_none() || is_kept_away).then(|| ms(new.received_at.after(WAITS)));
        tx.execute(
            "INSERT INTO deed (message, conversation, sender, target, kind, author, stamp, holds, ends_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                row.0,
                new.conversation.0,
                target.sender(),
                target.message_id.as_ref(),
                new.kind.code(),
                sender(new.author),
                stamp.0,
                new.kind.holds(),
                ends_at,
            ],
        )?;
        match here {
            Some(message) => settle(tx, message, new.conversation, target, new.received_at)?,
            None => bound_waiting(tx, new.conversation, new.received_at)?,
        }
    }
    Ok(Some(row))
}

/// Whether a deed changes what is known of a message.
fn is_news(tx: &Tx<'_>, new: &NewDeed<'_>, target: &Named, stamp: Position) -> Result<bool, StoreError> {
    let over = "SELECT max(kind) FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind IN (2, 5)";
    let named = params![new.conversation.0, target.sender(), target.message_id.as_ref()];
    let over = tx.one(over, named, |row| row.get::<_, Option<i64>>(0))?.flatten();
    let is_taken_back =
        "SELECT 1 FROM message WHERE conversation = ?1 AND sender = ?2 AND message_id = ?3 AND kind = ?4";
    let is_taken_back = over.is_some()
        || tx
            .one(
                is_taken_back,
                params![new.conversation.0, target.sender(), target.message_id.as_ref(), Kind::Deleted.code()],
                |_| Ok(()),
            )?
            .is_some();
    let last = "SELECT max(stamp) FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind = ?4 AND (?4 = 4 OR author = ?5)";
    let last = || {
        let of_kind = params![
            new.conversation.0,
            target.sender(),
            target.message_id.as_ref(),
            new.kind.code(),
            sender(new.author)
        ];
        Ok::<_, StoreError>(tx.one(last, of_kind, |row| row.get::<_, Option<i64>>(0))?.flatten())
    };
    Ok(match new.kind {
        DeedKind::Hide => over != Some(DeedKind::Hide.code()),
        _ if is_taken_back => false,
        DeedKind::Edit | DeedKind::Delete => true,
        DeedKind::Reaction { .. } | DeedKind::Pin { .. } => last()?.is_none_or(|last| last < stamp.0),
    })
}

/// The message in which it is said.
fn insert(tx: &mut Tx<'_>, new: &NewDeed<'_>) -> Result<Option<MessageRow>, StoreError> {
    let number = super::newest(tx)? + 1;
    let inserted = tx.execute(
        "INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, line)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        params![
            number,
            new.conversation.0,
            sender(new.author),
            new.message_id.as_ref(),
            ms(new.sent_at),
            ms(new.received_at),
            new.kind.message_kind(),
            new.content,
            new.state.code(),
            new.line.0,
        ],
    )?;
    Ok((inserted > 0).then_some(MessageRow(number)))
}

/// What the deed takes the place of goes.
fn replace(tx: &mut Tx<'_>, new: &NewDeed<'_>, target: &Named) -> Result<(), StoreError> {
    if !matches!(new.kind, DeedKind::Reaction { .. } | DeedKind::Pin { .. }) {
        return Ok(());
    }
    let replaced = tx.all(
        "SELECT id, message FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind = ?4 AND (?4 = 4 OR author = ?5)",
        params![
            new.conversation.0,
            target.sender(),
            target.message_id.as_ref(),
            new.kind.code(),
            sender(new.author)
        ],
        |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(MessageRow))),
    )?;
    let letters = Letters::End { now: new.received_at };
    replaced.into_iter().try_for_each(|(deed, message)| forget(tx, deed, message, letters))
}

/// The row of a message that is shown.
pub(crate) fn here(
    view: &impl Query,
    conversation: ConversationRow,
    named: &Named,
) -> Result<Option<MessageRow>, StoreError> {
    let sql =
        "SELECT id FROM message WHERE conversation = ?1 AND sender = ?2 AND message_id = ?3 AND position IS NOT NULL";
    view.one(sql, params![conversation.0, named.sender(), named.message_id.as_ref()], |row| row.get(0).map(MessageRow))
}

/// What is known of a message that is about to be stored.
pub(super) fn awaits(
    tx: &Tx<'_>,
    conversation: ConversationRow,
    sender: i64,
    message_id: &MessageId,
) -> Result<Awaited, StoreError> {
    let sql = "SELECT kind FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND ends_at IS NOT NULL";
    let kinds: Vec<i64> = tx.all(sql, params![conversation.0, sender, message_id.as_ref()], |row| row.get(0))?;
    Ok(match kinds {
        kinds if kinds.is_empty() => Awaited::Nothing,
        kinds if kinds.contains(&DeedKind::Hide.code()) => Awaited::Hidden,
        _ => Awaited::Changed,
    })
}

/// What was done to a message before it came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Nothing,
    /// It is not to be seen here.
    Hidden,
    /// It is otherwise than it came.
    Changed,
}

/// A message has come that something was done to before, or is known of. Says whether it was read.
pub(super) fn arrived(
    tx: &mut Tx<'_>,
    message: MessageRow,
    conversation: ConversationRow,
    named: &Named,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let of_message = params![conversation.0, named.sender(), named.message_id.as_ref()];
    let known =
        "SELECT kind, stamp FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind IN (6, 7)";
    let known = tx.all(known, of_message, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    tx.execute(
        "DELETE FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind IN (6, 7)",
        of_message,
    )?;
    for (_, stamp) in known.iter().filter(|(kind, _)| *kind == PROGRESS) {
        super::progress::take(tx, message, *stamp)?;
    }
    tx.execute(
        "UPDATE deed SET ends_at = NULL WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND ends_at IS NOT NULL AND kind NOT IN (2, 5)",
        of_message,
    )?;
    settle(tx, message, conversation, named, now)?;
    Ok(known.iter().any(|(kind, _)| *kind == READ))
}

/// Of what is known of a message that is not here: that it was read on another device of ours.
const READ: i64 = 6;
/// How far it is.
const PROGRESS: i64 = 7;

/// A message that is not here was read.
pub(super) fn read_before_it_came(
    tx: &mut Tx<'_>,
    conversation: ConversationRow,
    named: &Named,
    now: Timestamp,
) -> Result<(), StoreError> {
    note(tx, conversation, named, None, (READ, 0), now)
}

/// A message that is not here is so far, as `who` says.
pub(super) fn told_before_it_came(
    tx: &mut Tx<'_>,
    conversation: ConversationRow,
    named: &Named,
    who: Option<ContactRow>,
    state: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    note(tx, conversation, named, who, (PROGRESS, state), now)
}

fn note(
    tx: &mut Tx<'_>,
    conversation: ConversationRow,
    named: &Named,
    who: Option<ContactRow>,
    (kind, stamp): (i64, i64),
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = "SELECT 1 FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND (kind = ?4 AND author = ?5 AND stamp = ?6 OR kind IN (2, 5))";
    let of_message = params![conversation.0, named.sender(), named.message_id.as_ref(), kind, sender(who), stamp];
    if tx.one(known, of_message, |_| Ok(()))?.is_some() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO deed (conversation, sender, target, kind, author, stamp, holds, ends_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)",
        params![
            conversation.0,
            named.sender(),
            named.message_id.as_ref(),
            kind,
            sender(who),
            stamp,
            ms(now.after(WAITS))
        ],
    )?;
    bound_waiting(tx, conversation, now)
}

/// A message becomes what its deeds say.
fn settle(
    tx: &mut Tx<'_>,
    message: MessageRow,
    conversation: ConversationRow,
    named: &Named,
    now: Timestamp,
) -> Result<(), StoreError> {
    let of_message = params![conversation.0, named.sender(), named.message_id.as_ref()];
    let kinds = "SELECT DISTINCT kind FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND holds = 1";
    let kinds: Vec<i64> = tx.all(kinds, of_message, |row| row.get(0))?;
    if kinds.contains(&DeedKind::Hide.code()) {
        // It is gone from here alone: what was said of it goes where it was to go.
        end_all(tx, conversation, named, Letters::GoOn)?;
        outbox::goes_on_without_message(tx, message)?;
        return super::remove(tx, message);
    }
    if kinds.contains(&DeedKind::Delete.code()) {
        end_all(tx, conversation, named, Letters::End { now })?;
        return take_back(tx, message, conversation, now);
    }
    let edit = "SELECT message.id, message.content FROM deed JOIN message ON message.id = deed.message
                WHERE deed.conversation = ?1 AND deed.sender = ?2 AND deed.target = ?3 AND deed.kind = 1 ORDER BY stamp DESC LIMIT 1";
    let edit = tx.one(edit, of_message, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    if let Some((edit, content)) = edit
        && let Some(text) = edited(content)
    {
        search::forget(tx, message)?;
        let sql = "UPDATE message SET edit = ?2, text = ?3 WHERE id = ?1 AND kind = ?4";
        tx.execute(sql, params![message.0, edit, text.body, Kind::Text.code()])?;
        search::put(tx, message)?;
    }
    tx.execute(
        "UPDATE message SET reacted = ?2, pinned = ?3 WHERE id = ?1",
        params![
            message.0,
            kinds.contains(&DeedKind::Reaction { holds: true }.code()),
            kinds.contains(&DeedKind::Pin { holds: true }.code())
        ],
    )?;
    Ok(())
}

/// What an edit says, said here or on another device of ours.
pub(super) fn edited(content: Vec<u8>) -> Option<sotto_crypto::letter::Text> {
    match Content::decode(&Bytes::from(content), Channel::Contact) {
        Ok(Content::Edit { text, .. }) => Some(text),
        _ => None,
    }
}

/// Nothing of a message stays but that it was there.
fn take_back(
    tx: &mut Tx<'_>,
    message: MessageRow,
    conversation: ConversationRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    outbox::take_back(tx, message, now)?;
    search::forget(tx, message)?;
    tx.execute(
        "UPDATE conversation SET unread = max(0, unread - (SELECT unread FROM message WHERE id = ?2)) WHERE id = ?1",
        params![conversation.0, message.0],
    )?;
    tx.execute(
        "UPDATE message SET kind = ?2, text = '', content = x'', cause = NULL, unread = 0, edit = NULL, reacted = 0, pinned = 0 WHERE id = ?1",
        params![message.0, Kind::Deleted.code()],
    )?;
    Ok(())
}

/// What becomes of a deed's letters that have not arrived, where it is over.
#[derive(Clone, Copy)]
enum Letters {
    /// What they say holds no more.
    End { now: Timestamp },
    /// It does for those whom they are for.
    GoOn,
}

/// What was done to a message that is no more goes with it.
fn end_all(tx: &mut Tx<'_>, conversation: ConversationRow, named: &Named, letters: Letters) -> Result<(), StoreError> {
    let deeds = tx.all(
        "SELECT id, message FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind NOT IN (2, 5)",
        params![conversation.0, named.sender(), named.message_id.as_ref()],
        |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(MessageRow))),
    )?;
    deeds.into_iter().try_for_each(|(deed, message)| forget(tx, deed, message, letters))
}

/// A deed is over, and what it was said in with the last that was said in it.
fn forget(tx: &mut Tx<'_>, deed: i64, message: Option<MessageRow>, letters: Letters) -> Result<(), StoreError> {
    tx.execute("DELETE FROM deed WHERE id = ?1", [deed])?;
    let Some(message) = message else { return Ok(()) };
    let others = tx.one("SELECT 1 FROM deed WHERE message = ?1 LIMIT 1", [message.0], |_| Ok(()))?;
    if others.is_some() {
        return Ok(());
    }
    let number = super::newest(tx)?;
    match letters {
        Letters::End { now } => outbox::take_back(tx, message, now)?,
        Letters::GoOn => outbox::goes_on_without_message(tx, message)?,
    }
    tx.execute("DELETE FROM message WHERE id = ?1", [message.0])?;
    note_last_number(tx, number)
}

/// Of what others have done to messages that are not here only so much is kept.
fn bound_waiting(tx: &mut Tx<'_>, conversation: ConversationRow, now: Timestamp) -> Result<(), StoreError> {
    let count = "SELECT count(*) FROM deed WHERE conversation = ?1 AND ends_at IS NOT NULL AND author != 0";
    let count: i64 = tx.one(count, [conversation.0], |row| row.get(0))?.unwrap_or(0);
    if count <= WAITING_MAX {
        return Ok(());
    }
    let oldest = "SELECT id, message FROM deed WHERE conversation = ?1 AND ends_at IS NOT NULL AND author != 0 ORDER BY ends_at, id LIMIT ?2";
    let oldest = tx.all(oldest, [conversation.0, count - WAITING_MAX], |row| {
        Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(MessageRow)))
    })?;
    oldest.into_iter().try_for_each(|(deed, message)| forget(tx, deed, message, Letters::End { now }))
}

/// What has waited for its message in vain is forgotten, and what keeps messages away that cannot come any more. What was said of the latter is
/// held as long as anything that was said.
pub(crate) fn expire(tx: &mut Tx<'_>, sure_now: Timestamp) -> Result<(), StoreError> {
    let over =
        tx.all("SELECT id, message FROM deed WHERE ends_at IS NOT NULL AND ends_at <= ?1", [ms(sure_now)], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(MessageRow)))
        })?;
    over.into_iter().try_for_each(|(deed, message)| forget(tx, deed, message, Letters::End { now: sure_now }))
}

/// The time of what is done now to a message: behind what it takes the place of.
pub(crate) fn said_at(
    view: &impl Query,
    conversation: ConversationRow,
    targets: &[Named],
    kind: DeedKind,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let last = "SELECT max(stamp) FROM deed WHERE conversation = ?1 AND sender = ?2 AND target = ?3 AND kind = ?4 AND (?4 = 4 OR author = 0)";
    let mut time = now;
    for target in targets {
        let of_kind = params![conversation.0, target.sender(), target.message_id.as_ref(), kind.code()];
        if let Some(last) = view.one(last, of_kind, |row| row.get::<_, Option<i64>>(0))?.flatten() {
            time = time.max(Position(last).next_time());
        }
    }
    Ok(time)
}

/// What a wild clock has dated counts as done now; and what has not left says so too.
pub(super) fn set_right(tx: &mut Tx<'_>, latest: Timestamp, end: Position) -> Result<(), StoreError> {
    let sql = "SELECT deed.id, deed.message, message.message_id FROM deed JOIN message ON message.id = deed.message WHERE stamp >= ?1 ORDER BY stamp";
    let wild = tx.all(sql, [end.0], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, MessageId::from_bytes(row.get(2)?)))
    })?;
    for (deed, message, message_id) in wild {
        tx.execute("UPDATE deed SET stamp = ?2 WHERE id = ?1", [deed, Position::at(latest, &message_id).0])?;
        super::order::say_at(tx, MessageRow(message), latest)?;
    }
    Ok(())
}
