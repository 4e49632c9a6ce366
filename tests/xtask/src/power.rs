//! `cargo xtask power`: power cuts under relay and devices, with any number of seeds; and with some as a step of `test`.

use crate::checkout::{Checkout, run};
use crate::step::{Failure, Outcome};
use crate::suite::BUILD;

/// What the promise says: as many of each play.
const WHOLE: &str = "1000";
/// Half a minute on two cores.
const SHORT: &str = "20";

/// `cargo xtask power [--seeds N] [--from SEED] [--left-out]`
pub(crate) fn power(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let has_seeds = arguments.iter().any(|word| word == "--seeds");
    let whole = if has_seeds { Vec::new() } else { vec!["--seeds".to_owned(), WHOLE.to_owned()] };
    play(checkout, &[arguments, &whole].concat()).map(drop)
}

/// The step of `test`.
pub(crate) fn step(checkout: &Checkout) -> Result<Outcome, Failure> {
    play(checkout, &["--seeds".to_owned(), SHORT.to_owned()])
}

/// The binary as the tests' build makes it.
fn play(checkout: &Checkout, arguments: &[String]) -> Result<Outcome, Failure> {
    run(checkout.cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]).args(BUILD))?;
    let binary = checkout.target().join(format!("ci/sotto-power{}", std::env::consts::EXE_SUFFIX));
    run(checkout.command(binary).args(arguments))
}
