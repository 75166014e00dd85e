//! A group: a named set of nodes that share a pinned image and pinned bundles.

use serde::{Deserialize, Serialize};

use super::ids::{BundleRef, GroupName, ImageRef};
use super::time::Timestamp;

/// A named set of nodes; its members are the nodes that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// The image its nodes should run, unless they have a pin of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<ImageRef>,
    /// The bundles its nodes should have, one version of each; a node's own pin beats the one of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<BundleRef>,
    /// When it was made.
    pub created: Timestamp,
}
