//! Reservations over a client's life: what its later messages tell of it, and leave out.

use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::networks::{Site, circuit, given, relayed, subnet};
use super::*;
use crate::model::{Change, ClientKey, Node, NodeId, Reservation, Reservations};

const NOW: u64 = 1_000_000;
const FIXED: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 50);
const RELAY: &str = "10.78.0.1";

/// 10.78.0.0/24 with these addresses reserved.
pub(super) fn reserving(all: Vec<(ClientKey, Ipv4Addr)>) -> Network {
    let mut reservations = Reservations::default();
    for (key, ip) in all {
        reservations.add(Reservation { key, ip, name: None }).expect("no other of it");
    }
    Network { reservations, ..subnet(78) }
}

/// What client `n` asks when it restarts, renews by unicast (past the relay), and gives back.
fn discover(n: u8, options: Vec<O>, agent: &[u8]) -> Request {
    relayed(message(n, M::Discover, options), RELAY, agent)
}

fn select(n: u8, ip: Ipv4Addr, mut options: Vec<O>, agent: &[u8]) -> Request {
    options.extend([O::ServerIdentifier(SERVER), O::RequestedIpAddress(ip)]);
    relayed(message(n, M::Request, options), RELAY, agent)
}

fn unicast(n: u8, kind: M, ip: Ipv4Addr, mut options: Vec<O>) -> Request {
    if kind == M::Release {
        options.push(O::ServerIdentifier(SERVER));
    }
    let mut message = message(n, kind, options);
    message.set_ciaddr(ip);
    Request::new(message).expect("a request")
}

fn answer(decision: &Decision) -> Option<(M, Ipv4Addr)> {
    let reply = decision.reply.as_ref()?;
    Some((reply.message.opts().msg_type().expect("a type"), reply.message.yiaddr()))
}

fn uuid() -> (Vec<O>, ClientKey) {
    let told = vec![O::ClientMachineIdentifier((0..17).collect())];
    (told, ClientKey::Uuid("04030201-0605-0807-090a-0b0c0d0e0f10".into()))
}

#[test]
fn a_client_that_tells_less_of_itself_keeps_what_is_reserved_for_it() {
    let id = |id: u8| vec![O::ClientIdentifier(vec![255, 1, 2, id])];
    let (told, by_uuid) = uuid();
    let by_id = || ClientKey::ClientId(vec![255, 1, 2, 3]);
    let by_port = || ClientKey::CircuitId(b"e12".to_vec());
    let (e12, e13, none) = (circuit("e12"), circuit("e13"), Vec::new());
    for (rule, key, (first, port), (then, later), expected) in [
        ("RFC 4578 2.3: the system tells no UUID", by_uuid, (told, &none), (vec![], &none), FIXED),
        ("RFC 2131 4.2: the system tells no client id", by_id(), (id(3), &none), (vec![], &none), FIXED),
        (
            "RFC 2131 4.2: another client id is another client",
            by_id(),
            (id(3), &none),
            (id(4), &none),
            Ipv4Addr::new(10, 78, 0, 100),
        ),
        ("RFC 3046 2.1: a relay that adds nothing", by_port(), (vec![], &e12), (vec![], &none), FIXED),
        (
            "RFC 3046 2.1: it is in another port now",
            by_port(),
            (vec![], &e12),
            (vec![], &e13),
            Ipv4Addr::new(10, 78, 0, 100),
        ),
    ] {
        let mut site = Site::new(vec![reserving(vec![(key, FIXED)])]);
        assert_eq!(given(&site.ask(&discover(1, first.clone(), port), NOW)), "10.78.0.50", "{rule}");
        assert_eq!(given(&site.ask(&select(1, FIXED, first, port), NOW)), "10.78.0.50", "{rule}");
        let again = site.ask(&discover(1, then.clone(), later), NOW + 1000);
        assert_eq!(answer(&again), Some((M::Offer, expected)), "{rule}: a new start");
        let renewed = site.ask(&unicast(1, M::Request, FIXED, then.clone()), NOW + 2000);
        let kept = later == &e13 || expected == FIXED;
        let ack = if kept { (M::Ack, FIXED) } else { (M::Nak, Ipv4Addr::UNSPECIFIED) };
        assert_eq!(answer(&renewed), Some(ack), "{rule}: RFC 2131 4.3.2, RENEWING past the relay");
        site.ask(&unicast(1, M::Release, FIXED, then), NOW + 3000);
        let state = site.world.lease(FIXED).map(|lease| lease.state);
        assert_eq!(state == Some(LeaseState::Released), kept, "{rule}: RFC 2131 4.3.4, RELEASE");
    }
}

#[test]
fn the_uuid_that_is_known_of_a_node_counts_where_it_tells_none() {
    let (_, key) = uuid();
    let mut site = Site::new(vec![reserving(vec![(key, FIXED)])]);
    let node = Node::discovered(NodeId(1), "n1".parse().expect("a name"), mac(1), Timestamp(0));
    let uuid = Some("04030201-0605-0807-090a-0b0c0d0e0f10".into());
    site.world.apply(&Change::PutNode(Node { uuid, ..node }));
    assert_eq!(given(&site.ask(&discover(1, vec![], &[]), NOW)), "10.78.0.50", "its system was first");
    assert_eq!(given(&site.ask(&discover(2, vec![], &[]), NOW)), "10.78.0.100", "nobody else");
}

#[test]
fn who_tells_nothing_gets_nobodys_reservation() {
    for key in [uuid().1, ClientKey::ClientId(vec![9, 9]), ClientKey::CircuitId(b"e1".to_vec())] {
        let mut site = Site::new(vec![reserving(vec![(key.clone(), Ipv4Addr::new(10, 78, 0, 100))])]);
        assert_eq!(given(&site.ask(&discover(1, vec![], &[]), NOW)), "10.78.0.101", "{key}");
    }
}
