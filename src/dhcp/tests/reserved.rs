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
    Request::new(message).expect("a request").sent(Cast::Unicast)
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
        let state = |site: &Site| site.world.lease(FIXED).map(|lease| lease.state);
        assert_eq!(state(&site) == Some(LeaseState::Bound), kept, "{rule}");
        site.ask(&unicast(1, M::Release, FIXED, then), NOW + 3000);
        assert_eq!(
            state(&site),
            Some(LeaseState::Released),
            "{rule}: RFC 2131 4.3.4, RELEASE, or the NAK before"
        );
    }
}

#[test]
fn the_uuid_that_is_known_of_a_node_counts_where_it_tells_none() {
    let (_, key) = uuid();
    let mut site = Site::new(vec![reserving(vec![(key, FIXED)])]);
    let node = Node::discovered(NodeId(1), "n1".parse().expect("a name"), mac(1), Timestamp(0));
    let uuid = Some("04030201-0605-0807-090a-0b0c0d0e0f10".into());
    site.world.apply(&Change::put_node(Node { uuid, ..node }));
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

/// A switch's port, as a relay on that switch tells it.
fn port(circuit_id: &str, remote_id: &str) -> Vec<u8> {
    [
        circuit(circuit_id),
        vec![2, u8::try_from(remote_id.len()).expect("short")],
        remote_id.as_bytes().to_vec(),
    ]
    .concat()
}

#[test]
fn ports_of_two_switches_may_be_called_alike() {
    let at = |n: u8| Ipv4Addr::new(10, 78, 0, n);
    let of = |switch: &str| ClientKey::SwitchPort { circuit_id: b"e12".to_vec(), remote_id: switch.into() };
    let all =
        || vec![(of("sw1"), at(51)), (of("sw2"), at(52)), (ClientKey::CircuitId(b"e12".to_vec()), at(59))];
    for (rule, agent, expected) in [
        ("RFC 3046 3.2: of the first switch", port("e12", "sw1"), "10.78.0.51"),
        ("of the second", port("e12", "sw2"), "10.78.0.52"),
        ("of any other", port("e12", "sw3"), "10.78.0.59"),
        ("of a relay that does not tell the switch", circuit("e12"), "10.78.0.59"),
        ("another port", port("e13", "sw1"), "10.78.0.100"),
    ] {
        let mut site = Site::new(vec![reserving(all())]);
        assert_eq!(given(&site.ask(&discover(1, vec![], &agent), NOW)), expected, "{rule}");
    }
    // What it has stays its own where less is told, and not where something else is.
    for (rule, agent, expected) in [
        ("a relay that does not tell the switch", circuit("e12"), "10.78.0.51"),
        ("the same port of another switch", port("e12", "sw2"), "10.78.0.100"),
        ("another port, of a switch that is not told", circuit("e13"), "10.78.0.100"),
    ] {
        let mut site = Site::new(vec![reserving(vec![(of("sw1"), at(51))])]);
        site.ask(&select(1, at(51), vec![], &port("e12", "sw1")), NOW);
        assert_eq!(given(&site.ask(&discover(1, vec![], &agent), NOW + 1000)), expected, "{rule}");
    }
}

#[test]
fn only_a_relay_tells_the_port_unless_every_switch_is_trusted() {
    for (rule, giaddr, trust_ports, expected) in [
        ("RFC 3046 2.1: a relay's word", RELAY, false, "10.78.0.50"),
        ("RFC 3046 5: a client may write the option itself", "0.0.0.0", false, "10.78.0.100"),
        ("a switch that snoops, and lets nobody else write it", "0.0.0.0", true, "10.78.0.50"),
    ] {
        let here = reserving(vec![(ClientKey::CircuitId(b"e12".to_vec()), FIXED)]);
        let mut site = Site::new(vec![Network { interface: Some("br0".into()), trust_ports, ..here }]);
        let asked = relayed(message(1, M::Discover, vec![]), giaddr, &circuit("e12"));
        assert_eq!(given(&site.ask(&asked, NOW)), expected, "{rule}");
    }
}

/// How the holder of an address hears that it is another's.
type Hears = fn(&mut Site);

const TAKEN: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 100);

/// An address that became another's by configuration is free for him as soon as who had it has been told, or has moved.
#[test]
fn a_reserved_address_is_free_once_its_holder_has_left_it() {
    let told_by: [(&str, Hears); 3] = [
        ("RFC 2131 3.2, step 3: refused when it restarts", |site| {
            let asked = message(1, M::Request, vec![O::RequestedIpAddress(TAKEN)]);
            let nak = site.ask(&relayed(asked, RELAY, &[]), NOW + 1000);
            assert_eq!(answer(&nak), Some((M::Nak, Ipv4Addr::UNSPECIFIED)));
        }),
        ("RFC 2131 4.3.2: refused when it renews", |site| {
            let nak = site.ask(&unicast(1, M::Request, TAKEN, vec![]), NOW + 1000);
            assert_eq!(answer(&nak), Some((M::Nak, Ipv4Addr::UNSPECIFIED)));
        }),
        ("RFC 2131 4.3.1: it took another one", |site| {
            assert_eq!(given(&site.ask(&discover(1, vec![], &[]), NOW + 1000)), "10.78.0.101");
            let other = Ipv4Addr::new(10, 78, 0, 101);
            assert_eq!(given(&site.ask(&select(1, other, vec![], &[]), NOW + 1000)), "10.78.0.101");
        }),
    ];
    for (rule, told) in told_by {
        let mut site = Site::new(vec![subnet(78)]);
        site.ask(&discover(1, vec![], &[]), NOW);
        assert_eq!(given(&site.ask(&select(1, TAKEN, vec![], &[]), NOW)), "10.78.0.100", "{rule}");
        site.networks = vec![reserving(vec![(ClientKey::Mac(mac(2)), TAKEN)])];
        let waits = site.ask(&discover(2, vec![], &[]), NOW + 500);
        assert_eq!(given(&waits), "the address reserved for it is in use by somebody else", "{rule}");
        told(&mut site);
        assert_eq!(given(&site.ask(&discover(2, vec![], &[]), NOW + 2000)), "10.78.0.100", "{rule}");
        assert_eq!(given(&site.ask(&select(2, TAKEN, vec![], &[]), NOW + 2000)), "10.78.0.100", "{rule}");
    }
}

#[test]
fn who_moves_to_another_network_of_the_link_leaves_its_address() {
    let on_br0 = |n: u8| Network { interface: Some("br0".into()), ..subnet(n) };
    let mut site = Site::new(vec![on_br0(78), on_br0(79)]);
    let ask = |kind, options| Request::new(message(1, kind, options)).expect("a request");
    let take = |ip| vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(ip)];
    site.ask(&ask(M::Discover, vec![]), NOW);
    assert_eq!(given(&site.ask(&ask(M::Request, take(TAKEN)), NOW)), "10.78.0.100");
    site.networks[0].exclude = vec!["10.78.0.100-10.78.0.101".parse().expect("a range")];
    assert_eq!(given(&site.ask(&ask(M::Discover, vec![]), NOW + 1000)), "10.79.0.100");
    let next = Ipv4Addr::new(10, 79, 0, 100);
    assert_eq!(given(&site.ask(&ask(M::Request, take(next)), NOW + 1000)), "10.79.0.100");
    let state = |ip| site.world.lease(ip).map(|lease| lease.state);
    assert_eq!((state(TAKEN), state(next)), (Some(LeaseState::Released), Some(LeaseState::Bound)));
}
