//! `sotto sync`: sends what waits, fetches what came, shows it, and stays when asked to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sotto_core::protocol::AccountId;
use sotto_core::records::{CatchUp, ContactState, LETTER_REFUSED};
use sotto_core::{Event, Messenger};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::failed::Failed;
use crate::names::Names;
use crate::output::Output;
use crate::shown;

/// The longest that a command waits for relays before it says what still waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay does not speak this program's version any more.
const UPGRADE_REQUIRED: &str = "upgrade_required";

/// Messages shown at a time while staying.
const PAGE: u32 = 500;

/// Fetches and shows what came; stays for so many seconds, or until nobody reads.
pub(crate) async fn run(
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
        output.caught_up(&caught_up);
        return judge(&caught_up);
    };
    messenger.network_hint();
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        news.show(messenger, output).await?;
        if output.is_closed() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return Ok(()),
            event = events.recv() => match event {
                Ok(
                    Event::MessageReceived(_)
                    | Event::MessagesChanged
                    | Event::ContactsChanged
                    | Event::LiveChanged(_)
                    | Event::ConnectionsChanged
                    | Event::SearchIndexed,
                ) => {}
                // Fallen behind: what is new is read from the database anyway.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// A relay that was not reached is a failure of this `sync`, and so is one of ours that refuses us. One that refuses a letter is its
/// recipient's choice: the letter is counted as waiting.
fn judge(caught_up: &CatchUp) -> Result<(), Failed> {
    let mut lost = caught_up.unreachable.iter().filter(|(_, code)| *code != LETTER_REFUSED).peekable();
    let Some((_, code)) = lost.peek() else { return Ok(()) };
    let code = *code;
    // What nothing but a newer program helps against comes before what may pass.
    let code = if lost.clone().any(|(_, code)| *code == UPGRADE_REQUIRED) { UPGRADE_REQUIRED } else { code };
    let relays: Vec<String> = lost.map(|(relay, code)| format!("{relay} ({code})")).collect();
    let what = if code == UPGRADE_REQUIRED { "this program is too old, and " } else { "" };
    Err(Failed::new(code, format!("{what}not everything could be done with {}", relays.join(", "))))
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
        let mut names = Names::read(messenger).await?;
        for contact in messenger.contacts().await? {
            if self.contacts.insert(contact.id, contact.state) != Some(contact.state) {
                output.contact_news(&contact, &names.of(messenger, &contact.id).await?);
            }
        }
        loop {
            let page = messenger.received_after(self.shown, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            names.meet(messenger, &page).await?;
            for message in &page {
                output.message(message, &names);
            }
            self.shown = last.arrival;
            output.shown(&self.profile, last.arrival);
        }
    }
}
