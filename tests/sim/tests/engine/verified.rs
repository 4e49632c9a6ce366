//! Verified contacts: compared by digits or by a scan, on all devices of whoever compared; and nothing leaves to devices that nobody has seen
//! (PROTOCOL B3, C3).

use sotto_core::records::MessageState;
use sotto_core::{Error, InputError, InviteOptions};
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World};

use crate::rebirth::rest;

async fn is_verified(person: &Person, who: &str) -> (bool, bool) {
    let contact = person.contact(who).await.expect("they know each other");
    (contact.is_verified, contact.is_held)
}

#[tokio::test(start_paused = true)]
async fn c3_a_scan_verifies_whoever_shows_the_code_to_whoever_scans_it_and_nobody_else() {
    let (world, relay, alice, bob) = World::contacts(2000).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    world.introduce(&bob, &carol).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    let id = async |person: &Person, who: &str| person.contact(who).await.unwrap().id;
    let (alices, bobs, carols) = (id(&bob, "alice").await, id(&alice, "bob").await, id(&alice, "carol").await);
    let code = bob.messenger.verification_code(alices).await.unwrap();
    let for_carol = bob.messenger.verification_code(carols).await.unwrap();
    let carols_code = carol.messenger.verification_code(alices).await.unwrap();
    let own = alice.messenger.verification_code(bobs).await.unwrap();
    for wrong in [&for_carol, &carols_code, &own, "", "sotto-verify:1:", &code[..code.len() - 1]] {
        let refused = alice.messenger.verify_by_code(bobs, wrong).await;
        assert!(matches!(refused, Err(Error::Input(InputError::WrongCode))), "{wrong} {refused:?}");
    }
    assert_eq!(is_verified(&alice, "bob").await, (false, false));
    alice.messenger.verify_by_code(bobs, &format!(" {code}\n")).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob, &carol]).await;
    assert_eq!(is_verified(&alice, "bob").await, (true, false));
    assert_eq!(is_verified(&tablet, "bob").await, (true, false), "on all devices");
    assert_eq!(is_verified(&bob, "alice").await, (false, false), "he has scanned nothing");
    assert_eq!(is_verified(&alice, "carol").await, (false, false));
}

#[tokio::test(start_paused = true)]
async fn b3_nothing_leaves_to_a_verified_contact_with_other_devices_until_somebody_decides() {
    for is_verified_before in [false, true] {
        let (world, _, alice, bob) = World::contacts(2001).await;
        let tablet = world.second_device(&alice).await.unwrap();
        rest(&world, &[&alice, &tablet, &bob]).await;
        let bobs = alice.contact("bob").await.unwrap().id;
        alice.messenger.set_verified(bobs, is_verified_before).await.unwrap();
        let bobs_phone = world.second_device(&bob).await.unwrap();
        rest(&world, &[&alice, &tablet, &bob, &bobs_phone]).await;
        // A letter tells of the list, or the day's reading.
        bob.say("alice", "I have a new phone").await.unwrap();
        rest(&world, &[&bob, &bobs_phone, &alice, &tablet]).await;
        let said = alice.messenger.send_text(bobs, "is it you?").await;
        if !is_verified_before {
            assert!(said.is_ok(), "{said:?}");
            assert_eq!(is_verified(&alice, "bob").await, (false, false));
            continue;
        }
        assert!(matches!(said, Err(Error::Input(InputError::KeysChanged))), "{said:?}");
        assert_eq!(is_verified(&alice, "bob").await, (true, true));
        assert_eq!(is_verified(&tablet, "bob").await, (true, true));
        assert_eq!(
            alice.transcript("bob").await.unwrap().last().unwrap(),
            "I have a new phone",
            "what they say is heard"
        );
        // What compares their root key says nothing of their devices.
        let alices = bob.contact("alice").await.unwrap().id;
        let code = bob.messenger.verification_code(alices).await.unwrap();
        alice.messenger.verify_by_code(bobs, &code).await.unwrap();
        tablet.messenger.set_verified(bobs, true).await.unwrap();
        rest(&world, &[&tablet, &alice]).await;
        assert_eq!(is_verified(&alice, "bob").await, (true, true));
        // Nor does who has seen a list before the last one.
        let shown = tablet.contact("bob").await.unwrap().keys;
        tablet.messenger.accept_keys(bobs, shown - 1).await.unwrap();
        assert_eq!(is_verified(&tablet, "bob").await, (true, true));
        let beyond = tablet.messenger.accept_keys(bobs, shown + 1).await;
        assert!(matches!(beyond, Err(Error::Input(InputError::OutOfRange { .. }))), "{beyond:?}");
        tablet.messenger.accept_keys(bobs, shown).await.unwrap();
        rest(&world, &[&tablet, &alice]).await;
        for device in [&alice, &tablet] {
            assert_eq!(is_verified(device, "bob").await, (true, false));
        }
        alice.messenger.send_text(bobs, "good").await.unwrap();
        rest(&world, &[&alice, &bob, &bobs_phone, &tablet]).await;
        for device in [&bob, &bobs_phone] {
            assert_eq!(device.transcript("alice").await.unwrap().last().unwrap(), "good");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_before_a_change_waits_for_the_decision() {
    let (world, _, alice, bob) = World::contacts(2002).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.messenger.set_verified(bobs, true).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    world.network.meddle(Some(Box::new(|call| match call.path {
        path::SEND => Fate::Lost,
        _ => Fate::Passes,
    })));
    let said = alice.say("bob", "for the phone that I know").await.unwrap();
    let bobs_phone = world.second_device(&bob).await.unwrap();
    world.wait(std::time::Duration::from_secs(25 * 3600)).await;
    world.network.meddle(None);
    // Their list is read before anything leaves.
    rest(&world, &[&alice, &bob, &bobs_phone]).await;
    assert_eq!(is_verified(&alice, "bob").await, (true, true));
    let state = alice.messenger.message(said.number).await.unwrap().state;
    assert!(matches!(state, MessageState::Queued | MessageState::Sending), "{state:?}");
    assert!(bob.transcript("alice").await.unwrap().is_empty());
    // No longer verified, there is nothing to decide.
    alice.messenger.set_verified(bobs, false).await.unwrap();
    rest(&world, &[&alice, &bob, &bobs_phone]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["for the phone that I know"]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_strangers_wait_and_the_next_learns_nothing_until_there_is_room() {
    let (world, relay, alice, _) = World::contacts(2003).await;
    let options = InviteOptions { uses: 100, ..InviteOptions::default() };
    let link = alice.messenger.invite(options).await.unwrap().link;
    alice.catch_up().await.unwrap();
    // As many wait as may.
    for number in 0..64 {
        alice.database().change(&format!(
            "INSERT INTO contact (account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
             SELECT randomblob(32), 'stranger {number}', 2, relay, randomblob(32), chain_key, manifest, epoch, version, hash, manifest_read_at, created_at
             FROM contact WHERE id = 1"
        ));
    }
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    carol.messenger.join(&link).await.unwrap();
    rest(&world, &[&carol, &alice]).await;
    assert!(alice.contact("carol").await.is_err());
    assert!(alice.refused("too_many_requests") > 0);
    assert_eq!(alice.database().number("SELECT count(*) FROM invite WHERE uses_left = 100"), 1, "no use is counted");
    // Somebody is turned away, and the request comes again.
    alice.database().change("UPDATE contact SET state = 4 WHERE name = 'stranger 7'");
    world.wait(std::time::Duration::from_secs(3 * 24 * 3600)).await;
    rest(&world, &[&carol, &alice]).await;
    assert!(alice.contact("carol").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn notes_of_a_contact_are_for_our_devices_alone() {
    let (world, _, alice, bob) = World::contacts(2004).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.messenger.set_note(bobs, Some("met at the fair".to_owned())).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    assert_eq!(tablet.contact("bob").await.unwrap().note.as_deref(), Some("met at the fair"));
    assert_eq!(bob.contact("alice").await.unwrap().note, None);
    tablet.messenger.set_note(bobs, None).await.unwrap();
    rest(&world, &[&tablet, &alice]).await;
    assert_eq!(alice.contact("bob").await.unwrap().note, None);
    let long = alice.messenger.set_note(bobs, Some("x".repeat(64 * 1024 + 1))).await;
    assert!(matches!(long, Err(Error::Input(InputError::TooLong { .. }))), "{long:?}");
}
