//! A group: a named set of nodes that share a pinned image.

use serde::{Deserialize, Serialize};

use super::ids::{GroupName, ImageRef};
use super::time::Timestamp;

/// A named set of nodes; its members are the nodes that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// The image its nodes should run, unless they have a pin of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<ImageRef>,
    /// When it was made.
    pub created: Timestamp,
}
