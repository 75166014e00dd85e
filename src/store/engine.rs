//! What a commit goes through, and what a start reads: the journals before the database.

use std::path::Path;
use std::sync::MutexGuard;

use super::StoreError;
use super::checkpoint::{Checkpointer, replay};
use super::codec::{self, Put};
use super::database::{Database, io_error, sync_folder};
use super::journal::{self, Journal};
use super::past::{self, Reader};
use super::records::{Records, Writes};
use crate::model::{Change, Event, World};

pub struct Engine {
    journal: Journal,
    checkpointer: Checkpointer,
    records: Records,
    past: past::Shared,
}

impl Engine {
    /// Opens or makes the state in the folder `path`, with journals of so many bytes where they are made anew, and reads it.
    pub fn open(path: &Path, journal: u64) -> Result<(Self, World), StoreError> {
        let mut database = Database::open(&path.join("db"))?;
        let folder = path.join("journal");
        std::fs::create_dir_all(&folder).map_err(|error| io_error("make", &folder, &error))?;
        let mut journals = Vec::new();
        for name in ["0", "1"] {
            journals.push(Journal::open(&folder.join(name), journal)?);
        }
        sync_folder(path)?;
        // The older first.
        journals.sort_by_key(|(journal, _)| journal.order());
        let newest = journals.last().map_or(0, |(journal, _)| journal.order());
        let (mut journals, commits): (Vec<_>, Vec<_>) = journals.into_iter().unzip();
        replay(&mut database, commits.into_iter().flatten())?;
        // The older first, too: were the newer one forgotten and the older one not, it would be replayed alone after a power cut.
        for (journal, order) in journals.iter_mut().zip(newest + 1..) {
            journal.begin(order)?;
        }
        let (Some(spare), Some(first)) = (journals.pop(), journals.pop()) else {
            unreachable!("two were opened");
        };
        let past = past::Shared::default();
        let world = load(&database, &past)?;
        let records = Records::of(&database);
        let checkpointer = Checkpointer::start(database, records.clone(), spare, path)?;
        Ok((Self { journal: first, checkpointer, records, past }, world))
    }

    pub fn reader(&self) -> Reader {
        Reader { records: self.records.clone(), past: self.past.clone() }
    }

    /// Makes `changes` durable, all or none: after this returns, they survive a power cut.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let events: Vec<&Event> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Append(event) => Some(event),
                _ => None,
            })
            .collect();
        let mut writes = past::writes(&events)?;
        for change in changes {
            writes.extend(codec::writes(change)?);
        }
        writes.extend(past::lock(&self.past).add(&self.records, &events)?);
        self.checkpointer.check()?;
        let payload = journal::encode(&writes);
        if !self.journal.could_hold(payload.len()) {
            // The journals are empty then: what they held before it must not be replayed after it.
            let all: Writes = writes.into_iter().collect();
            let all: Vec<Put<'_>> =
                all.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
            return self.settle()?.write(&all);
        }
        if !self.journal.has_room(payload.len()) {
            self.take_turns()?;
        }
        self.journal.append(&payload)?;
        self.records.add(writes);
        Ok(())
    }

    /// The database, once it has everything.
    pub fn settle(&mut self) -> Result<MutexGuard<'_, Database>, StoreError> {
        if !self.journal.is_empty() {
            self.take_turns()?;
        }
        self.checkpointer.settled()
    }

    fn take_turns(&mut self) -> Result<(), StoreError> {
        self.checkpointer.exchange(&mut self.journal)
    }
}

/// Reads every record.
fn load(database: &Database, past: &past::Shared) -> Result<World, StoreError> {
    let mut world = World::default();
    let mut past = past::lock(past);
    database.each(|key, value| {
        if key.first() == Some(&codec::EVENT) {
            past.learn(key, value).inspect(|newest| world.count_events(*newest));
        } else if let Some(change) = codec::read(key, value)? {
            world.apply(&change);
        }
        Ok(())
    })?;
    Ok(world)
}
