//! Pushes packages into suites and takes them out; each change is a new snapshot, switched to at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::backing::Backing;
use super::names::Name;
use super::opened::{hashed, look};
use super::placing::{check, component_mut, suite_mut};
use super::repository_error::{RepositoryError, failed};
use super::sign::SigningKey;
use super::snapshot::{Context, Details, Snapshot};
use super::state::{Kind, Package, State, Suite};
use crate::model::Sha256Digest;

/// Packages of all suites. Metadata lies in memory and is written anew with each push.
const PACKAGES: usize = 20_000;

/// A package and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its suite.
    pub suite: Name,
    /// Its component.
    pub component: Name,
    /// Its digest.
    pub digest: Sha256Digest,
    /// What it is.
    pub package: Package,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The package.
    pub listed: Listed,
    /// Whether anything changed; not when it was there already.
    pub new: bool,
}

/// The repositories. Functions block; call them from a blocking thread.
pub struct Repository {
    backing: Arc<dyn Backing>,
    key: SigningKey,
    origin: String,
    current: ArcSwap<Snapshot>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: Arc<State>,
    details: HashMap<Sha256Digest, Details>,
}

impl Repository {
    /// Opens the repositories of a state. A package that is missing or broken is left out, with a warning.
    pub fn open(
        backing: Arc<dyn Backing>,
        state: State,
        key: SigningKey,
        origin: &str,
    ) -> Result<Self, RepositoryError> {
        let (state, mut details) = (Arc::new(state), HashMap::new());
        for (digest, package) in &state.packages {
            let path = backing.path(*digest);
            let read =
                File::open(&path).map_err(failed("open a package")).and_then(|mut file| look(&mut file));
            match read {
                Ok((found, _)) => {
                    details.insert(*digest, found);
                }
                Err(error) => {
                    let name = &package.name;
                    tracing::warn!(%digest, name, %error, "package left out of the repositories");
                }
            }
        }
        let context = Context { origin, key: &key, details: &details };
        let snapshot = Snapshot::build(&state, &Snapshot::default(), &context)?;
        let (current, inner) = (ArcSwap::from_pointee(snapshot), Mutex::new(Inner { state, details }));
        Ok(Self { backing, key, origin: origin.to_owned(), current, inner })
    }

    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Where packages lie.
    pub fn backing(&self) -> &Arc<dyn Backing> {
        &self.backing
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes sure that a suite is served, with these architectures and components even when empty. For dnf the
    /// architectures have no meaning.
    pub fn declare(
        &self,
        kind: Kind,
        suite: &Name,
        architectures: &[Name],
        components: &[Name],
        now: u64,
    ) -> Result<(), RepositoryError> {
        self.change(now, |state, _| {
            let suite = suite_mut(state, kind, suite)?;
            let mut changed = false;
            for name in architectures {
                changed |= suite.architectures.insert(name.clone());
            }
            for name in components {
                changed |= !suite.components.contains_key(name);
                component_mut(suite, name)?;
            }
            Ok((changed.then_some(suite), ()))
        })
    }

    /// Takes a package into a suite's component; both are made when they are new. `now` is in seconds since 1970.
    pub fn push(
        &self,
        file: &Path,
        suite: &Name,
        component: &Name,
        now: u64,
    ) -> Result<Pushed, RepositoryError> {
        let pushed = self.push_all(&[file], suite, component, now)?;
        pushed.into_iter().next().ok_or(RepositoryError::Unknown)
    }

    /// The same for many packages of one kind in one change: all of them, or none. Much faster than one by one.
    pub fn push_all(
        &self,
        files: &[&Path],
        suite: &Name,
        component: &Name,
        now: u64,
    ) -> Result<Vec<Pushed>, RepositoryError> {
        let mut opened = Vec::new();
        for path in files {
            let mut file = File::open(path).map_err(failed("open the package"))?;
            let (digest, size) = hashed(&mut file)?;
            let (details, package) = look(&mut file)?;
            let package = Package { size, pushed: now, ..package };
            let (suite, component) = (suite.clone(), component.clone());
            opened.push((Listed { suite, component, digest, package }, details, *path));
        }
        let Some(kind) = opened.first().map(|(listed, ..)| listed.package.kind) else {
            return Ok(Vec::new());
        };
        if opened.iter().any(|(listed, ..)| listed.package.kind != kind) {
            return Err(RepositoryError::Mixed);
        }
        self.change(now, |state, all| {
            let mut pushed = Vec::new();
            for (listed, details, path) in opened {
                let new = self.take(state, all, &listed, details, path)?;
                pushed.push(Pushed { listed, new });
            }
            let changed = pushed.iter().any(|pushed| pushed.new);
            Ok((state.suites_mut(kind).get_mut(suite).filter(|_| changed), pushed))
        })
    }

    /// Takes one package into the state, and its bytes into the backing. Returns whether it is new there.
    fn take(
        &self,
        state: &mut State,
        all: &mut HashMap<Sha256Digest, Details>,
        listed: &Listed,
        details: Details,
        path: &Path,
    ) -> Result<bool, RepositoryError> {
        check(state, listed)?;
        let (digest, package) = (listed.digest, &listed.package);
        if state.packages.len() >= PACKAGES && !state.packages.contains_key(&digest) {
            return Err(RepositoryError::Full(format!("{PACKAGES} packages")));
        }
        let suite = suite_mut(state, package.kind, &listed.suite)?;
        let digests = component_mut(suite, &listed.component)?;
        if digests.contains(&digest) && all.contains_key(&digest) {
            return Ok(false);
        }
        let mut file = File::open(path).map_err(failed("open the package"))?;
        self.backing.put(&mut file, digest).map_err(failed("keep the package"))?;
        digests.insert(digest);
        state.packages.entry(digest).or_insert_with(|| package.clone());
        all.insert(digest, details);
        Ok(true)
    }

    /// The same for a package in memory.
    pub fn push_bytes(
        &self,
        bytes: &[u8],
        suite: &Name,
        component: &Name,
        now: u64,
    ) -> Result<Pushed, RepositoryError> {
        let mut file = tempfile::NamedTempFile::new().map_err(failed("make a temporary file"))?;
        file.write_all(bytes).map_err(failed("write a temporary file"))?;
        self.push(file.path(), suite, component, now)
    }

    /// Takes a package out of a suite's component. The suite and the component stay, be they empty.
    pub fn remove(
        &self,
        kind: Kind,
        suite: &Name,
        component: &Name,
        digest: Sha256Digest,
        now: u64,
    ) -> Result<(), RepositoryError> {
        self.change(now, |state, _| {
            let found = state.suites_mut(kind).get_mut(suite);
            let removed = found.filter(|suite| suite.components.contains_key(component));
            let missing =
                || RepositoryError::NotFound(format!("{kind} {suite}/{component} has no package {digest}"));
            let suite = removed.ok_or_else(missing)?;
            if !component_mut(suite, component)?.remove(&digest) {
                return Err(missing());
            }
            Ok((Some(suite), ()))
        })
    }

    /// Every package and where it is, as it is served now: a push that is on its way is not waited for.
    pub fn list(&self) -> Vec<Listed> {
        self.snapshot().list()
    }

    /// Deletes the files of packages that were removed, once nobody can be at them any more, and what a crash left.
    /// Returns how many files, and their bytes.
    pub fn collect_garbage(&self) -> Result<(usize, u64), RepositoryError> {
        // Meanwhile no push has files that are in no snapshot yet.
        let _inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = self.snapshot().forgetful() {
            self.current.store(Arc::new(snapshot));
        }
        let used = self.snapshot().used();
        self.backing.sweep(&|digest| used.contains(&digest)).map_err(failed("delete what was removed"))
    }

    /// Makes one change: to a copy of the state, which is kept and served when all went well. `edit` returns the suite
    /// that changed.
    fn change<T>(
        &self,
        now: u64,
        edit: impl for<'s> FnOnce(
            &'s mut State,
            &mut HashMap<Sha256Digest, Details>,
        ) -> Result<(Option<&'s mut Suite>, T), RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&inner.state);
        let (changed, result) = edit(&mut state, &mut inner.details)?;
        let Some(suite) = changed else { return Ok(result) };
        // apt refuses metadata that is older than what it has, and such from more than ten seconds ahead. So time does
        // not go back, except after the clock was put right.
        suite.changed = if suite.changed > now.saturating_add(10) { now } else { now.max(suite.changed) };
        state.tidy();
        let (before, state) = (self.snapshot(), Arc::new(state));
        let context = Context { origin: &self.origin, key: &self.key, details: &inner.details };
        let snapshot = Snapshot::build(&state, &before, &context)?;
        self.backing.save(&state).map_err(failed("keep the repositories' state"))?;
        self.current.store(Arc::new(snapshot));
        inner.details.retain(|digest, _| state.packages.contains_key(digest));
        inner.state = state;
        Ok(result)
    }
}
