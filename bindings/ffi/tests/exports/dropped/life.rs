//! An account from its beginning to its end, each time another one.

use std::path::Path;
use std::sync::Arc;

use sotto_ffi::{SottoError, create_messenger, open_messenger, open_messenger_to_read, wipe_profile};

use super::{Play, polled};
use crate::stage::{Keystore, Person, Stage, close, code_of_opening, until, words};

const DEADLINE_MS: u64 = 60_000;

pub(crate) async fn begin(play: &Play) {
    let stage = &play.stage;
    let place = |polls| stage.place(&format!("newcomer {polls}"));
    let newcomers: Vec<_> = (0..3).map(|polls| (place(polls), Arc::<Keystore>::default())).collect();
    play.change_apart(
        "create_messenger",
        async |polls| newcomers[polls as usize].clone(),
        async |(place, keys)| create_messenger(place.clone(), stage.profile("newcomer"), keys.clone()).await,
        async |(place, _)| usize::from(code_of_opening(place).await != "no_profile"),
    )
    .await;

    // Who gives up opening finds the profile free soon: what was opened and nobody took is closed.
    let (place, keys) = &newcomers[1];
    let open = || open_messenger(place.clone(), keys.clone());
    let open_to_read = || open_messenger_to_read(place.clone(), keys.clone());
    for polls in 0..2 {
        assert!(polled(open(), polls).await.is_none());
        until(async || open().await.is_ok()).await;
        assert!(polled(open_to_read(), polls).await.is_none());
        until(async || open_to_read().await.is_ok()).await;
    }
}

pub(crate) async fn read_elsewhere(play: &Play) {
    let stage = &play.stage;
    let [first, second] = &stage.relays;
    let reads = async |person: &Person, is_left| {
        let relays = person.relays().await.unwrap();
        relays.iter().filter(|relay| relay.address == *second && relay.is_left == is_left).count()
    };
    play.change_apart(
        "add_relay",
        async |polls| stage.person(&format!("arrives {polls}")).await,
        async |person| person.add_relay(second.clone(), String::new()).await,
        async |person| reads(person, false).await,
    )
    .await;
    play.change_apart(
        "remove_relay",
        async |polls| stage.person_at(&format!("leaves {polls}"), &[first.clone(), second.clone()]).await,
        async |person| person.remove_relay(second.clone()).await,
        async |person| reads(person, true).await,
    )
    .await;
}

pub(crate) async fn end(play: &Play) {
    let stage = &play.stage;
    let answers = async |person: &Person| person.contacts().await.err();
    let pauses = async |person: &Person| matches!(answers(person).await, Some(SottoError::Paused { .. }));

    play.change_apart(
        "pause",
        async |polls| stage.person(&format!("pauses {polls}")).await,
        async |person| person.pause().await,
        async |person| usize::from(pauses(person).await),
    )
    .await;
    play.change_apart(
        "resume",
        async |polls| paused(stage, &format!("resumes {polls}")).await,
        async |person| person.resume().await,
        async |person| usize::from(answers(person).await.is_none()),
    )
    .await;
    play.change_apart(
        "shutdown",
        async |polls| stage.person(&format!("is shut down {polls}")).await,
        async |person| person.shutdown().await,
        async |person| usize::from(matches!(answers(person).await, Some(SottoError::ShutDown { .. }))),
    )
    .await;
    play.change_apart(
        "delete_at_relays",
        async |polls| stage.person(&format!("goes {polls}")).await,
        async |person| person.delete_at_relays(DEADLINE_MS).await,
        async |person| {
            let said = person.send_text(person.id, words("to myself")).await;
            usize::from(matches!(said, Err(SottoError::DeviceReplaced { .. })))
        },
    )
    .await;
    play.change_apart(
        "delete_account",
        async |polls| stage.person(&format!("is deleted {polls}")).await,
        async |person| person.delete_account(DEADLINE_MS).await,
        async |person| is_gone(&person.place, &person.keys),
    )
    .await;
    play.change_apart(
        "wipe_profile",
        async |polls| close(stage.person(&format!("is wiped {polls}")).await).await,
        async |(place, keys)| wipe_profile(place.clone(), keys.clone()).await,
        async |(place, keys)| is_gone(place, keys),
    )
    .await;
}

async fn paused(stage: &Stage, name: &str) -> Person {
    let person = stage.person(name).await;
    person.pause().await.unwrap();
    person
}

/// Neither keys nor files are left.
fn is_gone(place: &str, keys: &Keystore) -> usize {
    usize::from(keys.0.lock().unwrap().is_empty() && !Path::new(place).exists())
}
