//! Nodes that nobody approved are bounded in number and in what they write: when there is no room for a new one, the one that
//! was silent for the longest is forgotten; and what one does again and again is written down once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::model::{Change, EventKind, MacAddr, Node, NodeId, Timestamp, World};
use crate::store::Tx;

/// The same again within so many milliseconds is no news.
const AGAIN_MS: u64 = 2000;
/// Different events of one node that are written down within that time: a boot has fewer.
const DIFFERENT: usize = 8;
/// Nodes that are remembered: beyond that, everything is news.
const NODES: usize = 65_536;

/// Whether a node that nobody knows can become one of at most `most`.
pub(super) fn has_room(world: &World, most: usize, at: Timestamp) -> bool {
    world.strangers() < most || (most > 0 && world.silent_strangers(at).next().is_some())
}

/// Makes room for one more, where it takes that.
pub(super) fn make_room(tx: &mut Tx, most: usize, at: Timestamp) {
    if tx.world().strangers() < most {
        return;
    }
    let Some(node) = tx.world().silent_strangers(at).next().cloned() else { return };
    forget(tx, &node, at);
}

/// Forgets a node, its leases and what it told.
fn forget(tx: &mut Tx, node: &Node, at: Timestamp) {
    let world = tx.world();
    let v4 =
        node.macs.iter().flat_map(|mac| world.leases_of(*mac)).map(|lease| Change::DeleteLease(lease.ip));
    let v6 =
        node.macs.iter().flat_map(|mac| world.leases6_at(*mac)).map(|lease| Change::DeleteLease6(lease.ip));
    let told = world.inventory_moments(node.id).iter();
    let told = told.map(|at| Change::DeleteInventory { node: node.id, at: *at });
    let mut changes: Vec<Change> = v4.chain(v6).chain(told).collect();
    changes.push(Change::DeleteNode(node.id));
    let mac = node.macs.first().copied().unwrap_or(MacAddr([0; 6]));
    for change in changes {
        tx.put(change);
    }
    tx.append(at, Some(node), None, EventKind::Forgotten { mac });
}

/// What nodes did lately, so that one which asks ten times a second does not push everything else out of the history.
#[derive(Debug, Default)]
pub(super) struct Lately {
    nodes: Mutex<Known>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Known {
    events: HashMap<NodeId, Vec<(Timestamp, u64)>>,
    swept: Timestamp,
}

impl Lately {
    /// Whether it is worth a line; if so, it is remembered.
    pub fn is_news(&self, node: NodeId, kind: &EventKind, at: Timestamp) -> bool {
        let what = self.hasher.hash_one(kind);
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |then: Timestamp| at.0.abs_diff(then.0) < AGAIN_MS;
        if known.events.len() >= NODES && !recent(known.swept) {
            known.swept = at;
            known.events.retain(|_, events| events.iter().any(|(then, _)| recent(*then)));
        }
        if known.events.len() >= NODES && !known.events.contains_key(&node) {
            return true;
        }
        let events = known.events.entry(node).or_default();
        events.retain(|(then, _)| recent(*then));
        let news = events.len() < DIFFERENT && !events.iter().any(|(_, before)| *before == what);
        if news {
            events.push((at, what));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Lease, LeaseState, NodeName, State};

    use super::*;

    fn mac(n: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, n])
    }

    fn node(n: u8, first_seen: u64) -> Node {
        let name: NodeName = format!("n{n}").parse().expect("a name");
        Node::discovered(NodeId(n.into()), name, mac(n), Timestamp(first_seen))
    }

    fn lease(n: u8, expires: u64) -> Change {
        let (ip, state) = ([10, 77, 0, n].into(), LeaseState::Bound);
        Change::PutLease(Lease {
            ip,
            mac: mac(n),
            state,
            expires: Timestamp(expires),
            reserved: false,
            hostname: None,
        })
    }

    const HOUR: u64 = 3_600_000;

    #[test]
    fn the_longest_silent_makes_room() {
        type Setup = fn(&mut World);
        let rows: [(&str, Setup, u64, Option<u8>); 7] = [
            ("nobody is silent", |world| world.apply(&lease(2, 9 * HOUR)), HOUR, Some(1)),
            ("all are there", |_| {}, 60_000, None),
            ("the longest silent", |world| world.apply(&lease(1, 2 * HOUR)), 9 * HOUR, Some(2)),
            ("whose lease runs is there", |world| world.apply(&lease(1, 99 * HOUR)), 9 * HOUR, Some(2)),
            (
                "a lease that was taken away holds nobody",
                |world| {
                    world.apply(&lease(1, 99 * HOUR));
                    world.apply(&Change::DeleteLease([10, 77, 0, 1].into()));
                },
                9 * HOUR,
                Some(1),
            ),
            (
                "an approved one stays",
                |world| world.apply(&Change::put_node(Node { state: State::Enrolled, ..node(1, 0) })),
                9 * HOUR,
                Some(2),
            ),
            (
                "one that an operator gave something stays",
                |world| {
                    world.apply(&Change::put_node(Node {
                        pin: Some("a@1".parse().expect("an image")),
                        ..node(1, 0)
                    }));
                },
                9 * HOUR,
                Some(2),
            ),
        ];
        for (rule, setup, at, expected) in rows {
            let mut world = World::default();
            world.apply(&Change::put_node(node(1, 0)));
            world.apply(&Change::put_node(node(2, 1)));
            setup(&mut world);
            let (most, at) = (world.strangers(), Timestamp(at));
            assert_eq!(has_room(&world, most, at), expected.is_some(), "{rule}");
            let mut tx = Tx::on(world);
            make_room(&mut tx, most, at);
            for n in [1, 2] {
                let gone = expected == Some(n);
                assert_eq!(tx.world().node_with_mac(mac(n)).is_none(), gone, "{rule}: {n}");
                if gone {
                    assert_eq!(tx.world().leases_of(mac(n)).count(), 0, "{rule}: its lease is gone");
                    assert_eq!(tx.world().strangers(), most - 1, "{rule}");
                    assert_eq!(tx.world().next_seq(), 2, "{rule}: it is written down");
                }
            }
            assert!(has_room(tx.world(), most + 1, at), "{rule}");
            assert!(!has_room(tx.world(), 0, at), "{rule}: none are wanted");
        }
    }

    #[test]
    fn the_same_again_is_no_news() {
        let lately = Lately::default();
        let ended = |n: u8| EventKind::LeaseEnded {
            ip: std::net::IpAddr::from([10, 77, 0, n]),
            how: "released".into(),
        };
        let news = |node: u64, kind: EventKind, at: u64| lately.is_news(NodeId(node), &kind, Timestamp(at));
        assert!(news(1, ended(1), 1000));
        assert!(!news(1, ended(1), 1100), "the same");
        assert!(news(1, ended(2), 1200), "something else");
        assert!(!news(1, ended(1), 1300), "in turns");
        assert!(news(2, ended(1), 1300), "another node");
        assert!(news(1, ended(1), 3000), "after a while");
        let written = (0..200_u8).filter(|n| news(3, ended(*n), 4000)).count();
        assert_eq!(written, DIFFERENT, "always something else");
        let written = (0..200_000_u64).filter(|node| news(1000 + node, ended(1), 9000)).count();
        assert_eq!(written, 200_000);
        assert!(lately.nodes.lock().expect("a lock").events.len() <= NODES);
        assert!(news(1, ended(1), 20_000) && !news(1, ended(1), 20_001), "the quiet make room");
    }
}
