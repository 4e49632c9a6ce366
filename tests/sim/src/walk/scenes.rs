//! What is walked through: for each scene who dies in it, what must have happened before, and what is done.
//!
//! What is done ignores every error: a device that is dead answers with nothing else.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::world::BoxFuture;

use super::theatre::{Theatre, Who};

/// Long enough for everything that works, too short for many retries of what cannot.
const SOON: Duration = Duration::from_secs(2);
/// A list is renewed after a week, and a bundle after two days.
const LONG: Duration = Duration::from_secs(8 * 24 * 3_600);

type Prepare = for<'a> fn(&'a mut Theatre) -> BoxFuture<'a, Result<(), String>>;
type Act = for<'a> fn(&'a mut Theatre) -> BoxFuture<'a, ()>;

/// See the file's story.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) who: Who,
    pub(super) prepare: Prepare,
    pub(super) act: Act,
}

impl Scene {
    pub(super) const ALL: &'static [Self] = &[
        Self { name: "begin", who: Who::Bob, prepare: |theatre| Box::pin(theatre.another_bob()), act: begin },
        Self { name: "open", who: Who::Alice, prepare: nothing, act: open },
        Self { name: "send", who: Who::Alice, prepare: nothing, act: send },
        Self { name: "receive", who: Who::Bob, prepare: nothing, act: receive },
        Self { name: "confirm", who: Who::Alice, prepare: spoken_to, act: confirm },
        Self { name: "invite", who: Who::Alice, prepare: |theatre| Box::pin(theatre.another_bob_begins()), act: meet },
        Self { name: "join", who: Who::Bob, prepare: |theatre| Box::pin(theatre.another_bob_begins()), act: meet },
        Self { name: "list change", who: Who::Alice, prepare: long_after, act: open },
        Self { name: "other relays", who: Who::Alice, prepare: nothing, act: leave_home },
        Self { name: "migration", who: Who::Alice, prepare: release_comes, act: open_only },
        Self { name: "failover", who: Who::Alice, prepare: first_relay_goes, act: send_elsewhere },
        Self { name: "rollback", who: Who::Alice, prepare: |theatre| Box::pin(theatre.alice_is_cloned()), act: open },
    ];

    pub(super) fn called(name: &str) -> Result<&'static Self, String> {
        Self::ALL.iter().find(|scene| scene.name == name).ok_or_else(|| format!("there is no scene {name}"))
    }
}

fn nothing(_: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async { Ok(()) })
}

fn spoken_to(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        theatre.settle().await
    })
}

fn long_after(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.night(LONG).await;
        Ok(())
    })
}

fn first_relay_goes(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        theatre.actor(Who::Bob).switch_off();
        let _ = theatre.alice.catch_up(SOON).await;
        theatre.set_first_down(true);
        Ok(())
    })
}

/// Messages wait, and a later release finds them.
fn release_comes(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.say(Who::Bob).await;
        theatre.say(Who::Alice).await;
        theatre.alice.switch_off();
        theatre.alice_gets_a_later_release();
        Ok(())
    })
}

fn open_only(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.alice.switch_off();
        let _ = theatre.alice.switch_on(&theatre.network).await;
    })
}

/// The relay that holds the account's own list is left, which takes a new epoch, and becomes the last one.
fn leave_home(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        let Some(alice) = theatre.alice.messenger().cloned() else { return };
        let Ok(relays) = alice.relays().await else { return };
        let Some(home) = relays.into_iter().find(|relay| relay.is_home) else { return };
        let _ = alice.remove_relay(home.address.clone()).await;
        theatre.say(Who::Alice).await;
        let _ = theatre.alice.catch_up(SOON).await;
        let _ = theatre.bob.catch_up(SOON).await;
        let _ = alice.add_relay(home.address, String::new()).await;
        theatre.say(Who::Bob).await;
        let _ = theatre.bob.catch_up(SOON).await;
        let _ = theatre.alice.catch_up(SOON).await;
    })
}

fn begin(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        let _ = theatre.begin_bob().await;
        let _ = theatre.bob.catch_up(SOON).await;
    })
}

fn open(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.alice.switch_off();
        let _ = theatre.alice.switch_on(&theatre.network).await;
        let _ = theatre.alice.catch_up(SOON).await;
    })
}

fn send(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        let _ = theatre.alice.catch_up(SOON).await;
        let _ = theatre.bob.catch_up(SOON).await;
    })
}

fn receive(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        theatre.say(Who::Alice).await;
        let _ = theatre.alice.catch_up(SOON).await;
        let _ = theatre.bob.catch_up(SOON).await;
    })
}

/// Bob's answer carries his confirmation.
fn confirm(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.say(Who::Bob).await;
        let _ = theatre.bob.catch_up(SOON).await;
        let _ = theatre.alice.catch_up(SOON).await;
    })
}

fn meet(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        let Some(alice) = theatre.alice.messenger() else { return };
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        let Ok(invite) = alice.invite(options).await else { return };
        theatre.keep_link(&invite.link);
        let _ = theatre.alice.catch_up(SOON).await;
        if let Some(bob) = theatre.bob.messenger() {
            let _ = bob.join(&invite.link).await;
        }
        for _ in 0..2 {
            let _ = theatre.bob.catch_up(SOON).await;
            let _ = theatre.alice.catch_up(SOON).await;
        }
    })
}

fn send_elsewhere(theatre: &mut Theatre) -> BoxFuture<'_, ()> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        let _ = theatre.alice.catch_up(SOON).await;
        let _ = theatre.bob.switch_on(&theatre.network).await;
        let _ = theatre.bob.catch_up(SOON).await;
    })
}
