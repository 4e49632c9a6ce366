//! Another pair secret between people who stay contacts: a device that was removed knew the one before (PROTOCOL B3).
//!
//! ```text
//! we:    tokens of the new one put, PairChange by theirs of the one before -->
//!                                <-- tokens of the new one put, PairChanged by ours of the new one  :they
//! both:  what came under a token of the new one shows that those before are needed no more: they are dropped
//! ```
//! At every moment each reaches the other by tokens that stand: those before stay until the new ones are used. So both may change at once: the
//! secret of the account with the lower id stays, whichever letter comes first. It may have been told to the device that the other has just
//! removed: so the other changes it once more.

use sotto_crypto::letter::Content;
use sotto_crypto::secret::{PairId, PairSecret};
use sotto_protocol::Timestamp;

use super::tokens::{Purpose, Quota, batch_of, batch_under, drop_former_tokens, is_under_pair, purpose, put_tokens};
use super::{Dropped, drop_tokens};
use crate::contact::pair_change::{self, Heard};
use crate::contact::{self, Contact, ContactState};
use crate::engine::Times;
use crate::error::Error;
use crate::own::{self, Own};
use crate::peer::DeviceRow;
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;
use crate::{outbox, task};

/// Changes the pair secret with every contact: our epoch is another, because a device that knew them is none of ours any more.
pub(crate) fn change_pairs(tx: &mut Tx<'_>, own: &Own, times: Times, chance: &mut Chance<'_>) -> Result<(), Error> {
    for contact in contact::all(tx)? {
        if contact.state != ContactState::Accepted || contact.pair_secret().is_none() {
            continue;
        }
        if contact.can_change_pair() {
            change_pair(tx, own, &contact, times, chance)?;
        } else {
            // They may not have heard of this one yet.
            pair_change::begin_later(tx, contact.row)?;
        }
    }
    Ok(())
}

fn change_pair(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let Some(before) = contact.shared_pair() else { return Ok(()) };
    let (epoch, pair, batch) = (own::epoch(tx)?, PairSecret::generate(chance), task::new_batch(tx)?);
    let purpose = Purpose::Pair(contact.row);
    put_tokens(tx, own, batch, purpose, Quota::default(), |inbox| pair.token(inbox, 0), chance)?;
    if contact.blocked {
        drop_tokens(tx, own, contact.row, Dropped::Blocked, times.judging)?;
    }
    pair_change::begin(tx, contact.row, &pair, epoch)?;
    let content = Content::PairChange { pair_secret: pair, epoch, before };
    outbox::queue_content(tx, contact.row, &content, Some(batch), None, times.network, chance)?;
    own::sync::contact_changed(tx, own, contact.row, times.network, chance)
}

/// A request of ours has ended without an answer. It has given up the letters of a change that were under way, and a change that became due
/// meanwhile has waited for it.
pub(super) fn go_on(
    tx: &mut Tx<'_>,
    own: &Own,
    row: contact::ContactRow,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    let Some(pair) = contact.pair_secret() else { return Ok(()) };
    if contact.is_change_due() {
        return change_what_is_due(tx, own, row, times, chance);
    }
    let content = match (contact.change_under_way(), contact.has_taken_change_up()) {
        (Some((epoch, before)), _) => Content::PairChange { pair_secret: pair.clone(), epoch, before: before.id() },
        (None, true) => Content::PairChanged { pair: pair.id() },
        (None, false) => return Ok(()),
    };
    let batch = batch_of(tx, own, row, pair)?;
    outbox::queue_content(tx, row, &content, batch, None, times.network, chance)
}

/// A change that waited for the pair to be usable, for the end of a request of ours, or for theirs that came in between, begins.
pub(crate) fn change_what_is_due(
    tx: &mut Tx<'_>,
    own: &Own,
    row: contact::ContactRow,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    if contact.is_change_due() && contact.can_change_pair() {
        change_pair(tx, own, &contact, times, chance)?;
    }
    Ok(())
}

/// Another device of ours has answered them at once with this one, and what it has drawn is what all of ours share from now on. They may have settled
/// for the answer of this one, `lost`, whose tokens stand until something came under the others: they are told, where they hear the answer.
pub(crate) fn tell_of_other_answer(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    lost: &PairSecret,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let Some(pair) = contact.pair_secret() else { return Ok(()) };
    let batch = batch_of(tx, own, contact.row, pair)?;
    let content = Content::PairChange { pair_secret: pair.clone(), epoch: own::epoch(tx)?, before: lost.id() };
    match contact::asker(tx, contact.row)? {
        Some(asker) => outbox::queue_content_to(tx, &[asker], &content, batch, None, now, chance),
        None => outbox::queue_content(tx, contact.row, &content, batch, None, now, chance),
    }
}

/// Judges a change of theirs, which says so `under` an alias of an inbox of ours.
pub(crate) fn hears_of(
    view: &impl Query,
    own: &Own,
    contact: &Contact,
    (pair, epoch, before): (&PairSecret, u32, &PairId),
    under: (i64, u32),
) -> Result<Heard, StoreError> {
    let is_with_answer = matches!(purpose(view, under.0, under.1)?, Some(Purpose::Reply(_)));
    Ok(contact.hears_of(&own.account, pair, epoch, before, is_with_answer))
}

/// They have drawn another pair secret, and say so `under` an alias of an inbox of ours. Says whether it is the one from now on.
pub(crate) fn take_pair_change(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    (pair, epoch, before): (&PairSecret, u32, &PairId),
    under: (i64, u32),
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<bool, Error> {
    let heard = hears_of(tx, own, contact, (pair, epoch, before), under)?;
    let batch = match heard {
        // One that gives way to ours was not heard of: another of that epoch follows.
        Heard::Known | Heard::OursStays => return Ok(false),
        // The device that told this one may be off for long before it can say so.
        Heard::Shared => batch_of(tx, own, contact.row, pair)?,
        Heard::News => {
            let batch = take_up(tx, own, contact, (pair, before), chance)?;
            // However often they change it, two stand: that by which they reach us now, and this one.
            let used = batch_under(tx, under.0, under.1)?;
            drop_former_tokens(tx, own, contact.row, pair, used, times.judging)?;
            Some(batch)
        }
    };
    pair_change::note(tx, contact.row, epoch)?;
    // While we ask them only the request waits for calls and leaves: this goes the way that the answer opens, or the end of the request.
    let batch = batch.filter(|_| !contact.is_asked());
    let content = Content::PairChanged { pair: pair.id() };
    outbox::queue_content(tx, contact.row, &content, batch, None, times.network, chance)?;
    if heard == Heard::News {
        own::sync::contact_changed(tx, own, contact.row, times.network, chance)?;
        change_what_is_due(tx, own, contact.row, times, chance)?;
    }
    Ok(heard == Heard::News)
}

/// Puts tokens of the secret that they have drawn, and uses theirs. Returns the batch that puts them.
fn take_up(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    (pair, before): (&PairSecret, &PairId),
    chance: &mut Chance<'_>,
) -> Result<i64, StoreError> {
    let batch = task::new_batch(tx)?;
    put_tokens(tx, own, batch, Purpose::Pair(contact.row), Quota::default(), |inbox| pair.token(inbox, 0), chance)?;
    pair_change::take(tx, contact.row, pair, contact.owes_change_behind(before))?;
    Ok(batch)
}

/// They say that their tokens of a pair stand. Says whether that is news, of the one in use that one of our devices has drawn.
pub(crate) fn pair_is_changed(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    pair: &PairId,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<bool, Error> {
    let is_news = contact.is_changing_to(pair);
    if is_news {
        pair_change::is_taken_up(tx, contact.row, times.network)?;
        own::sync::contact_changed(tx, own, contact.row, times.network, chance)?;
        change_what_is_due(tx, own, contact.row, times, chance)?;
    }
    Ok(is_news)
}

/// Tells devices that have come in the place of others of the pair that we have drawn since the copy that they may come from, and where our lists
/// stand: those before have confirmed that, and it is gone (PROTOCOL H2).
pub(crate) fn tell_successors(
    tx: &mut Tx<'_>,
    own: &Own,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    for (device, row) in pair_change::behind(tx)? {
        pair_change::is_told(tx, device)?;
        let contact = contact::by_row(tx, row)?;
        let (Some(pair), Some(before)) = (contact.pair_secret(), contact.pair_before_ours()) else { continue };
        let (epoch, before) = (own::epoch(tx)?, before.id());
        let change = Content::PairChange { pair_secret: pair.clone(), epoch, before };
        let moved = Content::CardChange(own::contacts_card(tx, own)?.0);
        own::is_told_of_chain(tx, device)?;
        for content in [change, moved] {
            outbox::queue_content_to(tx, &[device], &content, None, None, now, chance)?;
        }
    }
    Ok(())
}

/// A letter of one of their devices came under an alias. Where that is of the pair in use, it knows that one.
pub(crate) fn knows_pair(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    device: DeviceRow,
    (own_inbox, alias): (i64, u32),
) -> Result<(), StoreError> {
    let Some(pair) = contact.pair_secret().filter(|_| contact.pair_before_ours().is_some()) else { return Ok(()) };
    if is_under_pair(tx, own, own_inbox, alias, pair)? {
        pair_change::is_not_behind(tx, device)?;
    }
    Ok(())
}

/// A letter of theirs came under an alias. Where that is of the pair in use, the tokens of those before are dropped. Says whether they were.
pub(crate) fn came_under(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: &Contact,
    (own_inbox, alias): (i64, u32),
    times: Times,
) -> Result<bool, Error> {
    let Some(pair) = contact.pair_secret().filter(|_| contact.has_former_tokens()) else { return Ok(false) };
    if !is_under_pair(tx, own, own_inbox, alias, pair)? {
        return Ok(false);
    }
    drop_former_tokens(tx, own, contact.row, pair, None, times.judging)?;
    pair_change::former_are_gone(tx, contact.row)?;
    Ok(true)
}
