//! Whole fleets, made up at random: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use firstlight::cluster::quorum::{counted, down};
use firstlight::cluster::*;
use proptest::prelude::*;

const CHANGE: &str = "base@1, etcd@2";

fn node() -> impl Strategy<Value = NodeView> {
    (
        prop::bool::weighted(0.85),
        prop::bool::weighted(0.85),
        prop::bool::weighted(0.9),
        prop::option::weighted(0.1, Just("upgrade".to_owned())),
        prop::option::weighted(0.1, 2000..9000_u64),
        0..3_u8,
        0..3_u8,
        prop::option::weighted(0.5, (any::<bool>(), 0..9000_u64)),
    )
        .prop_map(|(reachable, healthy, ready, busy, applying_since, group, has, last)| NodeView {
            group: format!("g{group}"),
            reachable,
            healthy,
            ready,
            busy,
            applying_since,
            last_seen: 5000,
            wanted: "g2".into(),
            change: CHANGE.into(),
            current: ["", "g1", "g2"][usize::from(has)].into(),
            current_change: ["", "base@1", CHANGE][usize::from(has)].into(),
            last: last.map(|(failed, at)| Tried {
                generation: "g2".into(),
                change: if failed { "base@0".into() } else { CHANGE.into() },
                failed,
                reason: "rolled back".into(),
                at,
            }),
            ..NodeView::default()
        })
}

fn member() -> impl Strategy<Value = (u8, u8, u64)> {
    (0..3_u8, 0..5_u8, 0..9000_u64)
}

/// Up to two clusters over up to sixteen nodes.
fn fleet() -> impl Strategy<Value = (Vec<Cluster>, Nodes)> {
    prop::collection::vec((node(), prop::option::weighted(0.8, (any::<bool>(), member()))), 1..16)
        .prop_flat_map(|list| {
            (any::<bool>(), Just(list)).prop_map(|(formed, list)| {
                let mut nodes = Nodes::new();
                let mut clusters =
                    ["a", "b"].map(|name| Cluster { name: name.into(), formed, ..Cluster::default() });
                for (id, (node, place)) in (1..).zip(list) {
                    if let Some((second, (role, state, since))) = place {
                        let cluster = &mut clusters[usize::from(second)];
                        cluster.members.push(Member {
                            node: id,
                            role: [Some(CONTROL.into()), Some(WORKER.into()), None][usize::from(role)]
                                .clone(),
                            index: u32::try_from(id).expect("small"),
                            state: match state {
                                0 => MemberState::Joining,
                                1 => MemberState::Leaving,
                                _ => MemberState::Member,
                            },
                            since,
                            next_role: None,
                            forced: false,
                        });
                    }
                    nodes.insert(id, NodeView { id, name: format!("n{id}"), ..node });
                }
                for cluster in &mut clusters {
                    cluster.seat(&nodes);
                }
                (clusters.to_vec(), nodes)
            })
        })
}

fn going(clusters: &[Cluster], nodes: &Nodes, now: u64) -> Vec<u64> {
    let retries = BTreeMap::new();
    let fleet = Fleet { clusters, nodes, retries: &retries, limits: Limits::default() };
    let turns = turns(&fleet, now);
    turns.into_iter().filter(|turn| turn.decision == Decision::Go).map(|turn| turn.node).collect()
}

fn downs(cluster: &Cluster, nodes: &Nodes) -> usize {
    counted(cluster, nodes).filter(|member| down(member, nodes).is_some()).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_turn_takes_a_second_control_member_down((clusters, mut nodes) in fleet()) {
        let goes = going(&clusters, &nodes, 10_000);
        for cluster in &clusters {
            let control: Vec<u64> = goes.iter().copied()
                .filter(|id| cluster.member(*id).is_some_and(Member::is_control)).collect();
            prop_assert!(control.len() <= 1, "{control:?} at once");
            let before = downs(cluster, &nodes);
            let was_up: BTreeSet<u64> = counted(cluster, &nodes)
                .filter(|member| down(member, &nodes).is_none()).map(|member| member.node).collect();
            if let Some(id) = control.first() {
                prop_assert!(!was_up.contains(id) || before == 0, "{id} goes while {before} are down");
                nodes.get_mut(id).expect("a node").applying_since = Some(10_000);
                prop_assert!(downs(cluster, &nodes) <= before.max(1));
            }
        }
        for id in goes {
            let node = &nodes[&id];
            prop_assert!(node.reachable && node.ready && node.busy.is_none() && node.pending());
            for cluster in &clusters {
                let Some(member) = cluster.member(id) else { continue };
                prop_assert!(member.state != MemberState::Leaving);
                let early = !cluster.formed && member.state == MemberState::Joining;
                prop_assert!(!early || cluster.seed == Some(id), "{id} joins what is not there");
            }
        }
    }

    #[test]
    fn no_disruption_that_is_allowed_leaves_less_than_a_majority((clusters, nodes) in fleet()) {
        for cluster in &clusters {
            for member in &cluster.members {
                let set: Vec<u64> = counted(cluster, &nodes).map(|member| member.node).collect();
                if !set.contains(&member.node) || set.len() < 3 {
                    continue;
                }
                let up = counted(cluster, &nodes)
                    .filter(|other| other.node != member.node && down(other, &nodes).is_none()).count();
                let was_up = down(member, &nodes).is_none();
                let majority = set.len() / 2 + 1;
                for disruption in [Disruption::Apply, Disruption::Wipe, Disruption::Leave] {
                    if may_take_down(cluster, &nodes, member.node, disruption, 10_000).is_ok() {
                        prop_assert!(up >= majority || (!was_up && disruption.returns()));
                    }
                }
            }
        }
    }

    #[test]
    fn indexes_are_one_each_and_nobody_is_in_two_clusters(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..8_u64), 0..60)
    ) {
        let mut clusters: BTreeMap<String, Cluster> =
            ["a", "b"].map(|name| (name.to_owned(), Cluster { name: name.into(), ..Cluster::default() })).into();
        for (first, joins, node) in steps {
            let name = if first { "a" } else { "b" };
            let before: BTreeMap<u64, u32> = clusters[name].members.iter().map(|member| (member.node, member.index)).collect();
            if joins {
                drop(join(&mut clusters, name, node, 1));
            } else if let Some(cluster) = clusters.get_mut(name) && cluster.begin_leave(node, None, 2).is_ok() {
                prop_assert_eq!(cluster.finish_leave(node, &Nodes::new(), 3), Ok(()));
            }
            for member in &clusters[name].members {
                prop_assert!(before.get(&member.node).is_none_or(|index| *index == member.index));
            }
            for cluster in clusters.values() {
                let indexes: BTreeSet<u32> = cluster.members.iter().map(|member| member.index).collect();
                prop_assert_eq!(indexes.len(), cluster.members.len());
                prop_assert!(cluster.seed.is_none_or(|seed| cluster.member(seed).is_some()));
            }
            let all: Vec<u64> = clusters.values().flat_map(|cluster| &cluster.members).map(|member| member.node).collect();
            let once: BTreeSet<u64> = all.iter().copied().collect();
            prop_assert_eq!(once.len(), all.len());
        }
    }

    #[test]
    fn roles_given_by_rule_stay_and_do_not_exceed_their_count(
        order in Just((1..=9_u64).collect::<Vec<_>>()).prop_shuffle(), count in 0..5_u32
    ) {
        let rules = vec![
            RoleRule { role: CONTROL.into(), count: Some(count), group: None },
            RoleRule { role: WORKER.into(), count: None, group: None },
        ];
        let mut clusters = BTreeMap::from([("a".to_owned(), Cluster { name: "a".into(), rules, ..Cluster::default() })]);
        let mut nodes = Nodes::new();
        let mut given: BTreeMap<u64, String> = BTreeMap::new();
        for (at, id) in (0..).zip(order) {
            nodes.insert(id, NodeView { id, ready: true, reachable: true, ready_since: at, ..NodeView::default() });
            prop_assert!(join(&mut clusters, "a", id, at).is_ok());
            let cluster = clusters.get_mut("a").expect("it is there");
            for role in assign(cluster, &nodes) {
                prop_assert!(given.insert(role.node, role.role.clone()).is_none(), "it had one");
                prop_assert!(give_role(cluster, role.node, &role.role, at).is_ok());
            }
            prop_assert!(assign(cluster, &nodes).is_empty());
        }
        let control = given.values().filter(|role| *role == CONTROL).count();
        prop_assert_eq!(control, usize::try_from(count).expect("small"));
        prop_assert_eq!(given.len(), 9);
    }

    /// Everybody gets there in the end, and a change that is bad everywhere reaches one of each group only.
    #[test]
    fn a_good_change_reaches_everybody_and_a_bad_one_hardly_anybody(
        controls in 0..6_u64, others in 0..40_u64, groups in 1..4_u64, fresh in any::<bool>(), bad in any::<bool>()
    ) {
        let mut cluster = Cluster { name: "a".into(), formed: !fresh, ..Cluster::default() };
        let mut nodes = Nodes::new();
        for id in 1..=controls + others {
            let old = if fresh { "" } else { "base@1" };
            nodes.insert(id, NodeView {
                id, name: format!("n{id}"), group: format!("g{}", id % groups), ready: true, reachable: true,
                healthy: true, wanted: "g2".into(), change: CHANGE.into(), current: old.into(),
                current_change: old.into(), ..NodeView::default()
            });
            let role = if id <= controls { CONTROL } else { WORKER };
            let state = if fresh { MemberState::Joining } else { MemberState::Member };
            let index = u32::try_from(id).expect("small");
            cluster.members.push(Member { node: id, role: Some(role.into()), index, state, since: 0, next_role: None, forced: false });
        }
        let mut tried = 0;
        let mut now = 1000;
        for _ in 0..=controls + others {
            cluster.observe(&nodes, now);
            let goes = going(std::slice::from_ref(&cluster), &nodes, now);
            tried += goes.len();
            now += 1000;
            for id in goes {
                let node = nodes.get_mut(&id).expect("a node");
                if !bad {
                    node.current.clone_from(&node.wanted);
                    node.current_change.clone_from(&node.change);
                }
                node.last = Some(Tried {
                    generation: node.wanted.clone(), change: node.change.clone(), failed: bad,
                    reason: "rolled back: it does not start".into(), at: now,
                });
            }
        }
        if bad {
            prop_assert!(tried <= usize::try_from(groups).expect("small"), "{tried} tried it");
        } else {
            prop_assert!(nodes.values().all(NodeView::settled), "{tried} of {}", controls + others);
        }
    }
}
