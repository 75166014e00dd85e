//! Whether a node has to be rendered anew: what its rendering depends on, as a number. What many nodes share is taken once for a look
//! at all of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::bundle::Member;
use crate::cluster::{self, Cluster, MemberState};
use crate::model::{Node, Variables, World};

use super::Appliance;
use super::wanted::{is_leaving, layers, shown};

/// What the renderings of many nodes depend on, as numbers.
pub(super) struct Common {
    /// Each cluster.
    clusters: HashMap<String, u64>,
    /// The appliance's package sources.
    sources: u64,
}

impl Appliance {
    /// What the renderings of many nodes depend on, for one look at all of them.
    pub(super) fn common(&self, world: &World) -> Common {
        let clusters = world.clusters().map(|cluster| (cluster.name.clone(), cluster_key(world, cluster)));
        Common { clusters: clusters.collect(), sources: self.sources_key() }
    }

    /// What the rendering of a node depends on, as a number.
    pub(super) fn rendering_key(&self, world: &World, node: &Node, common: &Common) -> u64 {
        let mut hasher = DefaultHasher::new();
        let layers: Vec<&Variables> = layers(world, node).into_iter().map(|(_, values)| values).collect();
        let never = node.observed.bundles.as_ref().is_none_or(|applied| applied.generation.is_empty());
        (world.bundles_of(node), is_leaving(world, node), never).hash(&mut hasher);
        (common.sources, &node.observed.os).hash(&mut hasher);
        if let Some((cluster, own)) = world.membership(node.id) {
            let seeds = cluster.bootstraps(own.node);
            (common.clusters.get(&cluster.name), own.index, &own.role, own.state as u8, seeds)
                .hash(&mut hasher);
        }
        let rest = (layers, self.about_alone(world, node));
        // All of it can be written as JSON.
        serde_json::to_string(&rest).unwrap_or_default().hash(&mut hasher);
        hasher.finish()
    }
}

/// What a cluster is to any of its members, as a number.
fn cluster_key(world: &World, cluster: &Cluster) -> u64 {
    let mut hasher = DefaultHasher::new();
    let shown = |member: &cluster::Member| shown(world, member);
    let seed = cluster.seed.and_then(|seed| cluster.member(seed)).and_then(shown);
    let members = cluster.members.iter().filter(|member| member.state == MemberState::Member);
    let members: Vec<Option<Member>> = members.map(shown).collect();
    // All of it can be written as JSON.
    serde_json::to_string(&(&cluster.name, seed, members)).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::wanted::role_of;
    use super::*;
    use crate::model::{Change, Lease, LeaseState, MacAddr, NodeId, Timestamp};
    use std::net::Ipv4Addr;

    /// A cluster of `count` members.
    fn world(count: u32) -> (World, Cluster) {
        let mut world = World::default();
        let mut cluster = Cluster { name: "prod".into(), seed: Some(1), formed: true, ..Cluster::default() };
        for n in 1..=count {
            let [_, a, b, c] = n.to_be_bytes();
            let (id, mac) = (NodeId(u64::from(n)), MacAddr([2, 0, 0, a, b, c]));
            let name = format!("n{n}").parse().expect("a name");
            world.apply(&Change::put_node(Node::discovered(id, name, mac, Timestamp(1))));
            let (ip, state, expires) = (Ipv4Addr::new(10, a, b, c), LeaseState::Bound, Timestamp(1));
            world.apply(&Change::PutLease(Lease { ip, mac, state, expires, reserved: true, hostname: None }));
            cluster.members.push(cluster::Member {
                node: id.0,
                role: Some("worker".into()),
                index: n,
                state: MemberState::Member,
                since: 1,
                next_role: None,
                forced: false,
            });
        }
        world.apply(&Change::PutCluster(cluster.clone()));
        (world, cluster)
    }

    #[test]
    fn a_cluster_is_another_when_members_see_it_so() {
        let (mut world, mut cluster) = world(4);
        let first = cluster_key(&world, &cluster);
        assert_eq!(cluster_key(&world, &cluster), first);
        // Nobody's peer yet: nobody else has to be rendered anew.
        cluster.members[3].state = MemberState::Joining;
        let without = cluster_key(&world, &cluster);
        assert_ne!(without, first);
        cluster.members[3].role = None;
        assert_eq!(cluster_key(&world, &cluster), without);
        let mut node = world.node(NodeId(2)).expect("a node").clone();
        node.name = "other".parse().expect("a name");
        world.apply(&Change::put_node(node));
        assert_ne!(cluster_key(&world, &cluster), without, "a peer has another name");
    }

    #[test]
    fn members_are_found_after_every_change() {
        let (mut world, mut cluster) = world(4);
        let index = |world: &World, node| world.membership(NodeId(node)).map(|(_, member)| member.index);
        assert_eq!((index(&world, 1), index(&world, 4), index(&world, 5)), (Some(1), Some(4), None));
        cluster.members.remove(0);
        world.apply(&Change::PutCluster(cluster.clone()));
        assert_eq!((index(&world, 1), index(&world, 2), index(&world, 4)), (None, Some(2), Some(4)));
        let moved =
            Cluster { name: "other".into(), members: cluster.members.split_off(2), ..cluster.clone() };
        world.apply(&Change::PutCluster(cluster));
        world.apply(&Change::PutCluster(moved));
        assert_eq!(world.cluster_of(NodeId(4)).map(|cluster| cluster.name.as_str()), Some("other"));
        world.apply(&Change::DeleteCluster("prod".into()));
        assert_eq!((index(&world, 2), index(&world, 4)), (None, Some(4)));
    }

    #[test]
    fn a_look_at_a_large_cluster_takes_no_time_for_each_pair() {
        let (world, cluster) = world(4000);
        let started = std::time::Instant::now();
        assert_ne!(cluster_key(&world, &cluster), 0);
        let found = world.nodes().filter(|node| role_of(&world, node).as_deref() == Some("worker")).count();
        assert_eq!((found, world.nodes().filter(|node| is_leaving(&world, node)).count()), (4000, 0));
        // Sixteen million pairs would take many times that.
        assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
    }
}
