//! A schedule from a seed.

use std::time::Duration;

use super::{Cast, PEOPLE, RELAYS, Schedule, Step};
use crate::Weather;
use crate::chance::Chance;

/// Steps of a schedule.
const STEPS: (u64, u64) = (6, 22);
/// Of a hundred pairs so many are contacts before anything else happens; the others meet on the way.
const MET_BEFORE: u32 = 80;
/// In so many of a hundred schedules somebody has two devices.
const WITH_SECOND_DEVICES: u32 = 34;
/// There so many of a hundred people have, and one of them in any case.
const SECOND_DEVICE: u32 = 40;
/// Of a hundred second devices so many begin while others speak already.
const BEGINS_LATER: u32 = 50;
/// Of a hundred steps so many are followed by the resuming of a device's app.
const RESUMED: u32 = 4;
/// Of a hundred steps there so many leave a device behind for days.
const LEFT_BEHIND: u32 = 8;
/// Writes after which a device dies: a send takes a dozen, a batch of deliveries a few more.
const WRITE_MAX: u64 = 40;
/// Seconds that everything takes at a relay that hangs, one way: from what is waited for before another relay gets the letter to what
/// nobody waits for.
const HANGING: (u64, u64) = (10, 90);
const DAY: u64 = 24 * 3_600;
/// All nights of a schedule together: what waits on a relay lives for thirty days, and nobody is promised more.
const NIGHTS: Duration = Duration::from_secs(25 * DAY);

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, u64::from_be_bytes(*b"schedule"));
        let mut cast = cast(&mut chance);
        // By chance of its own: schedules in which everybody has one device are what they are.
        let mut of_devices = Chance::new(seed, u64::from_be_bytes(*b"devices "));
        add_second_devices(&mut cast, &mut of_devices);
        let mut of_apps = Chance::new(seed, u64::from_be_bytes(*b"apps    "));
        let mut steps = Vec::new();
        let mut late = Vec::new();
        for owner in 0..cast.people.len() {
            for scanner in owner + 1..cast.people.len() {
                let (owner, scanner) = if chance.percent(50) { (owner, scanner) } else { (scanner, owner) };
                let to = if chance.percent(MET_BEFORE) { &mut steps } else { &mut late };
                to.push(Step::Meet { owner, scanner });
            }
        }
        for _ in 0..chance.between(STEPS.0, STEPS.1) {
            if cast.has_second_devices() && of_devices.percent(LEFT_BEHIND) {
                steps.extend(days_without(&mut of_devices, &cast));
            }
            steps.push(step(&mut chance, &cast));
            if of_apps.percent(RESUMED) {
                steps.push(Step::Resumed(of_apps.index(cast.devices.len())));
            }
            // Most of what happens is followed by somebody who speaks, and by time.
            if chance.percent(60) {
                steps.push(say(&mut chance, &cast));
            }
            if chance.percent(60) {
                steps.push(Step::Wait(wait(&mut chance)));
            }
        }
        let mut nights = Duration::ZERO;
        steps.retain(|step| {
            let Step::Night(night) = step else { return true };
            let fits = nights + *night <= NIGHTS;
            nights += if fits { *night } else { Duration::ZERO };
            fits
        });
        for meet in late {
            steps.insert(chance.index(steps.len()), meet);
        }
        for device in &cast.later {
            steps.insert(of_devices.index(steps.len()), Step::DeviceAdded(*device));
        }
        Self { seed, cast, steps: steps.into_iter().enumerate().collect() }
    }
}

fn cast(chance: &mut Chance) -> Cast {
    let relays = 2 + chance.index(RELAYS.len() - 1);
    // Two are cheap, and most of what can go wrong goes wrong between two.
    let count = if chance.percent(60) { 2 } else { 3 + chance.index(PEOPLE.len() - 2) };
    let own = |chance: &mut Chance| {
        let first = chance.index(relays);
        let second = (first + 1 + chance.index(relays - 1)) % relays;
        if chance.percent(50) { vec![first] } else { vec![first, second] }
    };
    Cast { relays, people: (0..count).map(|_| own(chance)).collect(), devices: (0..count).collect(), later: Vec::new() }
}

fn add_second_devices(cast: &mut Cast, chance: &mut Chance) {
    if !chance.percent(WITH_SECOND_DEVICES) {
        return;
    }
    let one = chance.index(cast.people.len());
    for person in 0..cast.people.len() {
        if person != one && !chance.percent(SECOND_DEVICE) {
            continue;
        }
        if chance.percent(BEGINS_LATER) {
            cast.later.push(cast.devices.len());
        }
        cast.devices.push(person);
    }
}

/// A device is off for days on which the others are on now and then, and speak.
fn days_without(chance: &mut Chance, cast: &Cast) -> Vec<Step> {
    let device = chance.index(cast.devices.len());
    let mut steps = vec![Step::Off(device)];
    for _ in 0..1 + chance.index(3) {
        steps.push(Step::Night(Duration::from_secs(chance.between(3_600, 3 * DAY))));
        steps.push(say(chance, cast));
        steps.push(Step::Wait(wait(chance)));
    }
    steps.push(Step::On(device));
    steps
}

fn say(chance: &mut Chance, cast: &Cast) -> Step {
    let device = chance.index(cast.devices.len());
    let from = cast.devices[device];
    let to = (from + 1 + chance.index(cast.people.len() - 1)) % cast.people.len();
    let texts = if chance.percent(10) { 30 } else { 1 + chance.index(3) };
    Step::Say { device, to, texts }
}

/// From within one instruction of another to a quarter of an hour: engines that run for longer meet nothing new, and cost time.
fn wait(chance: &mut Chance) -> Duration {
    match chance.index(5) {
        0 => Duration::from_millis(chance.between(0, 20)),
        1 => Duration::from_millis(chance.between(20, 3_000)),
        2 | 3 => Duration::from_secs(chance.between(3, 120)),
        _ => Duration::from_secs(chance.between(120, 900)),
    }
}

fn step(chance: &mut Chance, cast: &Cast) -> Step {
    let device = chance.index(cast.devices.len());
    let relay = chance.index(cast.relays);
    match chance.between(0, 117) {
        0..=21 => say(chance, cast),
        22..=27 => Step::Night(Duration::from_secs(match chance.index(4) {
            0 => chance.between(3_600, DAY),
            1 | 2 => chance.between(DAY, 8 * DAY),
            _ => chance.between(8 * DAY, 24 * DAY),
        })),
        28..=37 => Step::Kill(device),
        38..=45 => Step::KillAtWrite { device, write: chance.between(1, WRITE_MAX) },
        46..=51 => Step::Off(device),
        52..=57 => Step::On(device),
        58..=62 => Step::RelayDown(relay),
        63..=66 => Step::RelayUp(relay),
        67..=70 => Step::RelayRestarts(relay),
        71 => Step::RelayCopied(relay),
        72 => Step::RelayRestored(relay),
        73 | 74 if cast.can_do_without(relay) => Step::RelayDies(relay),
        73..=77 => Step::Cut { device, relay },
        78..=81 => Step::Mend { device, relay },
        82..=93 => Step::Weather { device, relay, weather: weather(chance) },
        112..=114 => Step::DeviceCopied(device),
        115..=117 => Step::DeviceRestored(device),
        100..=103 => Step::RelayAdded { device, relay },
        104..=108 => Step::RelayRemoved { device, relay },
        109..=111 => Step::RelayHangs { relay, seconds: chance.between(HANGING.0, HANGING.1) },
        _ => Step::Clock { device, seconds: clock(chance) },
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let latency_ms_min = chance.between(0, 300);
    let losses = [0, 0, 5, 20][chance.index(4)];
    let repeats = [0, 10, 30][chance.index(3)];
    Weather {
        latency_ms_min,
        latency_ms_max: latency_ms_min + [0, 50, 2_000][chance.index(3)],
        losses,
        repeats,
        is_cut: false,
    }
}

fn clock(chance: &mut Chance) -> i64 {
    let seconds = match chance.index(4) {
        0 => 0,
        1 => chance.between(1, 600),
        2 => chance.between(600, 2 * DAY),
        _ => chance.between(2 * DAY, 60 * DAY),
    };
    let seconds = seconds.cast_signed();
    if chance.percent(50) { seconds } else { -seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_schedule_and_others_have_others() {
        assert_eq!(Schedule::of_seed(5), Schedule::of_seed(5));
        assert_ne!(Schedule::of_seed(5).steps, Schedule::of_seed(6).steps);
    }

    #[test]
    fn everything_that_can_happen_is_drawn_sooner_or_later() {
        let drawn: Vec<_> = (0..200).flat_map(|seed| Schedule::of_seed(seed).steps).collect();
        let mut kinds: Vec<_> = drawn.iter().map(|(_, step)| std::mem::discriminant(step)).collect();
        kinds.sort_by_key(|kind| format!("{kind:?}"));
        kinds.dedup();
        assert_eq!(kinds.len(), 25, "all but what is planted");
    }
}
