//! `cargo xtask kill-test`: a long conversation while the relay and both devices are killed, with any seed; and with one as a step of `test`.

use std::path::PathBuf;

use sotto_end_to_end::kills::{Plan, play};

use crate::checkout::{Checkout, run};
use crate::step::{Failure, Outcome};
use crate::suite::BUILD;

/// What the promise says. It takes less than a minute.
const WHOLE: Plan = Plan { seed: 1, texts: 1_000, relay_kills: 5, device_kills: 2 };

/// `cargo xtask kill-test [--seed N] [--texts T] [--relay-kills N] [--device-kills N] [--binary PATH]`
pub(crate) fn kill_test(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let (plan, binary) = read(arguments)?;
    let binary = binary.map_or_else(|| build(checkout), Ok)?;
    tell(&binary, &plan)
}

/// The step of `test`.
pub(crate) fn step(checkout: &Checkout) -> Result<Outcome, Failure> {
    tell(&build(checkout)?, &WHOLE).map(|()| Outcome::Passed)
}

fn read(arguments: &[String]) -> Result<(Plan, Option<PathBuf>), Failure> {
    let (mut plan, mut binary) = (WHOLE, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| Failure(format!("{word} wants a value")))?;
        let number = || value.parse().map_err(|_| Failure(format!("{word} wants a number")));
        match word.as_str() {
            "--seed" => plan.seed = value.parse().map_err(|_| Failure(format!("{word} wants a number")))?,
            "--texts" => plan.texts = number()?,
            "--relay-kills" => plan.relay_kills = number()?,
            "--device-kills" => plan.device_kills = number()?,
            "--binary" => binary = Some(PathBuf::from(value)),
            _ => return Err(Failure(format!("{word} is unknown"))),
        }
    }
    Ok((plan, binary))
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
        "\nrelay killed {} times, devices {} times ({} of them while saying something); {} texts shown again after a kill",
        numbers.relay_kills, numbers.device_kills, numbers.cut_short, numbers.shown_again
    );
    println!(
        "{} texts in each transcript, each once, in its sender's order, the same in both; {:.1} s",
        numbers.texts,
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
        let (plan, binary) = read(&[]).unwrap();
        assert_eq!((plan.texts, plan.relay_kills, plan.device_kills, binary), (1_000, 5, 2, None));
        let (plan, binary) = read(&words("--seed 9 --texts 20 --binary target/sotto")).unwrap();
        assert_eq!((plan.seed, plan.texts, plan.relay_kills), (9, 20, 5));
        assert_eq!(binary, Some("target/sotto".into()));
        for wrong in ["--seed", "--seed x", "--speed 1"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
