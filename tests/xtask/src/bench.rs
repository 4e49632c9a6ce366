//! `cargo xtask bench` and `bench-peers`: measure the budgets on this machine and write the numbers into their page.

use crate::checkout::{Checkout, run};
use crate::machine::{self, Need};
use crate::step::Failure;

const PAGE: &str = "docs/benchmarks.md";

/// The servers that the relay is held against, as Debian has them.
const PEERS: &[Need] = &[
    Need {
        probe: &["dpkg-query", "--show", "ejabberd", "erlang-p1-sqlite3"],
        packages: &["ejabberd", "erlang-p1-sqlite3"],
    },
    Need { probe: &["nats-server", "--version"], packages: &["nats-server"] },
];

/// What people write, as Debian has it: sayings, and others' translated or collected in nine languages.
const TEXTS: &[Need] = &[
    Need { probe: &["dpkg-query", "--show", "fortunes", "fortunes-min"], packages: &["fortunes", "fortunes-min"] },
    Need { probe: &["dpkg-query", "--show", "fortunes-br", "fortunes-es"], packages: &["fortunes-br", "fortunes-es"] },
    Need { probe: &["dpkg-query", "--show", "fortunes-cs", "fortunes-pl"], packages: &["fortunes-cs", "fortunes-pl"] },
    Need { probe: &["dpkg-query", "--show", "fortunes-de", "fortunes-it"], packages: &["fortunes-de", "fortunes-it"] },
    Need { probe: &["dpkg-query", "--show", "fortunes-ru", "fortunes-zh"], packages: &["fortunes-ru", "fortunes-zh"] },
];

/// `cargo xtask bench-peers`
pub(crate) fn bench_peers(checkout: &Checkout, wanted: &[String]) -> Result<(), Failure> {
    machine::install(checkout, PEERS)?;
    let mut command = checkout.cargo();
    command.args(["run", "--locked", "--release", "--package", "sotto-bench", "--", "peers"]).args(wanted);
    if wanted.is_empty() {
        command.arg("--write").arg(checkout.path(PAGE));
    }
    run(&mut command).map(drop)
}

/// Optimised as it ships, but for the minutes that linking everything as one would take. Some of the measurements alone when they are
/// named, and the page is left as it is then.
pub(crate) fn bench(checkout: &Checkout, wanted: &[String]) -> Result<(), Failure> {
    if wanted.is_empty() || wanted.iter().any(|name| ["open", "screens", "search", "memory"].contains(&name.as_str())) {
        machine::install(checkout, TEXTS)?;
    }
    let mut command = checkout.cargo();
    command.args(["run", "--locked", "--release", "--package", "sotto-bench", "--"]).args(wanted);
    if wanted.is_empty() {
        command.arg("--write").arg(checkout.path(PAGE));
    }
    run(&mut command).map(drop)
}
