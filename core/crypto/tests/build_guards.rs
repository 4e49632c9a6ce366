//! How this crate may be built: what must not compile, and which features its dependencies must not have.

use std::path::Path;
use std::process::Command;

const GUARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fuzzing_guard.rs");

/// Compiles the guard alone, as `arguments` say.
fn compiles(arguments: &[&str]) -> bool {
    let out = tempfolder();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--crate-type", "lib", "--edition", "2024", "--emit", "metadata", "--out-dir"])
        .arg(&out)
        .args(arguments)
        .arg(GUARD)
        .output()
        .expect("rustc runs where cargo ran it");
    let refusal = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || refusal.contains("cfg(fuzzing) switches authentication off"), "{refusal}");
    output.status.success()
}

fn tempfolder() -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzzing_guard")
}

#[test]
fn a_release_build_that_sees_cfg_fuzzing_does_not_compile() {
    let release = ["-C", "debug-assertions=off", "-C", "opt-level=3"];
    assert!(compiles(&release));
    assert!(compiles(&["--cfg", "fuzzing", "-C", "debug-assertions=on"]));
    assert!(!compiles(&[release.as_slice(), &["--cfg", "fuzzing"]].concat()));
}

#[test]
fn no_crate_of_the_workspace_switches_on_what_vodozemac_calls_insecure_or_experimental() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs where it ran this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let vodozemac: Vec<_> = nodes.iter().filter(|node| node["id"].as_str().unwrap().contains("#vodozemac@")).collect();
    let [vodozemac] = vodozemac.as_slice() else { panic!("vodozemac is linked {} times", vodozemac.len()) };
    // No `insecure-pk-encryption`, no `low-level-api`, no `experimental-session-config`, no `libolm-compat`.
    assert_eq!(vodozemac["features"], serde_json::json!(["precomputed-tables"]));
}
