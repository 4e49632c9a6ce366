//! The walks: a device dies at step 1 of what it does, then at step 2, and so on until it comes through. After each death it is opened
//! cold, everything is finished, and what must be true is looked at.
//!
//! - `fuse.rs`: what a step is, and dying at one; `scenes.rs`: what is walked through; `theatre.rs`: two people at two relays; `finish.rs`: how
//!   a round ends, and what must have come of a scene
//! - [`walk`]: in this process, where every step from the fatal one on fails; `abort.rs`: in child processes, which are aborted there, and `ledge.rs`: what they leave to
//!   the next
//!
//! Before the first release there is no schema to come from: what is walked through as a migration are those of a release that may come.

mod abort;
mod finish;
pub(crate) mod fuse;
mod ledge;
mod scenes;
mod theatre;

use std::collections::BTreeSet;

pub use abort::{CHILD, abort_walk, child};

use fuse::{Death, Fuse};
use scenes::Scene;
use theatre::Theatre;

/// A walk that is longer than this does not end.
const STEPS_MAX: u64 = 2_000;

/// A walk that came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// What was walked through.
    pub scene: &'static str,
    /// Deaths, one at each step.
    pub deaths: u64,
    /// What the steps were, each kind once.
    pub met: BTreeSet<String>,
}

/// The names of everything that is walked through.
pub fn scenes() -> impl Iterator<Item = &'static str> {
    Scene::ALL.iter().map(|scene| scene.name)
}

/// Walks through one scene in this process.
///
/// # Errors
/// What was not true, and at which step.
///
/// # Panics
/// When no runtime can be made.
pub fn walk(name: &str) -> Result<Walked, String> {
    let scene = Scene::called(name)?;
    sotto_entropy::on_seeded_thread(1, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime on this thread needs nothing").block_on(walk_through(scene))
    })
}

/// Nobody has died: what is walked through has come about by itself.
async fn has_come_of(scene: &Scene, theatre: &mut Theatre) -> Result<(), String> {
    if (scene.comes_of_it)(theatre).await? { Ok(()) } else { Err("nothing came of it".to_owned()) }
}

async fn walk_through(scene: &Scene) -> Result<Walked, String> {
    let fuse = Fuse::new(Death::Failing);
    let mut theatre = Theatre::in_memory().await?;
    for step in 1..STEPS_MAX {
        let at = |what: String| format!("{}, dead at step {step}: {what}", scene.name);
        if scene.begins_anew(step) {
            theatre = Theatre::in_memory().await.map_err(at)?;
        }
        theatre.round(step);
        (scene.prepare)(&mut theatre).await.map_err(at)?;
        theatre.hang(scene.who, &fuse).await.map_err(at)?;
        fuse.arm(step);
        (scene.act)(&mut theatre).await;
        let has_died = fuse.is_burnt();
        if !has_died {
            fuse.disarm();
            has_come_of(scene, &mut theatre).await.map_err(at)?;
        }
        theatre.actor(scene.who).switch_off();
        fuse.disarm();
        theatre.finish(scene).await.map_err(at)?;
        if !has_died {
            return Ok(Walked { scene: scene.name, deaths: step - 1, met: fuse.met() });
        }
    }
    Err(format!("{}: no end after {STEPS_MAX} steps", scene.name))
}
