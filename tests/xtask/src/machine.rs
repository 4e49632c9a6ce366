//! What a machine needs beside Rust: a C compiler for SQLite, git, and Python for the second implementations.
//!
//! Root on Debian gets it installed; anybody else gets the one line to run. Only a missing compiler stops the work: steps that want
//! Python say themselves that they were skipped.

use crate::checkout::{Checkout, output, run, succeeds};
use crate::step::Failure;

/// A program that must run, and the Debian packages that bring it.
struct Need {
    probe: &'static [&'static str],
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need { probe: &["cc", "--version"], packages: &["gcc", "libc6-dev"] },
    Need { probe: &["git", "--version"], packages: &["git"] },
    Need { probe: &["python3", "-c", "import ensurepip, venv"], packages: &["python3", "python3-venv"] },
];

/// Installs what is missing, or says how.
pub(crate) fn set_up(checkout: &Checkout) -> Result<(), Failure> {
    let missing = missing_packages(checkout);
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get update && apt-get install -y --no-install-recommends {}", missing.join(" "));
    if is_root(checkout) && succeeds(checkout.command("apt-get").arg("--version")) {
        return run(checkout.command("sh").args(["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive")).map(drop);
    }
    println!("Something is missing. On Debian, run:\n    sudo sh -c '{install}'");
    if missing.contains(&"gcc") { Err(Failure("without a C compiler nothing can be built".into())) } else { Ok(()) }
}

fn missing_packages(checkout: &Checkout) -> Vec<&'static str> {
    let missing = NEEDS.iter().filter(|need| !succeeds(checkout.command(need.probe[0]).args(&need.probe[1..])));
    missing.flat_map(|need| need.packages).copied().collect()
}

fn is_root(checkout: &Checkout) -> bool {
    output(checkout.command("id").arg("-u")).is_ok_and(|user| user.trim() == "0")
}
