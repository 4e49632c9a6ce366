//! Pausing, resuming, ending and calls, all at once on real threads: nothing waits for ever, and what was stored comes once.

use std::time::Duration;

use crate::Violation;
use crate::hold::PATIENCE;
use crate::people::People;

/// What goes on at once in a round.
const AT_ONCE: u64 = 8;

/// So many rounds. Must be called within a runtime with several threads.
///
/// # Errors
/// What was not true, and in which round.
pub async fn at_once(rounds: u64, seed: u64) -> Result<(), Violation> {
    let mut people = People::meet().await?;
    let (mut said, mut chance) = (Vec::new(), seed.wrapping_mul(2).wrapping_add(1));
    for round in 0..rounds {
        let at = |what: Violation| Violation(format!("round {round} of seed {seed}: {what}"));
        let mut calls = Vec::new();
        for number in 0..AT_ONCE {
            // Knuth's multiplier: the upper bits are as good as dice.
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (dice, alice, bob) = (chance >> 60, people.alice.messenger.clone(), people.bob.account);
            let text = format!("{number} in round {round}");
            calls.push(tokio::spawn(async move {
                match dice {
                    0..5 => alice.pause().await,
                    5..9 => drop(alice.resume().await),
                    9..11 => drop(alice.catch_up(PATIENCE).await),
                    // Rarely: nothing comes behind it.
                    11 if number > 5 => alice.shut_down(),
                    _ => return alice.send_text(bob, text.clone()).await.is_ok().then_some(text),
                }
                None
            }));
        }
        let all = async {
            let mut stored = Vec::new();
            for call in calls {
                stored.extend(call.await.map_err(|_| Violation("a call panicked".to_owned()))?);
            }
            Ok::<_, Violation>(stored)
        };
        let stored = tokio::time::timeout(PATIENCE.saturating_add(Duration::from_secs(30)), all).await;
        said.extend(stored.map_err(|_| at(Violation("some wait for ever".to_owned())))?.map_err(at)?);
        people.alice.reopen().await.map_err(at)?;
        people.compare(&said).await.map_err(at)?;
    }
    Ok(())
}
