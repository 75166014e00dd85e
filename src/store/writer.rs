//! The one writer: group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, watch};

use super::StoreError;
use super::engine::Engine;
use crate::model::inventory::Inventory;
use crate::model::{Change, Event, EventKind, Node, NodeId, Timestamp, World};

/// Transactions that are made durable together at most.
const GROUP: usize = 512;

/// Inventories that are kept of each node.
const INVENTORIES: usize = 4;

/// One transaction: runs on a [`Tx`], says whether to keep what it did, and how to answer.
pub type Job = Box<dyn FnOnce(&mut Tx) -> Outcome + Send>;

/// How a transaction ended.
pub struct Outcome {
    /// Whether its changes are kept.
    pub keep: bool,
    /// Told whether the group that it belongs to became durable.
    pub answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// A transaction under way: the state it sees and what it has changed.
pub struct Tx {
    world: World,
    changes: Vec<Change>,
    /// Whether something changed that is not written down.
    passing: bool,
}

impl Tx {
    /// A transaction on `world` that nothing is written from; for tests and benchmarks of pure code.
    pub fn on(world: World) -> Self {
        Self { world, changes: Vec::new(), passing: false }
    }

    /// The state, with what this transaction has changed so far.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Makes one change.
    pub fn put(&mut self, change: Change) {
        self.world.apply(&change);
        self.changes.push(change);
    }

    /// Makes a change that lasts until the process ends, or something takes its place: not worth a write.
    pub fn put_passing(&mut self, change: &Change) {
        self.world.apply(change);
        self.passing = true;
    }

    /// Keeps what a node is made of; of the past, the last few.
    pub fn put_inventory(&mut self, node: NodeId, at: Timestamp, inventory: Inventory) {
        let moments = self.world.inventory_moments(node);
        let too_many = moments.len().saturating_sub(INVENTORIES - 1);
        let old: Vec<Timestamp> =
            moments.iter().copied().filter(|moment| *moment != at).take(too_many).collect();
        for at in old {
            self.put(Change::DeleteInventory { node, at });
        }
        self.put(Change::PutInventory { node, at, inventory: Arc::new(inventory) });
    }

    /// Writes down what happened, in the same transaction.
    pub fn append(&mut self, at: Timestamp, node: Option<&Node>, actor: Option<&str>, kind: EventKind) {
        let event = Event {
            seq: self.world.next_seq(),
            at,
            node: node.map(|node| node.id),
            name: node.map(|node| node.name.clone()),
            actor: actor.map(str::to_owned),
            kind,
        };
        self.put(Change::Append(event));
    }
}

pub struct Writer {
    pub engine: Engine,
    pub world: World,
    pub view: Arc<ArcSwap<World>>,
    pub feed: broadcast::Sender<Arc<Event>>,
    pub broken: watch::Sender<Option<String>>,
}

impl Writer {
    /// Serves the queue until nobody can send any more.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP {
                match jobs.try_recv() {
                    Ok(job) => group.push(job),
                    Err(_) => break,
                }
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        let mut world = self.world.clone();
        let mut changes = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut passing = false;
        for job in group {
            let mut tx = Tx { world: world.clone(), changes: Vec::new(), passing: false };
            // A panic is a defect, but it must cost one transaction and not the appliance. The caller
            // learns of it from its dropped answer.
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| job(&mut tx))) else { continue };
            if outcome.keep {
                world = tx.world;
                changes.append(&mut tx.changes);
                passing |= tx.passing;
            }
            answers.push(outcome.answer);
        }
        let result = self.make_durable(&changes);
        if result.is_ok() && (passing || !changes.is_empty()) {
            self.world = world;
            self.view.store(Arc::new(self.world.clone()));
        }
        for answer in answers {
            answer(result.clone());
        }
        if result.is_ok() {
            for change in changes {
                if let Change::Append(event) = change {
                    // No follower is no error.
                    let _ = self.feed.send(Arc::new(event));
                }
            }
        }
    }

    fn make_durable(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if let Some(reason) = self.broken.borrow().clone() {
            return Err(StoreError::Broken(reason));
        }
        // Nothing changed: all that was read had been durable before.
        if changes.is_empty() {
            return Ok(());
        }
        self.engine.commit(changes).inspect_err(|error| {
            // After a failed write or fsync nobody can say what is on the disk (the kernel may have dropped
            // the dirty pages), so no later commit can be trusted either.
            tracing::error!(%error, "the state can no longer be written");
            self.broken.send_replace(Some(error.to_string()));
        })
    }
}
