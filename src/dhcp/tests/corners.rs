//! Corners that a configuration changed under living leases, a relay or a hostile packet leads into.

use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::*;
use crate::dhcp::choose_network;
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
    let firmware = FirmwareTable::new(&[]).expect("the built-in tables");
    let view = View {
        world,
        network,
        server,
        firmware: &firmware,
        http_port: 8080,
        domain: None,
        serves_strangers: true,
    };
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
    let found = choose_network(&networks, "br0", renewal.giaddr(), renewal.ciaddr());
    assert_eq!(found.map(|network| network.subnet.to_string()).as_deref(), Some("10.78.0.0/24"));
}
