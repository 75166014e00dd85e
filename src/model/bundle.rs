//! A bundle that the appliance has, and the variables that its templates see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{BundleRef, GroupName, NodeId, RoleName};
use super::image::Artifact;
use super::time::Timestamp;

/// An immutable version of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Name and version.
    pub bundle: BundleRef,
    /// What it is for.
    pub description: String,
    /// The packed folder.
    pub archive: Artifact,
    /// When it was pushed.
    pub pushed: Timestamp,
}

/// Values by the names of variables.
pub type Variables = serde_json::Map<String, serde_json::Value>;

/// For whom variables are set; the later of these beat the earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// For every node.
    Appliance,
    /// For the nodes of a group.
    Group(GroupName),
    /// For the nodes of a role.
    Role(RoleName),
    /// For one node.
    Node(NodeId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appliance => f.write_str("appliance"),
            Self::Group(group) => write!(f, "group/{group}"),
            Self::Role(role) => write!(f, "role/{role}"),
            Self::Node(node) => write!(f, "node/{node}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |error: super::IdError| error.to_string();
        match text.split_once('/') {
            None if text == "appliance" => Ok(Self::Appliance),
            Some(("group", name)) => name.parse().map(Self::Group).map_err(wrong),
            Some(("role", name)) => name.parse().map(Self::Role).map_err(wrong),
            Some(("node", id)) => id.parse().map(Self::Node).map_err(wrong),
            _ => Err(format!(
                "'{text}' is no scope of variables: use appliance, group/NAME, role/NAME or node/ID"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back() {
        for text in ["appliance", "group/rack1", "role/control", "node/00000000000000ff"] {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "group", "group/", "group/A", "node/x", "rack/1"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
