//! The same walks with a process that is really gone: a child aborts at the step, and the next one finds what is on the disk.
//!
//! Each child first finishes what the one before has left, and looks at what must be true; then it walks on to its own step. Relays run in
//! the same process, on files, and die with it.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::fuse::{Death, Fuse};
use super::ledge::Ledge;
use super::scenes::Scene;
use super::theatre::Theatre;
use super::{STEPS_MAX, Walked};
use crate::people::temporary;

/// The word with which the program is called for a child.
pub const CHILD: &str = "walk-child";
const MET: &str = "met";
/// What a process that aborts ends with.
const SIGABRT: i32 = 6;

/// Walks through one scene with children of `program`, which is called with [`CHILD`], the scene, the step and the directory.
///
/// # Errors
/// What was not true, and at which step.
pub fn abort_walk(program: &Path, name: &str) -> Result<Walked, String> {
    let scene = Scene::called(name)?;
    let mut directory = temporary();
    for step in 1..STEPS_MAX {
        let mut ended = run(program, scene, step, directory.path())?;
        if scene.begins_anew(step) && ended == Ended::Aborted {
            // What the one before left was finished by this one.
            directory = temporary();
            ended = run(program, scene, step, directory.path())?;
        }
        if ended == Ended::Through {
            let met: BTreeSet<String> =
                Ledge::new(directory.path().to_owned()).read(MET).split('\0').map(str::to_owned).collect();
            return Ok(Walked { scene: scene.name, deaths: step - 1, met });
        }
    }
    Err(format!("{}: no end after {STEPS_MAX} steps", scene.name))
}

/// How a child has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Aborted,
    /// It came through without meeting its step.
    Through,
}

fn run(program: &Path, scene: &Scene, step: u64, directory: &Path) -> Result<Ended, String> {
    let mut command = Command::new(program);
    command.args([CHILD, scene.name, &step.to_string()]).arg(directory);
    let ended = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().map_err(|error| error.to_string())?;
    match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) => Ok(Ended::Through),
        (_, Some(SIGABRT)) => Ok(Ended::Aborted),
        _ => {
            let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            Err(format!("{}, aborted at step {}: {said}", scene.name, step - 1))
        }
    }
}

/// What a child does.
///
/// # Errors
/// What is not true.
///
/// # Panics
/// When no runtime can be made.
pub fn child(name: &str, step: u64, directory: &Path) -> Result<(), String> {
    let scene = Scene::called(name)?;
    let ledge = PathBuf::from(directory);
    sotto_entropy::on_seeded_thread(step, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime on this thread needs nothing").block_on(act(scene, step, Ledge::new(ledge)))
    })
}

async fn act(scene: &Scene, step: u64, ledge: Ledge) -> Result<(), String> {
    let mut theatre = Theatre::at(ledge).await?;
    theatre.round(step);
    theatre.finish(scene).await?;
    (scene.prepare)(&mut theatre).await?;
    let fuse = Fuse::new(Death::Abort);
    theatre.hang(scene.who, &fuse).await?;
    theatre.note_time();
    fuse.arm(step);
    (scene.act)(&mut theatre).await;
    fuse.disarm();
    super::has_come_of(scene, &mut theatre).await?;
    theatre.actor(scene.who).switch_off();
    theatre.finish(scene).await?;
    theatre.write(MET, &fuse.met().into_iter().collect::<Vec<_>>().join("\0"));
    Ok(())
}
