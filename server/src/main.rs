//! The binary: everything is in the library, so that other programs can run a relay too.

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_relay::shell::run(std::env::args_os())
}
