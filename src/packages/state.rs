//! Which package lies in which suite: all that has to be kept beside the packages themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::Name;
use crate::model::Sha256Digest;

/// Whether a package or suite is for apt or for dnf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Debian packages.
    Apt,
    /// RPM packages.
    Dnf,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
        })
    }
}

/// All suites and packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// Suites of Debian packages by name.
    #[serde(default)]
    pub apt: BTreeMap<Name, Suite>,
    /// Suites of RPM packages by name.
    #[serde(default)]
    pub dnf: BTreeMap<Name, Suite>,
    /// Every package that is in a suite.
    #[serde(default)]
    pub packages: BTreeMap<Sha256Digest, Package>,
}

/// A suite, such as `bookworm` or `el9`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Suite {
    /// When it last changed, seconds since 1970; the date of its metadata and signature.
    pub changed: u64,
    /// Architectures for which there is an index even when no package has them. For apt only.
    #[serde(default)]
    pub architectures: BTreeSet<Name>,
    /// The packages of each component.
    #[serde(default)]
    pub components: BTreeMap<Name, BTreeSet<Sha256Digest>>,
}

/// What is known of a package without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Which kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Version: of a Debian package whole, of an RPM `epoch:version-release`, without the epoch when it is 0.
    pub version: String,
    /// Architecture.
    pub architecture: Name,
    /// Bytes.
    pub size: u64,
    /// When it first came, seconds since 1970.
    pub pushed: u64,
}

impl State {
    /// The suites of a kind.
    pub fn suites(&self, kind: Kind) -> &BTreeMap<Name, Suite> {
        match kind {
            Kind::Apt => &self.apt,
            Kind::Dnf => &self.dnf,
        }
    }

    /// The same, to change.
    pub fn suites_mut(&mut self, kind: Kind) -> &mut BTreeMap<Name, Suite> {
        match kind {
            Kind::Apt => &mut self.apt,
            Kind::Dnf => &mut self.dnf,
        }
    }

    /// Every suite with its kind and name.
    pub fn all_suites(&self) -> impl Iterator<Item = (Kind, &Name, &Suite)> {
        [Kind::Apt, Kind::Dnf]
            .into_iter()
            .flat_map(|kind| self.suites(kind).iter().map(move |(name, suite)| (kind, name, suite)))
    }

    /// Forgets packages that are in no suite.
    pub fn tidy(&mut self) {
        let used: BTreeSet<_> = self
            .all_suites()
            .flat_map(|(_, _, suite)| suite.components.values().flatten().copied())
            .collect();
        self.packages.retain(|digest, _| used.contains(digest));
    }
}
