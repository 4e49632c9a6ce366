//! `cargo xtask bench`: measures the budgets on this machine and writes the numbers into their page.

use crate::checkout::{Checkout, run};
use crate::step::Failure;

const PAGE: &str = "docs/benchmarks.md";

/// Optimised as it ships, but for the minutes that linking everything as one would take. Some of the measurements alone when they are
/// named, and the page is left as it is then.
pub(crate) fn bench(checkout: &Checkout, wanted: &[String]) -> Result<(), Failure> {
    let mut command = checkout.cargo();
    command.args(["run", "--locked", "--release", "--package", "sotto-bench", "--"]).args(wanted);
    if wanted.is_empty() {
        command.arg("--write").arg(checkout.path(PAGE));
    }
    run(&mut command).map(drop)
}
