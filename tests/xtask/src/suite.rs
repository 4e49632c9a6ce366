//! The checks that `test` runs, in order: what fails fast first, then what is built, then the second implementations.
//!
//! A step whose script is not in the tree fails: a check that was deleted does not pass. Everything is compiled with the profile `ci`, clippy too: build scripts,
//! and with them SQLite's C, then run once for both.

use crate::checkout::{Checkout, run};
use crate::step::{Failure, Outcome, Step, run_all};
use crate::{kills, machine, pause, policy, power, python, sim, tree};

const STEPS: &[Step] = &[
    Step { name: "format", run: is_formatted, script: None },
    Step { name: "words", run: tree::leaves_nothing_unfinished, script: None },
    Step { name: "unsafe", run: tree::keeps_unsafe_in_its_places, script: None },
    Step { name: "dependencies", run: policy::holds, script: None },
    Step { name: "clippy", run: clippy, script: None },
    Step { name: "tests", run: rust_tests, script: None },
    Step { name: "end-to-end", run: end_to_end, script: None },
    Step { name: "doctests", run: doctests, script: None },
    Step { name: "sim", run: sim::step, script: None },
    Step { name: "kills", run: kills::step, script: None },
    Step { name: "power", run: power::step, script: None },
    Step { name: "pause", run: pause::step, script: None },
    Step { name: "stock-sqlcipher", run: stock_sqlcipher, script: Some(STOCK_SQLCIPHER) },
    Step { name: "vectors", run: vectors, script: Some(VECTORS) },
    Step { name: "ffi", run: ffi_smoke_test, script: Some(FFI_SMOKE_TEST) },
];

const STOCK_SQLCIPHER: &str = "core/cipher/tests/stock_sqlcipher.py";
const VECTORS: &str = "tests/vectors/run.py";
const FFI_SMOKE_TEST: &str = "bindings/ffi/tests/smoke.py";

const NO_PYTHON: &str = "there is no Python 3 with its venv module";

/// What the names of the tests that are a step of their own begin with.
const END_TO_END: &str = "end_to_end::";

/// What every build of the suite has in common. With `--workspace` and the tests it also makes them share their dependencies: a
/// single package enables fewer features in them, and would compile SQLite again.
pub(crate) const BUILD: [&str; 3] = ["--locked", "--profile", "ci"];

/// `cargo xtask test [STEP ...]`
pub(crate) fn test(checkout: &Checkout, wanted: &[String]) -> Result<(), Failure> {
    let known: Vec<_> = step_names().collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure(format!("no step is called {unknown}; there are {}", known.join(", "))));
    }
    machine::set_up(checkout)?;
    let steps = STEPS.iter().filter(|step| wanted.is_empty() || wanted.iter().any(|name| name == step.name));
    run_all(checkout, &steps.copied().collect::<Vec<_>>())
}

/// `cargo xtask fmt`
pub(crate) fn format(checkout: &Checkout, _: &[String]) -> Result<(), Failure> {
    run(checkout.cargo().args(["fmt", "--all"])).map(drop)
}

/// `cargo xtask fixtures`
pub(crate) fn fixtures(checkout: &Checkout, _: &[String]) -> Result<(), Failure> {
    run(checkout.cargo().args(["run", "--package", "sotto-compatibility"]).args(BUILD)).map(drop)
}

/// `cargo xtask lint`
pub(crate) fn lint(checkout: &Checkout, _: &[String]) -> Result<(), Failure> {
    test(checkout, &["words", "unsafe", "clippy"].map(str::to_owned))
}

/// `cargo xtask deny`
pub(crate) fn deny(checkout: &Checkout, _: &[String]) -> Result<(), Failure> {
    test(checkout, &["dependencies".to_owned()])
}

pub(crate) fn step_names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

fn is_formatted(checkout: &Checkout) -> Result<Outcome, Failure> {
    run(checkout.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(checkout: &Checkout) -> Result<Outcome, Failure> {
    run(checkout
        .cargo()
        .args(["clippy", "--workspace", "--all-targets"])
        .args(BUILD)
        .args(["--", "--deny", "warnings"]))
}

fn rust_tests(checkout: &Checkout) -> Result<Outcome, Failure> {
    run(checkout
        .cargo()
        .args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"])
        .args(BUILD)
        .args(["--", "--skip", END_TO_END]))
}

/// The programs as their users run them. Each of these tests gives up on a process that does not end, so the step ends too.
fn end_to_end(checkout: &Checkout) -> Result<Outcome, Failure> {
    run(checkout
        .cargo()
        .args(["test", "--workspace", "--test", "end-to-end", "--no-fail-fast"])
        .args(BUILD)
        .args(["--", END_TO_END]))
}

fn doctests(checkout: &Checkout) -> Result<Outcome, Failure> {
    run(checkout.cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]).args(BUILD))
}

/// Stock SQLCipher opens our files and we open what it has just written. The checked-in files prove the second half everywhere.
fn stock_sqlcipher(checkout: &Checkout) -> Result<Outcome, Failure> {
    if !python::is_here(checkout) {
        return Ok(Outcome::Skipped(NO_PYTHON.to_owned()));
    }
    let python = match python::with(checkout, "stock-sqlcipher", "core/cipher/tests/requirements.txt") {
        Ok(python) => python,
        Err(failure) => return Ok(Outcome::Skipped(format!("no stock SQLCipher to be had ({failure})"))),
    };
    let test = ["test", "--workspace", "--test", "stock"];
    run(checkout.cargo().args(test).args(BUILD).args(["--", "--ignored"]).env("SOTTO_STOCK_PYTHON", python))
}

/// The small independent implementation reads every wire object.
fn vectors(checkout: &Checkout) -> Result<Outcome, Failure> {
    if !python::is_here(checkout) {
        return Ok(Outcome::Skipped(NO_PYTHON.to_owned()));
    }
    let python = python::with(checkout, "vectors", "tests/vectors/requirements.txt")?;
    run(checkout.command(python).arg(VECTORS))
}

/// The library, called from another language over the C interface. The script gets the library's path, and finds the generator of
/// bindings and a relay beside it.
fn ffi_smoke_test(checkout: &Checkout) -> Result<Outcome, Failure> {
    if !python::is_here(checkout) {
        return Ok(Outcome::Skipped(NO_PYTHON.to_owned()));
    }
    run(checkout.cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]).args(BUILD))?;
    let library = format!("ci/{}sotto_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    run(checkout.command("python3").arg(FFI_SMOKE_TEST).arg(checkout.target().join(library)))
}
