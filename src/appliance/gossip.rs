//! What members tell of one another: the lists of their serf agents. Kept in memory only; each agent tells its own again within a minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cluster::serf::{LONGEST_NAME, Line, MOST};
use crate::cluster::sight::Report;
use crate::model::{Node, NodeId, Timestamp, World};

/// A node whose heartbeat is later than this, milliseconds, is gone as soon as all serf agents say so: one may be late.
const LATE_MS: u64 = 45_000;

/// The lists that were told since the appliance started, by who told them.
#[derive(Debug, Default)]
pub struct Gossip {
    reports: Mutex<BTreeMap<u64, Report>>,
}

impl Gossip {
    /// Takes a list; whether it says something else than the one before.
    pub fn hear(&self, by: NodeId, mut lines: Vec<Line>, at: Timestamp) -> bool {
        lines.truncate(MOST);
        lines.retain(|line| line.name.len() <= LONGEST_NAME);
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = reports.get(&by.0).is_none_or(|before| before.lines != lines);
        reports.insert(by.0, Report { at: at.0, lines });
        changed
    }

    /// Looks at all lists.
    pub fn with<T>(&self, look: impl FnOnce(&BTreeMap<u64, Report>) -> T) -> T {
        look(&self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a node whose heartbeat is late is gone by what all others of its cluster say.
    pub fn is_gone(&self, world: &World, node: &Node, silence_ms: u64, now: Timestamp) -> bool {
        silence_ms > LATE_MS
            && world.cluster_of(node.id).is_some_and(|cluster| {
                self.with(|reports| {
                    crate::cluster::sight::is_gone(cluster, node.id.0, node.name.as_str(), reports, now.0)
                })
            })
    }
}
