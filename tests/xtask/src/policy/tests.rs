//! Each rule is broken once by a made-up graph, and the real `deny.toml` is one that is understood.

use super::*;

const POLICY: &str = r#"
    [bans]
    multiple-versions = "allow"
    deny = [
        { crate = "openssl", reason = "no" },
        { crate = "sha1@0.10", wrappers = ["tungstenite"], reason = "handshake" },
        { crate = "hmac", deny-multiple-versions = true },
    ]
    [[bans.features]]
    crate = "vodozemac"
    deny = ["insecure-pk-encryption"]
    reason = "no"
    [licenses]
    allow = ["MIT"]
    exceptions = [{ crate = "public", allow = ["blessing"] }]
    [sources]
    unknown-registry = "deny"
    unknown-git = "deny"
    allow-registry = ["https://example.org/index"]
"#;

/// Packages as (name, version), and who depends on whom.
fn graph(packages: &[(&str, &str)], edges: &[(&str, &str)]) -> Graph {
    let id = |name: &str, version: &str| format!("{name} {version}");
    let found = packages.iter().map(|(name, version)| Package {
        id: id(name, version),
        name: (*name).into(),
        version: (*version).into(),
        license: Some("MIT".into()),
        source: None,
    });
    let nodes = packages.iter().map(|(name, version)| Node {
        id: id(name, version),
        dependencies: edges.iter().filter(|(from, _)| from == name).map(|(_, to)| (*to).into()).collect(),
        features: Vec::new(),
    });
    Graph { packages: found.collect(), resolve: Resolve { nodes: nodes.collect() } }
}

fn check(graph: &Graph) -> Vec<String> {
    breaches(&toml::from_str(POLICY).unwrap(), graph)
}

#[test]
fn a_tree_within_the_rules_has_no_breach() {
    let edges = [("tungstenite", "sha1 0.10.7")];
    let packages = [("tungstenite", "0.29.0"), ("sha1", "0.10.7"), ("sha1", "0.11.0"), ("hmac", "0.13.0")];
    assert_eq!(check(&graph(&packages, &edges)), [""; 0]);
}

#[test]
fn a_banned_crate_is_found_with_its_user() {
    let graph = graph(&[("app", "1.0.0"), ("openssl", "0.10.1")], &[("app", "openssl 0.10.1")]);
    assert_eq!(check(&graph), ["openssl 0.10.1 is banned (no), used by: app"]);
}

#[test]
fn an_old_version_is_for_its_wrapper_alone() {
    let packages = [("tungstenite", "0.29.0"), ("app", "1.0.0"), ("sha1", "0.10.7")];
    let graph = graph(&packages, &[("tungstenite", "sha1 0.10.7"), ("app", "sha1 0.10.7")]);
    assert_eq!(check(&graph), ["sha1 0.10.7 is banned (handshake), used by: app"]);
}

#[test]
fn a_version_is_matched_by_whole_numbers() {
    assert_eq!(check(&graph(&[("app", "1.0.0"), ("sha1", "0.100.0")], &[("app", "sha1 0.100.0")])), [""; 0]);
}

#[test]
fn a_second_version_of_a_primitive_is_found() {
    let breaches = check(&graph(&[("hmac", "0.12.1"), ("hmac", "0.13.0")], &[]));
    assert_eq!(breaches, ["hmac is linked more than once: 0.12.1, 0.13.0"]);
}

#[test]
fn a_banned_feature_is_found() {
    let mut graph = graph(&[("vodozemac", "0.11.1")], &[]);
    graph.resolve.nodes[0].features.push("insecure-pk-encryption".into());
    assert_eq!(check(&graph), ["feature insecure-pk-encryption of vodozemac is banned (no)"]);
}

#[test]
fn a_licence_outside_the_list_is_found_and_an_exception_is_for_its_crate() {
    let mut graph = graph(&[("public", "1.0.0"), ("private", "1.0.0"), ("silent", "1.0.0")], &[]);
    graph.packages[0].license = Some("MIT AND blessing".into());
    graph.packages[1].license = Some("MIT AND blessing".into());
    graph.packages[2].license = None;
    let breaches = check(&graph);
    assert_eq!(breaches[0], "private 1.0.0: licence MIT AND blessing is not allowed");
    assert_eq!(breaches[1..], ["silent 1.0.0: licence none stated is not allowed"]);
}

#[test]
fn a_source_outside_the_list_is_found() {
    let mut graph = graph(&[("known", "1.0.0"), ("stranger", "1.0.0")], &[]);
    graph.packages[0].source = Some("registry+https://example.org/index".into());
    graph.packages[1].source = Some("git+https://example.org/stranger".into());
    assert_eq!(check(&graph), ["stranger 1.0.0 comes from elsewhere"]);
}

#[test]
fn a_rule_that_is_not_understood_is_an_error() {
    for (rule, unknown) in [
        (r#"multiple-versions = "allow""#, r#"multiple-versions = "deny""#),
        (r#"unknown-git = "deny""#, r#"unknown-git = "warn""#),
        ("deny-multiple-versions", "deny-several-versions"),
        ("[licenses]", "[licenses]\nunused = true"),
    ] {
        assert!(toml::from_str::<Policy>(&POLICY.replace(rule, unknown)).is_err(), "{unknown}");
    }
}

#[test]
fn this_trees_policy_is_understood() {
    toml::from_str::<Policy>(&Checkout::here().read("deny.toml").unwrap()).unwrap();
}
