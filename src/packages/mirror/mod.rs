//! Mirrors of distributions that keep what nodes fetch: packages for ever, indexes until upstream has newer ones, and
//! everything when upstream is away.
//!
//! [`path`] says what may be asked for and how long it holds; [`upstream`] asks; [`flight`] lets many read along;
//! [`download`] writes it down and checks it against what [`known`] learnt; [`cache`] keeps it.

pub mod cache;
pub mod config;
pub mod download;
pub mod flight;
pub mod known;
pub mod path;
pub mod upstream;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;

use super::body::{About, seconds};
use super::names::Name;
use cache::{Cache, Entry, Key};
pub use config::{MirrorConfig, MirrorError, Settings};
use flight::{Progress, Stream};
use known::Digests;
use path::{Class, class, plain};
use upstream::{Base, Client, UpstreamError};

/// Downloads at once, of all mirrors; more wait.
const DOWNLOADS: usize = 16;
/// Downloads that run or wait; more are refused.
const WAITING: usize = 512;
/// After upstream did not answer, it is left alone so long; meanwhile what is in the cache is served.
const AWAY: Duration = Duration::from_secs(15);

/// What is served.
pub enum Served {
    /// A file of the cache.
    File {
        /// The file.
        file: tokio::fs::File,
        /// Its bytes.
        size: u64,
        /// What the headers say.
        about: About,
        /// `hit`, `miss`, `revalidated` or `stale`.
        how: &'static str,
    },
    /// A download that is on its way.
    Stream(Stream),
}

/// All mirrors and their cache.
#[derive(Clone)]
pub struct Mirrors(Arc<Shared>);

/// What downloads share.
struct Shared {
    mirrors: BTreeMap<Name, Base>,
    settings: Settings,
    client: Client,
    cache: Cache,
    flights: Mutex<HashMap<Key, watch::Receiver<Progress>>>,
    slots: Semaphore,
    away: Mutex<HashMap<Name, (Instant, String)>>,
    digests: Mutex<HashMap<Name, Digests>>,
    learnt: Mutex<HashSet<Key>>,
}

/// A file that is asked for.
#[derive(Clone)]
struct Wanted {
    mirror: Name,
    path: String,
    key: Key,
    class: Class,
}

impl Mirrors {
    /// Opens the mirrors with their cache at `folder`. Blocks while it reads the folder.
    pub fn open(mirrors: &[MirrorConfig], settings: Settings, folder: &Path) -> Result<Self, MirrorError> {
        let cache =
            Cache::open(folder, settings.cache_bytes).map_err(|error| MirrorError::Cache(Arc::new(error)))?;
        let mut bases = BTreeMap::new();
        for mirror in mirrors {
            let base = Base::parse(&mirror.url, &mirror.redirect_hosts)
                .map_err(|error| MirrorError::Upstream(error.to_string()))?;
            if bases.insert(mirror.name.clone(), base).is_some() {
                return Err(MirrorError::Twice(mirror.name.clone()));
            }
        }
        Ok(Self(Arc::new(Shared {
            mirrors: bases,
            client: Client::new(settings.ca_file.clone()),
            settings,
            cache,
            flights: Mutex::default(),
            slots: Semaphore::new(DOWNLOADS),
            away: Mutex::default(),
            digests: Mutex::default(),
            learnt: Mutex::default(),
        })))
    }

    /// Bytes in the cache.
    pub fn cached_bytes(&self) -> u64 {
        self.0.cache.bytes()
    }

    /// Forgets a file, so that it is fetched anew.
    pub fn forget(&self, mirror: &Name, path: &str) {
        self.0.cache.remove(Key::new(mirror.as_str(), path));
    }

    /// The file at a (decoded) path below a mirror: from the cache, or from upstream.
    pub async fn get(&self, mirror: &Name, path: &str) -> Result<Served, MirrorError> {
        if !self.0.mirrors.contains_key(mirror) {
            return Err(MirrorError::Unknown(mirror.clone()));
        }
        if !plain(path) {
            return Err(MirrorError::Path);
        }
        let wanted = Wanted {
            mirror: mirror.clone(),
            path: path.to_owned(),
            key: Key::new(mirror.as_str(), path),
            class: class(path),
        };
        let held = match self.0.held(&wanted).await? {
            Some((true, served)) => return Ok(served),
            Some((false, served)) => Some(served),
            None => None,
        };
        let had = held.is_some();
        if let Some(reason) = self.0.is_away(mirror) {
            return held.map(stale).ok_or(MirrorError::Away(reason));
        }
        let patience = tokio::time::Instant::now() + self.0.settings.patience;
        let mut progress = self.join(&wanted)?;
        loop {
            let now = progress.borrow_and_update().clone();
            match now {
                // One that has an older version waits: it can be had when the new one fails.
                Progress::Coming { head, file, .. } if !had => {
                    return Ok(Served::Stream(Stream::new(head, file, progress)));
                }
                Progress::Done { .. } => {
                    let how = if had { "revalidated" } else { "miss" };
                    let served = self.0.open(&wanted, how).await?;
                    return served.map(|(served, ..)| served).ok_or(MirrorError::Busy);
                }
                Progress::Failed(error @ MirrorError::Missing(_)) => return Err(error),
                Progress::Failed(error) => return held.map(stale).ok_or(error),
                Progress::Asking | Progress::Coming { .. } => {}
            }
            let changed = if had {
                timeout_at(patience, progress.changed()).await.is_ok_and(|changed| changed.is_ok())
            } else {
                progress.changed().await.is_ok()
            };
            if !changed {
                return held.map(stale).ok_or(MirrorError::Busy);
            }
        }
    }

    /// Joins the download of a file, or begins it.
    fn join(&self, wanted: &Wanted) -> Result<watch::Receiver<Progress>, MirrorError> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = flights.get(&wanted.key) {
            return Ok(progress.clone());
        }
        if flights.len() >= WAITING {
            return Err(MirrorError::Busy);
        }
        let (sender, receiver) = watch::channel(Progress::Asking);
        flights.insert(wanted.key, receiver.clone());
        tokio::spawn(download::run(Arc::clone(&self.0), wanted.clone(), sender));
        Ok(receiver)
    }
}

fn stale(served: Served) -> Served {
    match served {
        Served::File { file, size, about, .. } => Served::File { file, size, about, how: "stale" },
        stream @ Served::Stream(_) => stream,
    }
}

impl Shared {
    /// The file of the cache, and whether it needs no look at upstream.
    async fn held(self: &Arc<Self>, wanted: &Wanted) -> Result<Option<(bool, Served)>, MirrorError> {
        let Some((served, entry, checked)) = self.open(wanted, "hit").await? else { return Ok(None) };
        self.learn(wanted);
        let current = match wanted.class {
            Class::Immutable(_) => self.known(wanted).is_none_or(|known| known.sha256 == entry.sha256),
            Class::Mutable => checked.is_some_and(|checked| checked.elapsed() < self.settings.fresh),
        };
        Ok(Some((current, served)))
    }

    /// Opens the file of the cache.
    async fn open(
        self: &Arc<Self>,
        wanted: &Wanted,
        how: &'static str,
    ) -> Result<Option<(Served, Entry, Option<Instant>)>, MirrorError> {
        let (shared, key) = (Arc::clone(self), wanted.key);
        let got = tokio::task::spawn_blocking(move || shared.cache.get(key)).await;
        let got = got.map_err(|error| MirrorError::Cache(Arc::new(io::Error::other(error))))?;
        let Some((entry, checked, file)) = got else { return Ok(None) };
        let about = About {
            etag: entry.sha256.to_string(),
            modified: entry.last_modified.as_deref().and_then(seconds),
            immutable: matches!(wanted.class, Class::Immutable(_)),
            media: "application/octet-stream",
        };
        let (file, size) = (tokio::fs::File::from_std(file), entry.size);
        Ok(Some((Served::File { file, size, about, how }, entry, checked)))
    }

    /// What an index, or the path itself, says of a file.
    fn known(&self, wanted: &Wanted) -> Option<known::Known> {
        if let Class::Immutable(Some(sha256)) = wanted.class {
            return Some(known::Known { size: None, sha256 });
        }
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.get(&wanted.mirror).and_then(|digests| digests.get(&wanted.path))
    }

    /// Learns from an index of the cache, once since the start or since it changed.
    fn learn(self: &Arc<Self>, wanted: &Wanted) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if !known::is_index(&wanted.path) || !learnt.insert(wanted.key) {
            return;
        }
        if learnt.len() > 10_000 {
            learnt.clear();
        }
        let (shared, wanted) = (Arc::clone(self), wanted.clone());
        tokio::task::spawn_blocking(move || {
            let Some((_, _, file)) = shared.cache.get(wanted.key) else { return };
            match known::learn(&wanted.path, file) {
                Ok(found) => {
                    let mut digests = shared.digests.lock().unwrap_or_else(PoisonError::into_inner);
                    digests.entry(wanted.mirror).or_default().extend(found);
                }
                Err(error) => {
                    tracing::info!(mirror = %wanted.mirror, path = wanted.path, %error, "index not read");
                }
            }
        });
    }

    fn is_away(&self, mirror: &Name) -> Option<String> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.get(mirror).filter(|(since, _)| since.elapsed() < AWAY).map(|(_, reason)| reason.clone())
    }

    fn note_away(&self, mirror: &Name, error: &UpstreamError) -> MirrorError {
        let reason = error.to_string();
        match error {
            UpstreamError::Connect { .. } | UpstreamError::Slow { .. } | UpstreamError::Http { .. } => {
                let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
                away.insert(mirror.clone(), (Instant::now(), reason.clone()));
                tracing::warn!(%mirror, reason, "upstream is away; the cache is served");
                MirrorError::Away(reason)
            }
            _ => MirrorError::Upstream(reason),
        }
    }
}
