//! What people are called on the screen: never two of them the same, and nobody `me` but oneself.
//!
//! Others choose their names. Where one is taken, or is the word for oneself, the beginning of the account id stands behind it; and so it
//! does where one only looks like another: `Bob`, `bob` and `B\u{43e}b` are three names and one sight. A name that holds what this program writes around names stands between quotes.

use std::collections::{HashMap, HashSet};

use sotto_core::Messenger;
use sotto_core::protocol::{AccountId, name};
use sotto_core::records::Message;
use unicode_normalization::UnicodeNormalization as _;
use unicode_security::skeleton;

use crate::failed::Failed;
use crate::readable;

/// The name that means this account.
pub(crate) const MYSELF: &str = "me";

/// Characters of an account id that are shown to people: enough to be typed instead of it.
pub(crate) const ID_SHOWN: usize = 12;

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
    /// Whose names look so.
    by_look: HashMap<String, HashSet<AccountId>>,
}

/// How a name may look to somebody who does not mind capitals: those of its letters, and those of what its letters look like. Whoever
/// shares one of both is taken for the other. Unicode's skeleton (UTS 39) of its compatibility form, without what nobody sees and without more marks than are shown.
fn looks(name: &str) -> [String; 2] {
    let seen = |name: &str| -> String {
        let shown: String = name.trim().nfkc().filter(|letter| !name::is_hidden(*letter)).collect();
        skeleton(&readable::line(&shown)).collect()
    };
    [seen(&name.to_lowercase()), seen(name).to_lowercase()]
}

impl Names {
    pub(crate) async fn read(messenger: &Messenger) -> Result<Self, Failed> {
        let contacts = messenger.contacts().await?.into_iter().map(|contact| (contact.id, contact.name));
        Ok(Self::new(messenger.account().await?.id, contacts))
    }

    fn new(own: AccountId, named: impl IntoIterator<Item = (AccountId, String)>) -> Self {
        let mut names = Self { own, by_account: HashMap::new(), by_look: HashMap::new() };
        for (account, name) in named {
            names.learn(account, name);
        }
        names
    }

    fn learn(&mut self, account: AccountId, name: String) {
        for look in looks(&name) {
            self.by_look.entry(look).or_default().insert(account);
        }
        self.by_account.insert(account, name);
    }

    /// Also learns the name of somebody who was removed: what they said stays.
    pub(crate) async fn of(&mut self, messenger: &Messenger, account: &AccountId) -> Result<Name, Failed> {
        if *account != self.own && !self.by_account.contains_key(account) {
            let name = messenger.find_contact(&account.to_string()).await.map(|contact| contact.name);
            self.learn(*account, name.unwrap_or_default());
        }
        Ok(self.known(account))
    }

    /// Learns the names of everybody who has to do with messages.
    pub(crate) async fn meet(&mut self, messenger: &Messenger, messages: &[Message]) -> Result<(), Failed> {
        for message in messages {
            let quoted = message.reply_to.iter().map(|quote| &quote.author);
            let feeling = message.reactions.iter().map(|reaction| &reaction.author);
            for account in quoted.chain(feeling).chain([&message.sender]) {
                self.of(messenger, account).await?;
            }
        }
        Ok(())
    }

    /// The name of somebody who was met, or is a contact; the beginning of their id, of anybody else.
    pub(crate) fn known(&self, account: &AccountId) -> Name {
        if *account == self.own {
            return Name::myself();
        }
        let id = account.to_string();
        let name = self.by_account.get(account).map_or("", |name| name.trim());
        let looks = looks(name);
        let is_taken = looks.iter().filter_map(|look| self.by_look.get(look)).flatten().any(|other| other != account);
        let is_mine = [MYSELF, "you"].iter().flat_map(|own| self::looks(own)).any(|own| looks.contains(&own));
        Name(match name {
            "" => id[..ID_SHOWN].to_owned(),
            name if is_misleading(name) => {
                let words: Vec<&str> = name.split_whitespace().collect();
                format!("“{}” ({}…)", words.join(" "), &id[..ID_SHOWN])
            }
            name if is_taken || is_mine => format!("{name} ({}…)", &id[..ID_SHOWN]),
            name => name.to_owned(),
        })
    }
}

/// Whether a name holds what this program writes around names: the end of an id, the colon before a text, the space between columns.
fn is_misleading(name: &str) -> bool {
    let folded: String = name.nfkc().collect();
    name.contains(['…', '“', '”']) || folded.contains("...") || folded.contains(':') || folded.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_like_somebody_else_or_like_oneself() {
        let id = |byte| AccountId::from_bytes([byte; 32]);
        let named = [(1, "Bob"), (2, "Bob "), (3, "Alice"), (4, "Me"), (5, "")];
        let names = Names::new(id(9), named.map(|(byte, name)| (id(byte), name.to_owned())));
        let shown = |byte| names.known(&id(byte)).0;
        assert_eq!(shown(9), "me");
        assert_eq!(shown(3), "Alice");
        assert_eq!([shown(1), shown(2)], ["Bob (010101010101…)", "Bob (020202020202…)"]);
        assert_eq!(shown(4), "Me (040404040404…)");
        assert_eq!(shown(5), "050505050505");
    }

    #[test]
    fn a_name_with_what_stands_around_names_is_put_between_quotes() {
        let id = |byte| AccountId::from_bytes([byte; 32]);
        let shown =
            |name: &str| Names::new(id(9), [(id(1), name.to_owned()), (id(2), "Bob".to_owned())]).known(&id(1)).0;
        assert_eq!(shown("Bob (020202020202…)"), "“Bob (020202020202…)” (010101010101…)");
        assert_eq!(shown("Bob: pay them.   me: I did"), "“Bob: pay them. me: I did” (010101010101…)");
        for name in ["Bob\u{ff1a} hello", "Bob (0202...)", "you", "Y\u{43e}u"] {
            assert!(shown(name).ends_with(" (010101010101…)"), "{name}: {}", shown(name));
        }
        assert_eq!(shown("Bob J. Jr."), "Bob J. Jr.");
    }

    #[test]
    fn names_that_only_look_alike_are_told_apart() {
        let id = |byte| AccountId::from_bytes([byte; 32]);
        let alike = ["Bob", "bob", "B\u{43e}b", "Bob\u{200b}", "\u{ff22}ob", " Bob", "\u{392}ob"];
        for (one, other) in
            alike.iter().flat_map(|one| alike.iter().map(move |other| (one, other))).filter(|(one, other)| one != other)
        {
            let names = Names::new(
                id(9),
                [(id(1), (*one).to_owned()), (id(2), (*other).to_owned()), (id(3), "Alice".to_owned())],
            );
            for byte in [1, 2] {
                let shown = names.known(&id(byte)).0;
                assert!(
                    shown.ends_with(&format!("({}…)", &id(byte).to_string()[..ID_SHOWN])),
                    "{one:?} and {other:?}: {shown}"
                );
            }
            assert_eq!(names.known(&id(3)).0, "Alice");
        }
        let different = ["Bob", "Rob", "Zo\u{eb}", "Zoe", "أحمد", "Анна", "Anne"];
        let names = Names::new(id(9), (0..).map(id).zip(different.map(str::to_owned)));
        for (byte, name) in (0..).zip(different) {
            assert_eq!(names.known(&id(byte)).0, name);
        }
        assert!(Names::new(id(9), [(id(1), "m\u{435}".to_owned())]).known(&id(1)).0.contains('('), "nor like oneself");
    }
}
