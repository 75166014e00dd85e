//! Relays, shared links, reservations, and networks beside another server. The rule's source stands beside each row.

use std::collections::BTreeMap;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::*;
use crate::dhcp::{Destination, Place, assist, choose_network};
use crate::model::{Change, ClientKey, Reservation, Reservations, Subnet};

const NOW: u64 = 1_000_000;

pub(super) fn subnet(n: u8) -> Network {
    Network {
        interface: None,
        ranges: vec![format!("10.{n}.0.100-10.{n}.0.101").parse().expect("a range")],
        ..Network::new(format!("10.{n}.0.0/24").parse().expect("a subnet"))
    }
}

/// A message through a relay, with these sub-options.
pub(super) fn relayed(message: Message, giaddr: &str, agent: &[u8]) -> Request {
    let mut message = message;
    message.set_giaddr(giaddr.parse::<Ipv4Addr>().expect("an address"));
    let mut bytes = message.to_vec().expect("it encodes");
    bytes.pop();
    bytes.extend([82, u8::try_from(agent.len()).expect("short")]);
    bytes.extend(agent);
    bytes.push(255);
    Request::parse(&bytes).expect("a request")
}

pub(super) fn circuit(port: &str) -> Vec<u8> {
    [&[1, u8::try_from(port.len()).expect("short")], port.as_bytes()].concat()
}

pub(super) struct Site {
    pub(super) networks: Vec<Network>,
    pub(super) world: World,
    /// Our addresses, where they are not the usual one.
    pub(super) servers: BTreeMap<Subnet, Ipv4Addr>,
}

impl Site {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self { networks, world: World::default(), servers: BTreeMap::new() }
    }

    /// Decides as the appliance does, and keeps what changes.
    pub(super) fn ask(&mut self, request: &Request, now: u64) -> Decision {
        let Some(network) = choose_network(&self.networks, "br0", request) else {
            return Decision::default();
        };
        let shared = self.networks.iter().filter(|other| *other != network && other.shares_link(network));
        let place = |network: &'_ Network| {
            let server = self.servers.get(&network.subnet).copied().unwrap_or(SERVER);
            (server, request.client.relay.server.unwrap_or(server))
        };
        let shared: Vec<Place<'_>> = shared
            .map(|network| {
                let (server, server_identifier) = place(network);
                Place { network, server, server_identifier, options: &network.options }
            })
            .collect();
        let (server, server_identifier) = place(network);
        let view = View {
            shared: &shared,
            server,
            server_identifier,
            ..view(&self.world, network, &network.options, None)
        };
        let decision = match network.dhcp {
            crate::model::DhcpMode::Proxy => assist(request, &view, Timestamp(now)),
            _ => respond(request, &view, Timestamp(now)),
        };
        for change in &decision.changes {
            self.world.apply(change);
        }
        decision
    }
}

pub(super) fn given(decision: &Decision) -> String {
    let reply = decision.reply.as_ref().map(|reply| reply.message.yiaddr().to_string());
    reply.unwrap_or_else(|| decision.silent.unwrap_or("nothing").to_owned())
}

#[test]
fn relays_tell_the_link() {
    for (rule, giaddr, agent, expected) in [
        ("RFC 2131 4.3.1: the relay's network", "10.78.0.1", vec![], "10.78.0.100"),
        ("RFC 3527 3: the link that is selected", "10.78.0.1", vec![5, 4, 10, 79, 0, 0], "10.79.0.100"),
        ("RFC 3527 3: a link that is not ours", "10.78.0.1", vec![5, 4, 10, 99, 0, 0], "nothing"),
        ("RFC 3046 2.2: a port changes nothing by itself", "10.78.0.1", circuit("e1"), "10.78.0.100"),
    ] {
        let mut site = Site::new(vec![network(), subnet(78), subnet(79)]);
        let decision = site.ask(&relayed(message(1, M::Discover, vec![]), giaddr, &agent), NOW);
        assert_eq!(given(&decision), expected, "{rule}");
        if let Some(reply) = decision.reply {
            let to = giaddr.parse().expect("an address");
            assert_eq!(reply.destination, Destination::Relay(to), "RFC 2131 4.1: to the relay itself");
            let bytes = reply.encode().expect("it encodes");
            let echoed = [&[82, u8::try_from(agent.len()).expect("short")], &agent[..]].concat();
            let end = bytes.windows(echoed.len() + 1).any(|part| part == [&echoed[..], &[255]].concat());
            assert!(end || agent.is_empty(), "RFC 3046 2.2: {rule}: it goes back as it came, last");
        }
    }
}

#[test]
fn a_relay_may_name_the_server() {
    // RFC 5107 section 4: the reply's server identifier is the relay's address, and clients come back with that.
    let mut site = Site::new(vec![subnet(78)]);
    let agent = [11, 4, 10, 78, 0, 1];
    let offer = site.ask(&relayed(message(1, M::Discover, vec![]), "10.78.0.1", &agent), NOW);
    let relay = Ipv4Addr::new(10, 78, 0, 1);
    let reply = offer.reply.expect("an offer").message;
    let id = O::ServerIdentifier(relay);
    assert_eq!(reply.opts().get(OptionCode::ServerIdentifier), Some(&id));
    let wanted = O::RequestedIpAddress(reply.yiaddr());
    let ack = site
        .ask(&relayed(message(1, M::Request, vec![id.clone(), wanted.clone()]), "10.78.0.1", &agent), NOW);
    assert_eq!(ack.reply.expect("an answer").message.opts().msg_type(), Some(M::Ack));
    let other = site.ask(&relayed(message(1, M::Request, vec![id, wanted]), "10.78.0.1", &[]), NOW);
    assert_eq!(other.silent, Some("the client chose another server"));
}

#[test]
fn who_is_no_relay_has_no_say_in_links_and_servers() {
    let mut site = Site::new(vec![network(), subnet(78)]);
    let agent = [5, 4, 10, 78, 0, 0, 11, 4, 10, 78, 0, 1, 1, 1, b'e'];
    let request = relayed(message(1, M::Discover, vec![]), "0.0.0.0", &agent);
    assert_eq!(request.client.relay.circuit_id.as_deref(), Some(&b"e"[..]), "a switch tells the port");
    let reply = site.ask(&request, NOW).reply.expect("an offer").message;
    assert_eq!(reply.yiaddr(), ip(0), "of the network that it came in by");
    assert_eq!(reply.opts().get(OptionCode::ServerIdentifier), Some(&O::ServerIdentifier(SERVER)));
}

#[test]
fn networks_on_one_link_help_out() {
    let shared = |n: u8| Network { shared: Some("rack".into()), ..subnet(n) };
    let mut site = Site::new(vec![shared(78), shared(79), subnet(80)]);
    let mut leases = Vec::new();
    for client in 1..=5 {
        let request = relayed(message(client, M::Discover, vec![]), "10.78.0.1", &[]);
        leases.push(given(&site.ask(&request, NOW)));
    }
    assert_eq!(
        leases,
        ["10.78.0.100", "10.78.0.101", "10.79.0.100", "10.79.0.101", "no free address"],
        "the relay's own network first"
    );
    let renewed = message(3, M::Request, vec![O::RequestedIpAddress(Ipv4Addr::new(10, 79, 0, 100))]);
    let decision = site.ask(&relayed(renewed, "10.78.0.1", &[]), NOW);
    assert_eq!(given(&decision), "10.79.0.100", "INIT-REBOOT in the other network of the link");
    let mask = decision.reply.expect("an answer").message.opts().get(OptionCode::SubnetMask).cloned();
    assert_eq!(mask, Some(O::SubnetMask(Ipv4Addr::new(255, 255, 255, 0))));
    let foreign = message(1, M::Request, vec![O::RequestedIpAddress(Ipv4Addr::new(10, 80, 0, 100))]);
    let decision = site.ask(&relayed(foreign, "10.78.0.1", &[]), NOW);
    assert_eq!(
        decision.reply.expect("an answer").message.opts().msg_type(),
        Some(M::Nak),
        "of no network there"
    );
}

/// The client is placed first; then it is said what holds there.
#[test]
fn a_client_gets_the_options_and_the_server_of_the_network_it_is_placed_on() {
    let second = Ipv4Addr::new(10, 79, 0, 1);
    let on_br0 = |n: u8, mtu: u8| Network {
        interface: Some("br0".into()),
        ranges: vec![format!("10.{n}.0.100-10.{n}.0.100").parse().expect("a range")],
        options: [(26, vec![mtu, 0])].into(),
        ..subnet(n)
    };
    let mut site = Site::new(vec![on_br0(78, 5), on_br0(79, 9)]);
    site.servers.insert(site.networks[1].subnet, second);
    let ask = |n: u8, kind, more: Vec<O>| {
        let mut options = vec![O::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec())];
        options.extend(more);
        Request::new(message(n, kind, options)).expect("a request")
    };
    for (n, ip, server, mtu) in [(1, "10.78.0.100", SERVER, 5), (2, "10.79.0.100", second, 9)] {
        let mut last = None;
        for kind in [M::Discover, M::Request] {
            let ip: Ipv4Addr = ip.parse().expect("an address");
            let take = vec![O::ServerIdentifier(server), O::RequestedIpAddress(ip)];
            let more = if kind == M::Request { take } else { vec![] };
            let reply = site.ask(&ask(n, kind, more), NOW).reply.expect("an answer");
            let message = &reply.message;
            assert_eq!(message.yiaddr(), ip, "{kind:?}");
            let id = message.opts().get(OptionCode::ServerIdentifier);
            assert_eq!(id, Some(&O::ServerIdentifier(server)), "RFC 2132 9.7: our address there, {kind:?}");
            assert_eq!(message.siaddr(), server, "RFC 2131 2: it boots from there, {kind:?}");
            assert_eq!(reply.options.get(&26), Some(&vec![mtu, 0]), "the options of that network, {kind:?}");
            last = message.opts().msg_type();
        }
        assert_eq!(last, Some(M::Ack), "RFC 2131 4.3.2: what that server offered is taken from it");
    }
}

/// Client 1 has an address on every network and asks to keep one of them, from where it is.
#[test]
fn who_renews_is_believed_and_who_rebinds_is_where_it_asks() {
    let on_br1 = Network { interface: Some("br1".into()), ..subnet(80) };
    let beside = Network { shared: Some("rack".into()), ..subnet(79) };
    let here = Network { shared: Some("rack".into()), ..network() };
    let networks = [here, subnet(78), beside, on_br1];
    for (rule, cast, giaddr, ciaddr, expected) in [
        ("RFC 2131 4.3.2 RENEWING: here", Cast::Unicast, "", "10.77.0.100", Some("10.77.0.100")),
        (
            "RENEWING, past the relay: ciaddr is trusted",
            Cast::Unicast,
            "",
            "10.78.0.100",
            Some("10.78.0.100"),
        ),
        ("RENEWING, on a link of two networks", Cast::Unicast, "", "10.79.0.100", Some("10.79.0.100")),
        // Our address there is on the client's own link: what comes in by another did not come through routers.
        ("RENEWING, by another link than its own", Cast::Unicast, "", "10.80.0.100", None),
        ("RENEWING, of no network", Cast::Unicast, "", "10.99.0.100", None),
        ("RFC 2131 4.3.2 REBINDING: here", Cast::Broadcast, "", "10.77.0.100", Some("10.77.0.100")),
        ("REBINDING, on a link of two networks", Cast::Broadcast, "", "10.79.0.100", Some("10.79.0.100")),
        ("REBINDING, with an address from behind the relay", Cast::Broadcast, "", "10.78.0.100", None),
        ("REBINDING, with an address of another link", Cast::Broadcast, "", "10.80.0.100", None),
        ("REBINDING, of no network", Cast::Broadcast, "", "10.99.0.100", None),
        // RFC 2131 4.3.6 table 4: a broadcast. The relay passes it on.
        ("REBINDING, behind its relay", Cast::Unicast, "10.78.0.1", "10.78.0.100", Some("10.78.0.100")),
        ("REBINDING, behind another relay", Cast::Unicast, "10.78.0.1", "10.77.0.100", None),
    ] {
        let mut site = Site::new(networks.to_vec());
        for n in [77, 78, 79, 80] {
            let held = Lease { ip: Ipv4Addr::new(10, n, 0, 100), ..lease(1, LeaseState::Bound, NOW + 1000) };
            site.world.apply(&Change::PutLease(held));
        }
        let mut asked = message(1, M::Request, vec![]);
        asked.set_ciaddr(ciaddr.parse::<Ipv4Addr>().expect("an address"));
        let request = match giaddr {
            "" => Request::new(asked).expect("a request"),
            giaddr => relayed(asked, giaddr, &[]),
        };
        let decision = site.ask(&request.sent(cast), NOW);
        let reply = decision.reply.expect(rule);
        let kind = reply.message.opts().msg_type();
        assert_eq!(kind, Some(if expected.is_some() { M::Ack } else { M::Nak }), "{rule}");
        let to: Option<Ipv4Addr> = expected.map(|ip| ip.parse().expect("an address"));
        assert_eq!(reply.message.yiaddr(), to.unwrap_or(Ipv4Addr::UNSPECIFIED), "{rule}");
        if expected.is_none() {
            // RFC 2131 4.3.2: broadcast, by the relay where there is one.
            let relay = giaddr.parse().map_or(Destination::Broadcast, Destination::Relay);
            assert_eq!(reply.destination, relay, "{rule}");
            let why = O::Message("that address is of another network".into());
            assert_eq!(reply.message.opts().get(OptionCode::Message), Some(&why), "{rule}");
            assert_eq!(decision.changes, [], "{rule}: what it has elsewhere is its own until it runs out");
        }
    }
}

/// RFC 2131 section 4.3.5: an INFORM is answered where its sender is.
#[test]
fn who_broadcasts_an_inform_is_where_it_asks() {
    for (cast, ciaddr, expected) in [
        (Cast::Broadcast, "10.77.0.9", Some("10.77.0.9")),
        (Cast::Broadcast, "10.78.0.9", None),
        (Cast::Unicast, "10.78.0.9", Some("10.78.0.9")),
    ] {
        let mut site = Site::new(vec![network(), subnet(78)]);
        let mut inform = message(1, M::Inform, vec![]);
        inform.set_ciaddr(ciaddr.parse::<Ipv4Addr>().expect("an address"));
        let decision = site.ask(&Request::new(inform).expect("a request").sent(cast), NOW);
        let to = expected.map(|ip| Destination::Unicast(ip.parse().expect("an address")));
        assert_eq!(decision.reply.map(|reply| reply.destination), to, "{cast:?} from {ciaddr}");
    }
}

fn reserving(key: ClientKey, ip: &str) -> Network {
    let mut reservations = Reservations::default();
    let name = Some("node-12".parse().expect("a name"));
    let ip = ip.parse().expect("an address");
    reservations.add(Reservation { key, ip, name }).expect("the first");
    Network { reservations, ..subnet(78) }
}

#[test]
fn reservations_beat_the_pool() {
    let uuid: Vec<u8> = (0..17).collect();
    let id = vec![255, 1, 2, 3];
    for (name, key, n, options, port, expected) in [
        ("by MAC", ClientKey::Mac(mac(1)), 1, vec![], "", "10.78.0.50"),
        ("another MAC", ClientKey::Mac(mac(1)), 2, vec![], "", "10.78.0.100"),
        (
            "by client id",
            ClientKey::ClientId(id.clone()),
            2,
            vec![O::ClientIdentifier(id.clone())],
            "",
            "10.78.0.50",
        ),
        (
            "by UUID",
            ClientKey::Uuid("04030201-0605-0807-090a-0b0c0d0e0f10".into()),
            2,
            vec![O::ClientMachineIdentifier(uuid)],
            "",
            "10.78.0.50",
        ),
        ("by port", ClientKey::CircuitId(b"e12".to_vec()), 2, vec![], "e12", "10.78.0.50"),
        ("another port", ClientKey::CircuitId(b"e12".to_vec()), 2, vec![], "e1", "10.78.0.100"),
    ] {
        let mut site = Site::new(vec![reserving(key, "10.78.0.50")]);
        let agent = if port.is_empty() { Vec::new() } else { circuit(port) };
        let asked = |kind, mut more: Vec<O>| {
            more.extend(options.clone());
            relayed(message(n, kind, more), "10.78.0.1", &agent)
        };
        let offer = site.ask(&asked(M::Discover, vec![]), NOW);
        assert_eq!(given(&offer), expected, "{name}");
        let ip: Ipv4Addr = expected.parse().expect("an address");
        let request = asked(M::Request, vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(ip)]);
        assert_eq!(given(&site.ask(&request, NOW)), expected, "{name}: acknowledged");
    }
}

#[test]
fn the_server_in_port_12_is_node_12() {
    let mut site = Site::new(vec![reserving(ClientKey::CircuitId(b"e12".to_vec()), "10.78.0.50")]);
    let discover = |n: u8, port: &str| relayed(message(n, M::Discover, vec![]), "10.78.0.1", &circuit(port));
    assert_eq!(given(&site.ask(&discover(1, "e12"), NOW)), "10.78.0.50");
    let request = message(
        1,
        M::Request,
        vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(Ipv4Addr::new(10, 78, 0, 50))],
    );
    site.ask(&relayed(request, "10.78.0.1", &circuit("e12")), NOW);
    assert_eq!(
        given(&site.ask(&discover(2, "e12"), NOW)),
        "the address reserved for it is in use by somebody else",
        "while the server before it holds the lease"
    );
    assert_eq!(
        given(&site.ask(&discover(2, "e12"), NOW + 13 * 3_600_000)),
        "10.78.0.50",
        "its successor in the port"
    );
    assert_eq!(
        given(&site.ask(&discover(1, "e13"), NOW + 13 * 3_600_000)),
        "10.78.0.100",
        "moved to another port"
    );
}

#[test]
fn excluded_and_reserved_addresses_are_nobodys() {
    let base = reserving(ClientKey::Mac(mac(9)), "10.78.0.100");
    let exclude = vec!["10.78.0.101-10.78.0.101".parse().expect("a range")];
    let mut site = Site::new(vec![Network { exclude, ..base }]);
    let wishes = vec![O::RequestedIpAddress(Ipv4Addr::new(10, 78, 0, 101))];
    let asked = relayed(message(1, M::Discover, wishes), "10.78.0.1", &[]);
    assert_eq!(given(&site.ask(&asked, NOW)), "no free address");
}

fn pxe(kind: M, more: Vec<O>) -> Message {
    let mut options = vec![
        O::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()),
        O::ClientSystemArchitecture(7.into()),
    ];
    options.extend(more);
    message(1, kind, options)
}

#[test]
fn beside_another_server() {
    let theirs = O::ServerIdentifier(Ipv4Addr::new(10, 77, 0, 2));
    let taken = O::RequestedIpAddress(ip(3));
    let with_address = |mut message: Message| {
        message.set_ciaddr(ip(3));
        message
    };
    for (rule, message, expected) in [
        ("PXE 2.1 2.2.3: an offer without an address", pxe(M::Discover, vec![]), Some(M::Offer)),
        ("no firmware", message(1, M::Discover, vec![]), None),
        ("for the other server", pxe(M::Request, vec![theirs.clone(), taken.clone()]), None),
        ("for us, at port 4011", with_address(pxe(M::Request, vec![])), Some(M::Ack)),
        ("for us, by name", with_address(pxe(M::Request, vec![O::ServerIdentifier(SERVER)])), Some(M::Ack)),
        ("a system that restarts", super::message(1, M::Request, vec![taken]), None),
        ("a release", pxe(M::Release, vec![theirs]), None),
    ] {
        let mut site =
            Site::new(vec![Network { dhcp: crate::model::DhcpMode::Proxy, ranges: vec![], ..network() }]);
        let decision = site.ask(&Request::new(message).expect("a request"), NOW);
        let reply = decision.reply.as_ref().map(|reply| &reply.message);
        assert_eq!(reply.and_then(|reply| reply.opts().msg_type()), expected, "{rule}");
        let Some(reply) = reply else { continue };
        assert!(reply.yiaddr().is_unspecified(), "{rule}: no address");
        for never in [OptionCode::AddressLeaseTime, OptionCode::SubnetMask, OptionCode::Router] {
            assert_eq!(reply.opts().get(never), None, "{rule}");
        }
        let class = O::ClassIdentifier(b"PXEClient".to_vec());
        assert_eq!(reply.opts().get(OptionCode::ClassIdentifier), Some(&class), "{rule}");
        assert_eq!(reply.opts().get(OptionCode::BootfileName), Some(&O::BootfileName(b"ipxe.efi".to_vec())));
        assert!(decision.changes.is_empty(), "{rule}: no lease is ours");
    }
}

#[test]
fn options_beside_another_server() {
    use crate::dhcp::options::{from_table, write::collect};
    let configured = serde_json::json!({
        "boot-file-name": "own.efi",
        "tftp-server-name": "10.77.0.9",
        "vendor-encapsulated-options": {"discovery-control": 3},
        "tftp-server-address": "10.77.0.9",
        "224:text": "own",
        "225:text": "not asked for",
        // Of the appliance's own table, which holds for all networks.
        "routers": "10.77.0.9", "domain-name-servers": "10.77.0.9", "ntp-servers": "10.77.0.9",
    });
    let options = from_table(&configured).expect("options");
    let nine = [10, 77, 0, 9];
    let asks =
        |codes: &[u8]| O::ParameterRequestList(codes.iter().map(|code| OptionCode::from(*code)).collect());
    let us = O::ServerIdentifier(SERVER);
    for (rule, asked) in [
        ("an offer", pxe(M::Discover, vec![asks(&[1, 3, 6, 42, 43, 66, 67, 150, 224])])),
        ("at port 4011", pxe(M::Request, vec![asks(&[1, 3, 6, 42, 43, 66, 67, 150, 224]), us])),
    ] {
        let proxy = crate::model::DhcpMode::Proxy;
        let mut site =
            Site::new(vec![Network { dhcp: proxy, ranges: vec![], options: options.clone(), ..network() }]);
        let decision = site.ask(&Request::new(asked).expect("a request"), NOW);
        let reply = decision.reply.expect(rule);
        assert_eq!(reply.message.siaddr(), Ipv4Addr::from(nine), "RFC 2132 9.4: {rule}: the header follows");
        assert_eq!(reply.message.fname(), Some(&b"own.efi"[..]), "RFC 2132 9.5: {rule}");
        let given = collect(&reply.encode().expect("it encodes")[240..]);
        for (source, code, expected) in [
            ("PXE 2.1 table 2-1", 43, Some(&[6, 1, 3, 255][..])),
            ("PXE 2.1 2.2.3: what kind of server we are", 60, Some(b"PXEClient")),
            ("RFC 2132 9.4", 66, Some(b"10.77.0.9")),
            ("RFC 2132 9.5", 67, Some(b"own.efi")),
            ("RFC 5859 3", 150, Some(&nine)),
            ("RFC 3942: the site's own", 224, Some(b"own")),
            ("RFC 2131 4.3.1: not asked for", 225, None),
            ("PXE 2.1 2.2.3: of the other server: netmask", 1, None),
            ("of the other server: router", 3, None),
            ("of the other server: name servers", 6, None),
            ("of the other server: time", 42, None),
            ("of the other server: lease time", 51, None),
        ] {
            assert_eq!(given.get(&code).map(Vec::as_slice), expected, "{rule}: {source}: {code}");
        }
        let told = decision.event.map(|event| format!("{event:?}")).unwrap_or_default();
        assert!(told.contains("own.efi"), "the timeline tells what it was given: {told}");
    }
}

/// A menu is for firmware. Who chose a line of it is told that line again; iPXE, which has a script, is shown none.
#[test]
fn a_boot_menu_beside_another_server() {
    use dhcproto::v4::UnknownOption;
    let menu = vec![6, 1, 7, 255];
    let chosen = [71, 4, 0, 15, 0, 0, 255];
    let class = |text: &str| O::ClassIdentifier(text.as_bytes().to_vec());
    let (pxe, ipxe) = (class("PXEClient:Arch:00007:UNDI:003016"), O::UserClass(b"iPXE".to_vec()));
    let item = O::Unknown(UnknownOption::new(OptionCode::VendorExtensions, chosen.to_vec()));
    for (rule, kind, options, expected) in [
        ("PXE 2.1 table 2-1: the menu", M::Discover, vec![pxe.clone()], Some(&menu[..])),
        ("PXE 2.1 tag 71: what it chose", M::Request, vec![pxe.clone(), item.clone()], Some(&chosen[..])),
        ("iPXE goes by its script", M::Discover, vec![pxe, ipxe], None),
        // RFC 2132 8.4: another vendor's option 43.
        (
            "firmware that boots over HTTP",
            M::Request,
            vec![class("HTTPClient"), O::ClientSystemArchitecture(16.into()), item],
            Some(&menu),
        ),
    ] {
        let (dhcp, vendor) = (crate::model::DhcpMode::Proxy, [(43, menu.clone())].into());
        let mut site = Site::new(vec![Network { dhcp, ranges: vec![], options: vendor, ..network() }]);
        let mut asked = message(1, kind, options);
        if kind == M::Request {
            asked.set_ciaddr(ip(3));
        }
        let request = Request::parse(&asked.to_vec().expect("it encodes")).expect("a request");
        let reply = site.ask(&request, NOW).reply.expect(rule);
        let given = crate::dhcp::options::write::collect(&reply.encode().expect("it encodes")[240..]);
        assert_eq!(given.get(&43).map(Vec::as_slice), expected, "{rule}");
    }
}

/// No table names a file for it, and the operator does.
#[test]
fn firmware_that_we_do_not_know_beside_another_server() {
    let class = O::ClassIdentifier(b"PXEClient:Arch:00027:UNDI:003016".to_vec());
    for (options, expected) in [(vec![], None), (vec![(67, b"own.efi".to_vec())], Some(&b"own.efi"[..]))] {
        let proxy = crate::model::DhcpMode::Proxy;
        let options = options.into_iter().collect();
        let mut site = Site::new(vec![Network { dhcp: proxy, ranges: vec![], options, ..network() }]);
        let asked = message(1, M::Discover, vec![class.clone()]);
        let decision = site.ask(&Request::new(asked).expect("a request"), NOW);
        let file = decision.reply.as_ref().and_then(|reply| reply.message.fname());
        assert_eq!(file, expected, "PXE 2.1 2.2.3");
        assert_eq!(decision.silent.is_none(), expected.is_some());
    }
}

#[test]
fn what_the_other_server_gives_is_learned() {
    let proxy = Network { dhcp: crate::model::DhcpMode::Proxy, ranges: vec![], ..network() };
    let theirs = O::ServerIdentifier(Ipv4Addr::new(10, 77, 0, 2));
    let takes = |n: u8, ip: Ipv4Addr| {
        let message = message(n, M::Request, vec![theirs.clone(), O::RequestedIpAddress(ip)]);
        Request::new(message).expect("a request")
    };
    let mut site = Site::new(vec![proxy]);
    let lease_of = |site: &Site, ip: Ipv4Addr| site.world.lease(ip).map(|lease| lease.mac);
    site.ask(&takes(1, ip(3)), NOW);
    assert_eq!(lease_of(&site, ip(3)), None, "a client that nobody knows");
    for n in [1, 2] {
        let name = format!("n{n}").parse().expect("a name");
        let node =
            crate::model::Node::discovered(crate::model::NodeId(u64::from(n)), name, mac(n), Timestamp(NOW));
        site.world.apply(&Change::put_node(node));
    }
    site.ask(&takes(1, ip(3)), NOW);
    assert_eq!(lease_of(&site, ip(3)), Some(mac(1)));
    site.ask(&takes(2, ip(3)), NOW + 1);
    assert_eq!(lease_of(&site, ip(3)), Some(mac(1)), "nobody takes another's address by claiming it");
    site.ask(&takes(2, ip(3)), NOW + 3_600_001);
    assert_eq!(lease_of(&site, ip(3)), Some(mac(2)), "once it has run out");
    site.ask(&takes(2, Ipv4Addr::new(8, 8, 8, 8)), NOW);
    assert_eq!(lease_of(&site, Ipv4Addr::new(8, 8, 8, 8)), None, "of another network");
}
