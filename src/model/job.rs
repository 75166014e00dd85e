//! A job: something long that a node does, with its output.

use serde::{Deserialize, Serialize};

use super::ids::{NodeId, NodeName};
use super::time::Timestamp;

/// A run of something on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number, from 1.
    pub id: u64,
    /// The node.
    pub node: NodeId,
    /// What the node was called.
    pub name: NodeName,
    /// What is done: `apply`.
    pub kind: String,
    /// To what: the digest of a generation.
    pub subject: String,
    /// What it is to bring: `name@version` of each bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How it ended: `applied`, `unchanged`, `rolled-back`, `broken`, or `lost` when the node was not heard of it again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
