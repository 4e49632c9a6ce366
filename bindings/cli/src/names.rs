//! What people are called on the screen: never two of them the same, and nobody `me` but oneself.
//!
//! Others choose their names. Where one is taken, or is the word for oneself, the beginning of the account id stands behind it.

use std::collections::HashMap;

use sotto_core::Messenger;
use sotto_core::protocol::AccountId;

use crate::output::{Failed, ID_SHOWN};

/// The name that means this account.
pub(crate) const MYSELF: &str = "me";

/// A name to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// This account's.
    pub(crate) fn myself() -> Self {
        Self(MYSELF.to_owned())
    }
}

/// The names of everybody who is known now. Read again after anything may have changed: contacts are renamed.
pub(crate) struct Names {
    own: AccountId,
    by_account: HashMap<AccountId, String>,
}

impl Names {
    pub(crate) async fn read(messenger: &Messenger) -> Result<Self, Failed> {
        let contacts = messenger.contacts().await?.into_iter();
        Ok(Self {
            own: messenger.account().await?.id,
            by_account: contacts.map(|contact| (contact.id, contact.name)).collect(),
        })
    }

    /// Also learns the name of somebody who was removed: what they said stays.
    pub(crate) async fn of(&mut self, messenger: &Messenger, account: &AccountId) -> Result<Name, Failed> {
        if *account != self.own && !self.by_account.contains_key(account) {
            let name = messenger.find_contact(&account.to_string()).await.map(|contact| contact.name);
            self.by_account.insert(*account, name.unwrap_or_default());
        }
        Ok(self.known(account))
    }

    fn known(&self, account: &AccountId) -> Name {
        if *account == self.own {
            return Name::myself();
        }
        let id = account.to_string();
        let name = self.by_account.get(account).map_or("", |name| name.trim());
        let is_taken = self.by_account.iter().any(|(other, taken)| other != account && taken.trim() == name);
        Name(match name {
            "" => id[..ID_SHOWN].to_owned(),
            name if is_taken || name.eq_ignore_ascii_case(MYSELF) => format!("{name} ({}…)", &id[..ID_SHOWN]),
            name => name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_like_somebody_else_or_like_oneself() {
        let id = |byte| AccountId::from_bytes([byte; 32]);
        let named = [(1, "Bob"), (2, "Bob "), (3, "Alice"), (4, "Me"), (5, "")];
        let by_account = named.map(|(byte, name)| (id(byte), name.to_owned())).into();
        let names = Names { own: id(9), by_account };
        let shown = |byte| names.known(&id(byte)).0;
        assert_eq!(shown(9), "me");
        assert_eq!(shown(3), "Alice");
        assert_eq!([shown(1), shown(2)], ["Bob (010101010101…)", "Bob (020202020202…)"]);
        assert_eq!(shown(4), "Me (040404040404…)");
        assert_eq!(shown(5), "050505050505");
    }
}
