//! Others choose their names: whatever they choose, what is typed reaches whom it names.

use super::stage::{Stage, fails, objects, run, text, transcript};

#[test]
fn a_contact_called_like_another_or_like_oneself_takes_nobodys_place() {
    let stage = Stage::set();
    let ((alice, _), (bob, bob_id)) = (stage.person("alice"), stage.person("bob"));
    Stage::introduce(&alice, &bob);
    let prefix = &bob_id[..12];
    for (number, name) in [bob_id.as_str(), prefix, "me", "bob"].into_iter().enumerate() {
        let (mallory, _) = stage.person_called(&format!("mallory-{number}"), name);
        Stage::introduce(&alice, &mallory);
    }
    let sent = objects(&run(&alice, &["--json", "send", &bob_id, "for bob alone", "--wait"]));
    assert_eq!(text(&sent[0], "state"), "sent");
    assert_eq!(fails(&alice, &["send", prefix, "for bob alone"]), "ambiguous");
    assert_eq!(fails(&alice, &["send", "bob", "for bob alone"]), "ambiguous");
    run(&alice, &["send", "me", "a note"]);
    run(&bob, &["sync"]);
    assert_eq!(transcript(&bob, "alice"), ["for bob alone"]);
    assert_eq!(transcript(&alice, "me"), ["a note"]);
    for number in 0..4 {
        let mallory = stage.profile(&format!("mallory-{number}"));
        run(&mallory, &["sync"]);
        assert!(transcript(&mallory, "alice").is_empty(), "{number}");
    }
    let shown = run(&alice, &["contacts"]).out;
    let names: Vec<&str> = shown.lines().filter_map(|line| line.split("  ").next()).collect();
    assert!(!names.contains(&"me"), "nobody is called me: {shown}");
    assert!(!names.contains(&"bob"), "two of one name are told apart: {shown}");
    // Somebody who only asks is nobody's namesake yet.
    let (asking, _) = stage.person_called("asking", "carol");
    let (carol, _) = stage.person("carol");
    Stage::introduce(&alice, &carol);
    let invite = objects(&run(&alice, &["--json", "invite"]));
    run(&asking, &["join", &text(&invite[0], "link")]);
    run(&alice, &["sync"]);
    run(&alice, &["send", "carol", "for the real one"]);
    run(&alice, &["sync"]);
    run(&carol, &["sync"]);
    assert_eq!(transcript(&carol, "alice"), ["for the real one"]);
}
