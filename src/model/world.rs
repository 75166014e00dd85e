//! The whole state of an appliance as one value.
//!
//! A [`World`] holds every record in persistent maps: a clone costs a few reference counts, so that a
//! transaction works on its own copy and a reader keeps the one it has. It changes only by [`Change`]s, the
//! same that the store writes down, so what is in memory is what a restart would read.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::event::Event;
use super::group::Group;
use super::ids::{GroupName, ImageRef, MacAddr, NodeId, NodeName, Sha256Digest};
use super::image::Image;
use super::inventory::Inventory;
use super::invitation::Invitation;
use super::lease::Lease;
use super::lifecycle::State;
use super::node::Node;
use super::time::Timestamp;

/// One record written or removed.
#[expect(clippy::large_enum_variant, reason = "lives only for a transaction; a box would cost more")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is new or different.
    PutNode(Node),
    /// A node is forgotten.
    DeleteNode(NodeId),
    /// A group is new or different.
    PutGroup(Group),
    /// A group is gone.
    DeleteGroup(GroupName),
    /// An image is new or has one build more.
    PutImage(Image),
    /// An image is gone.
    DeleteImage(ImageRef),
    /// A lease is new or different.
    PutLease(Lease),
    /// A lease is forgotten.
    DeleteLease(Ipv4Addr),
    /// What a node is made of was told.
    PutInventory {
        /// The node.
        node: NodeId,
        /// When.
        at: Timestamp,
        /// What it told.
        inventory: Arc<Inventory>,
    },
    /// What a node told then is forgotten.
    DeleteInventory {
        /// The node.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// A host may enrol by itself.
    PutInvitation(Invitation),
    /// It has, or may no longer.
    DeleteInvitation(Sha256Digest),
    /// Something happened.
    Append(Event),
}

/// What a node told of what it is made of.
#[derive(Debug, Clone)]
struct Told {
    last: Arc<Inventory>,
    /// Oldest first.
    moments: Vec<Timestamp>,
}

/// Every record of the appliance but its past events and inventories.
#[derive(Debug, Clone, Default)]
pub struct World {
    nodes: OrdMap<NodeId, Arc<Node>>,
    by_mac: OrdMap<MacAddr, NodeId>,
    by_name: OrdMap<NodeName, NodeId>,
    by_certificate: OrdMap<Sha256Digest, NodeId>,
    /// Nodes that nobody approved.
    strangers: OrdSet<NodeId>,
    groups: OrdMap<GroupName, Arc<Group>>,
    images: OrdMap<ImageRef, Arc<Image>>,
    leases: OrdMap<Ipv4Addr, Arc<Lease>>,
    leases_by_mac: OrdSet<(MacAddr, Ipv4Addr)>,
    /// Leases that nobody has a lasting right to, by when they run out.
    expiring: OrdSet<(Timestamp, Ipv4Addr)>,
    /// What nodes told last, and when they told anything.
    inventories: OrdMap<NodeId, Told>,
    /// By the digest of their tokens.
    invitations: OrdMap<Sha256Digest, Invitation>,
    /// The sequence number of the next event.
    next_seq: u64,
}

impl World {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(Arc::as_ref)
    }

    /// The node that boots from this interface.
    pub fn node_with_mac(&self, mac: MacAddr) -> Option<&Node> {
        self.by_mac.get(&mac).and_then(|id| self.node(*id))
    }

    /// The node of this name.
    pub fn node_named(&self, name: &NodeName) -> Option<&Node> {
        self.by_name.get(name).and_then(|id| self.node(*id))
    }

    /// The node that this certificate speaks for.
    pub fn node_certified(&self, fingerprint: Sha256Digest) -> Option<&Node> {
        self.by_certificate.get(&fingerprint).and_then(|id| self.node(*id))
    }

    /// The node that holds this address.
    pub fn node_at(&self, ip: Ipv4Addr) -> Option<&Node> {
        self.lease(ip)
            .filter(|lease| lease.state != super::LeaseState::Declined)
            .and_then(|lease| self.node_with_mac(lease.mac))
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(Arc::as_ref)
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes nobody has approved.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// The group of this name.
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name).map(Arc::as_ref)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values().map(Arc::as_ref)
    }

    /// The image of this name and version.
    pub fn image(&self, image: &ImageRef) -> Option<&Image> {
        self.images.get(image).map(Arc::as_ref)
    }

    /// All images, by name and version.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.values().map(Arc::as_ref)
    }

    /// The image a node should run: its own pin, else its group's.
    pub fn pin_of<'w>(&'w self, node: &'w Node) -> Option<&'w ImageRef> {
        let group = || node.group.as_ref().and_then(|name| self.group(name));
        node.pin.as_ref().or_else(|| group().and_then(|group| group.pin.as_ref()))
    }

    /// Who holds this address.
    pub fn lease(&self, ip: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&ip).map(Arc::as_ref)
    }

    /// All leases, by address.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().map(Arc::as_ref)
    }

    /// The leases from `first` to `last`, both included, by address.
    pub fn leases_between(&self, first: Ipv4Addr, last: Ipv4Addr) -> impl DoubleEndedIterator<Item = &Lease> {
        self.leases.range(first..=last).map(|(_, lease)| lease.as_ref())
    }

    /// The addresses that a client holds or held, in whatever network.
    pub fn leases_of(&self, mac: MacAddr) -> impl Iterator<Item = &Lease> {
        self.leases_by_mac
            .range((mac, Ipv4Addr::UNSPECIFIED)..=(mac, Ipv4Addr::BROADCAST))
            .filter_map(|(_, ip)| self.lease(*ip))
    }

    /// Unreserved leases that had run out by `now`, the longest ago first.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = &Lease> {
        self.expiring.range(..=(now, Ipv4Addr::BROADCAST)).filter_map(|(_, ip)| self.lease(*ip))
    }

    /// What a node is made of, as it told last.
    pub fn inventory(&self, node: NodeId) -> Option<&Inventory> {
        self.inventories.get(&node).map(|told| told.last.as_ref())
    }

    /// When a node told what it is made of, as far as that is kept, oldest first.
    pub fn inventory_moments(&self, node: NodeId) -> &[Timestamp] {
        self.inventories.get(&node).map_or(&[], |told| told.moments.as_slice())
    }

    /// The invitation whose token has this digest.
    pub fn invitation(&self, token: Sha256Digest) -> Option<&Invitation> {
        self.invitations.get(&token)
    }

    /// All invitations.
    pub fn invitations(&self) -> impl Iterator<Item = &Invitation> {
        self.invitations.values()
    }

    /// The sequence number that the next event gets; the first is 1, so that "after 0" means all.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.max(1)
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutNode(node) => {
                self.unindex_node(node.id);
                for mac in &node.macs {
                    self.by_mac.insert(*mac, node.id);
                }
                self.by_name.insert(node.name.clone(), node.id);
                for certificate in &node.certificates {
                    self.by_certificate.insert(certificate.fingerprint, node.id);
                }
                if node.state == State::Discovered {
                    self.strangers.insert(node.id);
                }
                self.nodes.insert(node.id, Arc::new(node.clone()));
            }
            Change::DeleteNode(id) => {
                self.unindex_node(*id);
                self.nodes.remove(id);
                self.inventories.remove(id);
            }
            Change::PutGroup(group) => {
                self.groups.insert(group.name.clone(), Arc::new(group.clone()));
            }
            Change::DeleteGroup(name) => {
                self.groups.remove(name);
            }
            Change::PutImage(image) => {
                self.images.insert(image.image.clone(), Arc::new(image.clone()));
            }
            Change::DeleteImage(image) => {
                self.images.remove(image);
            }
            Change::PutLease(lease) => {
                self.unindex_lease(lease.ip);
                self.leases_by_mac.insert((lease.mac, lease.ip));
                if !lease.reserved {
                    self.expiring.insert((lease.expires, lease.ip));
                }
                self.leases.insert(lease.ip, Arc::new(lease.clone()));
            }
            Change::DeleteLease(ip) => {
                self.unindex_lease(*ip);
                self.leases.remove(ip);
            }
            Change::PutInventory { node, at, inventory } => {
                let mut moments =
                    self.inventories.get(node).map_or_else(Vec::new, |told| told.moments.clone());
                moments.retain(|moment| moment != at);
                moments.push(*at);
                self.inventories.insert(*node, Told { last: Arc::clone(inventory), moments });
            }
            Change::DeleteInventory { node, at } => {
                if let Some(mut told) = self.inventories.get(node).cloned() {
                    told.moments.retain(|moment| moment != at);
                    self.inventories.insert(*node, told);
                }
            }
            Change::PutInvitation(invitation) => {
                self.invitations.insert(invitation.token, invitation.clone());
            }
            Change::DeleteInvitation(token) => {
                self.invitations.remove(token);
            }
            Change::Append(event) => self.next_seq = self.next_seq.max(event.seq.saturating_add(1)),
        }
    }

    fn unindex_node(&mut self, id: NodeId) {
        if let Some(old) = self.nodes.get(&id).cloned() {
            for mac in &old.macs {
                self.by_mac.remove(mac);
            }
            self.by_name.remove(&old.name);
            for certificate in &old.certificates {
                self.by_certificate.remove(&certificate.fingerprint);
            }
            self.strangers.remove(&id);
        }
    }

    fn unindex_lease(&mut self, ip: Ipv4Addr) {
        if let Some(old) = self.leases.get(&ip).cloned() {
            self.leases_by_mac.remove(&(old.mac, ip));
            self.expiring.remove(&(old.expires, ip));
        }
    }
}
