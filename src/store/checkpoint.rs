//! Takes over into the database what stands in a journal (a checkpoint), beside the writer, and gives the file back for what comes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::StoreError;
use super::codec::{Put, Write};
use super::database::{Database, io_error};
use super::journal::Journal;
use super::records::{Records, Writes};

/// Writes that the database gets as one batch: a reader waits for one of them.
const CHUNK: usize = 2048;
/// Above the process's own (nice(2)): who waits for a commit goes first. When both files are full, he waits for this.
const NICE: i32 = 10;

/// Takes journals over, one at a time.
pub struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Mutex<Database>,
    records: Records,
    desk: Mutex<Desk>,
    changed: Condvar,
}

/// Where the writer and the checkpointer hand files to each other.
enum Desk {
    /// To be taken over, and what stands in it.
    Full(Journal, Arc<Writes>),
    /// Being taken over.
    Busy,
    /// Taken over: it is empty.
    Empty(Journal),
    /// Nothing can be promised any more.
    Failed(StoreError),
    /// Nobody comes any more.
    Closed,
}

/// A panic elsewhere leaves nothing half done: each step is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Checkpointer {
    /// Starts with an empty journal at hand. `path`: whose state it is, for an error.
    pub fn start(
        database: Database,
        records: Records,
        empty: Journal,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let (database, desk) = (Mutex::new(database), Mutex::new(Desk::Empty(empty)));
        let shared = Arc::new(Shared { database, records, desk, changed: Condvar::new() });
        let works = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || {
                // Only this thread's, on Linux. Where it is refused, commits are slower while a file is taken over.
                let _ = rustix::process::nice(NICE);
                works.run();
            })
            .map_err(|error| io_error("start a thread for", path, &error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Gives it a journal, whose writes are all pending, for an empty one, once there is one.
    pub fn exchange(&self, journal: &mut Journal) -> Result<(), StoreError> {
        let mut desk = self.idle()?;
        *desk = match std::mem::replace(&mut *desk, Desk::Busy) {
            Desk::Empty(empty) => {
                Desk::Full(std::mem::replace(journal, empty), self.shared.records.take_over())
            }
            other => other,
        };
        self.shared.changed.notify_all();
        Ok(())
    }

    /// The database, once everything that was given has been taken over.
    pub fn settled(&self) -> Result<MutexGuard<'_, Database>, StoreError> {
        drop(self.idle()?);
        Ok(lock(&self.shared.database))
    }

    /// Whether it has failed.
    pub fn check(&self) -> Result<(), StoreError> {
        match &*lock(&self.shared.desk) {
            Desk::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn idle(&self) -> Result<MutexGuard<'_, Desk>, StoreError> {
        let busy = |desk: &mut Desk| matches!(desk, Desk::Full(..) | Desk::Busy);
        let desk = self.shared.changed.wait_while(lock(&self.shared.desk), busy);
        let desk = desk.unwrap_or_else(PoisonError::into_inner);
        match &*desk {
            Desk::Failed(error) => Err(error.clone()),
            Desk::Closed => Err(StoreError::Closed),
            _ => Ok(desk),
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        // What it has begun it ends; where it was not asked to, the journal still has it.
        if let Ok(mut desk) = self.idle() {
            *desk = Desk::Closed;
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It catches what is to be caught.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let idle = |desk: &mut Desk| matches!(desk, Desk::Empty(_));
            let mut desk =
                self.changed.wait_while(lock(&self.desk), idle).unwrap_or_else(PoisonError::into_inner);
            let (journal, writes) = match std::mem::replace(&mut *desk, Desk::Busy) {
                Desk::Full(journal, writes) => (journal, writes),
                ended => {
                    *desk = ended;
                    return;
                }
            };
            drop(desk);
            let done = catch_unwind(AssertUnwindSafe(|| self.take_over(journal, &writes)));
            let done = done.unwrap_or_else(|_| {
                Err(StoreError::Database("taking over a journal ended in a panic".into()))
            });
            *lock(&self.desk) = done.map_or_else(Desk::Failed, Desk::Empty);
            self.changed.notify_all();
        }
    }

    fn take_over(&self, mut journal: Journal, writes: &Writes) -> Result<Journal, StoreError> {
        write_all(&mut lock(&self.database), writes)?;
        // The other file is in use by now.
        journal.begin(journal.order() + 2)?;
        self.records.taken_over();
        Ok(journal)
    }
}

/// Writes all, in batches. Where it is cut off, the journal has it all.
fn write_all(database: &mut Database, writes: &Writes) -> Result<(), StoreError> {
    let mut writes = writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
    loop {
        let chunk: Vec<Put<'_>> = writes.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return Ok(());
        }
        database.write(&chunk)?;
    }
}

/// The same for what journals held when they were opened, commit by commit.
pub fn replay(database: &mut Database, commits: impl Iterator<Item = Vec<Write>>) -> Result<(), StoreError> {
    // Of a key that was written again and again, the last value counts.
    let newest: Writes = commits.flatten().collect();
    write_all(database, &newest)
}
