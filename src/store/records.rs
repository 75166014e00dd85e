//! Records as they are: those that were committed lately, over those in the database.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sled::IVec;

use super::StoreError;
use super::codec::Write;
use super::database::{Database, Turn, database, take};

/// Writes by their keys, the newest of each.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What was committed and does not lie in the database, or not whole.
#[derive(Debug, Default)]
struct Pending {
    /// Since the files took turns.
    newer: Writes,
    /// What is being taken over.
    older: Arc<Writes>,
}

/// Reads records, and keeps those that are pending. Shared by all who do.
#[derive(Clone)]
pub struct Records {
    db: sled::Db,
    turn: Turn,
    pending: Arc<Mutex<Pending>>,
}

impl Records {
    /// Those of a database that holds all there are.
    pub fn of(database: &Database) -> Self {
        let (db, turn) = database.reader();
        Self { db, turn, pending: Arc::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // No step leaves it half done.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are durable now.
    pub fn add(&self, writes: Vec<Write>) {
        self.pending().newer.extend(writes);
    }

    /// What is pending, which is taken over from now on; until [`Self::taken_over`] no more may be.
    pub fn take_over(&self) -> Arc<Writes> {
        let mut pending = self.pending();
        pending.older = Arc::new(std::mem::take(&mut pending.newer));
        Arc::clone(&pending.older)
    }

    /// The database has them.
    pub fn taken_over(&self) {
        self.pending().older = Arc::default();
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let pending = self.pending();
        // Looked at before the database: what is taken over in between is in both.
        let newest = pending.newer.get(key).or_else(|| pending.older.get(key)).cloned();
        drop(pending);
        match newest {
            Some(value) => Ok(value.map(IVec::from)),
            None => self.in_turn(|db| db.get(key)),
        }
    }

    /// The last record from `first` to `last`, both included; one that was removed but lately may be found.
    ///
    /// # Errors
    /// When the database fails.
    pub fn last(&self, first: &[u8], last: &[u8]) -> Result<Option<(IVec, IVec)>, StoreError> {
        let range = (Bound::Included(first), Bound::Included(last));
        let pending = self.pending();
        let last_of = |writes: &Writes| {
            let there = writes.range::<[u8], _>(range).rev();
            let mut there =
                there.filter_map(|(key, value)| Some((key.as_slice().into(), value.as_deref()?.into())));
            there.next()
        };
        // Where both have it, the newer one counts.
        let lately: [Option<(IVec, IVec)>; 2] = [last_of(&pending.older), last_of(&pending.newer)];
        drop(pending);
        let lying = self.in_turn(|db| db.range::<&[u8], _>(range).next_back().transpose())?;
        Ok([lying].into_iter().chain(lately).flatten().max_by(|(one, _), (other, _)| one.cmp(other)))
    }

    /// The records from `first` to before `end`, by key.
    ///
    /// # Errors
    /// When the database fails.
    pub fn range(&self, first: &[u8], end: &[u8]) -> Result<BTreeMap<IVec, IVec>, StoreError> {
        let range = (Bound::Included(first), Bound::Excluded(end));
        let pending = self.pending();
        let lately: Vec<Write> = [pending.older.as_ref(), &pending.newer]
            .into_iter()
            .flat_map(|writes| writes.range::<[u8], _>(range))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        drop(pending);
        let mut records: BTreeMap<IVec, IVec> = self.in_turn(|db| db.range::<&[u8], _>(range).collect())?;
        for (key, value) in lately {
            match value {
                Some(value) => drop(records.insert(key.into(), value.into())),
                None => drop(records.remove(key.as_slice())),
            }
        }
        Ok(records)
    }

    fn in_turn<T>(&self, read: impl FnOnce(&sled::Db) -> Result<T, sled::Error>) -> Result<T, StoreError> {
        let _own = take(&self.turn);
        read(&self.db).map_err(|error| database(&error))
    }
}
