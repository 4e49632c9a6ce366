//! The walks that every run of the tests can afford; `cargo xtask walk` goes through all scenes both ways.

use std::path::Path;

use sotto_sim::walk::{abort_walk, scenes, walk};

#[test]
fn a_device_that_dies_at_any_step_of_sending_or_receiving_loses_nothing_and_shows_nothing_twice() {
    for (scene, deaths_min) in [("send", 30), ("receive", 30)] {
        let walked = walk(scene).unwrap_or_else(|what| panic!("{what}"));
        println!("{scene}: {} deaths, {} kinds of steps", walked.deaths, walked.met.len());
        assert!(walked.deaths >= deaths_min, "{scene} has more than {} steps", walked.deaths);
        for kind in ["write ", "commit before", "commit after", "stream "] {
            assert!(walked.met.iter().any(|step| step.starts_with(kind)), "{scene} meets no {kind}");
        }
    }
}

#[test]
fn a_process_that_is_aborted_at_any_step_of_opening_goes_on_where_it_was() {
    let walked = abort_walk(Path::new(env!("CARGO_BIN_EXE_sotto-sim")), "open").unwrap_or_else(|what| panic!("{what}"));
    println!("open: {} aborts, {} kinds of steps", walked.deaths, walked.met.len());
    assert!(walked.deaths >= 20 && walked.met.iter().any(|step| step.starts_with("keystore put generation")));
}

#[test]
fn what_is_walked_through_is_named() {
    let named: Vec<_> = scenes().collect();
    let issue = [
        "send",
        "receive",
        "confirm",
        "invite",
        "join",
        "failover",
        "list change",
        "other relays",
        "migration",
        "rollback",
    ];
    assert!(issue.iter().all(|scene| named.contains(scene)), "{named:?}");
    assert!(walk("nothing").is_err());
}
