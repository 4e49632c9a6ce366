//! Makes the fixture of this tree anew: `cargo xtask fixtures`.

use std::path::PathBuf;
use std::process::ExitCode;

use sotto_compatibility::{UNRELEASED, make};

fn main() -> ExitCode {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(UNRELEASED);
    let made = sotto_entropy::on_seeded_thread(1, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.map_err(|error| error.to_string())?.block_on(make::make(&folder)).map_err(|error| error.to_string())
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no fixture was made: {error}");
            ExitCode::FAILURE
        }
    }
}
