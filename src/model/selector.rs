//! How people name a node: by name, MAC, serial, IP or a unique prefix of its id, anywhere.

use std::net::Ipv4Addr;

use thiserror::Error;

use super::ids::{MacAddr, NodeId};
use super::node::Node;
use super::world::World;

/// Shortest id prefix that is looked up; shorter ones are too easily a typing mistake.
const SHORTEST_PREFIX: usize = 4;

/// What a person typed to name a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

/// Why a selector names no node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Nothing matches.
    #[error(
        "no node is called '{0}'; `firstlight node list` shows what there is (names, MACs, serials, IPs and id prefixes work)"
    )]
    NotFound(String),
    /// More than one node matches.
    #[error("'{text}' could be any of {}; give more of it", names.join(", "))]
    Ambiguous {
        /// What was typed.
        text: String,
        /// The nodes it could name.
        names: Vec<String>,
    },
}

impl Selector {
    /// Takes what was typed; it is looked up only in [`Selector::find`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one node that is meant.
    ///
    /// # Errors
    /// When no node, or more than one, fits.
    pub fn find<'w>(&self, world: &'w World) -> Result<&'w Node, SelectorError> {
        let text = self.0.trim();
        if let Some(node) = text.parse().ok().and_then(|name| world.node_named(&name)) {
            return Ok(node);
        }
        if let Some(node) = text.parse::<MacAddr>().ok().and_then(|mac| world.node_with_mac(mac)) {
            return Ok(node);
        }
        if let Some(node) = text.parse::<Ipv4Addr>().ok().and_then(|ip| world.node_at(ip)) {
            return Ok(node);
        }
        if let Some(node) = text.parse::<NodeId>().ok().and_then(|id| world.node(id)) {
            return Ok(node);
        }
        let prefix = text.to_ascii_lowercase();
        let by_prefix = prefix.len() >= SHORTEST_PREFIX && prefix.bytes().all(|c| c.is_ascii_hexdigit());
        let matches: Vec<&Node> = world
            .nodes()
            .filter(|node| {
                let serial = node.observed.facts.as_ref().map(|facts| facts.serial.as_str());
                (by_prefix && node.id.to_string().starts_with(&prefix))
                    || (!text.is_empty() && serial == Some(text))
                    || node.uuid.as_deref() == Some(prefix.as_str())
            })
            .collect();
        match matches.as_slice() {
            [node] => Ok(node),
            [] => Err(SelectorError::NotFound(text.chars().take(80).collect())),
            many => Err(SelectorError::Ambiguous {
                text: text.to_owned(),
                names: many.iter().take(8).map(|node| node.name.to_string()).collect(),
            }),
        }
    }
}
