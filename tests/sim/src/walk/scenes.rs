//! What is walked through: for each scene who dies in it, what must have happened before, and what is done.
//!
//! What is done ignores every error: a device that is dead answers with nothing else.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::world::BoxFuture;

use super::finish;
use super::theatre::{Theatre, Who};

/// Long enough for everything that works, too short for many retries of what cannot.
const SOON: Duration = Duration::from_secs(2);
/// A list is renewed after a week, and a bundle after two days.
const LONG: Duration = Duration::from_secs(8 * 24 * 3_600);

/// Which list of hers stands.
const LISTS: &str = "SELECT stood_version FROM own_chain WHERE audience = 0";
const EPOCH: &str = "SELECT epoch FROM account";
/// How far her database has been migrated.
const RELEASE: &str = "SELECT user_version FROM pragma_user_version";
/// Which device of her account it is.
const DEVICE: &str = "SELECT hex(device) FROM account";

type Prepare = for<'a> fn(&'a mut Theatre) -> BoxFuture<'a, Result<(), String>>;
type Outcome = for<'a> fn(&'a mut Theatre) -> BoxFuture<'a, Result<bool, String>>;
type Act = for<'a> fn(&'a mut Theatre) -> BoxFuture<'a, ()>;

/// See the file's story.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) who: Who,
    pub(super) prepare: Prepare,
    pub(super) act: Act,
    /// Whether it has come about, where nobody has died.
    pub(super) comes_of_it: Outcome,
}

/// After so many deaths two others begin, where a scene leaves something behind each time that is kept for weeks.
const ANEW: u64 = 8;

impl Scene {
    /// Whether two others play it from this step on: else it would have more and more steps, and never end. Each time that a home is left, the chains
    /// that were there are kept.
    pub(super) fn begins_anew(&self, step: u64) -> bool {
        self.name == "other relays" && step.is_multiple_of(ANEW)
    }

    pub(super) const ALL: &'static [Self] = &[
        Self {
            name: "begin",
            who: Who::Bob,
            prepare: |theatre| Box::pin(theatre.another_bob()),
            act: begin,
            comes_of_it: has_begun,
        },
        Self { name: "open", who: Who::Alice, prepare: nothing, act: open, comes_of_it: is_on },
        Self { name: "send", who: Who::Alice, prepare: nothing, act: send, comes_of_it: bob_shows_it },
        Self { name: "receive", who: Who::Bob, prepare: nothing, act: receive, comes_of_it: bob_shows_it },
        Self { name: "confirm", who: Who::Alice, prepare: spoken_to, act: confirm, comes_of_it: alice_knows },
        Self {
            name: "invite",
            who: Who::Alice,
            prepare: |theatre| Box::pin(theatre.another_bob_begins()),
            act: meet,
            comes_of_it: have_met,
        },
        Self {
            name: "join",
            who: Who::Bob,
            prepare: |theatre| Box::pin(theatre.another_bob_begins()),
            act: meet,
            comes_of_it: have_met,
        },
        Self { name: "list change", who: Who::Alice, prepare: long_after, act: open, comes_of_it: lists_are_newer },
        Self { name: "other relays", who: Who::Alice, prepare: reads_at_both, act: leave_home, comes_of_it: has_moved },
        Self { name: "migration", who: Who::Alice, prepare: release_comes, act: open_only, comes_of_it: is_later },
        Self {
            name: "failover",
            who: Who::Alice,
            prepare: first_relay_goes,
            act: send_elsewhere,
            comes_of_it: goes_elsewhere,
        },
        Self { name: "rollback", who: Who::Alice, prepare: is_cloned, act: open, comes_of_it: is_another },
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

fn is_cloned(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.alice_is_cloned().await?;
        theatre.noted = finish::alices(theatre, DEVICE);
        Ok(())
    })
}

fn long_after(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.noted = finish::alices(theatre, LISTS);
        theatre.night(LONG).await;
        Ok(())
    })
}

fn reads_at_both(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        // Whoever died before may have left one, and not come back.
        theatre.alice_reads_everywhere().await?;
        theatre.noted = finish::alices(theatre, EPOCH);
        Ok(())
    })
}

fn first_relay_goes(theatre: &mut Theatre) -> BoxFuture<'_, Result<(), String>> {
    Box::pin(async {
        theatre.say(Who::Alice).await;
        theatre.actor(Who::Bob).switch_off();
        let _ = theatre.alice.catch_up(SOON).await;
        theatre.noted = theatre.said.len().to_string();
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
        theatre.noted = finish::alices(theatre, RELEASE);
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
        if let Some(alice) = theatre.alice.messenger() {
            let _ = alice.resume().await;
        }
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

fn has_begun(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.account(Who::Bob).await.is_ok()) })
}

fn is_on(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.alice.is_on()) })
}

fn bob_shows_it(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(finish::shows(theatre, Who::Bob, Who::Alice))
}

fn alice_knows(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(finish::is_confirmed(theatre))
}

fn have_met(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(finish::have_met(theatre))
}

fn lists_are_newer(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.noted != finish::alices(theatre, LISTS)) })
}

/// It takes a new epoch to leave the relay of her list.
fn has_moved(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.noted != finish::alices(theatre, EPOCH)) })
}

fn is_later(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.noted != finish::alices(theatre, RELEASE)) })
}

fn is_another(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { Ok(theatre.noted != finish::alices(theatre, DEVICE)) })
}

fn goes_elsewhere(theatre: &mut Theatre) -> BoxFuture<'_, Result<bool, String>> {
    Box::pin(async { theatre.finish_elsewhere().await.map(|()| true) })
}
