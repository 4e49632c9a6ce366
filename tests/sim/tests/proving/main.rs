//! The proving ground proves something: one seed is one story, and what breaks is told and found again.
//!
//! The many seeds are `cargo xtask sim`; the few here are for whoever changes the ground itself.

mod walks;

use std::process::Command;

use sotto_sim::play::{Promise, play};
use sotto_sim::schedule::{Schedule, Step, shrink};

/// In one process and in processes of their own: what fails as one of many must fail the same way alone.
#[test]
fn two_runs_of_one_seed_give_the_same_hash_of_everything_that_passed() {
    let alone = |seed: u64| {
        let played =
            Command::new(env!("CARGO_BIN_EXE_sotto-sim")).args(["--seed", &seed.to_string()]).output().unwrap();
        let said = String::from_utf8(played.stdout).unwrap();
        let (_, hash) = said.split_once("nothing broke; hash ").unwrap_or_else(|| panic!("seed {seed}: {said}"));
        hash.lines().next().unwrap().to_owned()
    };
    let together = |seed: u64| sotto_sim::hex(&play(&Schedule::of_seed(seed)).hash);
    let mut before = String::new();
    for seed in [1, 2, 3] {
        let hash = together(seed);
        assert_eq!(hash, together(seed), "seed {seed}");
        assert_eq!(hash, alone(seed), "seed {seed}");
        assert_ne!(hash, before);
        before = hash;
    }
}

#[test]
fn a_few_seeds_keep_every_promise() {
    for seed in 10..14 {
        let played = play(&Schedule::of_seed(seed));
        assert_eq!(played.violation, None, "seed {seed}:\n{}", played.story.join("\n"));
    }
}

#[test]
fn a_few_seeds_in_which_somebody_has_two_devices_keep_every_promise() {
    let with_two =
        (14..).map(Schedule::of_seed).filter(|schedule| schedule.cast.devices.len() > schedule.cast.people.len());
    for schedule in with_two.take(3) {
        let played = play(&schedule);
        assert_eq!(played.violation, None, "seed {}:\n{}", schedule.seed, played.story.join("\n"));
    }
}

/// A device forgets what it has received: no engine can heal that, so it must be told, and found again in a few steps.
#[test]
fn a_planted_fault_is_told_as_a_story_and_shrinks_to_what_is_needed_for_it() {
    let whole = Schedule::of_seed(1).and(Step::Forget(0));
    let played = play(&whole);
    let violation = played.violation.expect("a text is gone");
    assert!([Promise::DeliveredIsTrue, Promise::EverythingArrives].contains(&violation.promise), "{violation}");
    assert!(played.story.iter().any(|line| line.contains("forgets the last text")));
    assert!(played.story.iter().any(|line| line.contains("BROKEN")));
    let fails = |schedule: &Schedule| play(schedule).violation.is_some_and(|now| now.promise == violation.promise);
    let shrunk = shrink(&whole, fails).schedule;
    assert!(shrunk.steps.len() <= 6, "{:?}", shrunk.steps);
    assert_eq!(play(&shrunk).violation.map(|now| now.promise), Some(violation.promise));
    assert_eq!(shrunk, whole.only(&shrunk.places()));
}
