//! What a machine needs beside Rust: a C compiler for SQLite, git, and Python for the second implementations.
//!
//! Root on Debian gets it installed; anybody else gets the one line to run. Only a missing compiler stops the work: steps that want
//! Python say themselves that they were skipped.

use crate::checkout::{Checkout, output, run, succeeds};
use crate::step::Failure;

/// A program that must run, and the Debian packages that bring it.
pub(crate) struct Need {
    pub(crate) probe: &'static [&'static str],
    pub(crate) packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need { probe: &["cc", "--version"], packages: &["gcc", "libc6-dev"] },
    Need { probe: &["git", "--version"], packages: &["git"] },
    Need { probe: &["python3", "-c", "import ensurepip, venv"], packages: &["python3", "python3-venv"] },
];

/// Installs what the tests want, or says how.
pub(crate) fn set_up(checkout: &Checkout) -> Result<(), Failure> {
    let missing = ask_for(checkout, NEEDS)?;
    if missing.contains(&"gcc") { Err(Failure("without a C compiler nothing can be built".into())) } else { Ok(()) }
}

/// Installs all of these; without them the chore is not done.
pub(crate) fn install(checkout: &Checkout, needs: &[Need]) -> Result<(), Failure> {
    let missing = ask_for(checkout, needs)?;
    if missing.is_empty() { Ok(()) } else { Err(Failure(format!("missing: {}", missing.join(" ")))) }
}

/// Installs what is missing where that is possible, else prints the line that does it and returns what is missing.
fn ask_for(checkout: &Checkout, needs: &[Need]) -> Result<Vec<&'static str>, Failure> {
    let missing = missing_packages(checkout, needs);
    if missing.is_empty() {
        return Ok(missing);
    }
    let install = format!("apt-get update && apt-get install -y --no-install-recommends {}", missing.join(" "));
    if is_root(checkout) && succeeds(checkout.command("apt-get").arg("--version")) {
        // A server that is installed to be measured must not start by itself.
        let mut command = checkout.command("sh");
        command.args(["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        run(&mut command)?;
        return Ok(Vec::new());
    }
    println!("Something is missing. On Debian, run:\n    sudo sh -c '{install}'");
    Ok(missing)
}

fn missing_packages(checkout: &Checkout, needs: &[Need]) -> Vec<&'static str> {
    let missing = needs.iter().filter(|need| !succeeds(checkout.command(need.probe[0]).args(&need.probe[1..])));
    missing.flat_map(|need| need.packages).copied().collect()
}

fn is_root(checkout: &Checkout) -> bool {
    output(checkout.command("id").arg("-u")).is_ok_and(|user| user.trim() == "0")
}
