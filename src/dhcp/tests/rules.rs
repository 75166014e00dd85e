//! One row a rule, with its source.

use dhcproto::v4::{DhcpOption as O, MessageType as M, OptionCode};

use super::*;
use crate::boot::ClientKind;
use crate::dhcp::{Destination, RequestError, choose_network};
use crate::model::{Change, Node, NodeId, State};

const NOW: u64 = 1_000_000;
const LATER: u64 = NOW + 500_000;

fn with_ciaddr(mut message: dhcproto::v4::Message, n: u8) -> dhcproto::v4::Message {
    message.set_ciaddr(ip(n));
    message
}

fn relayed(mut message: dhcproto::v4::Message) -> dhcproto::v4::Message {
    message.set_giaddr(Ipv4Addr::new(10, 77, 0, 2));
    message
}

/// Client 1 has an active lease of address 1, client 2 an expired one of address 2, client 3 found address 3 in use.
fn world() -> World {
    let mut world = World::default();
    for lease in [
        lease(1, LeaseState::Bound, LATER),
        lease(2, LeaseState::Bound, NOW - 1),
        lease(3, LeaseState::Declined, LATER),
    ] {
        world.apply(&Change::PutLease(lease));
    }
    world
}

/// What was answered: message type and address; `None` for silence.
fn answer(decision: &Decision) -> Option<(M, Ipv4Addr)> {
    let reply = decision.reply.as_ref()?;
    Some((reply.message.opts().msg_type().expect("a type"), reply.message.yiaddr()))
}

#[test]
fn answers() {
    let none = Ipv4Addr::UNSPECIFIED;
    let other = Ipv4Addr::new(10, 77, 0, 9);
    let elsewhere = Ipv4Addr::new(192, 168, 1, 5);
    let id = O::ServerIdentifier;
    let want = O::RequestedIpAddress;
    for (rule, message, expected) in [
        (
            "RFC 2131 4.3.1: a new client gets the next address",
            message(9, M::Discover, vec![]),
            Some((M::Offer, ip(4))),
        ),
        ("4.3.1: a known client gets its own", message(1, M::Discover, vec![]), Some((M::Offer, ip(1)))),
        ("addresses stick: also after the lease", message(2, M::Discover, vec![]), Some((M::Offer, ip(2)))),
        (
            "4.3.1: the one it asks for, when free",
            message(9, M::Discover, vec![want(ip(5))]),
            Some((M::Offer, ip(5))),
        ),
        (
            "4.3.1: not when another has it",
            message(9, M::Discover, vec![want(ip(1))]),
            Some((M::Offer, ip(4))),
        ),
        (
            "4.3.1: nor one outside the pool",
            message(9, M::Discover, vec![want(other)]),
            Some((M::Offer, ip(4))),
        ),
        ("4.3.3: who declined gets another", message(3, M::Discover, vec![]), Some((M::Offer, ip(4)))),
        (
            "4.3.2 SELECTING: ours",
            message(1, M::Request, vec![id(SERVER), want(ip(1))]),
            Some((M::Ack, ip(1))),
        ),
        ("4.3.2 SELECTING: another server's", message(1, M::Request, vec![id(other), want(ip(1))]), None),
        (
            "4.3.2 SELECTING: not offered",
            message(1, M::Request, vec![id(SERVER), want(ip(4))]),
            Some((M::Nak, none)),
        ),
        (
            "4.3.2 SELECTING: somebody else's",
            message(9, M::Request, vec![id(SERVER), want(ip(1))]),
            Some((M::Nak, none)),
        ),
        ("4.3.2 INIT-REBOOT: its own", message(1, M::Request, vec![want(ip(1))]), Some((M::Ack, ip(1)))),
        (
            "4.3.2 INIT-REBOOT: another of ours",
            message(1, M::Request, vec![want(ip(4))]),
            Some((M::Nak, none)),
        ),
        (
            "4.3.2 INIT-REBOOT: wrong network",
            message(1, M::Request, vec![want(elsewhere)]),
            Some((M::Nak, none)),
        ),
        (
            "4.3.2 INIT-REBOOT: a stranger, wrong network",
            message(9, M::Request, vec![want(elsewhere)]),
            Some((M::Nak, none)),
        ),
        ("4.3.2 INIT-REBOOT: a stranger is not answered", message(9, M::Request, vec![want(ip(4))]), None),
        ("4.3.2 RENEWING: its own", with_ciaddr(message(1, M::Request, vec![]), 1), Some((M::Ack, ip(1)))),
        (
            "4.3.2 REBINDING: after it ran out",
            with_ciaddr(message(2, M::Request, vec![]), 2),
            Some((M::Ack, ip(2))),
        ),
        (
            "4.3.2 RENEWING: somebody else's",
            with_ciaddr(message(2, M::Request, vec![]), 1),
            Some((M::Nak, none)),
        ),
        (
            "4.3.2 RENEWING: taken back by hand",
            with_ciaddr(message(9, M::Request, vec![]), 4),
            Some((M::Nak, none)),
        ),
        ("4.3.2: a REQUEST for nothing", message(1, M::Request, vec![]), None),
        ("4.3.4: a RELEASE is not answered", with_ciaddr(message(1, M::Release, vec![id(SERVER)]), 1), None),
        ("4.3.3: a DECLINE is not answered", message(1, M::Decline, vec![id(SERVER), want(ip(1))]), None),
        (
            "4.3.5: INFORM gets options, no address",
            with_ciaddr(message(9, M::Inform, vec![]), 4),
            Some((M::Ack, none)),
        ),
        ("4.3.5: INFORM without an address", message(9, M::Inform, vec![]), None),
        ("4.1: what servers send is not answered", message(9, M::Offer, vec![]), None),
    ] {
        let decision = decide(&world(), message, NOW);
        assert_eq!(answer(&decision), expected, "{rule}: {:?}", decision.silent);
        assert_eq!(decision.silent.is_some(), expected.is_none(), "{rule}: silence has a reason");
    }
}

#[test]
fn what_becomes_of_leases() {
    let id = O::ServerIdentifier;
    let want = O::RequestedIpAddress;
    let minute = NOW + 60_000;
    let hour = NOW + 3_600_000;
    for (rule, message, expected) in [
        (
            "an offer is kept for a minute",
            message(9, M::Discover, vec![]),
            Some((ip(4), mac(9), LeaseState::Offered, minute)),
        ),
        ("4.3.1: an offer leaves an active lease alone", message(1, M::Discover, vec![]), None),
        ("and one that ran out: its address is known until then", message(2, M::Discover, vec![]), None),
        (
            "4.3.2: an ACK binds",
            message(1, M::Request, vec![want(ip(1))]),
            Some((ip(1), mac(1), LeaseState::Bound, hour)),
        ),
        ("a NAK changes nothing", message(1, M::Request, vec![want(ip(4))]), None),
        (
            "4.3.4: a RELEASE ends the lease, and the address sticks",
            with_ciaddr(message(1, M::Release, vec![id(SERVER)]), 1),
            Some((ip(1), mac(1), LeaseState::Released, NOW)),
        ),
        ("4.3.4: not that of another client", with_ciaddr(message(2, M::Release, vec![id(SERVER)]), 1), None),
        ("4.3.4: nor sent to another server", with_ciaddr(message(1, M::Release, vec![id(ip(9))]), 1), None),
        (
            "4.3.3: a declined address is offered to nobody for ten minutes",
            message(1, M::Decline, vec![id(SERVER), want(ip(1))]),
            Some((ip(1), mac(1), LeaseState::Declined, NOW + 600_000)),
        ),
        ("4.3.3: nobody declines for another", message(2, M::Decline, vec![id(SERVER), want(ip(1))]), None),
    ] {
        let decision = decide(&world(), message, NOW);
        let changed = decision.changes.iter().find_map(|change| match change {
            Change::PutLease(lease) => Some((lease.ip, lease.mac, lease.state, lease.expires.0)),
            _ => None,
        });
        assert_eq!(changed, expected, "{rule}");
    }
}

#[test]
fn where_replies_go() {
    let id = || vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(ip(4))];
    let frame = Destination::Frame { mac: mac(9), ip: ip(4) };
    let relay = Destination::Relay(Ipv4Addr::new(10, 77, 0, 2));
    for (rule, message, expected) in [
        ("RFC 2131 4.1: no address, no flag: a unicast frame", message(9, M::Discover, vec![]), frame),
        ("4.1: the broadcast flag", broadcast(message(9, M::Discover, vec![])), Destination::Broadcast),
        (
            "4.1: a client with an address",
            with_ciaddr(message(1, M::Request, vec![]), 1),
            Destination::Unicast(ip(1)),
        ),
        ("4.1: through a relay", relayed(message(9, M::Discover, vec![])), relay),
        ("4.1: a relay comes before the flag", relayed(broadcast(message(9, M::Discover, vec![]))), relay),
        ("4.1: a NAK is broadcast", message(1, M::Request, id()), Destination::Broadcast),
        ("4.1: a NAK goes through the relay", relayed(message(1, M::Request, id())), relay),
    ] {
        let reply = decide(&world(), message, NOW).reply.unwrap_or_else(|| panic!("{rule}: no reply"));
        assert_eq!(reply.destination, expected, "{rule}");
        let relayed_nak = reply.message.opts().has_msg_type(M::Nak) && expected == relay;
        assert!(!relayed_nak || reply.message.flags().broadcast(), "{rule}: the relay has to broadcast it");
    }
}

#[test]
fn what_an_ack_says() {
    let mut world = world();
    let name = "web-1".parse().expect("a name");
    world.apply(&Change::put_node(Node::discovered(NodeId(1), name, mac(1), Timestamp(0))));
    let options = vec![
        O::RequestedIpAddress(ip(1)),
        O::ClientIdentifier(vec![1, 2, 3]),
        O::ClientMachineIdentifier([&[0][..], &[9; 16]].concat()),
    ];
    let reply = decide(&world, message(1, M::Request, options), NOW).reply.expect("an ACK");
    let given = reply.message.opts();
    for (rule, expected) in [
        ("RFC 2132 3.3", O::SubnetMask(Ipv4Addr::new(255, 255, 255, 0))),
        ("RFC 2132 3.5", O::Router(vec![SERVER])),
        ("RFC 2132 3.8", O::DomainNameServer(vec![SERVER])),
        ("RFC 2132 3.14: the node's name", O::Hostname("web-1".into())),
        ("RFC 2132 3.17", O::DomainName("mgmt.example".into())),
        ("RFC 2132 5.3", O::BroadcastAddr(Ipv4Addr::new(10, 77, 0, 255))),
        ("RFC 2132 9.2", O::AddressLeaseTime(3600)),
        ("RFC 2132 9.7", O::ServerIdentifier(SERVER)),
        ("RFC 2131 4.4.5: T1 is half of it", O::Renewal(1800)),
        ("RFC 2131 4.4.5: T2 is seven eighths", O::Rebinding(3150)),
        ("RFC 6842: echoed", O::ClientIdentifier(vec![1, 2, 3])),
        ("RFC 4578 2.3: echoed", O::ClientMachineIdentifier([&[0][..], &[9; 16]].concat())),
    ] {
        assert_eq!(given.get(OptionCode::from(&expected)), Some(&expected), "{rule}");
    }
    assert_eq!(given.get(OptionCode::BootfileName), None, "an operating system gets no boot file");
    assert!(reply.encode().expect("it encodes").len() >= 300, "RFC 1542 2.1");
}

#[test]
fn boot_files_by_client() {
    let class = |text: &str| O::ClassIdentifier(text.as_bytes().to_vec());
    let arch = |code: u16| O::ClientSystemArchitecture(code.into());
    let script = "http://10.77.0.1:8080/boot/02-00-00-00-00-09/script.ipxe";
    for (rule, options, file, class_echoed) in [
        (
            "RFC 4578: BIOS",
            vec![class("PXEClient:Arch:00000:UNDI:002001"), arch(0)],
            Some("undionly.kpxe"),
            Some("PXEClient"),
        ),
        (
            "RFC 4578: x64 UEFI",
            vec![class("PXEClient:Arch:00007:UNDI:003016"), arch(7)],
            Some("ipxe.efi"),
            Some("PXEClient"),
        ),
        (
            "errata of RFC 4578: x64 UEFI as 9",
            vec![class("PXEClient"), arch(9)],
            Some("ipxe.efi"),
            Some("PXEClient"),
        ),
        (
            "PXE 2.1: the architecture in the class only",
            vec![class("PXEClient:Arch:00007:UNDI:003016")],
            Some("ipxe.efi"),
            Some("PXEClient"),
        ),
        ("arm64 UEFI", vec![class("PXEClient"), arch(11)], Some("ipxe-arm64.efi"), Some("PXEClient")),
        (
            "UEFI 2.10 24.7.2: HTTP boot",
            vec![class("HTTPClient:Arch:00016:UNDI:003001"), arch(16)],
            Some("http://10.77.0.1:8080/boot/files/ipxe.efi"),
            Some("HTTPClient"),
        ),
        ("an architecture without a row", vec![class("PXEClient"), arch(27)], None, None),
        (
            "iPXE by its user class",
            vec![class("PXEClient"), arch(0), O::UserClass(b"iPXE".to_vec())],
            Some(script),
            None,
        ),
        ("RFC 3004: length-prefixed", vec![O::UserClass(b"\x04iPXE".to_vec())], Some(script), None),
        (
            "iPXE by its own options",
            vec![class("PXEClient"), arch(7), unknown(175, &[1, 1, 1])],
            Some(script),
            None,
        ),
        ("an operating system", vec![class("udhcp 1.35.0")], None, None),
    ] {
        let reply =
            decide(&world(), message(9, M::Discover, options), NOW).reply.unwrap_or_else(|| panic!("{rule}"));
        let text = |code| match reply.message.opts().get(code) {
            Some(O::BootfileName(data) | O::ClassIdentifier(data)) => {
                Some(String::from_utf8_lossy(data).into_owned())
            }
            _ => None,
        };
        assert_eq!(text(OptionCode::BootfileName).as_deref(), file, "{rule}");
        assert_eq!(text(OptionCode::ClassIdentifier).as_deref(), class_echoed, "{rule}");
        let field = reply.message.fname().map(String::from_utf8_lossy);
        assert_eq!(field.as_deref(), file, "{rule}: the field of RFC 951, too");
        assert_eq!(reply.message.siaddr() == SERVER, file.is_some(), "{rule}");
        let no_proxy = reply.message.opts().get(OptionCode::Unknown(175)).is_some();
        assert_eq!(no_proxy, file == Some(script), "{rule}: iPXE need not wait for a proxy");
    }
}

#[test]
fn an_exhausted_pool() {
    let full = |state, expires, trusted: bool| {
        let mut world = World::default();
        for n in 0..6 {
            let reserved = trusted;
            world.apply(&Change::PutLease(Lease { reserved, ..lease(n, state, expires + u64::from(n)) }));
            let node = Node::discovered(
                NodeId(n.into()),
                format!("n{n}").parse().expect("a name"),
                mac(n),
                Timestamp(0),
            );
            let state = if trusted { State::Enrolled } else { State::Discovered };
            world.apply(&Change::put_node(Node { state, ..node }));
        }
        world
    };
    for (rule, world, expected) in [
        ("all in use: silence", full(LeaseState::Bound, LATER, false), None),
        ("all run out: the longest ago", full(LeaseState::Bound, NOW - 100, false), Some((M::Offer, ip(0)))),
        ("approved nodes keep theirs for ever", full(LeaseState::Bound, NOW - 100, true), None),
        (
            "unclaimed offers are free again",
            full(LeaseState::Offered, NOW - 100, false),
            Some((M::Offer, ip(0))),
        ),
        (
            "declined ones, after their time",
            full(LeaseState::Declined, NOW - 100, false),
            Some((M::Offer, ip(0))),
        ),
    ] {
        let decision = decide(&world, message(99, M::Discover, vec![]), NOW);
        assert_eq!(answer(&decision), expected, "{rule}");
        assert_eq!(decision.silent, expected.is_none().then_some("no free address"), "{rule}");
    }
}

#[test]
fn which_network() {
    let second = Network { interface: None, subnet: "10.78.0.0/24".parse().expect("a subnet"), ..network() };
    let networks = [network(), second];
    for (rule, interface, giaddr, expected) in [
        ("by the interface", "br0", "0.0.0.0", Some("10.77.0.0/24")),
        ("RFC 2131 4.3.1: by the relay", "br0", "10.78.0.1", Some("10.78.0.0/24")),
        ("a relay of no network", "br0", "10.99.0.1", None),
        ("a relay that claims the network's own address", "br0", "10.78.0.0", None),
        ("another interface", "eth9", "0.0.0.0", None),
    ] {
        let mut discover = message(1, M::Discover, vec![]);
        discover.set_giaddr(giaddr.parse::<Ipv4Addr>().expect("an address"));
        let found = choose_network(&networks, interface, &Request::new(discover).expect("a request"));
        assert_eq!(found.map(|network| network.subnet.to_string()).as_deref(), expected, "{rule}");
    }
}

#[test]
fn of_several_networks_on_an_interface_the_first_that_is_served_counts() {
    use crate::model::DhcpMode::{Full, Off, Proxy};
    for (modes, expected) in [
        ([Full, Full], "10.77.0.0/24"),
        ([Off, Full], "10.78.0.0/24"),
        ([Off, Proxy], "10.78.0.0/24"),
        ([Proxy, Full], "10.77.0.0/24"),
        ([Off, Off], "10.77.0.0/24"),
    ] {
        let [first, second] = modes;
        let subnet = "10.78.0.0/24".parse().expect("a subnet");
        let networks = [Network { dhcp: first, ..network() }, Network { dhcp: second, subnet, ..network() }];
        let request = Request::new(message(1, M::Discover, vec![])).expect("a request");
        let found = choose_network(&networks, "br0", &request).map(|network| network.subnet.to_string());
        assert_eq!(found.as_deref(), Some(expected), "RFC 2131 4.3.1: {modes:?}");
    }
}

#[test]
fn what_is_no_request() {
    use dhcproto::{Encodable, Encoder};
    let good = || {
        let mut bytes = Vec::new();
        message(1, M::Discover, vec![]).encode(&mut Encoder::new(&mut bytes)).expect("it encodes");
        bytes
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = good();
        bytes[at] = byte;
        bytes
    };
    assert!(Request::parse(&good()).is_ok());
    for (name, bytes, error) in [
        ("empty", vec![], RequestError::Length),
        ("cut off", good()[..239].to_vec(), RequestError::Length),
        ("longer than a frame", [good(), vec![0; 1500]].concat(), RequestError::Length),
        ("a reply", changed(0, 2), RequestError::NotARequest),
        ("token ring", changed(1, 6), RequestError::Hardware),
        ("hlen beyond the field", changed(2, 255), RequestError::Hardware),
        ("a group address", changed(28, 1), RequestError::Hardware),
        ("passed on for ever", changed(3, 17), RequestError::Hops),
        ("no cookie", changed(236, 0), RequestError::Cookie),
        ("BOOTP", good()[..240].to_vec(), RequestError::NoMessageType),
    ] {
        assert_eq!(Request::parse(&bytes).map(|request| request.client.mac), Err(error), "{name}");
    }
}

/// Options that make dhcproto panic, or read out of step, and that any host on the network can send.
#[test]
fn options_that_others_trip_over() {
    use dhcproto::{Encodable, Encoder};
    for (name, option) in [
        ("a route with a prefix of 255", &[121, 5, 255, 1, 2, 3, 4][..]),
        ("a network interface of one byte", &[94, 1, 1]),
        ("an FQDN of one byte", &[81, 1, 0]),
        ("a status without a code", &[151, 0]),
        ("an address of one byte", &[50, 1, 10]),
        ("a lease time of one byte", &[51, 1, 10]),
        ("a host name that is no text", &[12, 2, 0xff, 0xfe]),
        ("a length beyond the end", &[60, 200, 1]),
        ("no length", &[60]),
    ] {
        let mut bytes = Vec::new();
        message(1, M::Discover, vec![]).encode(&mut Encoder::new(&mut bytes)).expect("it encodes");
        bytes.truncate(243);
        bytes.extend_from_slice(option);
        let request = Request::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(request.message_type, M::Discover, "{name}");
        assert_eq!(request.requested_ip(), None, "{name}");
    }
    // Behind several architectures, the rest is still read.
    let mut bytes = Vec::new();
    message(1, M::Discover, vec![]).encode(&mut Encoder::new(&mut bytes)).expect("it encodes");
    bytes.truncate(243);
    bytes.extend_from_slice(&[93, 4, 0, 7, 0, 9]);
    bytes.extend_from_slice(b"\x3c\x09PXEClient\xff");
    assert_eq!(Request::parse(&bytes).map(|request| request.client.kind), Ok(ClientKind::Pxe(7)));
}

#[test]
fn who_asks() {
    let uuid = [0x19, 0x71, 0x75, 0xf1, 0, 0, 0, 0x40, 0x80, 0, 1, 2, 3, 4, 5, 6];
    let options = vec![
        O::ClientMachineIdentifier([&[0][..], &uuid].concat()),
        O::Hostname("we\u{7}b one".into()),
        O::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()),
    ];
    let client = Request::new(message(1, M::Discover, options)).expect("a request").client;
    assert_eq!(client.kind, ClientKind::Pxe(7));
    assert_eq!(client.uuid.as_deref(), Some("f1757119-0000-4000-8000-010203040506"), "as dmidecode shows it");
    assert_eq!(client.hostname.as_deref(), Some("web one"), "no control characters");
}

/// A receiver adds everything up, checksum included, and must get all ones (RFC 1071 section 1).
#[test]
fn a_frame_adds_up() {
    use crate::dhcp::frame::{Addresses, build};
    let sum = |bytes: &[u8]| {
        let words =
            bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        (folded & 0xffff) + (folded >> 16)
    };
    let addresses = Addresses { source_mac: mac(1), source_ip: SERVER, target_mac: mac(9), target_ip: ip(4) };
    for (name, payload) in [("even", vec![7; 300]), ("odd", vec![0xff; 301]), ("empty", vec![])] {
        let frame = build(&addresses, &payload).unwrap_or_else(|| panic!("{name}: it fits"));
        assert_eq!(frame[..14], [&mac(9).0[..], &mac(1).0, &[8, 0]].concat(), "{name}: Ethernet II");
        let (header, datagram) = frame[14..].split_at(20);
        assert_eq!(sum(header), 0xffff, "{name}: RFC 791 3.1");
        assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), 20 + 8 + payload.len(), "{name}");
        let length = datagram[4..6].to_vec();
        let pseudo = [&SERVER.octets()[..], &ip(4).octets(), &[0, 17], &length].concat();
        assert_eq!(sum(&[&pseudo, datagram].concat()), 0xffff, "{name}: RFC 768");
        assert_eq!(datagram[..4], [0, 67, 0, 68], "{name}: ports");
    }
    assert_eq!(build(&addresses, &vec![0; 65_536]), None, "too long for a datagram");
}
