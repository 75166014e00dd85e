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

/// Transactions that are made durable together: runs on a [`Tx`] after those that came before it in its group, and says how to answer.
pub type Job = Box<dyn FnOnce(&mut Tx) -> Answer + Send>;

/// Told whether the group that a job belongs to became durable.
pub type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Transactions under way: the state they see, and what they have changed.
pub struct Tx {
    /// Durable, and before all that was made.
    before: World,
    world: World,
    made: Vec<Made>,
}

/// A change that was made.
struct Made {
    change: Change,
    /// Whether it lasts until the process ends, and is not written down.
    passing: bool,
}

impl Tx {
    /// A transaction on `world` that nothing is written from; for tests and benchmarks of pure code.
    pub fn on(world: World) -> Self {
        Self { before: world.clone(), world, made: Vec::new() }
    }

    /// Makes a change of several steps whole, or none of it where it fails. `None` when it panicked: a defect, but it must cost one
    /// change and not the appliance.
    pub fn attempt<T, E>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Option<Result<T, E>> {
        let kept = self.made.len();
        let result = catch_unwind(AssertUnwindSafe(|| change(self)));
        match &result {
            Ok(Ok(_)) => {}
            Ok(Err(_)) if self.made.len() == kept => {}
            // It fails rarely, so nothing is copied in case it does: what was there before is made anew. A panic may have left a
            // change half made.
            _ => {
                self.made.truncate(kept);
                self.world = self.before.clone();
                for made in &self.made {
                    self.world.apply(&made.change);
                }
            }
        }
        result.ok()
    }

    /// The state, with what this transaction has changed so far.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Makes one change.
    pub fn put(&mut self, change: Change) {
        self.make(change, false);
    }

    /// Makes a change that lasts until the process ends, or something takes its place: not worth a write.
    pub fn put_passing(&mut self, change: Change) {
        self.make(change, true);
    }

    fn make(&mut self, change: Change, passing: bool) {
        self.world.apply(&change);
        self.made.push(Made { change, passing });
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
        // The next start finds all in the database. Where that fails, the journal has it.
        if let Err(error) = self.engine.settle() {
            tracing::warn!(%error, "the journal is left for the next start");
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        // All work on one copy: a copy for each would make its parts anew for each.
        let mut tx = Tx::on(self.world.clone());
        let answers: Vec<Answer> = group.into_iter().map(|job| job(&mut tx)).collect();
        let Tx { world, made, .. } = tx;
        let changed = !made.is_empty();
        let lasting: Vec<Change> =
            made.into_iter().filter(|made| !made.passing).map(|made| made.change).collect();
        let result = self.make_durable(&lasting);
        if result.is_ok() && changed {
            self.world = world;
            self.view.store(Arc::new(self.world.clone()));
        }
        for answer in answers {
            answer(result.clone());
        }
        if result.is_ok() {
            for change in lasting {
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
