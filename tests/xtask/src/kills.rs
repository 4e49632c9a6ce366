//! `cargo xtask kill-test`: a long conversation while relays and both devices are killed, with any seed; and with one as a step of `test`.

use std::path::PathBuf;

use sotto_end_to_end::kills::{Plan, play};

use crate::checkout::{Checkout, run};
use crate::step::{Failure, Outcome};
use crate::suite::BUILD;

/// What the promise says. It takes less than a minute.
const WHOLE: Plan = Plan { seed: 1, texts: 1_000, relays: 1, relay_kills: 5, device_kills: 2 };
/// The same with a second relay, shorter: that letters find the other one while one is away shows within a few hundred.
const TWO_RELAYS: Plan = Plan { seed: 2, texts: 200, relays: 2, relay_kills: 6, device_kills: 2 };

/// An account lists no more.
const RELAYS_MAX: usize = 4;

/// What is played: so many rounds, each with profiles, relays and a seed of its own.
struct Wanted {
    plan: Plan,
    rounds: u64,
    binary: Option<PathBuf>,
}

/// `cargo xtask kill-test [--seed N] [--rounds R] [--relays N] [--texts T] [--relay-kills N] [--device-kills N] [--binary PATH]`
pub(crate) fn kill_test(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let Wanted { plan, rounds, binary } = read(arguments)?;
    let binary = binary.map_or_else(|| build(checkout), Ok)?;
    (0..rounds).try_for_each(|round| tell(&binary, &Plan { seed: plan.seed + round, ..plan }))
}

/// The step of `test`.
pub(crate) fn step(checkout: &Checkout) -> Result<Outcome, Failure> {
    let binary = build(checkout)?;
    tell(&binary, &WHOLE).and_then(|()| tell(&binary, &TWO_RELAYS)).map(|()| Outcome::Passed)
}

fn read(arguments: &[String]) -> Result<Wanted, Failure> {
    let Wanted { mut plan, mut rounds, mut binary } = Wanted { plan: WHOLE, rounds: 1, binary: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| Failure(format!("{word} wants a value")))?;
        let number = || value.parse().map_err(|_| Failure(format!("{word} wants a number")));
        match word.as_str() {
            "--seed" => plan.seed = value.parse().map_err(|_| Failure(format!("{word} wants a number")))?,
            "--rounds" => {
                let wanted = value.parse().ok().filter(|rounds| *rounds > 0);
                rounds = wanted.ok_or_else(|| Failure(format!("{word} wants a number, from 1 on")))?;
            }
            "--relays" => plan.relays = number()?,
            "--texts" => plan.texts = number()?,
            "--relay-kills" => plan.relay_kills = number()?,
            "--device-kills" => plan.device_kills = number()?,
            "--binary" => binary = Some(PathBuf::from(value)),
            _ => return Err(Failure(format!("{word} is unknown"))),
        }
    }
    if !(1..=RELAYS_MAX).contains(&plan.relays) {
        return Err(Failure(format!("--relays is 1 to {RELAYS_MAX}")));
    }
    Ok(Wanted { plan, rounds, binary })
}

/// The binary as the tests' build makes it.
pub(crate) fn build(checkout: &Checkout) -> Result<PathBuf, Failure> {
    run(checkout.cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]).args(BUILD))?;
    Ok(checkout.target().join(format!("ci/sotto{}", std::env::consts::EXE_SUFFIX)))
}

fn tell(binary: &std::path::Path, plan: &Plan) -> Result<(), Failure> {
    let numbers = play(binary, plan, &mut |line| println!("{line}"));
    let numbers = numbers.map_err(|violation| Failure(format!("seed {}: {}", plan.seed, violation.0)))?;
    println!(
        "\nrelays killed {} times, devices {} times ({} of them while saying something); {} texts shown again after a kill",
        numbers.relay_kills, numbers.device_kills, numbers.cut_short, numbers.shown_again
    );
    println!(
        "{} texts in each transcript, each once, {}the same in both; {:.1} s",
        numbers.texts,
        if plan.relays == 1 { "in its sender's order, " } else { "" },
        numbers.elapsed.as_secs_f64()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_whole_promise() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let Wanted { plan, rounds, binary } = read(&[]).unwrap();
        assert_eq!((plan.texts, plan.relay_kills, plan.device_kills, rounds, binary), (1_000, 5, 2, 1, None));
        let wanted = read(&words("--seed 9 --texts 20 --rounds 3 --relays 2 --binary target/sotto")).unwrap();
        let Wanted { plan, rounds, binary } = wanted;
        assert_eq!((plan.seed, plan.texts, plan.relay_kills, plan.relays, rounds), (9, 20, 5, 2, 3));
        assert_eq!(binary, Some("target/sotto".into()));
        for wrong in ["--seed", "--seed x", "--speed 1", "--relays 0", "--relays 5", "--rounds 0"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
