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

/// The crates of the workspace's build, each with the features that are on.
fn linked() -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs where it ran this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let nodes = metadata["resolve"]["nodes"].as_array().expect("a build has crates");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let node = |node: &serde_json::Value| {
        let features = node["features"].as_array().map(|features| features.iter().map(text).collect());
        (text(&node["id"]), features.unwrap_or_default())
    };
    nodes.iter().map(node).collect()
}

fn features_of(linked: &[(String, Vec<String>)], name: &str) -> Vec<Vec<String>> {
    let is_it = |id: &str| id.rsplit('#').next().is_some_and(|tail| tail.split('@').next() == Some(name));
    linked.iter().filter(|(id, _)| is_it(id)).map(|(_, features)| features.clone()).collect()
}

#[test]
fn no_crate_of_the_workspace_switches_on_what_vodozemac_calls_insecure_or_experimental() {
    // Once. No `insecure-pk-encryption`, no `low-level-api`, no `experimental-session-config`, no `libolm-compat`.
    assert_eq!(features_of(&linked(), "vodozemac"), [["precomputed-tables"]]);
}

#[test]
fn primitives_that_hold_keys_erase_them_when_dropped() {
    let linked = linked();
    for name in ["aes", "cbc", "chacha20", "chacha20poly1305", "curve25519-dalek", "ed25519-dalek", "x25519-dalek"]
        .into_iter()
        .chain(["hmac", "sha2", "ml-kem", "x-wing"])
    {
        let found = features_of(&linked, name);
        assert!(!found.is_empty(), "{name} is not linked");
        assert!(found.iter().flatten().any(|feature| feature == "zeroize"), "{name}: {found:?}");
    }
}
