//! A schedule: who is there, and what happens to them, step by step. From one number, and readable.
//!
//! A step that does not apply (somebody off is switched off, a relay that is up comes back) does nothing, so that every part of a
//! schedule is a schedule: that is what lets a failing one be cut down (`shrink.rs`).
//! - `draw.rs`: a schedule from a seed; `shrink.rs`: a shorter one that fails the same way
//!
//! Not here: doing it (`play`).

mod draw;
mod shrink;

use std::fmt;
use std::time::Duration;

pub use shrink::{Shrunk, shrink};

use crate::Weather;

/// What people are called, in order.
pub const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// What relays are called, in order.
pub const RELAYS: [&str; 3] = ["one.example", "two.example", "three.example"];

/// Who is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cast {
    /// How many relays there are.
    pub relays: usize,
    /// Each person's relays, the preferred first.
    pub people: Vec<Vec<usize>>,
    /// Whose device each device is: first one of everybody's, then some people's second ones.
    pub devices: Vec<usize>,
    /// Those of them that are not there from the beginning.
    pub later: Vec<usize>,
}

/// Something that happens. Numbers are those of people, devices and relays in the [`Cast`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Two become contacts: one makes an invite, the other uses it.
    Meet {
        /// Whose invite it is.
        owner: usize,
        /// Who uses it.
        scanner: usize,
    },
    /// Somebody says something.
    Say {
        /// On which device.
        device: usize,
        /// To whom.
        to: usize,
        /// How many texts.
        texts: usize,
    },
    /// Time passes, and everybody's device works.
    Wait(Duration),
    /// Time passes, and nobody's device is on.
    Night(Duration),
    /// A device dies between two instructions, and is opened again.
    Kill(usize),
    /// A device dies at this write from now, and lies there until it is switched on.
    KillAtWrite {
        /// Which.
        device: usize,
        /// At which write.
        write: u64,
    },
    /// A device is switched off.
    Off(usize),
    /// And on again.
    On(usize),
    /// The system had stopped a device's app, and lets it go on.
    Resumed(usize),
    /// Somebody has one more device from now on.
    DeviceAdded(usize),
    /// A backup program copies a device's files, and not its keystore.
    DeviceCopied(usize),
    /// Its files are again as they were when they were copied last.
    DeviceRestored(usize),
    /// A relay cannot be reached by anybody.
    RelayDown(usize),
    /// It can be again, and answers as fast as it ever did.
    RelayUp(usize),
    /// It can be reached, and everything there takes so much longer that nobody waits for it.
    RelayHangs {
        /// Which.
        relay: usize,
        /// How long something is under way at least, one way.
        seconds: u64,
    },
    /// Its process is killed, and another one goes on with its disk.
    RelayRestarts(usize),
    /// Its operator makes a copy.
    RelayCopied(usize),
    /// Its operator brings the last copy back.
    RelayRestored(usize),
    /// It is gone for good.
    RelayDies(usize),
    /// A device reads at one more relay.
    RelayAdded {
        /// Which device.
        device: usize,
        /// Which relay.
        relay: usize,
    },
    /// It reads there no longer.
    RelayRemoved {
        /// Which device.
        device: usize,
        /// Which relay.
        relay: usize,
    },
    /// A device cannot reach a relay.
    Cut {
        /// Which device.
        device: usize,
        /// Which relay.
        relay: usize,
    },
    /// It can again.
    Mend {
        /// Which device.
        device: usize,
        /// Which relay.
        relay: usize,
    },
    /// The way between the two gets better or worse.
    Weather {
        /// Which device.
        device: usize,
        /// Which relay.
        relay: usize,
        /// How it is now.
        weather: Weather,
    },
    /// A device's clock jumps: it is so many seconds off now.
    Clock {
        /// Which device.
        device: usize,
        /// How far it is ahead; below zero, behind.
        seconds: i64,
    },
    /// Planted: a device forgets the last text that came in, as no device may.
    Forget(usize),
}

/// See the file's story.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Where it comes from, and all chance with it.
    pub seed: u64,
    /// Who is there.
    pub cast: Cast,
    /// What happens, each step with its place in the schedule as it was drawn.
    pub steps: Vec<(usize, Step)>,
}

impl Schedule {
    /// What remains when only the steps at these places happen.
    #[must_use]
    pub fn only(&self, places: &[usize]) -> Self {
        let steps = self.steps.iter().filter(|(place, _)| places.contains(place)).cloned().collect();
        Self { steps, ..self.clone() }
    }

    /// The places of its steps.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        self.steps.iter().map(|(place, _)| *place).collect()
    }

    /// The same with one more step after all others.
    #[must_use]
    pub fn and(mut self, step: Step) -> Self {
        let place = self.steps.last().map_or(0, |(place, _)| place + 1);
        self.steps.push((place, step));
        self
    }
}

impl Cast {
    /// Whether it is a second device.
    #[must_use]
    pub fn is_second(&self, device: usize) -> bool {
        self.devices[..device].contains(&self.devices[device])
    }

    fn has_second_devices(&self) -> bool {
        self.devices.len() > self.people.len()
    }

    fn device_name(&self, device: usize) -> &'static str {
        if self.is_second(device) { "second device" } else { "device" }
    }

    fn said_on(&self, device: usize) -> &'static str {
        if self.is_second(device) { " on their second device" } else { "" }
    }

    /// Whether everybody who has this relay has another one too.
    #[must_use]
    pub fn can_do_without(&self, relay: usize) -> bool {
        self.people.iter().all(|relays| relays.len() > 1 || !relays.contains(&relay))
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (person, relays) in self.people.iter().enumerate() {
            let relays: Vec<_> = relays.iter().map(|relay| RELAYS[*relay]).collect();
            let count = self.devices.iter().filter(|of| **of == person).count();
            let later = self.later.iter().filter(|device| self.devices[**device] == person).count();
            let devices = match (count, later) {
                (0 | 1, _) => String::new(),
                (count, 0) => format!(" with {count} devices"),
                (count, _) => format!(" with {count} devices, one of them later"),
            };
            writeln!(formatter, "{} at {}{devices}", PEOPLE[person], relays.join(", then "))?;
        }
        Ok(())
    }
}

impl Step {
    /// In words.
    #[must_use]
    pub fn tell(&self, cast: &Cast) -> String {
        let device = |device: &usize| format!("{}'s {}", PEOPLE[cast.devices[*device]], cast.device_name(*device));
        let relay = |relay: &usize| RELAYS[*relay];
        match self {
            Self::Meet { owner, scanner } => format!("{} uses an invite of {}'s", PEOPLE[*scanner], PEOPLE[*owner]),
            Self::Say { device, to, texts } => {
                format!("{} says {texts} to {}{}", PEOPLE[cast.devices[*device]], PEOPLE[*to], cast.said_on(*device))
            }
            Self::Wait(time) => format!("{} pass", lasting(*time)),
            Self::Night(time) => format!("everybody's device is off for {}", lasting(*time)),
            Self::Kill(of) => format!("{} is killed and opened again", device(of)),
            Self::KillAtWrite { device: of, write } => format!("{} dies at its write {write} from now", device(of)),
            Self::Off(of) => format!("{} is switched off", device(of)),
            Self::On(of) => format!("{} is switched on", device(of)),
            Self::Resumed(of) => format!("{} is resumed", device(of)),
            Self::DeviceAdded(of) => format!("{} begins", device(of)),
            Self::DeviceCopied(of) => format!("{} is backed up", device(of)),
            Self::DeviceRestored(of) => format!("{} is restored from its last backup", device(of)),
            Self::RelayDown(of) => format!("{} cannot be reached", relay(of)),
            Self::RelayUp(of) => format!("{} can be reached again", relay(of)),
            Self::RelayHangs { relay: of, seconds } => format!("{} takes {seconds} s each way", relay(of)),
            Self::RelayAdded { device: of, relay: at } => format!("{} reads at {} as well", device(of), relay(at)),
            Self::RelayRemoved { device: of, relay: at } => format!("{} leaves {}", device(of), relay(at)),
            Self::RelayRestarts(of) => format!("{} is killed and started again", relay(of)),
            Self::RelayCopied(of) => format!("{} is copied", relay(of)),
            Self::RelayRestored(of) => format!("{} is restored from its last copy", relay(of)),
            Self::RelayDies(of) => format!("{} is gone for good", relay(of)),
            Self::Cut { device: of, relay: at } => format!("{} cannot reach {}", device(of), relay(at)),
            Self::Mend { device: of, relay: at } => format!("{} can reach {} again", device(of), relay(at)),
            Self::Weather { device: of, relay: at, weather } => format!(
                "between {} and {}: {} to {} ms, {} of 100 lost, {} of 100 twice",
                device(of),
                relay(at),
                weather.latency_ms_min,
                weather.latency_ms_max,
                weather.losses,
                weather.repeats
            ),
            Self::Clock { device: of, seconds: 0 } => format!("the clock of {} is right", device(of)),
            Self::Clock { device: of, seconds } => {
                let off = lasting(Duration::from_secs(seconds.unsigned_abs()));
                format!("the clock of {} is {off} {}", device(of), if *seconds > 0 { "ahead" } else { "behind" })
            }
            Self::Forget(of) => format!("{} forgets the last text that came in (planted)", device(of)),
        }
    }
}

/// A duration as one says it.
pub(crate) fn lasting(time: Duration) -> String {
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0) => format!("{ms} ms"),
        (0, 0, 0, seconds) => format!("{seconds}.{ms:03} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} days {hours} h"),
    }
}
