//! One seed gives the same keys and the same orders, twice in one process and beside other threads; without one nothing is changed.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::HashSet;
use std::panic::catch_unwind;

use sotto_entropy::on_seeded_thread;

/// What vodozemac, a hash map, and the crate that both asks are given here.
fn drawn() -> (String, Vec<u32>, [u8; 40]) {
    let keys = vodozemac::olm::Account::new().identity_keys();
    let order = (0..100).collect::<HashSet<u32>>().into_iter().collect();
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).expect("there is randomness");
    (format!("{} {}", keys.curve25519, keys.ed25519), order, bytes)
}

#[test]
fn one_seed_gives_the_same_bytes_each_time_and_another_gives_others() {
    let (one, other) = (on_seeded_thread(7, drawn), on_seeded_thread(8, drawn));
    assert_eq!(one, on_seeded_thread(7, drawn));
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
}

#[test]
fn threads_with_seeds_do_not_disturb_each_other() {
    let alone = on_seeded_thread(9, drawn);
    let beside = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| on_seeded_thread(9, drawn))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(beside.iter().all(|beside| *beside == alone));
}

#[test]
fn a_thread_without_a_seed_draws_from_the_operating_system() {
    let (one, other) = (drawn(), std::thread::spawn(drawn).join().unwrap());
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
    on_seeded_thread(7, drawn);
    assert_ne!(drawn().0, one.0);
}

#[test]
fn a_panic_on_a_seeded_thread_is_the_callers() {
    assert!(catch_unwind(|| on_seeded_thread(1, || panic!("on purpose"))).is_err());
}
