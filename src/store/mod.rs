//! The state of the appliance on disk: the only code that knows the database.
//!
//! [`Store`] is what others use: [`Store::view`] reads, [`Store::transact`] changes. Behind it one writer
//! thread ([`writer`]) drains the queue of transactions, runs each on a copy of the world, writes all their
//! changes as one record of the [`journal`] ([`codec`], [`engine`]), makes it durable, publishes the new world, and
//! only then answers. So nobody is ever told of anything that a power cut could take back, and readers see
//! durable state only. What the journal holds goes into the [`database`] when it is full ([`checkpoint`]), small records
//! in [`leaves`]; until then it is read from memory ([`records`]). Files of images are not in the database but beside it, in [`blobs`].

pub mod blobs;
mod checkpoint;
mod codec;
mod database;
mod engine;
mod journal;
mod leaves;
mod past;
mod records;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::model::inventory::Inventory;
use crate::model::{Event, NodeId, Timestamp, World};
use engine::Engine;
pub use writer::Tx;

/// Transactions that may wait for the writer before callers have to.
const QUEUE: usize = 4096;
/// Events that a slow follower may lag behind before it misses some.
const FEED: usize = 4096;

/// Why the state cannot be read or written.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// Another process has the database open.
    #[error(
        "the state in {0} is in use by another process; stop the other `firstlight serve`, or give --state-dir another folder"
    )]
    Locked(PathBuf),
    /// A file or folder cannot be used.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The database itself failed.
    #[error("the state database failed: {0}")]
    Database(String),
    /// A record does not read back.
    #[error("record {key} in the state database is not readable: {cause}; restore a backup")]
    Corrupt {
        /// The record's key.
        key: String,
        /// The decoder's words.
        cause: String,
    },
    /// Written by a newer Firstlight.
    #[error(
        "the state has schema {found}, this Firstlight knows up to {known}; install the newer version again"
    )]
    Newer {
        /// The schema on disk.
        found: u32,
        /// The newest that this build reads.
        known: u32,
    },
    /// A commit failed earlier, so nothing more is promised.
    #[error("the state can no longer be written ({0}); free disk space or replace the disk, then restart")]
    Broken(String),
    /// The store was closed, or a transaction ended without an answer.
    #[error("the appliance is stopping, or the operation failed inside; see its log")]
    Closed,
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only this node's.
    pub node: Option<NodeId>,
    /// Only later ones than this sequence number.
    pub after: Option<u64>,
    /// At most so many; the newest ones when there are more and `after` is not given.
    pub limit: usize,
}

/// The appliance's state. Cheap to share behind an `Arc`.
pub struct Store {
    view: Arc<ArcSwap<World>>,
    queue: mpsc::Sender<writer::Job>,
    feed: broadcast::Sender<Arc<Event>>,
    broken: watch::Receiver<Option<String>>,
    reader: past::Reader,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the state below `state_dir`, making it when there is none, and starts the writer.
    ///
    /// # Errors
    /// When the folder cannot be used, another process has it, a record is unreadable or the schema is newer.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(state_dir, journal::SIZE)
    }

    /// The same, with journals of so many bytes where there are none: a small one is taken over often.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(state_dir: &Path, journal: u64) -> Result<Self, StoreError> {
        let (engine, world) = Engine::open(state_dir, journal)?;
        let reader = engine.reader();
        let view = Arc::new(ArcSwap::from_pointee(world.clone()));
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (feed, _) = broadcast::channel(FEED);
        let (broken_tx, broken) = watch::channel(None);
        let writer =
            writer::Writer { engine, world, view: Arc::clone(&view), feed: feed.clone(), broken: broken_tx };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(jobs))
            .map_err(|error| StoreError::Io {
                action: "start the writer for",
                path: state_dir.into(),
                cause: error.to_string(),
            })?;
        Ok(Self { view, queue, feed, broken, reader, thread: Some(thread) })
    }

    /// The state as of the last durable commit.
    pub fn view(&self) -> Arc<World> {
        self.view.load_full()
    }

    /// Runs `change` on the newest state. When it returns `Ok`, its changes are durable before this returns;
    /// when it returns `Err`, none of them is made.
    ///
    /// # Errors
    /// What `change` returned, or a [`StoreError`] when nothing can be promised.
    pub async fn transact<T, E>(
        &self,
        change: impl FnOnce(&mut Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: writer::Job = Box::new(move |tx| {
            let result = tx.attempt(change);
            Box::new(move |committed| {
                // The caller may have gone away; what it asked for is done all the same. It learns of a panic from its dropped answer.
                if let Some(result) = result {
                    let _ = answer.send(committed.map_err(E::from).and(result));
                }
            })
        });
        self.queue.send(job).await.map_err(|_| E::from(StoreError::Closed))?;
        answered.await.map_err(|_| E::from(StoreError::Closed))?
    }

    /// Past events, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.reader.events(query, self.view().next_seq())
    }

    /// What a node told then of what it is made of.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn inventory(&self, node: NodeId, at: Timestamp) -> Result<Option<Inventory>, StoreError> {
        self.reader.inventory(node, at)
    }

    /// Every event from now on, as it becomes durable.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.feed.subscribe()
    }

    /// Resolves with the reason when a commit has failed and the process should end.
    pub async fn broken(&self) -> String {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends the writer after what is queued, and waits for it.
    pub fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.queue = closed;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}
