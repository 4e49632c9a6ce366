//! What is set, of one conversation, of one contact, or of the account: the same on all devices.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use sotto_core::Messenger;
use sotto_core::protocol::{AccountId, Timestamp};
use sotto_core::records::{Chats, LiveSettings};
use sotto_core::world::{Clock as _, SystemClock};

use crate::arguments::duration;
use crate::commands::account;
use crate::failed::Failed;
use crate::input::Lines;
use crate::names::{Name, Names};
use crate::output::Output;
use crate::readable;

/// Later than anybody is silent.
const FOREVER: Timestamp = Timestamp::from_ms(253_402_300_799_000);

#[derive(Subcommand, Debug)]
pub(crate) enum Setting {
    /// Makes a conversation silent; it is for apps to be silent then.
    Mute {
        /// With whom.
        who: String,
        /// For how long: 90m, 12h, 7d; until it is taken back unless given.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        duration: Option<Duration>,
    },
    /// No longer silent.
    Unmute {
        /// With whom.
        who: String,
    },
    /// Puts a conversation away, until something is said there again.
    Archive {
        /// With whom.
        who: String,
    },
    /// Takes it back.
    Unarchive {
        /// With whom.
        who: String,
    },
    /// Makes a conversation look unread.
    Unread {
        /// With whom.
        who: String,
    },
    /// Puts a conversation above the others.
    PinChat {
        /// With whom.
        who: String,
    },
    /// Takes it down again.
    UnpinChat {
        /// With whom.
        who: String,
    },
    /// Keeps what is being written to somebody, on all devices.
    Draft {
        /// To whom.
        who: String,
        /// What; nothing: there is none any more. `-` reads a line of standard input.
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Keeps something about a contact, for yourself.
    Note {
        /// About whom.
        who: String,
        /// What; nothing: there is none any more. `-` reads a line of standard input.
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Says that you have compared a contact's safety number: from then on nothing leaves to new devices of theirs until you decide.
    Verify {
        /// Whom.
        who: String,
        /// What their screen shows as a QR code (safety-number --qr), to be compared here.
        #[arg(long, conflicts_with = "take_back")]
        code: Option<String>,
        /// You have not.
        #[arg(long)]
        take_back: bool,
    },
    /// The devices of a verified contact are others, and that is all right: what waits leaves.
    AcceptKeys {
        /// Whose.
        who: String,
        /// As far as this list of theirs, by the number that `contacts` shows. Without it: the one known now.
        keys: Option<u64>,
    },
    /// Shows what others are told of you, or changes it.
    Settings(Told),
}

/// What others are told.
#[derive(Args, Debug)]
pub(crate) struct Told {
    /// That you have read what they said.
    #[arg(long, value_enum)]
    receipts: Option<Switch>,
    /// That you type, to those who tell it too.
    #[arg(long, value_enum)]
    typing: Option<Switch>,
    /// That you are online, likewise.
    #[arg(long, value_enum)]
    presence: Option<Switch>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Switch {
    On,
    Off,
}

/// Sets it, and shows what it was set of.
pub(crate) async fn run(
    messenger: &Messenger,
    setting: &Setting,
    input: &mut impl Lines,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let with = match setting {
        Setting::Settings(told) => return tell(messenger, told, output).await,
        Setting::Mute { who, .. }
        | Setting::Unmute { who }
        | Setting::Archive { who }
        | Setting::Unarchive { who }
        | Setting::Unread { who }
        | Setting::PinChat { who }
        | Setting::UnpinChat { who }
        | Setting::Draft { who, .. }
        | Setting::Note { who, .. }
        | Setting::Verify { who, .. }
        | Setting::AcceptKeys { who, .. } => account(messenger, who).await?,
    };
    match setting {
        Setting::Mute { duration, .. } => {
            let until = duration.map_or(FOREVER, |duration| SystemClock.now().after(duration));
            messenger.mute(with, Some(until)).await?;
        }
        Setting::Unmute { .. } => messenger.mute(with, None).await?,
        Setting::Archive { .. } => messenger.archive(with, true).await?,
        Setting::Unarchive { .. } => messenger.archive(with, false).await?,
        Setting::Unread { .. } => messenger.mark_unread(with).await?,
        Setting::PinChat { .. } => messenger.pin_conversation(with, true).await?,
        Setting::UnpinChat { .. } => messenger.pin_conversation(with, false).await?,
        Setting::Draft { text, .. } => messenger.set_draft(with, Some(input.typed(text).await?.into())).await?,
        Setting::Note { text, .. } => {
            let note = input.typed(text).await?;
            messenger.set_note(with, Some(note).filter(|note| !note.is_empty())).await?;
        }
        Setting::Verify { code: Some(code), .. } => messenger.verify_by_code(with, code).await?,
        Setting::Verify { take_back, .. } => messenger.set_verified(with, !take_back).await?,
        Setting::AcceptKeys { keys, .. } => {
            let shown = match keys {
                Some(keys) => *keys,
                None => messenger.find_contact(&with.to_string()).await?.keys,
            };
            messenger.accept_keys(with, shown).await?;
        }
        Setting::Settings(_) => {}
    }
    match setting {
        Setting::Note { .. } | Setting::Verify { .. } | Setting::AcceptKeys { .. } => {
            let contact = messenger.find_contact(&with.to_string()).await?;
            output.contact(&contact, &Names::read(messenger).await?.of(messenger, &with).await?);
            Ok(())
        }
        _ => show_chat(messenger, with, output).await,
    }
}

/// The conversation's line of the chat list.
async fn show_chat(messenger: &Messenger, with: AccountId, output: &mut Output<'_>) -> Result<(), Failed> {
    let own = messenger.account().await?.id;
    let contact = Some(with).filter(|with| *with != own);
    let name = match &contact {
        Some(contact) => Names::read(messenger).await?.of(messenger, contact).await?,
        None => Name::myself(),
    };
    for chats in [Chats::Main, Chats::Archived] {
        let list = messenger.conversations(chats, None, u32::MAX).await?;
        if let Some(conversation) = list.iter().find(|conversation| conversation.contact == contact) {
            output.conversation(conversation, &name);
        }
    }
    Ok(())
}

async fn tell(messenger: &Messenger, told: &Told, output: &mut Output<'_>) -> Result<(), Failed> {
    if let Some(receipts) = told.receipts {
        messenger.set_receipts(receipts == Switch::On).await?;
    }
    let mut live: LiveSettings = messenger.live_settings().await?;
    if told.typing.is_some() || told.presence.is_some() {
        live.typing = told.typing.map_or(live.typing, |typing| typing == Switch::On);
        live.presence = told.presence.map_or(live.presence, |presence| presence == Switch::On);
        messenger.set_live_settings(live).await?;
    }
    let receipts = messenger.receipts().await?;
    let object = json!({ "kind": "settings", "receipts": receipts, "typing": live.typing, "presence": live.presence });
    let word = |is_on| if is_on { "on" } else { "off" };
    let human = format!("receipts {}, typing {}, presence {}", word(receipts), word(live.typing), word(live.presence));
    output.show(&object, &readable::line(&human));
    Ok(())
}
