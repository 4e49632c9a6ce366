//! What is to be done, done beside the screen: changes one behind the other, in the order in which somebody asked for them; questions at
//! once. What comes of it comes back as events.

use std::sync::Arc;

use sotto_core::Messenger;
use sotto_core::protocol::AccountId;
use sotto_core::records::SearchQuery;
use sotto_core::subscriptions::{Start, Timeline};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::model::{Command, Details, Event, Failure};
use super::overlay::VERSIONS;
use crate::failed::Failed;
use crate::names::Names;

/// Changes that wait for those before them: more than anybody types while a disk is slow.
const CHANGES_MAX: usize = 256;
/// Messages that a timeline begins with.
const WINDOW: u32 = 200;
/// Hits of a page.
const HITS: u32 = 50;
/// After that a timeline that failed is asked again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Carries out what the model asks for.
pub(super) struct Hands {
    messenger: Messenger,
    with: AccountId,
    events: mpsc::Sender<Event>,
    changes: mpsc::Sender<Command>,
    changing: JoinHandle<()>,
    timeline: Option<(Arc<Timeline>, JoinHandle<()>)>,
}

impl Hands {
    pub(super) fn new(messenger: &Messenger, with: AccountId, events: mpsc::Sender<Event>) -> Self {
        let (changes, wanted) = mpsc::channel(CHANGES_MAX);
        let changing = tokio::spawn(change_all(messenger.clone(), with, wanted, events.clone()));
        Self { messenger: messenger.clone(), with, events, changes, changing, timeline: None }
    }

    /// Does something; a failure comes as an event, if not at once.
    pub(super) fn carry_out(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Open(number, start) => self.open(number, start),
            Command::Older(count) => self.timeline.iter().for_each(|(timeline, _)| timeline.older(count)),
            Command::Newer(count) => self.timeline.iter().for_each(|(timeline, _)| timeline.newer(count)),
            Command::Typing(is_typing) => self.messenger.set_typing(self.with, is_typing),
            Command::Search(number, words, before) => {
                let (messenger, with) = (self.messenger.clone(), self.with);
                self.ask(async move {
                    let query = SearchQuery { conversation: Some(with), ..words.into() };
                    Ok(Event::Found(number, messenger.search(query, before, HITS).await?))
                });
            }
            Command::Details(number) => {
                let messenger = self.messenger.clone();
                self.ask(async move { Ok(Event::Details(Box::new(details(&messenger, number).await?))) });
            }
            change => return self.changes.try_send(change).map_err(|error| too_much(error.into_inner())),
        }
        Ok(())
    }

    /// Looks who the contact is now.
    pub(super) fn look_up(&self) {
        let (messenger, with) = (self.messenger.clone(), self.with);
        self.ask(async move {
            let contact = messenger.find_contact(&with.to_string()).await?;
            let name = Names::read(&messenger).await?.of(&messenger, &with).await?;
            Ok(Event::Contact(contact, name.as_str().to_owned()))
        });
    }

    /// Looks what they do now.
    pub(super) fn look_at(&self) {
        let (messenger, with) = (self.messenger.clone(), self.with);
        self.ask(async move { Ok(Event::Live(messenger.live(with).await?)) });
    }

    /// Looks whether any relay can be read.
    pub(super) fn look_for_trouble(&self) {
        let messenger = self.messenger.clone();
        self.ask(async move {
            let relays = messenger.relays().await?;
            let mut read = relays.iter().filter(|relay| !relay.is_left);
            let trouble = read.clone().find_map(|relay| relay.trouble);
            Ok(Event::Trouble(trouble.filter(|_| read.all(|relay| relay.trouble.is_some()))))
        });
    }

    /// The process was stopped, and goes on: connections may have ended meanwhile.
    pub(super) fn wake(&self) {
        let (messenger, events) = (self.messenger.clone(), self.events.clone());
        tokio::spawn(async move {
            if let Err(error) = messenger.resume().await {
                let _ = events.send(Event::Failed(failure(&error.into(), None))).await;
            }
        });
    }

    /// Finishes what was begun; says what was not done of it.
    pub(super) async fn rest(self, mut events: mpsc::Receiver<Event>) -> Result<(), Failed> {
        let Self { changes, mut changing, timeline, .. } = self;
        if let Some((_, watching)) = timeline {
            watching.abort();
        }
        drop(changes);
        let mut undone = Ok(());
        let mut note = |event| {
            if let Event::Failed(Failure { why, undone: Some(_) }) = event {
                undone = Err(Failed::new("not_done", why));
            }
        };
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => note(event),
                _ = &mut changing => break,
            }
        }
        while let Ok(event) = events.try_recv() {
            note(event);
        }
        undone
    }

    fn ask(&self, question: impl Future<Output = Result<Event, Failed>> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = question.await.unwrap_or_else(|failed| Event::Failed(failure(&failed, None)));
            // Nobody listens any more: then nobody wants to know.
            let _ = events.send(event).await;
        });
    }

    fn open(&mut self, number: u32, start: Start) {
        if let Some((_, watching)) = self.timeline.take() {
            watching.abort();
        }
        let timeline = Arc::new(self.messenger.timeline(self.with, start, WINDOW));
        let watching = tokio::spawn(watch(Arc::clone(&timeline), number, self.events.clone()));
        self.timeline = Some((timeline, watching));
    }
}

async fn watch(timeline: Arc<Timeline>, number: u32, events: mpsc::Sender<Event>) {
    loop {
        let event = match timeline.next().await {
            Ok(changes) => Event::Changes(number, changes),
            Err(error) => {
                tokio::time::sleep(PAUSE).await;
                Event::Failed(failure(&error.into(), None))
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn details(messenger: &Messenger, number: i64) -> Result<Details, Failed> {
    let message = messenger.message(number).await?;
    let deliveries = messenger.deliveries(number).await?;
    let history = messenger.history(number, VERSIONS).await?;
    Ok(Details { message, deliveries, history })
}

async fn change_all(
    messenger: Messenger,
    with: AccountId,
    mut wanted: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) {
    while let Some(command) = wanted.recv().await {
        if let Err(error) = change(&messenger, with, command.clone()).await {
            let _ = events.send(Event::Failed(failure(&error.into(), Some(command)))).await;
        }
    }
}

async fn change(messenger: &Messenger, with: AccountId, command: Command) -> Result<(), sotto_core::Error> {
    match command {
        Command::Send(text) => messenger.send_text(with, text).await.map(drop),
        Command::Edit(number, words) => messenger.edit(number, words).await.map(drop),
        Command::React(number, emoji) => messenger.react(number, emoji).await.map(drop),
        Command::Pin(number, is_pinned) => messenger.pin(number, is_pinned).await.map(drop),
        Command::DeleteForMe(number) => messenger.delete_for_me(vec![number]).await,
        Command::DeleteForEveryone(number) => messenger.delete_for_everyone(vec![number]).await,
        Command::Retry(number) => messenger.retry(number).await.map(drop),
        Command::MarkRead(numbers) => messenger.mark_read(numbers).await,
        Command::SaveDraft(draft) => messenger.set_draft(with, draft).await,
        // Not a change of what is stored: done elsewhere.
        Command::Open(..)
        | Command::Older(_)
        | Command::Newer(_)
        | Command::Typing(_)
        | Command::Search(..)
        | Command::Details(_)
        | Command::Copy(_)
        | Command::Redraw
        | Command::Suspend
        | Command::Quit => Ok(()),
    }
}

fn too_much(command: Command) -> Failure {
    Failure { why: "Too much waits to be done: repeat it in a moment.".to_owned(), undone: Some(command) }
}

fn failure(failed: &Failed, undone: Option<Command>) -> Failure {
    let remedy = failed.remedy().unwrap_or_default();
    Failure { why: format!("{} ({}) {remedy}", failed.message, failed.code), undone }
}
