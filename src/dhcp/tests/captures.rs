//! What real firmware and real clients send (`tests/captures/README.md` tells how it was recorded), from its bytes to
//! the answer.

use std::collections::BTreeMap;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption as O, MessageType as M, OptionCode};

use super::*;
use crate::boot::ClientKind::{HttpBoot, Ipxe, Other, Pxe};
use crate::dhcp::{Destination, Reply};
use crate::model::Change;

const NOW: u64 = 1_000_000;
const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

macro_rules! capture {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/captures/", $name, ".bin")).as_slice())
    };
}

fn text(message: &Message, code: OptionCode) -> Option<String> {
    match message.opts().get(code)? {
        O::BootfileName(data) | O::ClassIdentifier(data) => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    }
}

#[test]
fn every_client_is_known_and_answered() {
    let none: Option<&str> = None;
    let script = |n: u8| format!("http://10.77.0.1:8080/boot/52-54-00-00-00-{n:02x}/script.ipxe");
    let (bios, uefi) = (script(0xb), script(0xe));
    let http = "http://10.77.0.1:8080/boot/files/ipxe.efi";
    for (capture, kind, uuid, hostname, boot_file, class, broadcast) in [
        (capture!("ipxe-rom-discover"), Ipxe(Some(0)), Some(UUID), none, Some(bios.as_str()), none, false),
        (capture!("ipxe-undionly-discover"), Ipxe(Some(0)), Some(UUID), none, Some(&bios), none, true),
        (capture!("ovmf-pxe-discover"), Pxe(7), Some(UUID), none, Some("ipxe.efi"), Some("PXEClient"), true),
        (
            capture!("ovmf-http-discover"),
            HttpBoot(16),
            Some(UUID),
            none,
            Some(http),
            Some("HTTPClient"),
            true,
        ),
        (capture!("ipxe-efi-discover"), Ipxe(Some(7)), Some(UUID), none, Some(&uefi), none, false),
        (capture!("udhcpc-discover"), Other("udhcp 1.35.0".into()), none, none, none, none, false),
        (capture!("dhclient-discover"), Other(String::new()), none, Some("client"), none, none, false),
        (capture!("dhcpcd-discover"), Other(String::new()), none, none, none, none, false),
    ] {
        let (name, bytes) = capture;
        let request = Request::parse(bytes).expect(name);
        assert_eq!(request.message_type, M::Discover, "{name}");
        assert_eq!(request.client.kind, kind, "{name}");
        assert_eq!(request.client.uuid.as_deref(), uuid, "{name}");
        assert_eq!(request.client.hostname.as_deref(), hostname, "{name}");

        let xid = request.message.xid();
        let decision = decide(&World::default(), request.message, NOW);
        let reply = decision.reply.expect(name);
        assert_eq!((reply.message.xid(), reply.message.yiaddr()), (xid, ip(0)), "{name}");
        assert_eq!(text(&reply.message, OptionCode::BootfileName).as_deref(), boot_file, "{name}");
        assert_eq!(text(&reply.message, OptionCode::ClassIdentifier).as_deref(), class, "{name}");
        assert_eq!(reply.destination == Destination::Broadcast, broadcast, "{name}: {:?}", reply.destination);
        assert!(on_the_wire(&reply).len() <= 548, "{name}: RFC 2131 section 2");
    }
}

/// A reply's bytes, whose fixed part is what dhcproto makes of it.
fn on_the_wire(reply: &Reply) -> Vec<u8> {
    let (bytes, by_dhcproto) =
        (reply.encode().expect("it encodes"), reply.message.to_vec().expect("it encodes"));
    assert_eq!(bytes[..240], by_dhcproto[..240]);
    bytes
}

/// The recorded DHCPREQUEST chooses dnsmasq's offer, made by the same server identifier.
#[test]
fn a_recorded_request_is_acknowledged() {
    let mut given = BTreeMap::new();
    for (name, bytes) in [
        capture!("ipxe-rom-request"),
        capture!("ipxe-undionly-request"),
        capture!("ovmf-pxe-request"),
        capture!("ipxe-efi-request"),
        capture!("udhcpc-request"),
        capture!("dhclient-request"),
        capture!("dhcpcd-request"),
    ] {
        let request = Request::parse(bytes).expect(name);
        let wanted = request.requested_ip().expect(name);
        assert_eq!((request.message_type, request.server_identifier()), (M::Request, Some(SERVER)), "{name}");
        let network =
            Network { ranges: vec!["10.77.0.100-10.77.0.200".parse().expect("a range")], ..network() };
        let mut world = World::default();
        world.apply(&Change::PutLease(Lease {
            ip: wanted,
            mac: request.client.mac,
            ..lease(0, LeaseState::Offered, NOW + 1)
        }));
        let options = Options::new();
        let view = view(&world, &network, &options, None);
        let reply = respond(&request, &view, Timestamp(NOW)).reply.expect(name);
        assert_eq!(reply.message.opts().msg_type(), Some(M::Ack), "{name}");
        assert_eq!(reply.message.yiaddr(), wanted, "{name}");
        assert!(on_the_wire(&reply).len() <= 548, "{name}: RFC 2131 section 2");
        given.insert(request.client.mac, wanted);
    }
    assert_eq!(given.len(), 3, "the stages of one machine are one client");
}

/// A renewal names neither server nor address: where it was sent tells the one, `ciaddr` the other (RFC 2131 section 4.3.2, RENEWING).
#[test]
fn a_recorded_renewal_extends_the_lease_of_who_has_it() {
    for (name, bytes) in
        [capture!("udhcpc-renewal"), capture!("dhclient-renewal"), capture!("dhcpcd-renewal")]
    {
        let request = Request::parse(bytes).expect(name);
        let held = Ipv4Addr::new(10, 77, 0, 167);
        assert_eq!((request.message_type, request.message.ciaddr()), (M::Request, held), "{name}");
        assert_eq!((request.server_identifier(), request.requested_ip()), (None, None), "{name}");
        let ranges = vec!["10.77.0.100-10.77.0.200".parse().expect("a range")];
        // It may have come past a relay, through routers: then it is of a network without an interface here.
        for interface in [Some("br0".to_owned()), None] {
            let network = Network { interface, ranges: ranges.clone(), ..network() };
            let asked = request.clone().sent(Cast::Unicast);
            for (holder, expected) in [(request.client.mac, M::Ack), (mac(9), M::Nak)] {
                let mut site = super::networks::Site::new(vec![network.clone()]);
                let held = Lease { ip: held, mac: holder, ..lease(0, LeaseState::Bound, NOW + 1) };
                site.world.apply(&Change::PutLease(held.clone()));
                let decision = site.ask(&asked, NOW);
                let reply = decision.reply.expect(name);
                assert_eq!(reply.message.opts().msg_type(), Some(expected), "{name}, held by {holder}");
                let kept = site.world.lease(held.ip).map(|lease| (lease.mac, lease.expires));
                if expected == M::Ack {
                    assert_eq!(
                        reply.destination,
                        Destination::Unicast(held.ip),
                        "RFC 2131 section 4.1: {name}"
                    );
                    assert_eq!(kept, Some((holder, Timestamp(NOW + 3_600_000))), "{name}");
                } else {
                    assert_eq!(kept, Some((holder, held.expires)), "{name}: nothing changes for its holder");
                }
            }
        }
    }
}

/// Firmware that was shown a boot menu chose line 15 of it, and asks the menu's server for the boot file (PXE specification 2.1, section
/// 2.2.3): from the address that another server gave it, without a server identifier, at port 4011.
#[test]
fn a_recorded_request_at_port_4011_gets_its_boot_file() {
    let (name, bytes) = capture!("ovmf-pxe-4011-request");
    let request = Request::parse(bytes).expect(name).sent(Cast::Unicast);
    let asked = (request.message_type, request.message.ciaddr(), request.server_identifier());
    assert_eq!(asked, (M::Request, Ipv4Addr::new(10, 77, 0, 56), None));
    assert_eq!((&request.client.kind, request.client.boot_item), (&Pxe(7), Some([0, 15, 0, 0])));
    let proxy = Network { dhcp: crate::model::DhcpMode::Proxy, ranges: vec![], ..network() };
    let decision = super::networks::Site::new(vec![proxy]).ask(&request, NOW);
    let reply = decision.reply.expect(name);
    let message = &reply.message;
    assert_eq!((message.opts().msg_type(), message.xid()), (Some(M::Ack), request.message.xid()));
    assert_eq!((message.siaddr(), message.yiaddr()), (SERVER, Ipv4Addr::UNSPECIFIED));
    assert_eq!(text(message, OptionCode::BootfileName).as_deref(), Some("ipxe.efi"));
    let given = crate::dhcp::options::write::collect(&reply.encode().expect(name)[240..]);
    assert_eq!(given[&43], [71, 4, 0, 15, 0, 0, 255], "PXE 2.1 tag 71: the line that it chose");
    assert_eq!(given[&60], b"PXEClient");
    assert_eq!(decision.changes, [], "no lease is ours");
}
