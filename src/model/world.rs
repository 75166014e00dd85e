//! The whole state of an appliance as one value.
//!
//! A [`World`] holds every record in persistent maps: a clone costs a few reference counts, so that a
//! transaction works on its own copy and a reader keeps the one it has. It changes only by [`Change`]s, the
//! same that the store writes down, so what is in memory is what a restart would read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use crate::cluster::{Cluster, Member};

use super::addresses::{Expiring, Held, Runs};
use super::bundle::{Bundle, Scope, Variables};
use super::event::Event;
use super::group::Group;
use super::ids::{BundleRef, GroupName, ImageRef, MacAddr, NodeId, NodeName, Sha256Digest};
use super::image::Image;
use super::inventory::Inventory;
use super::invitation::Invitation;
use super::job::Job;
use super::lease::Lease;
use super::lease6::{Duid, Lease6};
use super::lifecycle::State;
use super::network::AddressRange;
use super::node::Node;
use super::strangers::Strangers;
use super::time::Timestamp;

/// How long a node counts as there after it was first seen, whatever becomes of its lease.
const NEW: Duration = Duration::from_secs(600);
/// Silent nodes that are looked at for one that may be forgotten.
const GLANCE: usize = 64;

/// One record written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is new or different.
    PutNode(Arc<Node>),
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
    /// A bundle is new.
    PutBundle(Bundle),
    /// A bundle is gone.
    DeleteBundle(BundleRef),
    /// Variables are new or different; none removes them.
    PutVariables(Scope, Variables),
    /// A cluster is new or different.
    PutCluster(Cluster),
    /// A cluster is gone.
    DeleteCluster(String),
    /// A job is new or different.
    PutJob(Job),
    /// A job is forgotten.
    DeleteJob(u64),
    /// A lease is new or different.
    PutLease(Lease),
    /// A lease is forgotten.
    DeleteLease(Ipv4Addr),
    /// An IPv6 lease is new or different.
    PutLease6(Lease6),
    /// An IPv6 lease is forgotten.
    DeleteLease6(Ipv6Addr),
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

impl Change {
    /// A node is new or different.
    pub fn put_node(node: Node) -> Self {
        Self::PutNode(Arc::new(node))
    }
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
    by_mac: OrdMap<MacAddr, Arc<Node>>,
    by_name: OrdMap<NodeName, NodeId>,
    by_certificate: OrdMap<Sha256Digest, NodeId>,
    /// Nodes that nobody approved.
    strangers: Strangers,
    groups: OrdMap<GroupName, Arc<Group>>,
    images: OrdMap<ImageRef, Arc<Image>>,
    bundles: OrdMap<BundleRef, Arc<Bundle>>,
    variables: OrdMap<Scope, Arc<Variables>>,
    jobs: OrdMap<u64, Arc<Job>>,
    jobs_by_node: OrdSet<(NodeId, u64)>,
    clusters: OrdMap<String, Arc<Cluster>>,
    /// The cluster of each member, and its position there.
    memberships: OrdMap<NodeId, (String, usize)>,
    leases: OrdMap<Ipv4Addr, Arc<Lease>>,
    leases_by_mac: OrdMap<MacAddr, Held>,
    /// Which addresses have a lease.
    leased: Runs,
    /// Leases that nobody has a lasting right to, by when they run out.
    expiring: Expiring,
    leases6: OrdMap<Ipv6Addr, Arc<Lease6>>,
    leases6_by_client: OrdSet<(Duid, Ipv6Addr)>,
    leases6_by_mac: OrdSet<(MacAddr, Ipv6Addr)>,
    /// IPv6 leases of clients whose interface is not known, by when they run out.
    nobodys6: OrdSet<(Timestamp, Ipv6Addr)>,
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
        self.by_mac.get(&mac).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub fn kept_node_with_mac(&self, mac: MacAddr) -> Option<Arc<Node>> {
        self.by_mac.get(&mac).cloned()
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
    pub fn node_at(&self, ip: impl Into<IpAddr>) -> Option<&Node> {
        let (state, mac) = match ip.into() {
            IpAddr::V4(ip) => self.lease(ip).map(|lease| (lease.state, Some(lease.mac)))?,
            IpAddr::V6(ip) => self.lease6(ip).map(|lease| (lease.state, lease.mac))?,
        };
        mac.filter(|_| state != super::LeaseState::Declined).and_then(|mac| self.node_with_mac(mac))
    }

    /// `drawn`, or the next id up that no node has: of those that are seen in one millisecond two may draw the same.
    pub fn free_id(&self, drawn: NodeId) -> NodeId {
        let mut id = drawn;
        while self.nodes.contains_key(&id) {
            id = id.following();
        }
        id
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(Arc::as_ref)
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Tells of each node that is new, another, or gone in a later state. What both share is passed over without a look into it.
    pub fn each_changed_node(&self, later: &Self, mut told: impl FnMut(NodeId, Option<&Node>)) {
        for change in self.nodes.diff(&later.nodes) {
            match change {
                DiffItem::Add(id, node) | DiffItem::Update { new: (id, node), .. } => told(*id, Some(node)),
                DiffItem::Remove(id, _) => told(*id, None),
            }
        }
    }

    /// How many nodes nobody has approved.
    pub fn strangers(&self) -> usize {
        self.strangers.count()
    }

    /// Nodes that nobody approved or changed and whose leases have run out, the longest silent first. Those that an operator did
    /// something with are passed over, but no more of them than fit a glance.
    pub fn silent_strangers(&self, now: Timestamp) -> impl Iterator<Item = &Node> {
        let silent = self.strangers.silent(now).take(GLANCE).filter_map(|id| self.node(id));
        silent.filter(|node| node.is_untouched() && self.variables(&Scope::Node(node.id)).is_none())
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

    /// The bundle of this name and version.
    pub fn bundle(&self, bundle: &BundleRef) -> Option<&Bundle> {
        self.bundles.get(bundle).map(Arc::as_ref)
    }

    /// All bundles, by name and version.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.values().map(Arc::as_ref)
    }

    /// The bundles a node should have, by name: its own, and of its group those that it has no own version of.
    pub fn bundles_of(&self, node: &Node) -> Vec<BundleRef> {
        let group = node.group.as_ref().and_then(|name| self.group(name));
        let of_group = group.map_or(&[][..], |group| group.bundles.as_slice()).iter();
        let mut bundles: Vec<BundleRef> = of_group
            .filter(|bundle| !node.bundles.iter().any(|own| own.name == bundle.name))
            .chain(&node.bundles)
            .cloned()
            .collect();
        bundles.sort();
        bundles
    }

    /// The variables set there.
    pub fn variables(&self, scope: &Scope) -> Option<&Variables> {
        self.variables.get(scope).map(Arc::as_ref)
    }

    /// All variables that are set.
    pub fn all_variables(&self) -> impl Iterator<Item = (&Scope, &Variables)> {
        self.variables.iter().map(|(scope, variables)| (scope, variables.as_ref()))
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name).map(Arc::as_ref)
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values().map(Arc::as_ref)
    }

    /// The cluster that a node is a member of.
    pub fn cluster_of(&self, node: NodeId) -> Option<&Cluster> {
        self.membership(node).map(|(cluster, _)| cluster)
    }

    /// The same, with what the node is there.
    pub fn membership(&self, node: NodeId) -> Option<(&Cluster, &Member)> {
        let (name, position) = self.memberships.get(&node)?;
        let cluster = self.clusters.get(name)?;
        Some((cluster, cluster.members.get(*position)?))
    }

    fn unindex_members(&mut self, cluster: &str) {
        let Some(old) = self.clusters.get(cluster).cloned() else { return };
        for member in &old.members {
            if self.memberships.get(&NodeId(member.node)).is_some_and(|(name, _)| name == cluster) {
                self.memberships.remove(&NodeId(member.node));
            }
        }
    }

    /// The job of this number.
    pub fn job(&self, id: u64) -> Option<&Job> {
        self.jobs.get(&id).map(Arc::as_ref)
    }

    /// All jobs, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values().map(Arc::as_ref)
    }

    /// How many jobs are kept.
    pub fn count_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// The jobs of a node, oldest first.
    pub fn jobs_of(&self, node: NodeId) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs_by_node.range((node, 0)..=(node, u64::MAX)).filter_map(|(_, id)| self.job(*id))
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
        let held = self.leases_by_mac.get(&mac).map_or(&[][..], Held::all);
        held.iter().filter_map(|ip| self.lease(*ip))
    }

    /// The addresses that have a lease.
    pub fn leased(&self) -> &Runs {
        &self.leased
    }

    /// The unreserved lease within `range` that had run out by `now`, the longest ago, of those that are `fit`.
    pub fn first_expired(
        &self,
        range: AddressRange,
        now: Timestamp,
        fit: impl Fn(&Lease) -> bool,
    ) -> Option<&Lease> {
        let (_, ip) = self.expiring.first(range, now, |ip| self.lease(ip).is_some_and(&fit))?;
        self.lease(ip)
    }

    /// Who holds this IPv6 address.
    pub fn lease6(&self, ip: Ipv6Addr) -> Option<&Lease6> {
        self.leases6.get(&ip).map(Arc::as_ref)
    }

    /// All IPv6 leases, by address.
    pub fn leases6(&self) -> impl Iterator<Item = &Lease6> {
        self.leases6.values().map(Arc::as_ref)
    }

    /// IPv6 leases of a range, by address.
    pub fn leases6_between(&self, first: Ipv6Addr, last: Ipv6Addr) -> impl Iterator<Item = &Lease6> {
        self.leases6.range(first..=last).map(|(_, lease)| lease.as_ref())
    }

    /// The IPv6 addresses that a client holds or held, in whatever network.
    pub fn leases6_of(&self, duid: &Duid) -> impl Iterator<Item = &Lease6> {
        let all = (duid.clone(), Ipv6Addr::UNSPECIFIED)..=(duid.clone(), Ipv6Addr::from_bits(u128::MAX));
        self.leases6_by_client.range(all).filter_map(|(_, ip)| self.lease6(*ip))
    }

    /// The IPv6 addresses that an interface holds or held, in whatever network.
    pub fn leases6_at(&self, mac: MacAddr) -> impl Iterator<Item = &Lease6> {
        let all = (mac, Ipv6Addr::UNSPECIFIED)..=(mac, Ipv6Addr::from_bits(u128::MAX));
        self.leases6_by_mac.range(all).filter_map(|(_, ip)| self.lease6(*ip))
    }

    /// IPv6 leases of clients whose interface is not known: how many, and the one that runs out first.
    pub fn nobodys_leases6(&self) -> (usize, Option<&Lease6>) {
        let first = self.nobodys6.get_min().and_then(|(_, ip)| self.lease6(*ip));
        (self.nobodys6.len(), first)
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
            Change::PutNode(node) => self.put_node(node),
            Change::DeleteNode(id) => {
                self.unindex_node(*id);
                self.nodes.remove(id);
                self.variables.remove(&Scope::Node(*id));
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
            Change::PutBundle(bundle) => {
                self.bundles.insert(bundle.bundle.clone(), Arc::new(bundle.clone()));
            }
            Change::DeleteBundle(bundle) => {
                self.bundles.remove(bundle);
            }
            Change::PutVariables(scope, variables) if variables.is_empty() => {
                self.variables.remove(scope);
            }
            Change::PutVariables(scope, variables) => {
                self.variables.insert(scope.clone(), Arc::new(variables.clone()));
            }
            Change::PutCluster(cluster) => {
                self.unindex_members(&cluster.name);
                for (position, member) in cluster.members.iter().enumerate() {
                    self.memberships.insert(NodeId(member.node), (cluster.name.clone(), position));
                }
                self.clusters.insert(cluster.name.clone(), Arc::new(cluster.clone()));
            }
            Change::DeleteCluster(name) => {
                self.unindex_members(name);
                self.clusters.remove(name);
            }
            Change::PutJob(job) => {
                self.jobs_by_node.insert((job.node, job.id));
                self.jobs.insert(job.id, Arc::new(job.clone()));
            }
            Change::DeleteJob(id) => {
                if let Some(job) = self.jobs.remove(id) {
                    self.jobs_by_node.remove(&(job.node, *id));
                }
            }
            Change::PutLease(lease) => self.put_lease(lease),
            Change::DeleteLease(ip) => {
                if let Some(old) = self.leases.remove(ip) {
                    self.holds_no_longer(old.mac, *ip);
                    self.expiring.remove(old.expires, *ip);
                    self.leased.remove(*ip);
                    self.lease_changed(old.mac);
                }
            }
            Change::PutLease6(lease) => self.put_lease6(lease),
            Change::DeleteLease6(ip) => {
                self.unindex_lease6(*ip);
                self.leases6.remove(ip);
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
            Change::Append(event) => self.count_events(event.seq),
        }
    }

    /// There have been events up to this number.
    pub fn count_events(&mut self, newest: u64) {
        self.next_seq = self.next_seq.max(newest.saturating_add(1));
    }

    fn put_node(&mut self, node: &Arc<Node>) {
        let same = |old: &Node| {
            let called = (&old.macs, &old.name) == (&node.macs, &node.name);
            called && old.certificates == node.certificates && old.state == node.state
        };
        if !self.node(node.id).is_some_and(same) {
            self.unindex_node(node.id);
            self.by_name.insert(node.name.clone(), node.id);
            for certificate in &node.certificates {
                self.by_certificate.insert(certificate.fingerprint, node.id);
            }
        }
        for mac in &node.macs {
            self.by_mac.insert(*mac, Arc::clone(node));
        }
        self.nodes.insert(node.id, Arc::clone(node));
        self.index_stranger(node);
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
            self.strangers.remove(id);
        }
    }

    fn put_lease(&mut self, lease: &Lease) {
        let before = self.leases.insert(lease.ip, Arc::new(lease.clone()));
        let runs_out = |lease: &Lease| (!lease.reserved).then_some(lease.expires);
        // A client that renews changes nothing but when it runs out.
        let (holder, expires) = before.map_or((None, None), |before| (Some(before.mac), runs_out(&before)));
        if holder != Some(lease.mac) {
            match holder {
                Some(holder) => self.holds_no_longer(holder, lease.ip),
                None => self.leased.insert(lease.ip),
            }
            let held = self.leases_by_mac.get(&lease.mac);
            let held = held.map_or_else(|| Held::one(lease.ip), |held| held.with(lease.ip));
            self.leases_by_mac.insert(lease.mac, held);
        }
        if expires != runs_out(lease) {
            if let Some(expires) = expires {
                self.expiring.remove(expires, lease.ip);
            }
            if let Some(expires) = runs_out(lease) {
                self.expiring.insert(expires, lease.ip);
            }
        }
        self.lease_changed(lease.mac);
        holder.filter(|holder| *holder != lease.mac).inspect(|holder| self.lease_changed(*holder));
    }

    fn holds_no_longer(&mut self, mac: MacAddr, ip: Ipv4Addr) {
        match self.leases_by_mac.get(&mac).and_then(|held| held.without(ip)) {
            Some(held) => drop(self.leases_by_mac.insert(mac, held)),
            None => drop(self.leases_by_mac.remove(&mac)),
        }
    }

    fn put_lease6(&mut self, lease: &Lease6) {
        self.unindex_lease6(lease.ip);
        self.leases6_by_client.insert((lease.duid.clone(), lease.ip));
        match lease.mac {
            Some(mac) => drop(self.leases6_by_mac.insert((mac, lease.ip))),
            None => drop(self.nobodys6.insert((lease.expires, lease.ip))),
        }
        self.leases6.insert(lease.ip, Arc::new(lease.clone()));
        lease.mac.inspect(|mac| self.lease_changed(*mac));
    }

    fn unindex_lease6(&mut self, ip: Ipv6Addr) {
        if let Some(old) = self.leases6.get(&ip).cloned() {
            self.leases6_by_client.remove(&(old.duid.clone(), ip));
            self.nobodys6.remove(&(old.expires, ip));
            if let Some(mac) = old.mac {
                self.leases6_by_mac.remove(&(mac, ip));
            }
        }
    }

    fn lease_changed(&mut self, mac: MacAddr) {
        if let Some(node) = self.kept_node_with_mac(mac) {
            self.index_stranger(&node);
        }
    }

    /// A node that nobody approved counts as there until its last lease runs out, and a while after it was first seen.
    fn index_stranger(&mut self, node: &Node) {
        if node.state != State::Discovered {
            return;
        }
        let v4 = node.macs.iter().flat_map(|mac| self.leases_of(*mac)).map(|lease| lease.expires);
        let v6 = node.macs.iter().flat_map(|mac| self.leases6_at(*mac)).map(|lease| lease.expires);
        let until = v4.chain(v6).fold(node.first_seen.plus(NEW), Ord::max);
        self.strangers.put(node.id, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time_and_are_nobody_elses() {
        let at = Timestamp(1_800_000_000_000);
        for (one, other) in
            [((at, u32::MAX), (at.plus(Duration::from_millis(1)), 0)), ((at, 0), (at, 1 << 10))]
        {
            assert!(NodeId::seen(one.0, one.1) < NodeId::seen(other.0, other.1), "{one:?} {other:?}");
        }
        let mut world = World::default();
        let drawn = NodeId::seen(at, 77 << 10);
        assert_eq!(drawn.0 >> 22, at.0);
        for number in 0..3_u8 {
            let id = world.free_id(drawn);
            assert_eq!(id.0, drawn.0 + u64::from(number), "the next one up");
            let name = format!("n{number}").parse().expect("a name");
            world.apply(&Change::put_node(Node::discovered(id, name, MacAddr([2, 0, 0, 0, 0, number]), at)));
        }
        world.apply(&Change::DeleteNode(drawn.following()));
        assert_eq!(world.free_id(drawn), drawn.following());
    }
}
