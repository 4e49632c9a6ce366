//! Python for the checks that want a second implementation: one virtual environment per list of packages, kept under target/.
//!
//! Versions are pinned in the lists. An environment is made again when its list has changed.

use std::fs;
use std::path::PathBuf;

use crate::checkout::{Checkout, run, succeeds};
use crate::step::Failure;

/// Whether there is a Python that can make environments.
pub(crate) fn is_here(checkout: &Checkout) -> bool {
    succeeds(checkout.command("python3").args(["-c", "import ensurepip, venv"]))
}

/// The interpreter of an environment that has what `requirements` asks for, made now if need be.
pub(crate) fn with(checkout: &Checkout, name: &str, requirements: &str) -> Result<PathBuf, Failure> {
    let home = checkout.target().join("python").join(name);
    let python = home.join("bin/python");
    let made_for = home.join("made-for.txt");
    let wanted = checkout.read(requirements)?;
    if fs::read_to_string(&made_for).is_ok_and(|had| had == wanted) && python.exists() {
        return Ok(python);
    }
    run(checkout.command("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
    run(checkout.command(&python).args(pip).arg(checkout.path(requirements)))?;
    fs::write(&made_for, wanted).map_err(|error| Failure(format!("{}: {error}", made_for.display())))?;
    Ok(python)
}
