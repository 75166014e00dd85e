//! Which nodes have to do with bundles or clusters. A look asks for them whenever something changed, and of a hall full of nodes most
//! may have nothing: so only those are asked again that are others than at the last look.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{GroupName, Node, NodeId, World};

/// The nodes that have to do with bundles, as of the last look.
#[derive(Debug, Default)]
pub struct Concerned {
    /// What was looked at.
    seen: Arc<World>,
    /// Groups that are pinned to bundles.
    groups: BTreeSet<GroupName>,
    /// Nodes that should have bundles, or have some.
    nodes: BTreeSet<NodeId>,
}

impl Concerned {
    /// The nodes that should have bundles, have some, or are members of a cluster.
    pub fn of(&mut self, world: &Arc<World>) -> BTreeSet<NodeId> {
        if !Arc::ptr_eq(&self.seen, world) {
            self.catch_up(world);
        }
        let members = world.clusters().flat_map(|cluster| &cluster.members);
        let members = members.map(|member| NodeId(member.node)).filter(|node| world.node(*node).is_some());
        self.nodes.iter().copied().chain(members).collect()
    }

    fn catch_up(&mut self, world: &Arc<World>) {
        let pinned = world.groups().filter(|group| !group.bundles.is_empty());
        let groups: BTreeSet<GroupName> = pinned.map(|group| group.name.clone()).collect();
        if groups != self.groups {
            // Any node may be one of theirs.
            *self = Self { groups, ..Self::default() };
        }
        let Self { seen, groups, nodes } = self;
        seen.each_changed_node(world, |id, node| {
            if node.is_some_and(|node| has_bundles(node, groups)) {
                nodes.insert(id);
            } else {
                nodes.remove(&id);
            }
        });
        *seen = Arc::clone(world);
    }
}

fn has_bundles(node: &Node, groups: &BTreeSet<GroupName>) -> bool {
    !node.bundles.is_empty()
        || node.group.as_ref().is_some_and(|group| groups.contains(group))
        || node.observed.bundles.as_ref().is_some_and(|applied| !applied.generation.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::desired::Applied;
    use crate::cluster::{Cluster, Member, MemberState};
    use crate::model::{Change, Group, MacAddr, Timestamp};

    fn node(id: u64) -> Node {
        let [.., a, b, c] = id.to_be_bytes();
        let name = format!("n{id}").parse().expect("a name");
        Node::discovered(NodeId(id), name, MacAddr([2, 0, 0, a, b, c]), Timestamp(1))
    }

    /// As it is found by asking everybody.
    fn by_asking_all(world: &World) -> BTreeSet<NodeId> {
        let concerned = |node: &&Node| {
            !world.bundles_of(node).is_empty()
                || node.observed.bundles.as_ref().is_some_and(|applied| !applied.generation.is_empty())
                || world.cluster_of(node.id).is_some()
        };
        world.nodes().filter(concerned).map(|node| node.id).collect()
    }

    fn change(kind: u8, id: u64, some: bool) -> Change {
        let name: GroupName = format!("g{}", id % 3).parse().expect("a name");
        let bundles = if some { vec!["a@1".parse().expect("a bundle")] } else { Vec::new() };
        let generation = if some { "g".into() } else { String::new() };
        let member = Member {
            node: id,
            role: None,
            index: 1,
            state: MemberState::Joining,
            since: 1,
            next_role: None,
            forced: false,
        };
        let mut node = node(id);
        match kind {
            0 => Change::put_node(node),
            1 => Change::put_node(Node { bundles, ..node }),
            2 => Change::put_node(Node { group: Some(name), ..node }),
            3 => {
                node.observed.bundles = Some(Applied { generation, ..Applied::default() });
                Change::put_node(node)
            }
            4 => Change::DeleteNode(node.id),
            5 => Change::PutGroup(Group { name, pin: None, bundles, created: Timestamp(1) }),
            6 => Change::DeleteGroup(name),
            7 => Change::PutCluster(Cluster {
                name: "prod".into(),
                members: if some { vec![member] } else { Vec::new() },
                ..Cluster::default()
            }),
            _ => Change::DeleteCluster("prod".into()),
        }
    }

    proptest::proptest! {
        #[test]
        fn the_same_are_found_as_by_asking_all(
            looks in proptest::collection::vec(proptest::collection::vec((0..9_u8, 1..400_u64, proptest::bool::ANY), 0..20), 1..20)
        ) {
            let (mut world, mut concerned) = (World::default(), Concerned::default());
            // So many that there is much to pass over.
            (1..=300).for_each(|id| world.apply(&Change::put_node(node(id))));
            for changes in looks {
                for (kind, id, some) in changes {
                    world.apply(&change(kind, id, some));
                }
                proptest::prop_assert_eq!(concerned.of(&Arc::new(world.clone())), by_asking_all(&world));
            }
        }
    }

    #[test]
    fn nodes_that_are_as_they_were_are_not_looked_into() {
        let mut world = World::default();
        (1..=1000).for_each(|id| world.apply(&Change::put_node(node(id))));
        let before = world.clone();
        for (rule, change, expected) in [
            ("nothing", None, vec![]),
            (
                "another",
                Some(Change::put_node(Node { bundles: vec!["a@1".parse().expect("a bundle")], ..node(7) })),
                vec![7],
            ),
            ("gone", Some(Change::DeleteNode(NodeId(9))), vec![9]),
            ("new", Some(Change::put_node(node(2000))), vec![2000]),
        ] {
            let mut after = before.clone();
            if let Some(change) = &change {
                after.apply(change);
            }
            let mut found = Vec::new();
            before.each_changed_node(&after, |id, _| found.push(id.0));
            assert_eq!(found, expected, "{rule}");
        }
    }
}
