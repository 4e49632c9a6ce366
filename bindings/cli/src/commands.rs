//! What each command does: a call or two of the public API, and its result shown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sotto_core::protocol::{AccountId, RelayAddress};
use sotto_core::records::{CatchUp, ContactState, Message};
use sotto_core::{DeviceKind, Error, Event, InputError, InviteOptions, Messenger, NewProfile, World};
use tokio::time::Instant;

use crate::arguments::{Command, ContactChange};
use crate::output::{Failed, Output};
use crate::shown;

/// The longest that a command waits for relays before it says what still waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages shown at a time while staying.
const PAGE: u32 = 500;
/// The name that means this account.
const MYSELF: &str = "me";

/// Lines from standard input, where the command reads them: in the process that was started, whoever runs the command.
pub(crate) fn read_input(command: &Command) -> Result<Vec<String>, Failed> {
    match command {
        Command::Send { text, .. } if text == "-" => {
            let lines: Result<Vec<_>, _> = std::io::stdin().lines().collect();
            lines.map_err(|_| Failed::new("input_failed", "standard input is not text"))
        }
        _ => Ok(Vec::new()),
    }
}

/// Makes an account.
pub(crate) async fn init(
    world: World,
    profile: &Path,
    relays: &[String],
    name: &str,
    output: &mut Output<'_>,
) -> Result<Messenger, Failed> {
    let relays: Result<Vec<RelayAddress>, _> = relays.iter().map(|relay| relay.parse()).collect();
    let relays = relays.map_err(|_| Error::from(InputError::BadRelayAddress))?;
    let new = NewProfile { name: name.to_owned(), relays, kind: DeviceKind::Desktop };
    let messenger = Messenger::create(world, profile, new).await?;
    let caught_up = messenger.catch_up(PATIENCE).await?;
    let account = messenger.account().await?;
    let object = json!({ "account": account.id.to_string(), "device": account.device.to_string(), "name": account.name, "published": caught_up.is_complete });
    output.show(&object, &format!("{}: account {}", account.name, account.id));
    output.note("(invite somebody: sotto invite)");
    Ok(messenger)
}

/// Runs a command on an open engine.
pub(crate) async fn run(
    messenger: &Messenger,
    profile: &Path,
    command: &Command,
    input: &[String],
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    match command {
        Command::Init { .. } | Command::Demo { .. } => Err(Failed::new("not_here", "this command runs on its own")),
        Command::Invite { uses, expires, auto_accept, qr } => {
            let options = InviteOptions { uses: *uses, valid_for: *expires, auto_accept: *auto_accept };
            invite(messenger, options, *qr, output).await
        }
        Command::Join { link } => {
            let account = messenger.join(link).await?;
            messenger.catch_up(PATIENCE).await?;
            let contact = messenger.find_contact(&account.to_string()).await?;
            output.contact_news(&contact);
            Ok(())
        }
        Command::Contacts { change: None } => {
            for contact in messenger.contacts().await? {
                output.contact(&contact);
            }
            Ok(())
        }
        Command::Contacts { change: Some(change) } => change_contact(messenger, change, output).await,
        Command::Send { who, text, wait } => {
            let to = account(messenger, who).await?;
            if text == "-" {
                for line in input.iter().filter(|line| !line.is_empty()) {
                    send(messenger, to, line, *wait, output).await?;
                }
                return Ok(());
            }
            send(messenger, to, text, *wait, output).await
        }
        Command::Sync { seconds } => sync(messenger, profile, *seconds, output).await,
        Command::Chats => {
            for conversation in messenger.conversations(None, u32::MAX).await? {
                output.conversation(&conversation);
            }
            Ok(())
        }
        Command::Messages { who, limit } => {
            let with = account(messenger, who).await?;
            let mut names = Names::default();
            for message in messenger.messages(with, None, *limit).await? {
                output.message(&message, names.of(messenger, &message).await?);
            }
            Ok(())
        }
        Command::Read { who } => Ok(messenger.mark_read(account(messenger, who).await?).await?),
        Command::SafetyNumber { who } => {
            let with = account(messenger, who).await?;
            let number = messenger.safety_number(with).await?;
            output.show(&json!({ "contact": with.to_string(), "safety_number": number.digits() }), &number.to_string());
            Ok(())
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
    let object = json!({ "link": invite.link, "expires_at": invite.expires_at.as_ms(), "uses": invite.uses, "published": caught_up.is_complete });
    output.show(&object, &invite.link);
    if qr {
        let code = qrcode::QrCode::new(&invite.link)
            .map_err(|_| Failed::new("too_long", "the link does not fit a QR code"))?;
        output.picture(&code.render::<qrcode::render::unicode::Dense1x2>().build());
    }
    if !caught_up.is_complete {
        output.note("(your relay could not be reached: the link works after the next sotto sync that does)");
    }
    Ok(())
}

async fn change_contact(messenger: &Messenger, change: &ContactChange, output: &mut Output<'_>) -> Result<(), Failed> {
    let (ContactChange::Accept { who }
    | ContactChange::Rename { who, .. }
    | ContactChange::Block { who }
    | ContactChange::Unblock { who }
    | ContactChange::Remove { who }) = change;
    let contact = messenger.find_contact(who).await?;
    match change {
        ContactChange::Accept { .. } => messenger.accept(contact.id).await?,
        ContactChange::Rename { name, .. } => {
            messenger.rename(contact.id, (!name.is_empty()).then(|| name.clone())).await?
        }
        ContactChange::Block { .. } => messenger.block(contact.id).await?,
        ContactChange::Unblock { .. } => messenger.unblock(contact.id).await?,
        ContactChange::Remove { .. } => {
            messenger.remove(contact.id).await?;
            messenger.catch_up(PATIENCE).await?;
            output.show(
                &json!({ "id": contact.id.to_string(), "state": "removed" }),
                &format!("{} was removed", contact.name),
            );
            return Ok(());
        }
    }
    messenger.catch_up(PATIENCE).await?;
    output.contact(&messenger.find_contact(&contact.id.to_string()).await?);
    Ok(())
}

async fn send(
    messenger: &Messenger,
    to: AccountId,
    text: &str,
    wait: bool,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let mut message = messenger.send_text(to, text.to_owned()).await?;
    if wait {
        message = messenger.wait_sent(message.number, PATIENCE).await?;
    }
    output.message(&message, MYSELF);
    Ok(())
}

/// Fetches and shows what came; stays when asked to.
async fn sync(
    messenger: &Messenger,
    profile: &Path,
    seconds: Option<u64>,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    // Listening comes first: what happens from here on is shown.
    let mut events = messenger.events();
    let mut news = News::since_last_time(messenger, profile).await?;
    let Some(seconds) = seconds else {
        let caught_up = messenger.catch_up(PATIENCE).await?;
        news.show(messenger, output).await?;
        return end_of_sync(&caught_up, output);
    };
    messenger.network_hint();
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        news.show(messenger, output).await?;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return Ok(()),
            event = events.recv() => match event {
                Ok(Event::MessageReceived(_) | Event::MessagesChanged | Event::ContactsChanged) => {}
                // Fallen behind: what is new is read from the database anyway.
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// Says what could not be dealt with: each relay that was not reached, and what waits for one.
fn end_of_sync(caught_up: &CatchUp, output: &mut Output<'_>) -> Result<(), Failed> {
    if caught_up.waiting > 0 {
        output.note(&format!("({} still to be sent)", caught_up.waiting));
    }
    let Some((_, code)) = caught_up.unreachable.first() else { return Ok(()) };
    let relays: Vec<String> = caught_up.unreachable.iter().map(|(relay, code)| format!("{relay} ({code})")).collect();
    Err(Failed::new(code, format!("not everything could be done with {}", relays.join(", "))))
}

/// What came in and has not been shown: messages, requests, and contacts that changed.
struct News {
    profile: PathBuf,
    /// Number of the last message that was shown.
    shown: i64,
    contacts: HashMap<AccountId, ContactState>,
}

impl News {
    /// Messages count from where the last `sync` ended. Requests that wait for an answer are shown every time.
    async fn since_last_time(messenger: &Messenger, profile: &Path) -> Result<Self, Failed> {
        let shown = shown::read(profile, messenger.newest().await?);
        let known = messenger.contacts().await?.into_iter().filter(|contact| contact.state != ContactState::Asking);
        let contacts = known.map(|contact| (contact.id, contact.state)).collect();
        Ok(Self { profile: profile.to_owned(), shown, contacts })
    }

    async fn show(&mut self, messenger: &Messenger, output: &mut Output<'_>) -> Result<(), Failed> {
        for contact in messenger.contacts().await? {
            if self.contacts.insert(contact.id, contact.state) != Some(contact.state) {
                output.contact_news(&contact);
            }
        }
        // Looked up again each time: contacts are renamed.
        let mut names = Names::default();
        loop {
            let page = messenger.received_after(self.shown, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            for message in &page {
                output.message(message, names.of(messenger, message).await?);
            }
            self.shown = last.number;
            output.shown(&self.profile, last.number);
        }
    }
}

/// Names of senders, looked up once each.
#[derive(Default)]
struct Names(HashMap<AccountId, String>);

impl Names {
    async fn of(&mut self, messenger: &Messenger, message: &Message) -> Result<&str, Failed> {
        match self.0.entry(message.sender) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(name_of(messenger, &message.sender).await?)),
        }
    }
}

async fn name_of(messenger: &Messenger, sender: &AccountId) -> Result<String, Failed> {
    if messenger.account().await?.id == *sender {
        return Ok(MYSELF.to_owned());
    }
    Ok(match messenger.find_contact(&sender.to_string()).await {
        Ok(contact) => contact.name,
        // Removed: what they said stays.
        Err(_) => sender.to_string()[..12].to_owned(),
    })
}

/// The account that a person means.
async fn account(messenger: &Messenger, who: &str) -> Result<AccountId, Failed> {
    if who == MYSELF { Ok(messenger.account().await?.id) } else { Ok(messenger.find_contact(who).await?.id) }
}
