//! The rules that everything keeps which a node gets: the appliance looks at them when a bundle is pushed and rendered, and the
//! node again before it touches anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Component, Path};

use super::desired::{
    DesiredBundle, DesiredFile, DesiredPackage, HealthCheck, PackageSource, Playbook, Probe,
};
use super::problem::shown;
use super::words;
use crate::model::BundleRef;

/// Bundles of one node.
const BUNDLES: usize = 128;
/// Files of one node.
const FILES: usize = 8192;
/// Packages, units or checks of one bundle.
const ENTRIES: usize = 1024;
/// Playbooks of one bundle.
const PLAYBOOKS: usize = 16;
/// Longest time that anything may be given, seconds.
const LONGEST: u32 = 3600;

/// A rule that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Broken {
    /// The bundle at fault; empty: all of them together.
    pub bundle: String,
    /// The value at fault.
    pub what: String,
    /// The rule.
    pub why: String,
}

fn broken<T>(bundle: &str, what: impl Display, why: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { bundle: bundle.to_owned(), what: what.to_string(), why: why.into() })
}

/// Looks at all that one node gets.
///
/// # Errors
/// The first rule that is not kept.
pub fn check(bundles: &[DesiredBundle], sources: &[PackageSource]) -> Result<(), Broken> {
    few("", bundles.len(), BUNDLES, "bundles")?;
    few("", bundles.iter().map(|bundle| bundle.files.len()).sum(), FILES, "files")?;
    let mut names = BTreeSet::new();
    for bundle in bundles {
        let said = bundle.bundle.as_str();
        let Ok(BundleRef { name, .. }) = said.parse() else {
            return broken("", format!("bundle {}", shown(said)), "is no name@version");
        };
        if names.contains(&name) {
            return broken(said, format!("bundle {name}"), "is there twice");
        }
        names.insert(name);
        one(bundle)?;
    }
    for source in sources {
        let name = &source.name;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if name.is_empty() || name.len() > 100 || name.starts_with(['-', '.']) || !name.bytes().all(plain) {
            return broken(
                "",
                format!("package source {}", shown(name)),
                "has letters, digits and . _ - only",
            );
        }
    }
    for manager in ["apt", "dnf"] {
        apart(bundles, sources, manager)?;
        versions(bundles, manager)?;
    }
    Ok(())
}

/// Where a package source and its key lie.
pub fn source_paths(source: &PackageSource) -> [String; 2] {
    let name = &source.name;
    let list = match source.manager.as_str() {
        "apt" => format!("/etc/apt/sources.list.d/{name}.sources"),
        _ => format!("/etc/yum.repos.d/{name}.repo"),
    };
    [format!("/etc/firstlight/keys/{name}.asc"), list]
}

/// Whether a name is that of a unit that can be restarted.
pub fn is_unit(name: &str) -> bool {
    words::unit(name).is_ok() && !words::is_unit_template(name)
}

/// Looks at what a check looks at.
///
/// # Errors
/// What is wrong with it.
pub fn probe(probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Command(argv) => words::argv(argv),
        Probe::Tcp(address) => words::address(address),
        Probe::Http { url, .. } => words::url(url),
        Probe::Unit(unit) => words::unit(unit),
    }
}

/// Looks at a command line that may be none.
///
/// # Errors
/// What is wrong with it.
pub fn hook(argv: &[String]) -> Result<(), String> {
    if argv.is_empty() { Ok(()) } else { words::argv(argv) }
}

fn few(bundle: &str, count: usize, most: usize, what: &str) -> Result<(), Broken> {
    if count <= most {
        Ok(())
    } else {
        broken(bundle, format!("{count} {what}"), format!("are more than {most}"))
    }
}

fn one(bundle: &DesiredBundle) -> Result<(), Broken> {
    let said = bundle.bundle.as_str();
    few(said, bundle.packages.len(), ENTRIES, "packages")?;
    few(said, bundle.units.len(), ENTRIES, "units")?;
    few(said, bundle.health.len(), ENTRIES, "checks")?;
    few(said, bundle.ansible.len(), PLAYBOOKS, "playbooks")?;
    let right = |what: String, checked: Result<(), String>| checked.or_else(|why| broken(said, what, why));
    for DesiredPackage { apt, dnf, version } in &bundle.packages {
        for name in apt.iter().chain(dnf) {
            right(format!("package {}", shown(name)), words::package(name))?;
        }
        if let Some(version) = version {
            right(format!("package version {}", shown(version)), words::package_version(version))?;
        }
    }
    for unit in &bundle.units {
        right(format!("unit {}", shown(&unit.name)), words::unit(&unit.name))?;
    }
    for check in &bundle.health {
        let HealthCheck { name, probe, timeout_seconds, within_seconds, interval_seconds } = check;
        let what = || format!("check {}", shown(name));
        if *timeout_seconds == 0 || *timeout_seconds.max(within_seconds).max(interval_seconds) > LONGEST {
            return broken(
                said,
                what(),
                format!("needs a timeout from 1 s on, and no time above {LONGEST} s"),
            );
        }
        right(what(), self::probe(probe))?;
    }
    let hooks = &bundle.hooks;
    for (name, argv) in [
        ("prepare", &hooks.prepare),
        ("after", &hooks.after),
        ("stop", &hooks.stop),
        ("drain", &hooks.drain),
        ("leave", &hooks.leave),
    ] {
        right(format!("hook {name}"), hook(argv))?;
    }
    for file in &bundle.files {
        right(format!("file {}", shown(&file.path)), self::file(file))?;
    }
    bundle
        .ansible
        .iter()
        .try_for_each(|one| right(format!("playbook {}", shown(&one.playbook)), playbook(one)))
}

fn file(file: &DesiredFile) -> Result<(), String> {
    words::path(&file.path)?;
    words::mode(&file.mode)?;
    words::account(&file.owner)?;
    words::account(&file.group)?;
    file.restart.iter().chain(&file.reload).try_for_each(|unit| words::unit(unit))
}

fn playbook(playbook: &Playbook) -> Result<(), String> {
    if playbook.files.len() > FILES {
        return Err(format!("{FILES} files are the most"));
    }
    for path in playbook.files.iter().map(|(path, _)| path).chain([&playbook.playbook]) {
        let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let bounded = (1..=1024).contains(&path.len());
        if !normal || !bounded || path.starts_with('-') || path.contains(char::is_control) {
            return Err(format!(
                "its file '{}' must be a plain relative path that starts with no '-'",
                shown(path)
            ));
        }
    }
    if playbook.files.iter().any(|(path, _)| *path == playbook.playbook) {
        Ok(())
    } else {
        Err("it is not among its files".into())
    }
}

/// No path twice, none below another, the package sources of `manager` included.
fn apart(bundles: &[DesiredBundle], sources: &[PackageSource], manager: &str) -> Result<(), Broken> {
    let ours: Vec<String> =
        sources.iter().filter(|source| source.manager == manager).flat_map(source_paths).collect();
    let mut paths: BTreeMap<&str, &str> = ours.iter().map(|path| (path.as_str(), "the appliance")).collect();
    for bundle in bundles {
        for file in &bundle.files {
            if let Some(other) = paths.insert(&file.path, &bundle.bundle) {
                let both = format!("is brought by both {other} and {}", bundle.bundle);
                return broken(&bundle.bundle, format!("file {}", file.path), both);
            }
        }
    }
    for (path, bundle) in &paths {
        let mut above = Path::new(path).parent();
        while let Some(folder) = above {
            if let Some(other) = folder.to_str().and_then(|folder| paths.get(folder)) {
                let why = format!("lies below {}, which is a file of {other}", folder.display());
                return broken(bundle, format!("file {path}"), why);
            }
            above = folder.parent();
        }
    }
    Ok(())
}

/// No package in two versions.
fn versions(bundles: &[DesiredBundle], manager: &str) -> Result<(), Broken> {
    let mut all: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for bundle in bundles {
        for package in &bundle.packages {
            let name = if manager == "apt" { &package.apt } else { &package.dnf };
            let (Some(name), Some(version)) = (name, &package.version) else { continue };
            if let Some((other, by)) = all.insert(name, (version, &bundle.bundle))
                && other != version
            {
                let why = format!("is wanted as {other} by {by} and as {version} by {}", bundle.bundle);
                return broken(&bundle.bundle, format!("package {name}"), why);
            }
        }
    }
    Ok(())
}
