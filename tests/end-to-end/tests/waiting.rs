//! `send --wait` says whether a relay took it, and what it says is true.

use sotto_end_to_end::Signal;

use super::stage::{Stage, objects, run, text, transcript, until};

#[test]
fn what_no_relay_took_is_no_success_and_arrives_once_later() {
    let (mut stage, alice, bob) = Stage::contacts();
    stage.relay.kill().unwrap();
    let sent = alice.run(&["--json", "send", "--wait=1", "bob", "too early"]).unwrap();
    assert_eq!(text(&objects(&sent)[0], "text"), "too early", "it is stored, and shown");
    assert_eq!(super::stage::failure(&sent), "not_sent_yet");
    // A signal while it waits: the same, by another name.
    let mut sending = alice.start(&["--json", "send", "--wait", "bob", "interrupted"]).unwrap();
    let complaints = sending.complaints();
    // So that whoever looks asks it, and it asks nobody.
    super::stage::wait_for_socket(&alice, &mut sending);
    until(|| transcript(&alice, "bob").len() == 2);
    sending.signal(Signal::TERM).unwrap();
    let complaint: serde_json::Value = serde_json::from_str(&complaints.next().unwrap()).unwrap();
    assert_eq!(complaint["code"], "interrupted");
    assert_eq!(sending.wait().unwrap().code(), Some(143));
    let waiting = objects(&run(&alice, &["--json", "messages", "bob"]));
    assert!(waiting.iter().all(|message| ["queued", "sending"].contains(&text(message, "state").as_str())));
    let sync = alice.run(&["--json", "sync"]).unwrap();
    assert_eq!(super::stage::failure(&sync), "relay_unreachable");
    let summary = objects(&sync).pop().unwrap();
    assert_eq!((&summary["complete"], &summary["waiting"]), (&false.into(), &2.into()));
    stage.relay.restart().unwrap();
    run(&alice, &["sync"]);
    run(&bob, &["sync"]);
    run(&bob, &["sync"]);
    assert_eq!(transcript(&bob, "alice"), ["too early", "interrupted"]);
}
