//! All that is served at one moment: metadata in memory, packages by digest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use super::apt::{self, AptError};
use super::deb::Deb;
use super::dnf::{self, DnfError};
use super::names::Name;
use super::repository::Listed;
use super::rpm::Rpm;
use super::sign::SigningKey;
use super::state::{Kind, State, Suite};
use crate::model::Sha256Digest;

/// Changes whose dropped files are served in any case, to those that began before.
const FORMER: usize = 4;
/// So long are dropped files served, as far as they have room.
const FORMER_TIME: Duration = Duration::from_secs(15 * 60);
/// Bytes of dropped metadata that are kept in memory.
const FORMER_BYTES: usize = 256 << 20;

/// Why a snapshot cannot be made.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The metadata for apt.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The metadata for dnf.
    #[error(transparent)]
    Dnf(#[from] DnfError),
}

/// What a package says of itself.
#[derive(Debug, Clone)]
pub enum Details {
    /// A Debian package.
    Deb(Arc<Deb>),
    /// An RPM.
    Rpm(Arc<Rpm>),
}

/// A package as it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Digest.
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
}

/// A file of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its bytes.
    pub bytes: Bytes,
    /// When its suite last changed, seconds since 1970.
    pub changed: u64,
}

/// The files of one suite, or of all; paths are below `/packages/`.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Metadata.
    pub metadata: BTreeMap<String, Text>,
    /// Packages.
    pub packages: BTreeMap<String, Stored>,
}

impl Files {
    fn add(&mut self, root: &str, metadata: BTreeMap<String, Bytes>, changed: u64) {
        let texts = metadata.into_iter();
        self.metadata.extend(texts.map(|(path, bytes)| (format!("{root}/{path}"), Text { bytes, changed })));
    }
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Metadata, its bytes, and whether the path will never hold others.
    Metadata(Text, bool),
    /// A package.
    Package(Stored),
}

/// All that is served at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    state: Arc<State>,
    suites: BTreeMap<(Kind, Name), (Suite, Arc<Files>)>,
    files: Files,
    former: Vec<Arc<Former>>,
}

/// What one change dropped: packages, and metadata whose name is its digest.
#[derive(Debug)]
struct Former {
    dropped: Instant,
    files: Files,
}

/// What every suite needs.
pub struct Context<'a> {
    /// Origin and label of the suites.
    pub origin: &'a str,
    /// Signs.
    pub key: &'a SigningKey,
    /// What each package says of itself.
    pub details: &'a HashMap<Sha256Digest, Details>,
}

impl Snapshot {
    /// Makes the snapshot of a state. Suites that did not change are taken from the snapshot before.
    pub fn build(state: &Arc<State>, before: &Self, context: &Context<'_>) -> Result<Self, SnapshotError> {
        let mut suites = BTreeMap::new();
        let mut files = Files::default();
        let key = Text { bytes: context.key.public_key().to_owned().into(), changed: context.key.created() };
        files.metadata.insert("key.asc".to_owned(), key);
        for (kind, name, suite) in state.all_suites() {
            let id = (kind, name.clone());
            let built = match before.suites.get(&id) {
                Some((same, built)) if same == suite => Arc::clone(built),
                _ => Arc::new(match kind {
                    Kind::Apt => apt_suite(name, suite, state, context)?,
                    Kind::Dnf => dnf_suite(name, suite, state, context)?,
                }),
            };
            files.metadata.extend(built.metadata.iter().map(|(path, text)| (path.clone(), text.clone())));
            files.packages.extend(built.packages.iter().map(|(path, stored)| (path.clone(), *stored)));
            suites.insert(id, (suite.clone(), built));
        }
        let former = before.former_of(&files);
        Ok(Self { state: Arc::clone(state), suites, files, former })
    }

    /// What the next snapshot, of these files, still serves of this one and those before. The newest come first.
    fn former_of(&self, next: &Files) -> Vec<Arc<Former>> {
        let metadata = self.files.metadata.iter();
        let metadata = metadata.filter(|(path, _)| is_immutable(path) && !next.metadata.contains_key(*path));
        let packages = self.files.packages.iter().filter(|(path, _)| !next.packages.contains_key(*path));
        let files = Files {
            metadata: metadata.map(|(path, text)| (path.clone(), text.clone())).collect(),
            packages: packages.map(|(path, stored)| (path.clone(), *stored)).collect(),
        };
        let (mut count, mut bytes) = (0, 0_usize);
        let newest = std::iter::once(Arc::new(Former { dropped: Instant::now(), files }));
        newest
            .chain(self.former.iter().cloned())
            .take_while(|former| {
                count += 1;
                let texts = former.files.metadata.values();
                bytes = texts.fold(bytes, |sum, text| sum.saturating_add(text.bytes.len()));
                count <= FORMER || (former.dropped.elapsed() < FORMER_TIME && bytes <= FORMER_BYTES)
            })
            .collect()
    }

    /// What lies at a path below `/packages/`.
    pub fn find(&self, path: &str) -> Option<Found> {
        let former = self.former.iter().map(|former| &former.files);
        std::iter::once(&self.files).chain(former).find_map(|files| {
            let metadata = files.metadata.get(path);
            let metadata = metadata.map(|text| Found::Metadata(text.clone(), is_immutable(path)));
            metadata.or_else(|| files.packages.get(path).copied().map(Found::Package))
        })
    }

    /// Current metadata by path below `/packages/`.
    pub fn metadata(&self) -> &BTreeMap<String, Text> {
        &self.files.metadata
    }

    /// The packages that must be kept: those of the state, and those served to whoever began with a former snapshot.
    pub fn used(&self) -> HashSet<Sha256Digest> {
        let former = self.former.iter().map(|former| &former.files);
        let served = std::iter::once(&self.files).chain(former).flat_map(|files| files.packages.values());
        served.map(|stored| stored.digest).chain(self.state.packages.keys().copied()).collect()
    }

    /// The same, without what was dropped so long ago that nobody is still at it; `None` when there is no such thing.
    pub fn forgetful(&self) -> Option<Self> {
        let old = |former: &Arc<Former>| former.dropped.elapsed() >= FORMER_TIME;
        if !self.former.iter().any(old) {
            return None;
        }
        let former = self.former.iter().filter(|former| !old(former)).cloned().collect();
        let (state, suites, files) = (Arc::clone(&self.state), self.suites.clone(), self.files.clone());
        Some(Self { state, suites, files, former })
    }

    /// Every suite, with those of its components that have packages.
    pub fn suites(&self) -> impl Iterator<Item = (Kind, &Name, Vec<Name>)> {
        self.state.all_suites().filter_map(|(kind, name, suite)| {
            let full = suite.components.iter().filter(|(_, digests)| !digests.is_empty());
            let components: Vec<Name> = full.map(|(component, _)| component.clone()).collect();
            (!components.is_empty()).then_some((kind, name, components))
        })
    }

    /// Every package and where it is.
    pub fn list(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        for (_, name, suite) in self.state.all_suites() {
            for (component, digests) in &suite.components {
                for digest in digests {
                    if let Some(package) = self.state.packages.get(digest).cloned() {
                        let (suite, component) = (name.clone(), component.clone());
                        all.push(Listed { suite, component, digest: *digest, package });
                    }
                }
            }
        }
        all
    }
}

/// Files whose name is their digest.
fn is_immutable(path: &str) -> bool {
    path.contains("/by-hash/") || (path.contains("/repodata/") && !path.contains("/repodata/repomd.xml"))
}

fn apt_suite(name: &Name, suite: &Suite, state: &State, context: &Context<'_>) -> Result<Files, AptError> {
    let mut files = Files::default();
    let mut components = BTreeMap::new();
    for (component, digests) in &suite.components {
        let mut entries = Vec::new();
        for digest in digests {
            let known = (state.packages.get(digest), context.details.get(digest));
            let (Some(package), Some(Details::Deb(deb))) = known else { continue };
            let stored = Stored { digest: *digest, size: package.size };
            files.packages.insert(format!("apt/{}", apt::pool_path(component, deb)), stored);
            entries.push(apt::Entry { deb, size: package.size, sha256: *digest });
        }
        components.insert(component, entries);
    }
    let suite = apt::Suite {
        name,
        origin: context.origin,
        architectures: &suite.architectures,
        components,
        time: suite.changed,
    };
    let metadata = apt::build(&suite, context.key)?;
    files.add("apt", metadata, suite.time);
    Ok(files)
}

fn dnf_suite(name: &Name, suite: &Suite, state: &State, context: &Context<'_>) -> Result<Files, DnfError> {
    let mut files = Files::default();
    for (component, digests) in &suite.components {
        let root = format!("dnf/{name}/{component}");
        let mut entries = Vec::new();
        for digest in digests {
            let known = (state.packages.get(digest), context.details.get(digest));
            let (Some(package), Some(Details::Rpm(rpm))) = known else { continue };
            let stored = Stored { digest: *digest, size: package.size };
            files.packages.insert(format!("{root}/{}", dnf::package_path(rpm)), stored);
            let (size, pushed) = (package.size, package.pushed);
            entries.push(dnf::Entry { rpm, size, pushed, sha256: *digest });
        }
        let metadata = dnf::build(&entries, suite.changed, context.key)?;
        files.add(&root, metadata, suite.changed);
    }
    Ok(files)
}
