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
    /// What is done: `apply` a generation, or `repair` what was changed by hand.
    pub kind: String,
    /// To what: the digest of a generation.
    pub subject: String,
    /// What it is to bring: `name@version` of each bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// Which run of the node's agent it is, at random; empty where the agent gave it none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
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
    /// Whether it was cut off: the node did not do it any more when it was heard of again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
    /// When an operator said that it may be tried again in spite of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgiven: Option<Timestamp>,
}

impl Job {
    /// Whether it ended, and not well.
    pub fn failed(&self) -> bool {
        matches!(self.result.as_str(), "rolled-back" | "broken" | "lost")
    }

    /// Why it ended as it did, on one line.
    pub fn reason_line(&self) -> String {
        let lines: Vec<&str> = self.reason.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join("; ")
    }
}
