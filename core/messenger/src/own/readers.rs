//! Who reads the account's lists (PROTOCOL B4): whoever was blocked or removed reads no later one than that of the hour.
//!
//! Contacts are led to another chain by letter. The one before gets nothing any more, and is deleted when no list in it is valid. One such move
//! an hour: somebody who tidies up leads everybody on once. An account with other devices cannot tell them of it yet; it does when one of them is taken off.

use std::time::Duration;

use sotto_protocol::Timestamp;

use super::chain::{self, Chain};
use super::relays::READ_FOR;
use super::{Own, siblings};
use crate::engine::Times;
use crate::error::Error;
use crate::handshake;
use crate::store::column::timestamp;
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// Between one such move and the next.
const APART: Duration = Duration::from_secs(3600);

/// Somebody who is to read no later list knows where they stand.
const READS_ON: &str = "SELECT 1 FROM own_chain CROSS JOIN contact INDEXED BY contact_reads_no_more ON contact.told_chain = own_chain.chain
    WHERE own_chain.audience = ?1 AND (contact.blocked = 1 OR contact.state = 4) LIMIT 1";

/// When the others are to be led to another chain.
pub(crate) fn due_at(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    let reads_on = view.one(READS_ON, [Chain::Contacts.code()], |_| Ok(()))?.is_some();
    if !reads_on || !siblings::are_none(view)? {
        return Ok(None);
    }
    let ends_at = "SELECT max(ends_at) FROM own_chain WHERE audience = ?1";
    let ends_at = view.one(ends_at, [Chain::ContactsBefore.code()], |row| row.get::<_, Option<i64>>(0))?.flatten();
    Ok(Some(ends_at.map_or(Timestamp::EPOCH, |ends_at| timestamp(ends_at).before(READ_FOR).after(APART))))
}

/// Leads them there.
pub(crate) fn lead_on(tx: &mut Tx<'_>, own: &Own, times: Times, chance: &mut Chance<'_>) -> Result<(), Error> {
    if due_at(tx)?.is_none_or(|due| times.judging < due) {
        return Ok(());
    }
    let batch = task::new_batch(tx)?;
    let home = chain::relay_of(tx, Chain::Contacts)?;
    let ends_at = times.judging.after(READ_FOR);
    chain::move_chain(tx, batch, Chain::Contacts, &home, &own.seal, ends_at, chance)?;
    chain::close_contacts_before(tx)?;
    handshake::tell_all_of_chain(tx, own, batch, times.network, chance)
}
