//! What is known of a client before it asks: who waits for a probe, who is served when strangers are not, and which of several
//! leases is a client's.

use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::*;
use crate::model::{Change, Node, NodeId, State};

const NOW: u64 = 1_000_000;
const LATER: u64 = 2_000_000;

fn world(leases: &[Lease], node: Option<State>) -> World {
    let mut world = World::default();
    for lease in leases {
        world.apply(&Change::PutLease(lease.clone()));
    }
    if let Some(state) = node {
        let node = Node::discovered(NodeId(1), "n1".parse().expect("a name"), mac(1), Timestamp(0));
        world.apply(&Change::put_node(Node { state, ..node }));
    }
    world
}

/// A lease of client 1 on another network.
fn elsewhere(state: LeaseState) -> Lease {
    Lease { ip: Ipv4Addr::new(10, 99, 0, 9), ..lease(1, state, LATER) }
}

#[test]
fn who_waits_for_a_probe() {
    use LeaseState::{Bound, Declined, Offered, Released};
    for (who, leases, node, waits) in [
        ("who was never seen", vec![], None, true),
        ("who asked once and got nothing", vec![], Some(State::Discovered), true),
        ("who was offered an address only", vec![elsewhere(Offered)], Some(State::Discovered), true),
        ("who found its address in use", vec![elsewhere(Declined)], Some(State::Discovered), true),
        ("an address without a node", vec![elsewhere(Bound)], None, true),
        ("a node that had an address elsewhere", vec![elsewhere(Bound)], Some(State::Discovered), false),
        ("a node that gave it back", vec![elsewhere(Released)], Some(State::Discovered), false),
        ("an approved node without an address", vec![], Some(State::Enrolled), false),
        ("who has an address here", vec![lease(1, Bound, LATER)], None, false),
        ("who had one here", vec![lease(1, Bound, 1)], None, false),
    ] {
        let decision = decide(&world(&leases, node), message(1, M::Discover, vec![]), NOW);
        assert!(decision.reply.is_some(), "{who}");
        assert_eq!(decision.fresh, waits, "{who}");
    }
}

#[test]
fn an_offer_hides_nothing() {
    for (rule, state, expires, changed) in [
        ("in use", LeaseState::Bound, LATER, false),
        ("run out", LeaseState::Bound, 1, false),
        ("given back", LeaseState::Released, 1, false),
        ("offered before", LeaseState::Offered, NOW + 1, true),
    ] {
        let mut world = world(&[lease(1, state, expires)], Some(State::Discovered));
        let decision = decide(&world, message(1, M::Discover, vec![]), NOW);
        assert_eq!(decision.reply.map(|reply| reply.message.yiaddr()), Some(ip(1)), "{rule}");
        assert_eq!(
            !decision.changes.is_empty(),
            changed,
            "{rule}: RFC 2131 4.3.1, an offer is a promise only"
        );
        for change in &decision.changes {
            world.apply(change);
        }
        let take = vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(ip(1))];
        let ack = decide(&world, message(1, M::Request, take), NOW).reply.expect("an answer");
        assert_eq!(ack.message.opts().msg_type(), Some(M::Ack), "{rule}");
    }
}

/// A client whose lease was taken over from another server is no stranger, though it is no node yet.
#[test]
fn who_has_a_lease_is_served_when_strangers_are_not() {
    let network = network();
    for (who, leases, served) in [
        ("a stranger", vec![], false),
        ("who was offered an address", vec![lease(1, LeaseState::Offered, LATER)], false),
        ("who has one", vec![lease(1, LeaseState::Bound, LATER)], true),
        ("who had one", vec![lease(1, LeaseState::Released, 1)], true),
    ] {
        let world = world(&leases, None);
        let options = Options::new();
        let view = View { serves_strangers: false, ..view(&world, &network, &options, None) };
        let request = Request::new(message(1, M::Discover, vec![])).expect("a request");
        assert_eq!(respond(&request, &view, Timestamp(NOW)).reply.is_some(), served, "{who}");
    }
}

/// Other servers give firmware and system an address each; both come over with an import.
#[test]
fn of_several_leases_of_one_client() {
    use LeaseState::{Bound, Released};
    let of_1 = |n: u8, state, expires, reserved| Lease { mac: mac(1), reserved, ..lease(n, state, expires) };
    for (rule, leases, offered, renewed) in [
        (
            "the reserved one, though another is lower and lasts longer",
            [of_1(1, Bound, LATER + 5, false), of_1(2, Bound, LATER, true)],
            2,
            [M::Nak, M::Ack],
        ),
        (
            "the one in use",
            [of_1(1, Released, NOW, false), of_1(2, Bound, LATER, false)],
            2,
            [M::Ack, M::Ack],
        ),
        (
            "the one that lasts longest",
            [of_1(1, Bound, LATER, false), of_1(2, Bound, LATER + 5, false)],
            2,
            [M::Ack, M::Ack],
        ),
    ] {
        let world = world(&leases, None);
        let decision = decide(&world, message(1, M::Discover, vec![]), NOW);
        assert_eq!(decision.reply.map(|reply| reply.message.yiaddr()), Some(ip(offered)), "{rule}");
        for (n, expected) in [1, 2].into_iter().zip(renewed) {
            let mut renewal = message(1, M::Request, vec![]);
            renewal.set_ciaddr(ip(n));
            let decision = decide(&world, renewal, NOW);
            let reply = decision.reply.expect("an answer");
            assert_eq!(reply.message.opts().msg_type(), Some(expected), "{rule}: it renews {}", ip(n));
            let left = decision.changes.iter().any(|change| {
                let other = if expected == M::Ack { ip(3 - n) } else { ip(n) };
                matches!(change, Change::PutLease(lease) if lease.ip == other && lease.state == Released)
            });
            let was_in_use = leases.iter().filter(|lease| lease.state == Bound).count() == 2 || n == 1;
            assert_eq!(left, was_in_use, "{rule}: the one that it does not use is free, {}", ip(n));
        }
    }
}
