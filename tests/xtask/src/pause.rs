//! `cargo xtask pause`: engines pause at every step of what they do; and at some of them as a step of `test`.

use crate::checkout::{Checkout, run};
use crate::step::{Failure, Outcome};
use crate::suite::BUILD;

/// A dozen seconds on two cores.
const SHORT: [&str; 4] = ["--every", "8", "--rounds", "15"];

/// `cargo xtask pause [--every N] [--seed N] [--rounds N]`
pub(crate) fn pause(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    play(checkout, arguments).map(drop)
}

/// The step of `test`.
pub(crate) fn step(checkout: &Checkout) -> Result<Outcome, Failure> {
    play(checkout, &SHORT.map(str::to_owned))
}

/// The binary as the tests' build makes it.
fn play(checkout: &Checkout, arguments: &[String]) -> Result<Outcome, Failure> {
    run(checkout.cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]).args(BUILD))?;
    let binary = checkout.target().join(format!("ci/sotto-pause{}", std::env::consts::EXE_SUFFIX));
    run(checkout.command(binary).args(arguments))
}
