//! A relay that takes calls and never answers: what an engine waits for is no reason to be stopped with a socket open.

use std::time::{Duration, Instant};

use sotto_core::records::MessageState;

use crate::Violation;
use crate::hold::PATIENCE;
use crate::people::People;
use crate::walk::{nothing_is_open, refused};

/// So many pauses while calls hang; says how long each took. Must be called within a runtime with several threads.
///
/// # Errors
/// What was not true, and in which round.
pub async fn frozen(rounds: u64) -> Result<Vec<Duration>, Violation> {
    let people = People::meet().await?;
    let (mut pauses, mut said) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let text = format!("said in round {round} to a relay that hangs");
        let paused = hang(&people, &text).await;
        pauses.push(paused.map_err(|Violation(what)| Violation(format!("round {round}: {what}")))?);
        said.push(text);
        people.relay.thaw()?;
        people.alice.messenger.resume().await?;
        people.bob.messenger.resume().await?;
        people.compare(&said).await?;
    }
    Ok(pauses)
}

async fn hang(people: &People, text: &str) -> Result<Duration, Violation> {
    let alice = &people.alice.messenger;
    people.bob.messenger.pause().await;
    people.relay.freeze()?;
    let mut message = alice.send_text(people.bob.account, text.to_owned()).await?;
    let waiting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.catch_up(PATIENCE).await.map(drop) }
    });
    while message.state == MessageState::Queued {
        message = alice.message(message.number).await?;
    }
    let begun = Instant::now();
    alice.pause().await;
    let took = begun.elapsed();
    nothing_is_open(people.place.path())?;
    refused(waiting.await.map_err(|_| Violation("a call panicked".to_owned()))?)?;
    Ok(took)
}
