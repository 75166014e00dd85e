//! The files of mirrors on the disk: at most so many bytes, those used least lately go first.
//!
//! `CACHE/data/ab/…` holds bytes, `CACHE/entries/ab/….json` says what they are and is written last: what has no
//! entry does not exist, and is removed when the cache is opened. Functions block, briefly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::Sha256Digest;

/// Bytes of the file system that are left free.
const RESERVED_BYTES: u64 = 256 << 20;
/// A use is written down at most this often; it only orders the files after a restart.
const NOTE_USE: Duration = Duration::from_secs(3600);

/// Names a file: the mirror and its path, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Sha256Digest);

impl Key {
    /// The key of a path below a mirror.
    pub fn new(mirror: &str, path: &str) -> Self {
        Self(Sha256Digest::of(format!("{mirror}\0{path}").as_bytes()))
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of its mirror.
    pub mirror: String,
    /// Its path there.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256Digest,
    /// Upstream's entity tag, as it was sent.
    pub etag: Option<String>,
    /// Upstream's `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
    /// Name of the file below `data`.
    data: String,
}

impl Entry {
    /// An entry that is yet to be kept.
    pub fn new(mirror: &str, path: &str, etag: Option<String>, last_modified: Option<String>) -> Self {
        let (mirror, path, data) = (mirror.to_owned(), path.to_owned(), String::new());
        Self { mirror, path, size: 0, sha256: Sha256Digest([0; 32]), etag, last_modified, data }
    }
}

/// The cache.
pub struct Cache {
    root: PathBuf,
    limit: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Held>,
    order: BTreeMap<u64, Key>,
    bytes: u64,
    turn: u64,
}

struct Held {
    entry: Entry,
    turn: u64,
    noted: Instant,
    checked: Option<Instant>,
}

impl Cache {
    /// Opens the folder for at most `limit` bytes, and clears what broken-off downloads left.
    pub fn open(root: &Path, limit: u64) -> io::Result<Self> {
        let cache = Self { root: root.to_owned(), limit, inner: Mutex::default() };
        match fs::remove_dir_all(root.join("incoming")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in ["incoming", "data", "entries"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut found = Vec::new();
        for path in files(&root.join("entries"))? {
            let read = |path: &Path| -> Option<(SystemTime, Entry)> {
                let used = fs::metadata(path).ok()?.modified().ok()?;
                let entry: Entry = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
                let plain = entry.data.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
                let size = plain.then(|| fs::metadata(cache.data(&entry.data)).ok()).flatten()?.len();
                let own = cache.entry_path(Key::new(&entry.mirror, &entry.path)) == path;
                (own && size == entry.size).then_some((used, entry))
            };
            match read(&path) {
                Some(entry) => found.push(entry),
                None => fs::remove_file(&path)?,
            }
        }
        let kept: HashSet<_> = found.iter().map(|(_, entry)| cache.data(&entry.data)).collect();
        for path in files(&root.join("data"))? {
            if !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        found.sort_by_key(|(used, _)| *used);
        let mut inner = cache.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, entry) in found {
            inner.insert(Key::new(&entry.mirror, &entry.path), entry, None);
        }
        cache.evict(&mut inner, None);
        drop(inner);
        Ok(cache)
    }

    /// Bytes that it may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// What is known of a file, when it was last compared with upstream (since the start), and the file itself, opened.
    pub fn get(&self, key: Key) -> Option<(Entry, Option<Instant>, File)> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = inner.next_turn();
        let held = inner.entries.get_mut(&key)?;
        let before = std::mem::replace(&mut held.turn, turn);
        if held.noted.elapsed() >= NOTE_USE {
            held.noted = Instant::now();
            // Of no consequence when it fails: the order after a restart is a guess then.
            let _ = File::open(self.entry_path(key)).and_then(|file| file.set_modified(SystemTime::now()));
        }
        let (entry, checked) = (held.entry.clone(), held.checked);
        inner.order.remove(&before);
        inner.order.insert(turn, key);
        let opened = File::open(self.data(&entry.data));
        let whole = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() == entry.size);
        if let Some(file) = opened.ok().filter(whole) {
            return Some((entry, checked, file));
        }
        self.drop_entry(&mut inner, key);
        None
    }

    /// Notes that upstream has the same still.
    pub fn confirm(&self, key: Key) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = inner.entries.get_mut(&key) {
            held.checked = Some(Instant::now());
        }
    }

    /// Forgets a file.
    pub fn remove(&self, key: Key) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.drop_entry(&mut inner, key);
    }

    fn free(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// Refuses when a download eats into what is to be left free.
    pub fn check_room(&self) -> io::Result<()> {
        if self.free()? < RESERVED_BYTES { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// A file to download into, if there is room for `size` bytes. It vanishes when it is dropped.
    pub fn incoming(&self, size: u64) -> io::Result<tempfile::NamedTempFile> {
        let wanted = size.saturating_add(RESERVED_BYTES);
        // On a disk that is full of the cache's own files, those make room.
        if self.free()?.saturating_add(self.bytes()) < wanted {
            return Err(io::ErrorKind::StorageFull.into());
        }
        while self.free()? < wanted {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((_, key)) = inner.order.first_key_value().map(|(turn, key)| (*turn, *key)) else {
                return Err(io::ErrorKind::StorageFull.into());
            };
            self.drop_entry(&mut inner, key);
        }
        tempfile::Builder::new().prefix("download-").tempfile_in(self.root.join("incoming"))
    }

    /// Keeps a whole download under its key; other files make room for it.
    pub fn keep(
        &self,
        key: Key,
        mut entry: Entry,
        file: tempfile::NamedTempFile,
        size: u64,
        sha256: Sha256Digest,
    ) -> io::Result<()> {
        file.as_file().sync_all()?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        (entry.size, entry.sha256) = (size, sha256);
        entry.data = format!("{}-{}", key.0, hex::encode(random));
        let (data, path) = (self.data(&entry.data), self.entry_path(key));
        for target in [&data, &path] {
            fs::create_dir_all(target.parent().unwrap_or(&self.root))?;
        }
        file.persist(&data).map_err(|error| error.error)?;
        let written = tempfile::Builder::new()
            .prefix("entry-")
            .tempfile_in(self.root.join("incoming"))
            .and_then(|mut file| {
                serde_json::to_writer(&mut file, &entry)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)
            });
        if let Err(error) = written {
            let _ = fs::remove_file(&data);
            return Err(error);
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = inner.take(key) {
            let _ = fs::remove_file(self.data(&old.data));
        }
        inner.insert(key, entry, Some(Instant::now()));
        self.evict(&mut inner, Some(key));
        Ok(())
    }

    fn evict(&self, inner: &mut Inner, spare: Option<Key>) {
        while inner.bytes > self.limit {
            let next = inner.order.values().find(|key| Some(**key) != spare).copied();
            let Some(key) = next else { break };
            self.drop_entry(inner, key);
        }
    }

    /// Those that read the file still have it open.
    fn drop_entry(&self, inner: &mut Inner, key: Key) {
        if let Some(entry) = inner.take(key) {
            let _ = fs::remove_file(self.entry_path(key));
            let _ = fs::remove_file(self.data(&entry.data));
            tracing::debug!(mirror = entry.mirror, path = entry.path, bytes = entry.size, "left the cache");
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name.get(..2).unwrap_or("xx")).join(name)
    }

    fn entry_path(&self, key: Key) -> PathBuf {
        let name = key.0.to_string();
        self.root.join("entries").join(name.get(..2).unwrap_or("xx")).join(format!("{name}.json"))
    }
}

impl Inner {
    fn next_turn(&mut self) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    fn insert(&mut self, key: Key, entry: Entry, checked: Option<Instant>) {
        let turn = self.next_turn();
        self.bytes = self.bytes.saturating_add(entry.size);
        self.order.insert(turn, key);
        self.entries.insert(key, Held { entry, turn, noted: Instant::now(), checked });
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let held = self.entries.remove(&key)?;
        self.order.remove(&held.turn);
        self.bytes = self.bytes.saturating_sub(held.entry.size);
        Some(held.entry)
    }
}

/// The files two levels below a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for shard in fs::read_dir(folder)? {
        for file in fs::read_dir(shard?.path())? {
            found.push(file?.path());
        }
    }
    Ok(found)
}
