//! An invitation: a one-time token by which a host that was not booted over the network enrols.

use serde::{Deserialize, Serialize};

use super::ids::{GroupName, NodeName, Sha256Digest};
use super::time::Timestamp;

/// A one-time token that an operator made for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// SHA-256 of the token; the token itself is not kept.
    pub token: Sha256Digest,
    /// What the node will be called; by its host name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// The group it will join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Until when it may be used.
    pub expires: Timestamp,
    /// Who made it.
    pub by: String,
}
