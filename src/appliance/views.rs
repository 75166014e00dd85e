//! The shapes in which the state is shown, by the API and the CLI alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::inventory::Inventory;
use crate::model::{
    Duid, Event, Group, GroupName, Image, ImageRef, Lease, Lease6, LeaseState, MacAddr, Node, NodeName,
    Sha256Digest, Timestamp, World,
};

use super::presence::Heard;
use super::ramdisk::RamdiskState;

/// A node with what follows from the rest of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node itself.
    #[serde(flatten)]
    pub node: Node,
    /// Its address.
    pub ip: Option<Ipv4Addr>,
    /// The image it should run: its own pin, else its group's.
    pub desired: Option<ImageRef>,
    /// What its agent said last, since the appliance started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareView {
    /// The node.
    pub node: NodeName,
    /// When it told.
    pub told: Timestamp,
    /// When it told the time before.
    pub before: Option<Timestamp>,
    /// What is different since then, a line each.
    pub changes: Vec<String>,
    /// What it told.
    pub inventory: Inventory,
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The group itself.
    #[serde(flatten)]
    pub group: Group,
    /// Its nodes, by name.
    pub nodes: Vec<NodeName>,
}

/// An image and who uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView {
    /// The image itself.
    #[serde(flatten)]
    pub image: Image,
    /// Bytes of all its artifacts.
    pub size: u64,
    /// Nodes pinned to it by themselves.
    pub pinned_nodes: Vec<NodeName>,
    /// Groups pinned to it.
    pub pinned_groups: Vec<GroupName>,
}

/// A lease and the node that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// The address.
    pub ip: IpAddr,
    /// The hardware address of who holds it, where that is known.
    pub mac: Option<MacAddr>,
    /// What an IPv6 client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duid: Option<Duid>,
    /// How firmly it is held.
    pub state: LeaseState,
    /// Until when.
    pub expires: Timestamp,
    /// Whether it is an approved node's, for ever.
    pub reserved: bool,
    /// The host name that the client told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node that holds it.
    pub node: Option<NodeName>,
    /// Whether it is in use by right now: bound, and not run out.
    pub active: bool,
}

/// An event and the line that a person reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// The event itself.
    #[serde(flatten)]
    pub event: Event,
    /// What happened, in words.
    pub text: String,
}

/// What the appliance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its version.
    pub version: String,
    /// When it began to serve.
    pub started: Timestamp,
    /// Its networks' subnets.
    pub networks: Vec<String>,
    /// How many nodes it knows.
    pub nodes: usize,
    /// SHA-256 of its authority's certificate.
    pub authority: Sha256Digest,
    /// Whether there is a ramdisk with the agent.
    #[serde(flatten)]
    pub ramdisk: RamdiskState,
}

/// What was found wrong with an image's artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyView {
    /// The image.
    pub image: ImageRef,
    /// Artifacts that were read again.
    pub artifacts: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, a line each; empty when all is well.
    pub problems: Vec<String>,
}

/// What a garbage collection removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcView {
    /// Artifacts that no image names.
    pub removed: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A node's address.
pub fn address_of(world: &World, node: &Node) -> Option<Ipv4Addr> {
    let leases = node.macs.iter().flat_map(|mac| world.leases_of(*mac));
    latest(leases.map(|lease| (lease.state, lease.expires, lease.ip)))
}

/// A node's IPv6 address.
pub fn address6_of(world: &World, node: &Node) -> Option<Ipv6Addr> {
    let leases = node.macs.iter().flat_map(|mac| world.leases6_at(*mac));
    latest(leases.map(|lease| (lease.state, lease.expires, lease.ip)))
}

/// The address of the lease that lasts longest, of those that are in use or may be again.
fn latest<A>(leases: impl Iterator<Item = (LeaseState, Timestamp, A)>) -> Option<A> {
    leases
        .filter(|(state, ..)| matches!(state, LeaseState::Bound | LeaseState::Released))
        .max_by_key(|(_, expires, _)| *expires)
        .map(|(.., ip)| ip)
}

/// Shows a node.
pub fn node_view(world: &World, node: &Node) -> NodeView {
    NodeView {
        node: node.clone(),
        ip: address_of(world, node),
        desired: world.pin_of(node).cloned(),
        heard: None,
    }
}

/// Shows an event.
pub fn event_view(event: Event) -> EventView {
    let text = event.kind.to_string();
    EventView { event, text }
}

/// Shows a group.
pub fn group_view(world: &World, group: &Group) -> GroupView {
    let members = world.nodes().filter(|node| node.group.as_ref() == Some(&group.name));
    let mut nodes: Vec<NodeName> = members.map(|node| node.name.clone()).collect();
    nodes.sort();
    GroupView { group: group.clone(), nodes }
}

/// Shows an image.
pub fn image_view(world: &World, image: &Image) -> ImageView {
    let pinned = |pin: &Option<ImageRef>| pin.as_ref() == Some(&image.image);
    let mut pinned_nodes: Vec<NodeName> =
        world.nodes().filter(|node| pinned(&node.pin)).map(|node| node.name.clone()).collect();
    pinned_nodes.sort();
    let pinned_groups =
        world.groups().filter(|group| pinned(&group.pin)).map(|group| group.name.clone()).collect();
    ImageView { image: image.clone(), size: image.size(), pinned_nodes, pinned_groups }
}

/// Shows a lease.
pub fn lease_view(world: &World, lease: &Lease, now: Timestamp) -> LeaseView {
    LeaseView {
        ip: lease.ip.into(),
        mac: Some(lease.mac),
        duid: None,
        state: lease.state,
        expires: lease.expires,
        reserved: lease.reserved,
        hostname: lease.hostname.clone(),
        node: world.node_with_mac(lease.mac).map(|node| node.name.clone()),
        active: lease.is_active(now),
    }
}

/// Shows an IPv6 lease.
pub fn lease6_view(world: &World, lease: &Lease6, now: Timestamp) -> LeaseView {
    let node = lease.mac.and_then(|mac| world.node_with_mac(mac));
    LeaseView {
        ip: lease.ip.into(),
        mac: lease.mac,
        duid: Some(lease.duid.clone()),
        state: lease.state,
        expires: lease.expires,
        reserved: node.is_some_and(|node| node.state.is_trusted()),
        hostname: None,
        node: node.map(|node| node.name.clone()),
        active: lease.is_active(now),
    }
}
