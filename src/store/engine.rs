//! sled, made durable.
//!
//! sled 0.34's `flush` is not durable by itself: on Linux it ends in `sync_file_range`, which neither commits
//! file metadata nor flushes the drive's cache (sled issues 1351 and 1452), and it never syncs the blob files
//! that hold large pages. Its recovery, for its part, passes over a large page whose file is missing and takes the
//! rest of that batch. So, held to it by the power-cut test (`tests/power_cut.rs`):
//!
//! - a commit applies its batch, syncs the new blob files and their folder, only then lets sled write the end of the
//!   batch, without which recovery drops all of it, and last syncs the database's file;
//! - opening syncs all there is, before sled reads it and after it has recovered;
//! - nobody reads through sled during a commit: a reader finishes splits of pages, and so writes to sled's log.
//!
//! Nor does it free what it no longer needs as fast as a busy writer makes it: it leaves the pages before a change to
//! crossbeam-epoch, which looks at eight bags of them every 128th time that somebody asks for a page or a batch. A
//! commit of hundreds of changes is one such time, and the memory grows by tens of KiB a change; so a commit frees, too.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codec::{self, SCHEMA, SCHEMA_KEY};
use super::{EventQuery, StoreError};
use crate::model::inventory::Inventory;
use crate::model::{Change, Event, NodeId, Timestamp, World};

/// Events kept; the oldest go first.
const EVENTS_KEPT: u64 = 1_000_000;
/// Events beyond that before any is removed, and removed in one commit at most.
const EVENTS_TRIMMED: u64 = 1_000;
/// sled's page cache, bytes. The records are in memory anyway; this one serves events.
const PAGE_CACHE: u64 = 64 << 20;
/// Events read at most by one query.
const EVENTS_READ: usize = 10_000;
/// Events read before a commit gets its turn.
const EVENTS_AT_ONCE: usize = 256;

pub struct Engine {
    db: sled::Db,
    path: PathBuf,
    file: File,
    blobs: HashSet<OsString>,
    oldest_event: u64,
    turn: Turn,
}

/// Whose turn with sled it is: the writer's or a reader's; and whether anybody has read since the last commit.
type Turn = Arc<Mutex<bool>>;

fn take(turn: &Turn) -> MutexGuard<'_, bool> {
    // It guards nothing that a panic could leave half done.
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads past events beside the writer.
#[derive(Clone)]
pub struct Reader {
    db: sled::Db,
    turn: Turn,
}

impl Engine {
    /// Opens or makes the database in the folder `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |action| move |error: std::io::Error| io_error(action, path, &error);
        std::fs::create_dir_all(path).map_err(io("make"))?;
        // What a process that was killed had written, and the system not yet.
        sync_tree(path)?;
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(PAGE_CACHE)
            // The writer flushes; a second flusher would only take its turns from it.
            .flush_every_ms(None)
            .open()
            .map_err(|error| open_error(path, error))?;
        let file = File::open(path.join("db")).map_err(io("open the file in"))?;
        let mut engine = Self {
            db,
            path: path.to_owned(),
            file,
            blobs: HashSet::new(),
            oldest_event: 0,
            turn: Turn::default(),
        };
        engine.check_schema()?;
        engine.db.flush().map_err(|error| database(&error))?;
        sync_tree(path)?;
        engine.sync_new_blobs()?;
        Ok(engine)
    }

    fn check_schema(&mut self) -> Result<(), StoreError> {
        if let Some(value) = self.db.get(SCHEMA_KEY).map_err(|error| database(&error))? {
            let found: u32 = codec::decode(SCHEMA_KEY, &value)?;
            // There has been no schema before 1 to migrate from.
            if found > SCHEMA { Err(StoreError::Newer { found, known: SCHEMA }) } else { Ok(()) }
        } else {
            let value = SCHEMA.to_string().into_bytes();
            self.db.insert(SCHEMA_KEY, value).map(drop).map_err(|error| database(&error))
        }
    }

    /// Reads every record.
    pub fn load(&mut self) -> Result<World, StoreError> {
        let mut world = World::default();
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(|error| database(&error))?;
            if let Some(change) = codec::read(&key, &value)? {
                world.apply(&change);
            }
        }
        let mut events = self.db.scan_prefix([codec::EVENT]).keys();
        let seq = |key: Option<sled::Result<sled::IVec>>| {
            key.transpose()
                .map_err(|error| database(&error))
                .map(|key| key.and_then(|key| codec::seq_of(&key)))
        };
        if let Some(oldest) = seq(events.next())? {
            let newest = seq(events.next_back())?.unwrap_or(oldest);
            self.oldest_event = oldest;
            let key = codec::event_key(newest);
            let value = self.db.get(&key).map_err(|error| database(&error))?.unwrap_or_default();
            world.apply(&Change::Append(codec::read_event(&key, &value)?));
        }
        Ok(world)
    }

    pub fn reader(&self) -> Reader {
        Reader { db: self.db.clone(), turn: Arc::clone(&self.turn) }
    }

    /// Writes `changes` as one atomic batch and makes them durable: after this returns, they survive a power cut.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        let mut newest = None;
        for change in changes {
            if let Change::Append(event) = change {
                newest = Some(event.seq);
            }
            for (key, value) in codec::writes(change)? {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
        }
        if let Some(newest) = newest {
            self.trim_events(newest, &mut batch)?;
        }
        let turn = Arc::clone(&self.turn);
        let mut read = take(&turn);
        // What readers made sled write is no part of the batch.
        if std::mem::take(&mut *read) {
            self.sync_new_blobs()?;
        }
        self.db.apply_batch(batch).map_err(|error| database(&error))?;
        self.sync_new_blobs()?;
        self.db.flush().map_err(|error| database(&error))?;
        self.file.sync_all().map_err(|error| io_error("sync", &self.path, &error))?;
        drop(read);
        free_old_pages(changes.len());
        Ok(())
    }

    fn trim_events(&mut self, newest: u64, batch: &mut sled::Batch) -> Result<(), StoreError> {
        if newest.saturating_sub(self.oldest_event) < EVENTS_KEPT + EVENTS_TRIMMED {
            return Ok(());
        }
        let until = self.oldest_event + EVENTS_TRIMMED;
        for entry in self.db.range(codec::event_key(self.oldest_event)..codec::event_key(until)) {
            let (key, value) = entry.map_err(|error| database(&error))?;
            let event = codec::read_event(&key, &value)?;
            if let Some(node) = event.node {
                batch.remove(codec::timeline_key(node, event.seq));
            }
            batch.remove(key);
        }
        self.oldest_event = until;
        Ok(())
    }

    fn sync_new_blobs(&mut self) -> Result<(), StoreError> {
        let folder = self.path.join("blobs");
        let io = |error: std::io::Error| io_error("sync the blob files in", &folder, &error);
        let mut present = HashSet::new();
        let mut grown = false;
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            if !self.blobs.contains(&entry.file_name()) {
                grown = true;
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all().map_err(io)?,
                    // sled removed it in the meantime: nothing refers to it any more.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(io(error)),
                }
            }
            present.insert(entry.file_name());
        }
        if grown {
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        self.blobs = present;
        Ok(())
    }
}

impl Reader {
    /// The events that `query` asks for, of those before number `end`: what lies behind is not durable yet.
    pub fn events(&self, query: &EventQuery, end: u64) -> Result<Vec<Event>, StoreError> {
        let limit = query.limit.min(EVENTS_READ);
        let first = query.after.map_or(0, |after| after.saturating_add(1));
        if first >= end {
            return Ok(Vec::new());
        }
        let keys = match query.node {
            Some(node) => codec::timeline_key(node, first)..codec::timeline_key(node, end),
            None => codec::event_key(first)..codec::event_key(end),
        };
        let mut turn = take(&self.turn);
        *turn = true;
        let range = self.db.range(keys).keys();
        let keys: Vec<_> = if query.after.is_some() {
            range.take(limit).collect::<Result<_, _>>()
        } else {
            range.rev().take(limit).collect::<Result<Vec<_>, _>>().map(|mut keys| {
                keys.reverse();
                keys
            })
        }
        .map_err(|error| database(&error))?;
        drop(turn);
        let mut events = Vec::with_capacity(keys.len());
        // A few at a time, so that a long answer keeps no commit waiting.
        for keys in keys.chunks(EVENTS_AT_ONCE) {
            let mut turn = take(&self.turn);
            *turn = true;
            for seq in keys.iter().filter_map(|key| codec::seq_of(key)) {
                let key = codec::event_key(seq);
                // Trimmed between the two reads: gone is gone.
                if let Some(value) = self.db.get(&key).map_err(|error| database(&error))? {
                    events.push(codec::read_event(&key, &value)?);
                }
            }
        }
        Ok(events)
    }

    /// What a node told then of what it is made of.
    pub fn inventory(&self, node: NodeId, at: Timestamp) -> Result<Option<Inventory>, StoreError> {
        let key = codec::inventory_key(node, at);
        let mut turn = take(&self.turn);
        *turn = true;
        let value = self.db.get(&key).map_err(|error| database(&error))?;
        drop(turn);
        value.map(|value| codec::decode(&key, &value)).transpose()
    }
}

/// Frees what sled left after so many changes: each leaves a few objects, and a step frees up to 512 of them, of what all readers
/// have left behind two steps ago.
fn free_old_pages(changes: usize) {
    for _ in 0..changes / 64 + 3 {
        crossbeam_epoch::pin().flush();
    }
}

/// Syncs every file below `folder` and the folders themselves, parent included.
fn sync_tree(folder: &Path) -> Result<(), StoreError> {
    let io = |error: std::io::Error| io_error("sync", folder, &error);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path()).and_then(|file| file.sync_all()).map_err(io)?;
        }
    }
    let parent = folder.parent().unwrap_or(folder);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(io)
}

fn io_error(action: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), cause: error.to_string() }
}

fn database(error: &sled::Error) -> StoreError {
    StoreError::Database(error.to_string())
}

fn open_error(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            StoreError::Locked(path.to_owned())
        }
        sled::Error::Io(io) => io_error("open", path, &io),
        other => database(&other),
    }
}
