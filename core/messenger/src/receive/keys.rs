//! What the opening of a letter has changed of its keys, kept with what it says.

use rusqlite::params;
use sotto_crypto::letter::Letter;
use sotto_crypto::olm::PrekeyUsed;
use sotto_protocol::letter::OlmKind;

use super::open::{Authentic, Ratchet, UsedSeal};
use super::{Batch, Fault, Stepped};
use crate::contact::Contact;
use crate::peer::{self, DeviceRow};
use crate::prekey;
use crate::seal;
use crate::session::{self, Begun};
use crate::store::StoreError;

impl Batch<'_, '_, '_> {
    /// Keeps the ratchet and the seal as they are after the letter. From here on the letter counts as seen.
    pub(super) fn keep_keys(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        authentic: Authentic,
    ) -> Result<(bool, Letter), Fault> {
        let Authentic { letter, kind, inner_hash, ratchet, seal } = authentic;
        match ratchet {
            Ratchet::Stepped { place, session } => {
                let stepped = self.device(contact, device)?.sessions.get_mut(place).ok_or(StoreError::Corrupt)?;
                stepped.row.session = *session;
                stepped.changed = true;
            }
            Ratchet::Begun { account, session, prekey } => {
                debug_assert!(kind == OlmKind::Prekey, "only prekey messages begin sessions");
                // Checked before anything was written: a letter that is refused changes nothing.
                let reply_inbox = letter.reply_inbox.ok_or(StoreError::Corrupt)?;
                let known = peer::inbox_by_id(self.tx, device, &reply_inbox)?.map(|inbox| inbox.row);
                // At an inbox that no list of theirs has named nobody is answered: there the session only opens what comes.
                let (inbox, begun) = match known {
                    Some(inbox) => (inbox, Begun::ByThem),
                    None => (peer::any_inbox(self.tx, device)?, Begun::Elsewhere),
                };
                if prekey == PrekeyUsed::LastResort {
                    session::bury(self.tx, &session.id(), &account.last_resort().id())?;
                } else {
                    prekey::one_time_key_used(self.tx, self.own_inbox)?;
                }
                self.olm = Some(*account);
                self.olm_changed = true;
                let row = session::add(self.tx, &self.own.seal, inbox, *session, begun, self.now, self.chance)?;
                self.device(contact, device)?.sessions.insert(0, Stepped { row, changed: false });
            }
        }
        self.tx.execute(
            "INSERT OR IGNORE INTO seen_inner (hash, day) VALUES (?1, ?2)",
            params![inner_hash, self.judging.day()],
        )?;
        let installed = match seal {
            UsedSeal::Installed { row, announce } => {
                if announce {
                    seal::announced(self.tx, row)?;
                    if let Some(seal) =
                        self.seals.get_mut(&contact.row).and_then(|seals| seals.iter_mut().find(|seal| seal.row == row))
                    {
                        seal.announced = true;
                    }
                }
                false
            }
            UsedSeal::Opener(offered) if seal::is_known(self.tx, &offered.opener())? => false,
            // A letter that names another opener was sealed again after our KEM key changed: it installs nothing.
            UsedSeal::Opener(offered) => {
                let opening = seal::Opening { device, own_inbox: self.own_inbox, key_id: offered.key_id() };
                let Ok(key) = offered.install(&letter) else { return Ok((false, letter)) };
                seal::install(self.tx, &self.own.seal, &opening, &key, self.now, self.chance)?;
                self.seals.remove(&contact.row);
                true
            }
        };
        Ok((installed, letter))
    }
}
