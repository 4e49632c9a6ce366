//! `deny.toml`, held against the dependencies that cargo resolved: bans, single versions, features, licences, sources.
//!
//! The file is cargo-deny's, which takes longer to build than this takes to read. What is not understood here is an error, so a rule
//! in the file is a rule that is checked.
//! Not here: known vulnerabilities; their list would have to be fetched.

mod licence;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::checkout::{Checkout, output, run, succeeds};
use crate::step::{Failure, Outcome};

/// Checks every rule, by our own reading and, where it is installed, by cargo-deny's.
pub(crate) fn holds(checkout: &Checkout) -> Result<Outcome, Failure> {
    let policy =
        toml::from_str(&checkout.read("deny.toml")?).map_err(|error| Failure(format!("deny.toml: {error}")))?;
    let metadata = output(checkout.cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let graph = serde_json::from_str(&metadata).map_err(|error| Failure(format!("cargo metadata: {error}")))?;
    let breaches = breaches(&policy, &graph);
    breaches.iter().for_each(|breach| println!("{breach}"));
    if !breaches.is_empty() {
        return Err(Failure(format!("{} breaches of deny.toml", breaches.len())));
    }
    if succeeds(checkout.cargo().args(["deny", "--version"])) {
        return run(checkout.cargo().args(["deny", "check", "bans", "licenses", "sources"]));
    }
    Ok(Outcome::Passed)
}

/// `deny.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    bans: Bans,
    licenses: Licences,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Allow,
    deny: Vec<Ban>,
    #[serde(default)]
    features: Vec<FeatureBan>,
}

/// The general rule for several versions; stricter ones are written per crate.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Allow {
    Allow,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deny {
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Ban {
    /// `name`, or `name@1.2` for the versions that begin so.
    #[serde(rename = "crate")]
    subject: String,
    #[serde(default)]
    reason: String,
    /// Crates that may depend on it all the same.
    #[serde(default)]
    wrappers: Vec<String>,
    /// Not banned, but only one version of it.
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureBan {
    #[serde(rename = "crate")]
    name: String,
    deny: Vec<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licences {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<LicenceException>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceException {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    #[serde(rename = "unknown-registry")]
    _unknown_registry: Deny,
    #[serde(rename = "unknown-git")]
    _unknown_git: Deny,
    allow_registry: Vec<String>,
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
    features: Vec<String>,
}

fn breaches(policy: &Policy, graph: &Graph) -> Vec<String> {
    let checks = [banned(policy, graph), repeated(policy, graph), banned_features(policy, graph)];
    let of_packages = [unlicensed(policy, graph), from_elsewhere(policy, graph)];
    checks.into_iter().chain(of_packages).flatten().collect()
}

fn banned(policy: &Policy, graph: &Graph) -> Vec<String> {
    let names = graph.packages.iter().map(|package| (&package.id, &package.name)).collect::<BTreeMap<_, _>>();
    let mut breaches = Vec::new();
    for ban in policy.bans.deny.iter().filter(|ban| !ban.deny_multiple_versions) {
        for package in graph.packages.iter().filter(|package| ban.covers(package)) {
            let users = graph.resolve.nodes.iter().filter(|node| node.dependencies.contains(&package.id));
            let users = users.map(|node| names[&node.id].as_str()).collect::<BTreeSet<_>>();
            let strangers = users.iter().copied().filter(|user| !ban.wrappers.iter().any(|wrapper| wrapper == user));
            let strangers = strangers.collect::<Vec<_>>();
            if ban.wrappers.is_empty() || !strangers.is_empty() {
                let by = strangers.join(", ");
                breaches
                    .push(format!("{} {} is banned ({}), used by: {by}", package.name, package.version, ban.reason));
            }
        }
    }
    breaches
}

fn repeated(policy: &Policy, graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for ban in policy.bans.deny.iter().filter(|ban| ban.deny_multiple_versions) {
        let versions =
            graph.packages.iter().filter(|package| ban.covers(package)).map(|package| package.version.as_str());
        let versions = versions.collect::<Vec<_>>();
        if versions.len() > 1 {
            breaches.push(format!("{} is linked more than once: {}", ban.subject, versions.join(", ")));
        }
    }
    breaches
}

fn banned_features(policy: &Policy, graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for ban in &policy.bans.features {
        let ids = graph.packages.iter().filter(|package| package.name == ban.name).map(|package| &package.id);
        let ids = ids.collect::<BTreeSet<_>>();
        let enabled = graph.resolve.nodes.iter().filter(|node| ids.contains(&node.id)).flat_map(|node| &node.features);
        for feature in enabled.filter(|feature| ban.deny.contains(feature)) {
            breaches.push(format!("feature {feature} of {} is banned ({})", ban.name, ban.reason));
        }
    }
    breaches
}

fn unlicensed(policy: &Policy, graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in &graph.packages {
        let exceptions = policy.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
        let allowed = policy.licenses.allow.iter().chain(exceptions.flat_map(|exception| &exception.allow));
        let allowed = allowed.map(String::as_str).collect::<BTreeSet<_>>();
        let expression = package.license.as_deref().unwrap_or("none stated");
        if !licence::is_granted(expression, &allowed) {
            breaches.push(format!("{} {}: licence {expression} is not allowed", package.name, package.version));
        }
    }
    breaches
}

fn from_elsewhere(policy: &Policy, graph: &Graph) -> Vec<String> {
    let is_known =
        |source: &str| policy.sources.allow_registry.iter().any(|known| source == format!("registry+{known}"));
    // No source: a member of this workspace.
    let strangers =
        graph.packages.iter().filter(|package| package.source.as_deref().is_some_and(|source| !is_known(source)));
    strangers.map(|package| format!("{} {} comes from elsewhere", package.name, package.version)).collect()
}

impl Ban {
    fn covers(&self, package: &Package) -> bool {
        match self.subject.split_once('@') {
            None => self.subject == package.name,
            Some((name, start)) => {
                let rest = package.version.strip_prefix(start);
                name == package.name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
    }
}

#[cfg(test)]
mod tests;
