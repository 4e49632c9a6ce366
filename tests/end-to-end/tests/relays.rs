//! Relays that somebody reads at: begun with, listed, taken and left, and one of two that is killed.

use serde_json::Value;
use sotto_end_to_end::Relay;

use super::stage::{Stage, binary, fails, objects, run, text, transcript};

/// Addresses and marks of what `relay` printed.
fn shown(objects: &[Value]) -> Vec<(String, bool, bool)> {
    let mark = |object: &Value, field: &str| object[field].as_bool().expect("a mark");
    objects
        .iter()
        .map(|object| {
            assert_eq!(text(object, "kind"), "relay");
            assert!(object["trouble"].is_null(), "{object}");
            (text(object, "relay"), mark(object, "home"), mark(object, "left"))
        })
        .collect()
}

#[test]
fn what_is_said_arrives_by_the_second_relay_when_the_first_is_killed() {
    let mut stage = Stage::set();
    let second = Relay::start(binary(), &stage.path("second")).unwrap();
    let (first, second_at) = (stage.relay.address().to_owned(), second.address().to_owned());
    let alice = stage.profile("alice");
    run(&alice, &["init", "--relay", &first, "--relay", &second_at, "--name", "alice"]);
    let (bob, _) = stage.person("bob");
    Stage::introduce(&alice, &bob);
    let added = objects(&run(&bob, &["--json", "relay", "add", &second_at]));
    assert!(added.iter().all(|relay| relay["published"] == true), "{added:?}");
    let both = [(first.clone(), true, false), (second_at.clone(), false, false)];
    assert_eq!(shown(&added), both);
    for profile in [&alice, &bob] {
        assert_eq!(shown(&objects(&run(profile, &["--json", "relay", "list"]))), both);
        let listed = objects(&run(profile, &["--json", "relay"]));
        assert_eq!(shown(&listed), both);
        assert!(listed.iter().all(|relay| relay.get("published").is_none()), "nothing was changed");
    }
    // Alice hears from him where he reads now.
    run(&bob, &["send", "--wait", "alice", "by the first"]);
    run(&alice, &["sync"]);
    stage.relay.kill().unwrap();
    run(&alice, &["send", "--wait", "bob", "by the second"]);
    // That it could not ask everywhere is told.
    assert_eq!(fails(&bob, &["sync"]), "relay_unreachable");
    assert_eq!(transcript(&bob, "alice"), ["by the first", "by the second"]);
    // And the dead one is left: what contacts are told stands at the other one.
    let left = objects(&run(&bob, &["--json", "relay", "remove", &first]));
    assert_eq!(text(&left[0], "relay"), second_at);
    assert_eq!((&left[0]["home"], &left[0]["published"]), (&true.into(), &true.into()));
    assert_eq!((&left[1]["left"], text(&left[1], "relay")), (&true.into(), first));
    run(&bob, &["send", "--wait", "alice", "from where he reads"]);
    assert_eq!(fails(&alice, &["sync"]), "relay_unreachable");
    // And behind it that he has moved by his root key's word.
    let said: Vec<_> = transcript(&alice, "bob").into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(said, ["by the first", "by the second", "from where he reads"]);
}
