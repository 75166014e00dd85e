//! What the rules must know of a node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::duration::spoken;

/// Nodes by id.
pub type Nodes = BTreeMap<u64, NodeView>;

/// A node, as far as clusters care.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where others reach it; empty while it has no address.
    pub address: String,
    /// Its group; empty: none.
    pub group: String,
    /// Whether its system runs: it is neither being installed nor quarantined.
    pub ready: bool,
    /// Since when, milliseconds since 1970: earlier nodes are given their roles first.
    pub ready_since: u64,
    /// Whether its heartbeats come.
    pub reachable: bool,
    /// When the last one came; 0: never.
    pub last_seen: u64,
    /// Whether all health checks of its bundles hold.
    pub healthy: bool,
    /// What disturbs it on purpose just now, e.g. `upgrade`, `wipe`; none: nothing. Applying is told apart.
    pub busy: Option<String>,
    /// Since when it applies a generation; none: it does not.
    pub applying_since: Option<u64>,
    /// The generation it should have; empty: nothing is wanted of it.
    pub wanted: String,
    /// The generation it has; empty: none yet.
    pub current: String,
    /// What the wanted generation brings, as far as trying it on one node tells about another: its bundles, `name@version`.
    pub change: String,
    /// The same of the generation it has.
    pub current_change: String,
    /// How its last attempt went.
    pub last: Option<Tried>,
    /// Services that its bundles offer.
    pub offers: Vec<Offer>,
}

/// A failed or successful attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The generation.
    pub generation: String,
    /// What it brought, as [`NodeView::change`].
    pub change: String,
    /// Whether it failed: was rolled back, or broke.
    pub failed: bool,
    /// How it ended, and why: `rolled back: etcd does not answer`.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub at: u64,
}

/// A service of a bundle on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name: a DNS label.
    pub name: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens.
    pub port: u16,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a node does not do its work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Disturbed on purpose, or leaving; by what.
    Busy(String),
    /// It applies a generation, since (milliseconds since 1970).
    Applying(u64),
    /// No heartbeats; the last at (0: never).
    Unreachable(u64),
    /// Its system does not run.
    NotReady,
    /// A health check does not hold.
    Unhealthy,
    /// It began to join and is not in.
    HalfIn,
}

impl NodeView {
    /// Why it does not do its work now; none when it does.
    pub fn trouble(&self) -> Option<Trouble> {
        if !self.reachable {
            Some(Trouble::Unreachable(self.last_seen))
        } else if let Some(what) = &self.busy {
            Some(Trouble::Busy(what.clone()))
        } else if let Some(since) = self.applying_since {
            Some(Trouble::Applying(since))
        } else if !self.ready {
            Some(Trouble::NotReady)
        } else if !self.healthy {
            Some(Trouble::Unhealthy)
        } else {
            None
        }
    }

    /// Whether others may be sent to it: heard, up and healthy. An apply of bundles alone does not take it away: what that disturbs
    /// shows in its health.
    pub fn serves(&self) -> bool {
        self.reachable && self.ready && self.healthy
    }

    /// Whether it has the generation it should have, and there is one.
    pub fn settled(&self) -> bool {
        !self.wanted.is_empty() && self.current == self.wanted
    }

    /// Whether it should have another generation than it has.
    pub fn pending(&self) -> bool {
        !self.wanted.is_empty() && self.current != self.wanted
    }

    /// Whether it never had a generation.
    pub fn first_time(&self) -> bool {
        self.current.is_empty()
    }
}

impl Trouble {
    /// For a person, behind a node's name: `is not reachable (last heard of 5 min ago)`.
    pub fn told(&self, now: u64) -> String {
        match self {
            Self::Busy(what) => format!("is busy with: {what}"),
            Self::Applying(since) => {
                format!("has been applying a change for {}", spoken(now.saturating_sub(*since)))
            }
            Self::Unreachable(0) => "is not reachable (never heard of)".to_owned(),
            Self::Unreachable(seen) => {
                format!("is not reachable (last heard of {} ago)", spoken(now.saturating_sub(*seen)))
            }
            Self::NotReady => "is not ready".to_owned(),
            Self::Unhealthy => "is not healthy".to_owned(),
            Self::HalfIn => "began to join and is not in".to_owned(),
        }
    }
}
