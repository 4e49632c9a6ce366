//! The walk: an engine pauses at step 1 of what it does, then at step 2, and so on until it comes through.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sotto_core::{Error, danger};

use crate::Violation;
use crate::hold::PATIENCE;
use crate::open::open;
use crate::people::People;
use crate::scenes::{Acted, Scene};

/// A walk that is longer than this does not end.
const STEPS_MAX: u64 = 500;
/// Calls that wait behind the one that is held.
const WAITING: usize = 3;

/// Which steps are walked: every so many, from one that the seed chooses.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// 1: all of them.
    pub every: u64,
    /// Where it begins.
    pub seed: u64,
}

/// A walk that came to its end.
pub struct Walked {
    /// What was walked through.
    pub scene: &'static str,
    /// How long each pause took, from the moment at which the step that it met went on.
    pub pauses: Vec<Duration>,
    /// What the steps were, each kind once.
    pub met: BTreeSet<String>,
    /// Calls that waited behind the step and were told that they did not happen.
    pub told: usize,
}

/// Walks through everything. Must be called within a runtime with several threads.
///
/// # Errors
/// What was not true, and at which step.
pub async fn walk(slice: Slice) -> Result<Vec<Walked>, Violation> {
    let mut walked = Vec::new();
    for scene in Scene::ALL {
        walked.push(walk_through(scene, slice).await?);
    }
    Ok(walked)
}

async fn walk_through(scene: Scene, slice: Slice) -> Result<Walked, Violation> {
    let mut said = Vec::new();
    let people = People::meet().await?;
    let (pauses, met) = (Vec::new(), BTreeSet::new());
    let mut walked = Walked { scene: scene.name(), pauses, met, told: 0 };
    for step in (1 + slice.seed % slice.every..STEPS_MAX).step_by(usize::try_from(slice.every).unwrap_or(1)) {
        let round = Round { scene, people: &people, step };
        let passed = round.play(&mut said, &mut walked).await;
        let passed = passed.map_err(|Violation(what)| Violation(format!("{}, step {step}: {what}", scene.name())))?;
        if passed {
            danger::let_come(Vec::new());
            return Ok(walked);
        }
    }
    Err(Violation(format!("{}: no end after {STEPS_MAX} steps", scene.name())))
}

/// One pause, at one step.
struct Round<'a> {
    scene: Scene,
    people: &'a People,
    step: u64,
}

impl Round<'_> {
    /// Says whether the scene was over before its step came.
    async fn play(&self, said: &mut Vec<String>, walked: &mut Walked) -> Result<bool, Violation> {
        let Self { scene, people, step } = *self;
        let People { alice, bob, hold, place, .. } = people;
        alice.messenger.pause().await;
        bob.messenger.pause().await;
        nothing_is_open(place.path())?;
        scene.prepare(people, step, said).await?;
        hold.at(step);
        let text = format!("sent at {step}");
        let mut act = scene.act(people, &text);
        let before = tokio::select! {
            acted = &mut act => Some(acted),
            () = hold.is_held() => None,
        };
        let passed = before.is_some();
        walked.met.extend(hold.held());
        // Some calls wait behind the step, and one comes on top of them.
        let waiting: Vec<_> = (0..WAITING).map(|number| self.renames(number)).collect();
        let pausing = tokio::spawn({
            let alice = alice.messenger.clone();
            async move {
                alice.pause().await;
                Instant::now()
            }
        });
        self.has_begun_to_pause(passed).await?;
        let released = Instant::now();
        hold.release();
        let (paused, acted) = tokio::join!(pausing, async {
            match before {
                Some(acted) => acted,
                None => act.await,
            }
        });
        let paused = paused.map_err(|_| Violation("pausing panicked".to_owned()))?;
        walked.pauses.push(paused.saturating_duration_since(released));
        nothing_is_open(place.path())?;
        refused(alice.messenger.newest().await.map(drop))?;
        let mut names = Vec::new();
        for (number, renamed) in waiting.into_iter().enumerate() {
            match renamed.await.map_err(|_| Violation("a call panicked".to_owned()))? {
                Ok(()) => names.push(name(number, step)),
                Err(error) => {
                    refused(Err(error))?;
                    walked.told += 1;
                }
            }
        }
        let Acted { said: is_said, ended } = acted;
        ended.or_else(|error| refused(Err(error)))?;
        alice.messenger.resume().await?;
        bob.messenger.resume().await?;
        self.was_renamed(&names).await?;
        match is_said {
            Some(Ok(())) => said.push(text),
            Some(Err(error)) => refused(Err(error))?,
            None => {}
        }
        people.compare(said).await.map(|()| passed)
    }

    fn renames(&self, number: usize) -> tokio::task::JoinHandle<Result<(), Error>> {
        let (alice, bob, name) =
            (self.people.alice.messenger.clone(), self.people.bob.account, name(number, self.step));
        tokio::spawn(async move { alice.rename(bob, Some(name)).await })
    }

    /// While the writer is held the pause cannot be over; that it has begun shows in what readers say. Whoever is opened pauses anyway.
    async fn has_begun_to_pause(&self, passed: bool) -> Result<(), Violation> {
        let begun = Instant::now();
        while !passed && refused(self.people.alice.messenger.newest().await.map(drop)).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(Violation("it does not begin to pause".to_owned()));
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// By one of the calls that said so, and by none that did not.
    async fn was_renamed(&self, names: &[String]) -> Result<(), Violation> {
        let People { alice, bob, .. } = self.people;
        let shown = alice.messenger.contacts().await?.into_iter().find(|contact| contact.id == bob.account);
        let shown = shown.map(|contact| contact.name).unwrap_or_default();
        let is_so = if names.is_empty() {
            (0..WAITING).all(|number| shown != name(number, self.step))
        } else {
            names.contains(&shown)
        };
        if is_so { Ok(()) } else { Err(Violation(format!("he was called {names:?}, and is “{shown}”"))) }
    }
}

fn name(number: usize, step: u64) -> String {
    format!("bob {number} of {step}")
}

/// What pauses answers so and not otherwise.
pub(crate) fn refused(answer: Result<(), Error>) -> Result<(), Violation> {
    match answer {
        Err(Error::Paused) => Ok(()),
        Err(error) => Err(Violation(format!("it pauses, and answers {}", error.code()))),
        Ok(()) => Err(Violation("it pauses, and answers".to_owned())),
    }
}

/// The people's files are all below one place, the relay's too, which another process has open.
pub(crate) fn nothing_is_open(place: &std::path::Path) -> Result<(), Violation> {
    let open = open(place)?;
    if open.is_empty() { Ok(()) } else { Err(Violation(format!("open: {}", open.join(", ")))) }
}
