//! Packages of the host, by the package manager it has.

mod apt;
mod dnf;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use apt::Apt;
pub use dnf::Dnf;
pub(super) use policy::{POLICY, script};

use super::desired::{DesiredPackage, PackageSource};
use super::error::{Error, Result};
use super::process::Place;
use super::root::Root;

/// Longest that the package manager may take, its wait for others included.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// A package that should be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its name for this host's package manager.
    pub name: String,
    /// The exact version, where one is asked for.
    pub version: Option<String>,
    /// The bundle that wants it.
    pub bundle: String,
}

/// Takes each line that a package manager writes.
pub type Told<'a> = &'a mut dyn FnMut(&str);

/// What is done with packages.
pub trait Packages: Send + Sync {
    /// `apt` or `dnf`.
    fn manager(&self) -> &'static str;
    /// What is installed: version by name.
    fn installed(&self) -> Result<BTreeMap<String, String>>;
    /// As [`Self::installed`], with what is half installed or left its configuration.
    fn present(&self) -> Result<BTreeMap<String, String>> {
        self.installed()
    }
    /// Reads what these sources have; all of the host's when none is given.
    fn refresh(&self, sources: &[PackageSource], told: Told<'_>) -> Result<()>;
    /// Which packages an install would touch; none when that can't be told beforehand.
    fn plan(&self, wanted: &[Wanted]) -> Result<Option<BTreeSet<String>>>;
    /// Keeps at hand what is needed to go back to these versions, as far as it can be had.
    fn keep(&self, versions: &BTreeMap<String, String>, told: Told<'_>);
    /// Installs, downgrades included; never starts services, keeps configuration files that were changed.
    fn install(&self, wanted: &[Wanted], told: Told<'_>) -> Result<()>;
    /// Those of `brought` that nothing else needs; `asked` are those that bundles asked for by name.
    fn unneeded(&self, brought: &BTreeSet<String>, asked: &BTreeSet<String>) -> Result<BTreeSet<String>>;
    /// Takes packages away with their configuration; nothing but these.
    fn remove(&self, names: &BTreeSet<String>, told: Told<'_>) -> Result<()>;
    /// Brings versions back and takes `gone` away, as one.
    fn back(&self, versions: &[Wanted], gone: &BTreeSet<String>, told: Told<'_>) -> Result<()>;
    /// Finishes what was interrupted, after it waited for others that are at work.
    fn settle(&self, told: Told<'_>) -> Result<()>;
}

/// The package manager of a tree; none when it has none that is known here.
pub fn find(root: &Root, place: &Place) -> Result<Option<Box<dyn Packages>>> {
    if root.look("/usr/bin/apt-get")?.is_some() {
        return Ok(Some(Box::new(Apt::new(root.clone(), place.clone()))));
    }
    for path in ["/usr/bin/dnf", "/usr/bin/dnf-3", "/usr/bin/dnf5"] {
        if root.look(path)?.is_some() {
            return Ok(Some(Box::new(Dnf::new(place.clone()))));
        }
    }
    Ok(None)
}

/// The packages of a generation in the names of `manager`.
pub(super) fn wanted<'a>(
    bundles: impl IntoIterator<Item = (&'a str, &'a [DesiredPackage])>,
    manager: &str,
) -> Result<Vec<Wanted>> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for (bundle, packages) in bundles {
        for package in packages {
            let Some(name) = (if manager == "apt" { &package.apt } else { &package.dnf }) else { continue };
            let one =
                Wanted { name: name.clone(), version: package.version.clone(), bundle: bundle.to_owned() };
            match all.get_mut(name) {
                None => drop(all.insert(name.clone(), one)),
                Some(other) if other.version.is_none() => other.version = one.version,
                Some(other) if one.version.is_some() && one.version != other.version => {
                    let said = |one: &Wanted| one.version.clone().unwrap_or_default();
                    let why = format!(
                        "is wanted as {} by {} and as {} by {bundle}",
                        said(other),
                        other.bundle,
                        said(&one)
                    );
                    return Err(Error::refused(format!("package {name}"), why));
                }
                Some(_) => {}
            }
        }
    }
    Ok(all.into_values().collect())
}

/// Whether `installed` is the version asked for: with or without epoch, and for dnf with or without release.
pub(super) fn satisfies(manager: &str, installed: &str, version: &str) -> bool {
    if installed == version {
        return true;
    }
    if manager == "apt" {
        return false;
    }
    let plain = installed.split_once(':').map_or(installed, |(_, rest)| rest);
    plain == version || plain.rsplit_once('-').is_some_and(|(bare, _)| bare == version)
}
