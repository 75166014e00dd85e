//! What real firmware and a real boot loader send (`tests/captures/README.md` tells how it was recorded), from its bytes to the answer.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::message::{find, kind, option};
use super::request::Wants;
use super::{Request, View, respond};
use crate::boot::ClientKind::{HttpBoot, Ipxe, Pxe};
use crate::boot::FirmwareTable;
use crate::model::{Duid, MacAddr, Network6, Subnet6, Timestamp, World};

macro_rules! capture {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../tests/captures/", $name, ".bin")).as_slice())
    };
}

#[test]
fn every_client_is_known_and_answered() {
    let first = (MacAddr([0x52, 0x54, 0, 8, 0xc4, 0x80]), "fe80::5054:ff:fe08:c480");
    let second = (MacAddr([0x52, 0x54, 0, 0, 0, 0xe]), "fe80::5054:ff:fe00:e");
    let subnet: Subnet6 = "fd00:77::/64".parse().expect("a prefix");
    let network = Network6 { subnet, range: subnet.usual_range(), dns: Vec::new(), advertise: true };
    let tftp = "tftp://[fd00:77::1]/ipxe.efi";
    let http = "http://[fd00:77::1]:8080/boot/files/ipxe.efi";
    let script = "http://[fd00:77::1]:8080/boot/52-54-00-08-c4-80/script.ipxe";
    let mut given = Vec::new();
    for (capture, machine, wants, client, nii, url) in [
        (capture!("ovmf-pxe6-solicit"), first, Wants::Solicit, Pxe(7), [1, 3, 0], tftp),
        (capture!("ovmf-pxe6-request"), first, Wants::Request, Pxe(7), [1, 3, 0], tftp),
        (capture!("ipxe-efi6-solicit"), first, Wants::Solicit, Ipxe(Some(7)), [1, 3, 10], script),
        (capture!("ipxe-efi6-request"), first, Wants::Request, Ipxe(Some(7)), [1, 3, 10], script),
        (capture!("ovmf-http6-solicit"), second, Wants::Solicit, HttpBoot(16), [1, 3, 0], http),
        (capture!("ovmf-http6-request"), second, Wants::Request, HttpBoot(16), [1, 3, 0], http),
    ] {
        let (name, bytes) = capture;
        let (mac, source) = machine;
        let source: Ipv6Addr = source.parse().expect("an address");
        let request = Request::parse(bytes, source).expect(name);
        assert_eq!((request.wants, request.client.mac), (wants, Some(mac)), "{name}");
        assert_eq!(request.client.kind, client, "{name}");
        assert_eq!(request.client.interface, Some(nii), "{name}: RFC 5970 3.4");
        let duid = request.server.as_deref().and_then(Duid::new);
        let view = View {
            world: &World::default(),
            network: &network,
            lease: Duration::from_secs(3600),
            server: "fd00:77::1".parse().expect("an address"),
            duid: &duid.unwrap_or_else(|| Duid::of_uuid([7; 16])),
            firmware: &FirmwareTable::new(&[]).expect("the built-in tables"),
            domain: Some("mgmt.example"),
            names: true,
            http_port: 8080,
            script: true,
            serves_strangers: true,
        };
        let reply = respond(&request, &view, Timestamp(1_000_000)).reply.expect(name);
        let answer = if wants == Wants::Solicit { kind::ADVERTISE } else { kind::REPLY };
        assert_eq!(reply.kind, answer, "{name}");
        let found = find(&reply.options, option::BOOTFILE_URL).map(String::from_utf8_lossy);
        assert_eq!(found.as_deref(), Some(url), "{name}");
        let is_http = matches!(client, HttpBoot(_));
        assert_eq!(find(&reply.options, option::VENDOR_CLASS).is_some(), is_http, "{name}");
        let association = find(&reply.options, option::IA_NA).expect(name);
        given.push(association.get(16..32).expect(name).to_vec());
    }
    given.dedup();
    assert_eq!(given.len(), 2, "each machine has one address through all stages");
}
