//! `sotto chat`: one conversation on the whole terminal, until somebody leaves.
//!
//! - `model.rs`: all that is on the screen; `update.rs`, `keys.rs`: what happens to it; `scroll.rs`: where in it one is
//! - `composer.rs`: what is being written; `glyphs.rs`, `calendar.rs`, `look.rs`: letters, times and styles
//! - `view.rs`: the screen drawn from the model; `blocks.rs`: a message; `hints.rs`: the lowest row; `overlay.rs`: what stands before the rest
//! - `hands.rs`: what is to be done, done by the engine; `screen.rs`: the terminal, taken and given back
//! - here: the loop between them, which waits for whatever comes first and draws
//!
//! Invariants: nothing of others reaches the terminal but through `glyphs.rs`; drawing waits for no engine; a message counts as read once it
//! has been drawn to its end before somebody.

mod blocks;
mod calendar;
mod composer;
mod glyphs;
mod hands;
mod hints;
mod keys;
mod look;
mod model;
mod overlay;
mod screen;
mod scroll;
#[cfg(test)]
mod tests;
mod update;
mod view;

use std::time::Duration;

use crossterm::event::{Event as Typed, EventStream};
use futures_util::StreamExt as _;
use ratatui::layout::Size;
use rustix::process::{Signal, kill_current_process_group};
use sotto_core::records::AppState;
use sotto_core::subscriptions::Start;
use sotto_core::world::{Clock as _, SystemClock};
use sotto_core::{Event as News, Messenger};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::commands;
use crate::failed::Failed;
use crate::names::Names;
use crate::signals::Signals;
use calendar::Calendar;
use hands::Hands;
use look::Look;
use model::{Command, Event, Model};
use screen::Screen;

/// Events of the engine that wait for the screen.
const EVENTS_MAX: usize = 256;
/// Events that are taken in between two drawings.
const AT_ONCE_MAX: usize = 64;
/// How long a shell that stops this may take to do so; afterwards there is none that does.
const STOPPING: Duration = Duration::from_secs(1);

/// Shows the conversation with somebody until its user leaves, or somebody asks this process to end.
pub(crate) async fn run(messenger: &Messenger, who: &str, signals: &mut Signals) -> Result<(), Failed> {
    let with = commands::account(messenger, who).await?;
    let own = messenger.account().await?.id;
    let name = Names::read(messenger).await?.of(messenger, &with).await?;
    let name = if with == own { "Note to self".to_owned() } else { name.as_str().to_owned() };
    let mut model = Model::new(own, with, name, Calendar::of_the_system(), Look::of_the_environment());
    model.now = SystemClock.now();
    if let Some(draft) = messenger.draft(with).await? {
        model.take_draft(draft);
    }
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let hands = Hands::new(messenger, with, sender);
    // What somebody presses from here on is heard, and nothing that was pressed before a passphrase was asked for.
    let screen = Screen::take()?;
    messenger.set_presence(AppState::Foreground);
    let mut chat = Chat { model, screen, hands, is_over: false };
    let result = chat.go_on(messenger, &mut events, signals).await;
    let last = chat.model.last_words();
    let last = chat.carry_out(last).await;
    messenger.set_presence(AppState::Background);
    let Chat { screen, hands, .. } = chat;
    // Nobody looks at a screen on which nothing happens any more.
    drop(screen);
    result.and(last).and(hands.rest(events).await)
}

struct Chat {
    model: Model,
    screen: Screen,
    hands: Hands,
    is_over: bool,
}

/// Whatever came first.
enum Came {
    Event(Event),
    News(News),
    /// More than can be kept has happened, or nothing that is shown.
    Anything,
    Second,
    End,
}

impl Chat {
    async fn go_on(
        &mut self,
        messenger: &Messenger,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
    ) -> Result<(), Failed> {
        let mut news = messenger.events();
        let mut typed = EventStream::new();
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let failed = |_| Failed::new("signals_failed", "signals cannot be heard");
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        self.look_up();
        self.hands.look_at();
        self.hands.look_for_trouble();
        let open = self.model.open(Start::FirstUnread, model::Wanted::Unread);
        self.carry_out(vec![open]).await?;
        while !self.is_over {
            self.screen.draw(&mut self.model)?;
            let drawn = self.model.drawn();
            self.carry_out(drawn).await?;
            // One is waited for; what else is there comes before the next drawing.
            for at in 0..AT_ONCE_MAX {
                let came = tokio::select! {
                    biased;
                    _ = signals.caught() => Came::End,
                    _ = hangup.recv() => Came::End,
                    typed = typed.next() => came_by_keys(typed),
                    event = events.recv() => event.map_or(Came::End, Came::Event),
                    new = news.recv() => match new {
                        Ok(new) => Came::News(new),
                        Err(RecvError::Lagged(_)) => Came::Anything,
                        Err(RecvError::Closed) => Came::End,
                    },
                    _ = seconds.tick() => Came::Second,
                    () = std::future::ready(()), if at > 0 => break,
                };
                self.take(came).await?;
                if self.is_over {
                    break;
                }
            }
            if self.screen.is_lost() {
                return Err(Failed::new("broke", "something went wrong inside, and the terminal was given back"));
            }
        }
        Ok(())
    }

    /// Nobody needs to be told who they are.
    fn look_up(&self) {
        if self.model.with != self.model.own {
            self.hands.look_up();
        }
    }

    async fn take(&mut self, came: Came) -> Result<(), Failed> {
        let event = match came {
            Came::Event(event) => event,
            Came::News(News::LiveChanged(who)) => {
                if who == self.model.with {
                    self.hands.look_at();
                }
                return Ok(());
            }
            Came::News(News::ContactsChanged) => {
                self.look_up();
                return Ok(());
            }
            Came::News(News::ConnectionsChanged) => {
                self.hands.look_for_trouble();
                return Ok(());
            }
            Came::Anything => {
                self.look_up();
                self.hands.look_for_trouble();
                return Ok(());
            }
            // The timeline tells, and a search is made again each second.
            Came::News(News::MessageReceived(_) | News::MessagesChanged | News::SearchIndexed) => return Ok(()),
            Came::Second => Event::Tick(SystemClock.now()),
            Came::End => {
                self.is_over = true;
                return Ok(());
            }
        };
        let commands = self.model.update(event);
        self.carry_out(commands).await
    }

    async fn carry_out(&mut self, commands: Vec<Command>) -> Result<(), Failed> {
        for command in commands {
            match command {
                Command::Quit => self.is_over = true,
                Command::Redraw => self.screen.forget()?,
                Command::Copy(words) => self.screen.copy(&words)?,
                Command::Suspend => self.suspend().await?,
                command => {
                    if let Err(failure) = self.hands.carry_out(command) {
                        self.model.update(Event::Failed(failure));
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the shell have the terminal until it calls this job back.
    async fn suspend(&mut self) -> Result<(), Failed> {
        let failed = |_| Failed::new("signals_failed", "signals cannot be heard");
        let mut called_back = signal(SignalKind::from_raw(Signal::CONT.as_raw())).map_err(failed)?;
        self.screen
            .lend(async {
                let _ = kill_current_process_group(Signal::TSTP);
                // Another thread may be the one that is stopped first. Where no shell is there that would call it back, nothing stops.
                let _ = tokio::time::timeout(STOPPING, called_back.recv()).await;
            })
            .await?;
        self.hands.wake();
        Ok(())
    }
}

fn came_by_keys(typed: Option<std::io::Result<Typed>>) -> Came {
    match typed {
        Some(Ok(Typed::Key(key))) => Came::Event(Event::Key(key)),
        Some(Ok(Typed::Paste(words))) => Came::Event(Event::Paste(words)),
        Some(Ok(Typed::Resize(width, height))) => Came::Event(Event::Resize(Size::new(width, height))),
        Some(Ok(Typed::FocusGained)) => Came::Event(Event::Focus(true)),
        Some(Ok(Typed::FocusLost)) => Came::Event(Event::Focus(false)),
        Some(Ok(Typed::Mouse(_))) => Came::Anything,
        // The terminal is gone.
        Some(Err(_)) | None => Came::End,
    }
}
