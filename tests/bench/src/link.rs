//! What a slow link and a relay that is gone cost: devices and relays in one process, on simulated time, so that the numbers are those of
//! the protocol (round trips, windows, patience) and the same on every machine. Only the CPU is real.

use std::time::Duration;

use sotto_core::protocol::RelayAddress;
use sotto_core::records::MessageState;
use sotto_sim::{Fate, Person, Weather, World};
use tokio::time::Instant;

use crate::meter::{Meter, count, us};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Half a round trip of 300 ms.
const ONE_WAY_MS: u64 = 150;
const SLOW: Weather =
    Weather { latency_ms_min: ONE_WAY_MS, latency_ms_max: ONE_WAY_MS, losses: 0, repeats: 0, is_cut: false };
/// The device on the slow link.
const OUTSIDE: usize = 1;
/// How exactly a moment of simulated time is found.
const TICK: Duration = Duration::from_millis(50);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

pub(crate) fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(async {
        catch_up(size, report).await?;
        failover(report).await
    })
}

async fn catch_up(size: Size, report: &mut Report) -> Outcome<()> {
    let world = World::seeded(1);
    let relay = [world.network.add_relay("relay.example")];
    let alice = world.person_outside("alice", &relay, OUTSIDE).await?;
    let bob = world.person("bob", &relay).await?;
    world.introduce(&alice, &bob).await?;
    talk(&world, &alice, &bob).await?;
    let to = bob.contact("alice").await?.id;
    let mut alice = alice;
    report.table("Catching up over a link with a round trip of 300 ms, simulated");
    let mut sent = 0;
    for waiting in [128, size.pick(10_000, 300)] {
        alice.messenger.shut_down();
        let meter = Meter::start();
        for number in 0..waiting {
            bob.messenger.send_text(to, format!("message {number}")).await?;
        }
        bob.catch_up().await?;
        let sending = meter.stop();
        world.network.set_weather(OUTSIDE, &relay[0], SLOW);
        let (meter, began) = (Meter::start(), Instant::now());
        alice = world.reopen(alice).await?;
        let caught_up = alice.catch_up().await?;
        let took = began.elapsed();
        let receiving = meter.stop();
        world.network.set_weather(OUTSIDE, &relay[0], Weather::default());
        if usize::try_from(caught_up.received)? != waiting {
            return Err(format!("{} of {waiting} came", caught_up.received).into());
        }
        sent += waiting;
        report.row(
            format!("{waiting} waiting: from opening to the last one stored and acknowledged"),
            took.as_secs_f64(),
            "s",
            Budget::None,
        );
        report.row(
            format!("{waiting} waiting: CPU for each, to send it: device and relay"),
            us(sending.cpu) / count(waiting),
            "us",
            Budget::None,
        );
        report.row(
            format!("{waiting} waiting: CPU for each, to catch up: device and relay"),
            us(receiving.cpu) / count(waiting),
            "us",
            Budget::None,
        );
    }
    let transcript = alice.transcript("bob").await?;
    if transcript.len() < sent {
        return Err("something is missing".into());
    }
    report.note(
        "The time is the protocol's own (handshake of the stream, windows, acknowledgements): the simulated clock stands still while \
         somebody computes. The CPU is that of the simulation: both stores in memory, no TLS, no sockets.",
    );
    Ok(())
}

async fn failover(report: &mut Report) -> Outcome<()> {
    report.table("A relay that is gone, simulated");
    let delay = falls_over(2, |world, relay| world.network.set_down(relay, true)).await?;
    report.row("refuses connections: from send() to *sent* at the next", delay.as_secs_f64(), "s", Budget::None);
    let delay = falls_over(3, |world, relay| {
        let name = relay.name().clone();
        world
            .network
            .meddle(Some(Box::new(move |call| if call.relay == name { Fate::Late(PATIENCE) } else { Fate::Passes })));
    })
    .await?;
    report.row("answers nothing: from send() to *sent* at the next", delay.as_secs_f64(), "s", Budget::None);
    let delay = dies_with_what_it_took().await?;
    report.row(
        "dies with what it took: until that stands on the recipient's device",
        delay.as_secs_f64() / 60.0,
        "min",
        Budget::None,
    );
    report.note("The sender's link has a round trip of 300 ms. The recipient lists two relays, and looks at both.");
    Ok(())
}

/// Alice at two relays, and bob on a slow link at a third.
async fn alice_at_two(seed: u64) -> Outcome<(World, [RelayAddress; 3], Person, Person)> {
    let world = World::seeded(seed);
    let relays = ["one.example", "two.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays[..2]).await?;
    let bob = world.person_outside("bob", &relays[2..], OUTSIDE).await?;
    world.introduce(&alice, &bob).await?;
    talk(&world, &alice, &bob).await?;
    for relay in &relays {
        world.network.set_weather(OUTSIDE, relay, SLOW);
    }
    Ok((world, relays, alice, bob))
}

async fn falls_over(seed: u64, happens: impl FnOnce(&World, &RelayAddress)) -> Outcome<Duration> {
    let (world, relays, _alice, bob) = alice_at_two(seed).await?;
    happens(&world, &relays[0]);
    let to = bob.contact("alice").await?.id;
    let began = Instant::now();
    let sent = bob.messenger.send_text(to, "where are you?".to_owned()).await?;
    while began.elapsed() < PATIENCE {
        let newest = bob.messenger.messages(to, None, 1).await?;
        if newest.iter().any(|message| message.id == sent.id && message.state == MessageState::Sent) {
            return Ok(began.elapsed());
        }
        world.wait(TICK).await;
    }
    Err("it never left".into())
}

async fn dies_with_what_it_took() -> Outcome<Duration> {
    let (world, relays, alice, bob) = alice_at_two(4).await?;
    alice.messenger.shut_down();
    bob.say("alice", "the last thing it took").await?;
    bob.catch_up().await?;
    world.network.set_down(&relays[0], true);
    let began = Instant::now();
    // Somebody who writes on finds out; who never writes again has no reason to ask before a day is over.
    bob.say("alice", "the next").await?;
    let alice = world.reopen(alice).await?;
    while began.elapsed() < PATIENCE {
        if alice.transcript("bob").await?.iter().any(|text| text == "the last thing it took") {
            return Ok(began.elapsed());
        }
        world.wait(Duration::from_secs(1)).await;
    }
    Err("it never came".into())
}

/// Until both sides have confirmed seals and sessions.
async fn talk(world: &World, one: &Person, other: &Person) -> Outcome<()> {
    for _ in 0..2 {
        for (from, to) in [(one, "bob"), (other, "alice")] {
            from.say(to, "words").await?;
            world.settle(&[one, other]).await?;
        }
    }
    Ok(())
}
