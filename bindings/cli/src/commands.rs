//! What each command does: a call or two of the public API, and its result shown.

use std::path::Path;

use serde_json::json;
use sotto_core::protocol::{AccountId, RelayAddress};
use sotto_core::records::{Chats, Contact, ContactState};
use sotto_core::{Error, InputError, InviteOptions, Messenger, NewProfile, World};

use crate::arguments::{Command, ContactChange, RelayChange};
use crate::deeds;
use crate::export;
use crate::failed::Failed;
use crate::find;
use crate::info;
use crate::input::Lines;
use crate::names::{MYSELF, Name, Names};
use crate::output::{Output, account_object, invite_object};
use crate::own;
use crate::proxy::{self, Way};
use crate::readable;
use crate::sending;
use crate::settings;
use crate::sync::{self, PATIENCE};

/// Makes an account, which goes on by the way that it was made by.
pub(crate) async fn init(
    world: World,
    profile: &Path,
    new: NewProfile,
    way: Option<&Way>,
    output: &mut Output<'_>,
) -> Result<Messenger, Failed> {
    let messenger = Messenger::create(world, profile, new).await?;
    if way.is_some() {
        proxy::keep(profile, way)?;
    }
    let caught_up = messenger.catch_up(PATIENCE).await?;
    let account = messenger.account().await?;
    let mut object = account_object(&account);
    object["published"] = caught_up.is_published.into();
    output.show(&object, &format!("{}: account {}", readable::line(&account.name), account.id));
    output.note("(invite somebody: sotto invite)");
    Ok(messenger)
}

/// Relay addresses as they are typed.
pub(crate) fn relays(typed: &[String]) -> Result<Vec<RelayAddress>, Failed> {
    typed.iter().map(|relay| relay_address(relay)).collect()
}

/// Runs a command on an open engine.
pub(crate) async fn run(
    messenger: &Messenger,
    profile: &Path,
    command: &Command,
    input: &mut impl Lines,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    match command {
        Command::Proxy { .. } => proxy::show(profile, output),
        Command::Init { .. } | Command::Salvage(_) | Command::Daemon | Command::Chat { .. } | Command::Demo { .. } => {
            Err(Failed::new("not_here", "this command runs on its own"))
        }
        Command::Invite { uses, expires, auto_accept, qr } => {
            let options = InviteOptions { uses: *uses, valid_for: *expires, auto_accept: *auto_accept };
            invite(messenger, options, *qr, output).await
        }
        Command::Join { link } => join(messenger, link, input, output).await,
        Command::Contacts { change: None } => {
            let mut names = Names::read(messenger).await?;
            for contact in messenger.contacts().await? {
                output.contact(&contact, &names.of(messenger, &contact.id).await?);
            }
            Ok(())
        }
        Command::Contacts { change: Some(change) } => change_contact(messenger, change, output).await,
        Command::Relay { change } => change_relays(messenger, change.as_ref(), output).await,
        Command::Send { who, text, wait } => {
            let to = account(messenger, who).await?;
            if text != "-" {
                let message = messenger.send_text(to, text.clone()).await?;
                return sending::said(messenger, message, *wait, output).await;
            }
            while let Some(line) = input.next().await? {
                if !line.is_empty() {
                    let message = messenger.send_text(to, line).await?;
                    sending::said(messenger, message, *wait, output).await?;
                }
            }
            Ok(())
        }
        Command::Deed(deed) => deeds::run(messenger, deed, input, output).await,
        Command::Setting(setting) => settings::run(messenger, setting, input, output).await,
        Command::Search(search) => find::run(messenger, search, output).await,
        Command::Export(wanted) => export::run(messenger, wanted, output).await,
        Command::Profile(shown) => own::profile(messenger, shown, output).await,
        Command::Diagnostics => own::diagnostics(messenger, output).await,
        Command::Info { message } => info::run(messenger, *message, output).await,
        Command::Sync { seconds } => sync::run(messenger, profile, *seconds, output).await,
        Command::Chats => {
            let mut names = Names::read(messenger).await?;
            let main = messenger.conversations(Chats::Main, None, u32::MAX).await?;
            let archived = messenger.conversations(Chats::Archived, None, u32::MAX).await?;
            for conversation in main.into_iter().chain(archived) {
                let name = match &conversation.contact {
                    Some(contact) => names.of(messenger, contact).await?,
                    None => Name::myself(),
                };
                output.conversation(&conversation, &name);
            }
            Ok(())
        }
        Command::Messages { who, around, pinned, limit } => {
            let with = account(messenger, who).await?;
            let mut names = Names::read(messenger).await?;
            let mut messages = match around {
                Some(number) => {
                    if messenger.said_with(*number).await? != with {
                        return Err(Error::from(InputError::NotFound { what: "message" }).into());
                    }
                    let position = messenger.message(*number).await?.position;
                    messenger.messages_around(with, position, *limit).await?
                }
                None if *pinned => messenger.pinned(with, None, *limit).await?,
                None => messenger.messages(with, None, *limit).await?,
            };
            // Oldest first, however they were found.
            messages.sort_by_key(|message| message.position);
            names.meet(messenger, &messages).await?;
            for message in &messages {
                output.message(message, &names);
            }
            Ok(())
        }
        Command::Read { who } => {
            let with = account(messenger, who).await?;
            let unread = unread(messenger, with).await?;
            Ok(messenger.mark_read(unread).await?)
        }
        Command::SafetyNumber { who, qr } => {
            let with = account(messenger, who).await?;
            let number = messenger.safety_number(with).await?;
            let code = messenger.verification_code(with).await?;
            let object = json!({ "kind": "safety_number", "contact": with.to_string(), "safety_number": number.digits(), "code": code });
            output.show(&object, &number.to_string());
            if *qr { picture(&code, output) } else { Ok(()) }
        }
    }
}

/// A QR code, for people.
fn picture(content: &str, output: &mut Output<'_>) -> Result<(), Failed> {
    let code = qrcode::QrCode::new(content).map_err(|_| Failed::new("too_long", "this does not fit a QR code"))?;
    output.picture(&code.render::<qrcode::render::unicode::Dense1x2>().build());
    Ok(())
}

/// What of somebody's was not read yet.
async fn unread(messenger: &Messenger, with: AccountId) -> Result<Vec<i64>, Failed> {
    const PAGE: u32 = 200;
    let Some(first) = messenger.first_unread(with).await? else { return Ok(Vec::new()) };
    let (mut unread, mut before) = (Vec::new(), None);
    loop {
        let page = messenger.messages(with, before, PAGE).await?;
        unread.extend(page.iter().filter(|message| message.is_unread).map(|message| message.number));
        match page.first() {
            Some(oldest) if oldest.position > first.position => before = Some(oldest.position),
            _ => return Ok(unread),
        }
    }
}

async fn invite(
    messenger: &Messenger,
    options: InviteOptions,
    qr: bool,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let invite = messenger.invite(options).await?;
    let caught_up = messenger.catch_up(PATIENCE).await?;
    output.show(&invite_object(&invite, caught_up.is_published), &invite.link);
    if qr {
        picture(&invite.link, output)?;
    }
    if !caught_up.is_published {
        output.note("(your relay could not be reached: the link works after the next sotto sync that does)");
    }
    Ok(())
}

async fn join(
    messenger: &Messenger,
    link: &str,
    input: &mut impl Lines,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let link = if link == "-" { input.next().await?.unwrap_or_default() } else { link.to_owned() };
    let account = messenger.join(link.trim()).await?;
    messenger.catch_up(PATIENCE).await?;
    let contact = messenger.find_contact(&account.to_string()).await?;
    output.contact_news(&contact, &Names::read(messenger).await?.of(messenger, &account).await?);
    Ok(())
}

async fn change_contact(messenger: &Messenger, change: &ContactChange, output: &mut Output<'_>) -> Result<(), Failed> {
    let (ContactChange::Accept { who }
    | ContactChange::Rename { who, .. }
    | ContactChange::Block { who }
    | ContactChange::Unblock { who }
    | ContactChange::Remove { who }) = change;
    let contact = messenger.find_contact(who).await?;
    let name = Names::read(messenger).await?.of(messenger, &contact.id).await?;
    match change {
        ContactChange::Accept { .. } => messenger.accept(contact.id).await?,
        ContactChange::Rename { name, .. } => {
            messenger.rename(contact.id, (!name.is_empty()).then(|| name.clone())).await?
        }
        ContactChange::Block { .. } => messenger.block(contact.id).await?,
        ContactChange::Unblock { .. } => messenger.unblock(contact.id).await?,
        ContactChange::Remove { .. } => messenger.remove(contact.id).await?,
    }
    messenger.catch_up(PATIENCE).await?;
    if matches!(change, ContactChange::Remove { .. }) {
        output.contact_news(&Contact { state: ContactState::Removed, ..contact }, &name);
        return Ok(());
    }
    let contact = messenger.find_contact(&contact.id.to_string()).await?;
    output.contact(&contact, &Names::read(messenger).await?.of(messenger, &contact.id).await?);
    Ok(())
}

async fn change_relays(
    messenger: &Messenger,
    change: Option<&RelayChange>,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let is_published = match change {
        None | Some(RelayChange::List) => None,
        Some(RelayChange::Add { relay, relay_code }) => {
            messenger.add_relay(relay_address(relay)?, relay_code.clone()).await?;
            Some(messenger.catch_up(PATIENCE).await?.is_published)
        }
        Some(RelayChange::Remove { relay }) => {
            messenger.remove_relay(relay_address(relay)?).await?;
            Some(messenger.catch_up(PATIENCE).await?.is_published)
        }
    };
    for relay in messenger.relays().await? {
        output.relay(&relay, is_published);
    }
    if is_published == Some(false) {
        output.note("(not all relays could be reached: your contacts hear of it after the next sotto sync that does)");
    }
    Ok(())
}

fn relay_address(typed: &str) -> Result<RelayAddress, Failed> {
    typed.parse().map_err(|_| Error::from(InputError::BadRelayAddress).into())
}

/// The account that a person means.
pub(crate) async fn account(messenger: &Messenger, who: &str) -> Result<AccountId, Failed> {
    if who == MYSELF { Ok(messenger.account().await?.id) } else { Ok(messenger.find_contact(who).await?.id) }
}
