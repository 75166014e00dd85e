//! Corners that a configuration changed under living leases, a relay or a hostile packet leads into.

use dhcproto::v4::{DhcpOption as O, MessageType as M, OptionCode};

use super::*;
use crate::dhcp::{Destination, choose_network};
use crate::model::{Change, Lease};

const NOW: u64 = 1_000_000;
const LATER: u64 = 2_000_000;

fn world(leases: &[Lease]) -> World {
    let mut world = World::default();
    for lease in leases {
        world.apply(&Change::PutLease(lease.clone()));
    }
    world
}

fn decide_on(network: &Network, server: Ipv4Addr, world: &World, message: Message) -> Decision {
    let request = Request::new(message).expect("a client's message");
    let options = Options::new();
    let view = View { server, server_identifier: server, ..view(world, network, &options, None) };
    respond(&request, &view, Timestamp(NOW))
}

fn offered(decision: &Decision) -> Option<Ipv4Addr> {
    decision.reply.as_ref().map(|reply| reply.message.yiaddr())
}

#[test]
fn an_address_that_became_somebody_elses_by_configuration_is_not_given() {
    let base = network();
    let gateway = Network { gateway: Some(ip(1)), ..base.clone() };
    let dns = Network { dns: vec![ip(1)], ..base.clone() };
    for (name, network, server) in [
        ("the gateway's", &gateway, SERVER),
        ("a name server's", &dns, SERVER),
        ("the server's own", &base, ip(1)),
    ] {
        let sticky = world(&[lease(1, LeaseState::Bound, LATER)]);
        let given = offered(&decide_on(network, server, &sticky, message(1, M::Discover, vec![])));
        assert!(given.is_some_and(|given| given != ip(1)), "{name}, by stickiness: {given:?}");

        let all_run_out: Vec<Lease> =
            (0..6).map(|n| lease(n, LeaseState::Bound, u64::from(n != 1))).collect();
        let given =
            offered(&decide_on(network, server, &world(&all_run_out), message(9, M::Discover, vec![])));
        assert!(given.is_some_and(|given| given != ip(1)), "{name}, taken back: {given:?}");
    }
}

#[test]
fn a_client_whose_address_became_the_servers_gets_another_and_keeps_it() {
    let mut world = world(&[lease(1, LeaseState::Bound, LATER)]);
    let mut given = Vec::new();
    for _ in 0..3 {
        let offer = decide_on(&network(), ip(1), &world, message(1, M::Discover, vec![]));
        let address = offered(&offer).expect("an offer");
        for change in &offer.changes {
            world.apply(change);
        }
        let take = vec![O::ServerIdentifier(ip(1)), O::RequestedIpAddress(address)];
        let answer = decide_on(&network(), ip(1), &world, message(1, M::Request, take));
        for change in &answer.changes {
            world.apply(change);
        }
        given.push((address, answer.reply.and_then(|reply| reply.message.opts().msg_type())));
    }
    assert_eq!(given, [(given[0].0, Some(M::Ack)); 3]);
}

#[test]
fn a_renewal_from_behind_a_relay_is_of_its_network() {
    let relayed = Network { interface: None, subnet: "10.78.0.0/24".parse().expect("a subnet"), ..network() };
    let networks = [network(), relayed];
    // RFC 2131 section 4.3.2, RENEWING: unicast, so that no relay fills giaddr.
    let mut renewal = message(1, M::Request, vec![]);
    renewal.set_ciaddr([10, 78, 0, 9]);
    let renewal = Request::new(renewal).expect("a request").sent(Cast::Unicast);
    let found = choose_network(&networks, "br0", &renewal);
    assert_eq!(found.map(|network| network.subnet.to_string()).as_deref(), Some("10.78.0.0/24"));
}

#[test]
fn nobody_gets_replies_sent_to_strangers() {
    let mut discover = message(9, M::Discover, vec![]);
    discover.set_ciaddr([8, 8, 8, 8]);
    let reply = decide(&World::default(), discover, NOW).reply.expect("an offer");
    assert_eq!(reply.destination, Destination::Frame { mac: mac(9), ip: ip(0) });
    assert!(reply.message.ciaddr().is_unspecified(), "RFC 2131 table 3");
}

#[test]
fn the_relays_option_comes_back_as_it_came_and_last() {
    use dhcproto::{Encodable, Encoder};
    // RFC 3046 section 2.2. Out of order, a sub-option twice, one of a length that dhcproto does not expect.
    let relay = [82, 18, 9, 1, 7, 2, 2, 5, 6, 2, 1, 8, 4, 2, 1, 1, 151, 1, 0, 77];
    let mut bytes = Vec::new();
    message(9, M::Discover, vec![]).encode(&mut Encoder::new(&mut bytes)).expect("it encodes");
    bytes.pop();
    bytes.extend(relay);
    bytes.extend([97, 17, 0]);
    bytes.extend([9; 16]);
    bytes.push(255);
    let request = Request::parse(&bytes).expect("a request");
    assert!(request.client.uuid.is_some(), "options behind it are read");
    let reply = decide(&World::default(), request.message, NOW).reply.expect("an offer");
    let encoded = reply.encode().expect("it encodes");
    let end = encoded.iter().rposition(|octet| *octet == 255).expect("an end");
    assert_eq!(encoded[end - relay.len()..end], relay);
    assert_eq!(reply.message.opts().iter().filter(|(code, _)| u8::from(**code) == 82).count(), 1);
}

#[test]
fn a_reply_is_no_longer_than_the_client_takes() {
    let id = |length: usize| O::ClientIdentifier(vec![1; length]);
    for (name, options, most) in [
        (
            "RFC 2131 section 2: 576 bytes with headers",
            vec![id(255), O::ClientMachineIdentifier(vec![0; 255])],
            548,
        ),
        ("RFC 2132 section 9.10: what option 57 says", vec![id(255), O::MaxMessageSize(1400)], 1372),
    ] {
        let reply = decide(&World::default(), message(9, M::Discover, options), NOW).reply.expect("an offer");
        let length = reply.encode().expect("it encodes").len();
        assert!(length <= most, "{name}: {length}");
        assert!(reply.message.opts().contains(OptionCode::AddressLeaseTime), "{name}");
    }
}
