//! Nodes that nobody approved, the longest silent first: who is forgotten when there is no room for more.

use imbl::{OrdMap, OrdSet};

use super::ids::NodeId;
use super::time::Timestamp;

/// To so many milliseconds a moment is rounded up. Who boots asks for its address again and again within a minute: that moves nobody.
const GRAIN: u64 = 1 << 16;

/// Each with the moment until which it counts as there. Persistent, like everything in a [`World`](super::World).
#[derive(Debug, Clone, Default)]
pub struct Strangers {
    until: OrdMap<NodeId, Timestamp>,
    order: OrdSet<(Timestamp, NodeId)>,
}

impl Strangers {
    /// Adds a node, or moves it.
    pub fn put(&mut self, id: NodeId, until: Timestamp) {
        let until = Timestamp(until.0.checked_next_multiple_of(GRAIN).unwrap_or(u64::MAX));
        if self.until.get(&id) == Some(&until) {
            return;
        }
        if let Some(old) = self.until.insert(id, until) {
            self.order.remove(&(old, id));
        }
        self.order.insert((until, id));
    }

    /// Takes a node out.
    pub fn remove(&mut self, id: NodeId) {
        if let Some(old) = self.until.remove(&id) {
            self.order.remove(&(old, id));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.until.len()
    }

    /// Those that have been silent by `now`, the longest first.
    pub fn silent(&self, now: Timestamp) -> impl Iterator<Item = NodeId> {
        self.order.iter().take_while(move |(until, _)| *until <= now).map(|(_, id)| *id)
    }
}
