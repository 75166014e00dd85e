//! What templates see of the world around a node's bundles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The names of all that stands around a node's variables.
pub(super) const NAMES: [&str; 4] = ["node", "role", "appliance", "cluster"];

/// What templates see of the world around a node's bundles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The node itself.
    pub node: NodeFacts,
    /// What it is in its group or cluster.
    pub role: Option<String>,
    /// The appliance.
    pub appliance: ApplianceFacts,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterFacts>,
}

/// A node, as templates see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its address on the management network; empty when it has none.
    pub address: String,
    /// Its first boot interface.
    pub mac: String,
    /// Its serial number; empty when it did not tell.
    pub serial: String,
    /// Its group.
    pub group: Option<String>,
    /// Its architecture.
    pub arch: String,
    /// Its number within its cluster; 0 outside of one.
    pub index: u32,
}

/// The appliance, as templates see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplianceFacts {
    /// Its address on the node's network.
    pub address: String,
    /// Where it serves files.
    pub url: String,
    /// The nodes' domain; empty when there is none.
    pub domain: String,
}

/// A cluster, as templates see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its name.
    pub name: String,
    /// The member that the others join.
    pub seed: Member,
    /// The node's own number.
    pub index: u32,
    /// Whether the node is the seed, and the cluster has not formed yet.
    pub bootstrap: bool,
    /// Members by role.
    pub roles: BTreeMap<String, Vec<Member>>,
    /// All members but the node itself, by number.
    pub peers: Vec<Member>,
    /// All members, by number.
    pub members: Vec<Member>,
}

/// A member of a cluster, as templates see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: Option<String>,
    /// Its number.
    pub index: u32,
}
