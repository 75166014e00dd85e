//! sled, made durable.
//!
//! sled 0.34's `flush` is not durable by itself: on Linux it ends in `sync_file_range`, which neither commits
//! file metadata nor flushes the drive's cache (sled issues 1351 and 1452), and it never syncs the blob files
//! that hold large pages. Its recovery, for its part, passes over a large page whose file is missing and takes the
//! rest of that batch. So, held to it by the power-cut test (`tests/power_cut.rs`):
//!
//! - a batch is applied, the new blob files and their folder are synced, only then sled is let write the end of the
//!   batch, without which recovery drops all of it, and last the database's file is synced;
//! - opening syncs all there is, before sled reads it and after it has recovered;
//! - nobody reads through sled while a batch is written: a reader finishes splits of pages, and so writes to sled's log.
//!
//! Nor does it free what it no longer needs as fast as a busy writer makes it: it leaves the pages before a change to
//! crossbeam-epoch, which looks at eight bags of them every 128th time that somebody asks for a page or a batch. A
//! batch of hundreds of changes is one such time, and the memory grows by tens of KiB a change; so a batch frees, too.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sled::IVec;

use super::StoreError;
use super::codec::{self, MOVING, Put, SCHEMA, SCHEMA_KEY};
use super::leaves;

/// sled's page cache, bytes. The records are in memory anyway; this one serves events, and leaves that are about to change.
const PAGE_CACHE: u64 = 64 << 20;
/// Records that are moved at once when the state of an older Firstlight is opened.
const GATHERED: usize = 2048;

pub struct Database {
    db: sled::Db,
    path: PathBuf,
    file: File,
    blobs: HashSet<OsString>,
    turn: Turn,
}

/// Whose turn with sled it is: the writer's or a reader's.
pub type Turn = Arc<Mutex<()>>;

pub fn take(turn: &Turn) -> MutexGuard<'_, ()> {
    // It guards nothing that a panic could leave half done.
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
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
        let mut opened =
            Self { db, path: path.to_owned(), file, blobs: HashSet::new(), turn: Turn::default() };
        opened.check_schema()?;
        opened.db.flush().map_err(|error| database(&error))?;
        sync_tree(path)?;
        opened.sync_new_blobs()?;
        Ok(opened)
    }

    fn check_schema(&mut self) -> Result<(), StoreError> {
        let failed = |error| database(&error);
        let found = self.db.get(SCHEMA_KEY).map_err(failed)?;
        let found: u32 = found.map_or(Ok(0), |value| codec::decode(SCHEMA_KEY, &value))?;
        if found > SCHEMA {
            return Err(StoreError::Newer { found, known: SCHEMA });
        }
        if found < SCHEMA {
            // The number first: should this be cut off, no older Firstlight opens what it would see half of.
            self.write(&[(MOVING, Some(&[])), (SCHEMA_KEY, Some(SCHEMA.to_string().as_bytes()))])?;
        }
        if !self.db.contains_key(MOVING).map_err(failed)? {
            return Ok(());
        }
        // Before 2, each node's timeline was written down too; before 4, each record lay alone.
        for key in self.db.scan_prefix([codec::TIMELINE]).keys() {
            key.and_then(|key| self.db.remove(key)).map_err(failed)?;
        }
        self.gather()?;
        self.write(&[(MOVING, None)])
    }

    /// Moves records that lie alone into leaves. Where it is cut off, each is in one place or the other.
    fn gather(&mut self) -> Result<(), StoreError> {
        let mut from = Vec::new();
        loop {
            let alone = self
                .db
                .range(from..)
                .filter(|record| record.as_ref().map_or(true, |(key, _)| leaves::lies_in_one(key)));
            let alone: Vec<(IVec, IVec)> =
                alone.take(GATHERED).collect::<Result<_, _>>().map_err(|error| database(&error))?;
            let Some((last, _)) = alone.last() else { return Ok(()) };
            from = last.to_vec();
            let writes: Vec<Put<'_>> =
                alone.iter().map(|(key, value)| (key.as_ref(), Some(value.as_ref()))).collect();
            self.replace(&writes, alone.iter().map(|(key, _)| key))?;
        }
    }

    /// Tells of every record, those in leaves by their keys.
    pub fn each(
        &self,
        mut told: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(|error| database(&error))?;
            match leaves::records(&key, &value) {
                Some(records) => records?.into_iter().try_for_each(|(key, value)| told(key, value))?,
                None => told(&key, &value)?,
            }
        }
        Ok(())
    }

    /// For those who read beside [`Self::write`].
    pub fn reader(&self) -> (sled::Db, Turn) {
        (self.db.clone(), Arc::clone(&self.turn))
    }

    /// Writes all, which are in the order of their keys, as one atomic batch and makes it durable: after this returns, it survives
    /// a power cut.
    pub fn write(&mut self, writes: &[Put<'_>]) -> Result<(), StoreError> {
        self.replace(writes, std::iter::empty())
    }

    /// The same, and removes what lies below the keys `gone`.
    fn replace<'k>(
        &mut self,
        writes: &[Put<'_>],
        gone: impl Iterator<Item = &'k IVec>,
    ) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.turn);
        let own = take(&turn);
        let (together, alone): (Vec<Put<'_>>, Vec<Put<'_>>) =
            writes.iter().partition(|(key, _)| leaves::lies_in_one(key));
        let leaves = leaves::merge(&self.db, &together)?;
        // What sled wrote because of what was read, here or by others, is no part of the batch.
        self.sync_new_blobs()?;
        let (mut batch, mut count) = (sled::Batch::default(), 0);
        let leaves = leaves.into_iter().map(|(key, value)| (IVec::from(key), value.map(IVec::from)));
        let alone = alone.into_iter().map(|(key, value)| (IVec::from(key), value.map(IVec::from)));
        for (key, value) in gone.map(|key| (key.clone(), None)).chain(leaves).chain(alone) {
            count += 1;
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|error| database(&error))?;
        self.sync_new_blobs()?;
        self.db.flush().map_err(|error| database(&error))?;
        self.file.sync_all().map_err(|error| io_error("sync", &self.path, &error))?;
        drop(own);
        free_old_pages(count);
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

/// Frees what sled left after so many changes: each leaves a few objects, and a step frees up to 512 of them, of what all readers
/// have left behind two steps ago.
fn free_old_pages(changes: usize) {
    for _ in 0..changes / 64 + 3 {
        crossbeam_epoch::pin().flush();
    }
}

/// Makes it last which files are in `folder`.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error("sync", folder, &error))
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
    sync_folder(folder)?;
    sync_folder(folder.parent().unwrap_or(folder))
}

pub fn io_error(action: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), cause: error.to_string() }
}

pub fn database(error: &sled::Error) -> StoreError {
    StoreError::Database(error.to_string())
}

pub fn open_error(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            StoreError::Locked(path.to_owned())
        }
        sled::Error::Io(io) => io_error("open", path, &io),
        other => database(&other),
    }
}
