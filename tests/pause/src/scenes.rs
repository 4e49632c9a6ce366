//! What an engine is at while it pauses.

use std::future::Future;
use std::pin::Pin;

use sotto_core::{Error, danger};

use crate::Violation;
use crate::hold::PATIENCE;
use crate::people::People;

/// What came of a scene.
pub(crate) struct Acted {
    /// What alice was told of what she said, where she says something.
    pub(crate) said: Option<Result<(), Error>>,
    /// What she was told in the end.
    pub(crate) ended: Result<(), Error>,
}

/// What is done in it.
pub(crate) type Act<'a> = Pin<Box<dyn Future<Output = Acted> + 'a>>;

/// One of the things that are walked through. Both pause when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scene {
    /// Alice says something, and it leaves.
    Send,
    /// What bob has said comes.
    Receive,
    /// What is due by the clock is done: confirmations, prekeys. Lists are not signed anew: bob would read each, one in ten seconds.
    Upkeep,
    /// Her database becomes one of a later release while it is opened.
    Open,
}

impl Scene {
    pub(crate) const ALL: [Self; 4] = [Self::Send, Self::Receive, Self::Upkeep, Self::Open];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Upkeep => "upkeep",
            Self::Open => "open and migrate",
        }
    }

    /// Until the writer may be held. What is said here is said for sure.
    pub(crate) async fn prepare(self, people: &People, step: u64, said: &mut Vec<String>) -> Result<(), Violation> {
        let (alice, bob) = (&people.alice, &people.bob);
        match self {
            Self::Send => alice.messenger.resume().await?,
            Self::Receive => {
                bob.messenger.resume().await?;
                for part in ["a", "b"] {
                    let text = format!("received at {step}{part}");
                    bob.messenger.send_text(alice.account, text.clone()).await?;
                    said.push(text);
                }
                bob.messenger.catch_up(PATIENCE).await?;
                bob.messenger.pause().await;
            }
            Self::Upkeep => alice.change(
                "UPDATE peer_device SET confirm_due = 1;
                 UPDATE kem_key SET created_at = created_at - 3 * 86400000;",
            )?,
            Self::Open => danger::let_come(migrations(step)),
        }
        Ok(())
    }

    /// What is paused in.
    pub(crate) fn act<'a>(self, people: &'a People, text: &'a str) -> Act<'a> {
        let (alice, bob) = (&people.alice.messenger, people.bob.account);
        Box::pin(async move {
            let (said, begun) = match self {
                Self::Send => (Some(alice.send_text(bob, text.to_owned()).await.map(drop)), Ok(())),
                Self::Receive | Self::Upkeep | Self::Open => (None, alice.resume().await),
            };
            let ended = match begun {
                Ok(()) => alice.catch_up(PATIENCE).await.map(drop),
                Err(error) => Err(error),
            };
            Acted { said, ended }
        })
    }
}

/// Of so many later releases.
fn migrations(releases: u64) -> Vec<String> {
    let migration = |release| {
        format!(
            "ALTER TABLE message ADD COLUMN later_{release} INTEGER NOT NULL DEFAULT 0;
             CREATE TABLE later_{release} (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
             INSERT INTO later_{release} SELECT id, text FROM message;
             CREATE INDEX later_{release}_text ON later_{release} (text);"
        )
    };
    (1..=releases).map(migration).collect()
}
