//! What a reply's bytes say: which options, in which order, and the fields of the header beside them.

use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::*;
use crate::dhcp::options::{from_table, write};
use crate::dhcp::{Destination, Reply};
use crate::model::{Change, Node, NodeId};

const NOW: u64 = 1_000_000;
const FILE: std::ops::Range<usize> = 108..236;
const SNAME: std::ops::Range<usize> = 44..108;

/// Client 1 is a node with a lease of address 1.
fn world() -> World {
    let mut world = World::default();
    let name = "web-1".parse().expect("a name");
    world.apply(&Change::put_node(Node::discovered(NodeId(1), name, mac(1), Timestamp(0))));
    world.apply(&Change::PutLease(lease(1, LeaseState::Bound, NOW + 1000)));
    world
}

/// The bytes of the answer to client 1, which sends these options, some of them as they are on the wire.
fn answered(kind: M, options: Vec<O>, raw: &[u8], configured: &str) -> Vec<u8> {
    use dhcproto::Encodable;
    let mut bytes = message(1, kind, options).to_vec().expect("it encodes");
    bytes.pop();
    bytes.extend(raw);
    bytes.push(255);
    let request = Request::parse(&bytes).expect("a request");
    let table: serde_json::Value = serde_json::from_str(configured).expect("JSON");
    let options = from_table(&table).expect("options");
    let (world, network) = (world(), network());
    let view = view(&world, &network, &options, Some("mgmt.example"));
    respond(&request, &view, Timestamp(NOW)).reply.expect("an answer").encode().expect("it encodes")
}

fn option(bytes: &[u8], code: u8) -> Option<String> {
    write::collect(&bytes[240..]).get(&code).map(hex::encode)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(char::from(0)).to_owned()
}

#[test]
fn what_a_client_calls_itself_comes_back() {
    let asks =
        |codes: &[u8]| O::ParameterRequestList(codes.iter().map(|code| OptionCode::from(*code)).collect());
    let fqdn = [81, 8, 1, 0, 0, b'w', b'e', b'b', b'.', b'x'];
    let ours = hex::encode([&[1, 255, 255][..], b"web-1.mgmt.example"].concat());
    for (rule, options, raw, code, expected) in [
        ("RFC 4702 4: asked for", vec![asks(&[81])], &fqdn[..], 81, Some(ours.clone())),
        ("RFC 4702 4: told, and not asked for", vec![asks(&[1, 3])], &fqdn, 81, Some(ours.clone())),
        ("RFC 4702 4: told, by who asks for nothing", vec![], &fqdn, 81, Some(ours)),
        ("RFC 4702 4: not told", vec![asks(&[81])], &[], 81, None),
        ("RFC 6842 3: the client id", vec![asks(&[1])], &[61, 3, 1, 2, 3], 61, Some("010203".into())),
        ("RFC 6842 3: none told", vec![asks(&[61])], &[], 61, None),
    ] {
        for kind in [M::Discover, M::Request] {
            let mut options = options.clone();
            if kind == M::Request {
                options.push(O::RequestedIpAddress(ip(1)));
            }
            let bytes = answered(kind, options, raw, "{}");
            assert_eq!(option(&bytes, code), expected, "{rule}: {kind:?}");
        }
    }
}

#[test]
fn a_refusal_names_the_client_too() {
    let options = vec![O::RequestedIpAddress(ip(4)), O::ClientIdentifier(vec![1, 2, 3])];
    let bytes = answered(M::Request, options, &[], "{}");
    assert_eq!(option(&bytes, 53).as_deref(), Some("06"), "a NAK");
    assert_eq!(option(&bytes, 61).as_deref(), Some("010203"), "RFC 6842 3");
    assert_eq!(option(&bytes, 51), None, "RFC 2131 table 3: no lease time");
}

#[test]
fn a_long_client_id_is_not_crowded_out() {
    let id = O::ClientIdentifier(vec![7; 250]);
    let configured = format!(r#"{{"224:text": "{}", "225:text": "{}"}}"#, "x".repeat(200), "y".repeat(60));
    let wants = O::ParameterRequestList([224, 225].map(OptionCode::from).to_vec());
    let bytes = answered(M::Discover, vec![id, wants], &[], &configured);
    assert!(bytes.len() <= 548, "RFC 2131 2");
    assert_eq!(
        option(&bytes, 61),
        Some("07".repeat(250)),
        "RFC 6842 3: the client id comes before what it asks for"
    );
}

#[test]
fn the_header_follows_the_options() {
    let pxe = || vec![O::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec())];
    let long = format!("http://10.77.0.9/{}", "x".repeat(150));
    let too_long = format!(r#"{{"boot-file-name": "{long}"}}"#);
    for (rule, options, configured, siaddr, file, sname) in [
        ("as it is", pxe(), "{}", SERVER, "ipxe.efi", ""),
        ("RFC 2132 9.5: the boot file", pxe(), r#"{"boot-file-name": "grub.efi"}"#, SERVER, "grub.efi", ""),
        (
            "RFC 2132 9.4: the server, by address",
            pxe(),
            r#"{"tftp-server-name": "10.77.0.9"}"#,
            Ipv4Addr::new(10, 77, 0, 9),
            "ipxe.efi",
            "",
        ),
        (
            "RFC 2132 9.4: the server, by name",
            pxe(),
            r#"{"tftp-server-name": "boot.example"}"#,
            Ipv4Addr::UNSPECIFIED,
            "ipxe.efi",
            "boot.example",
        ),
        ("RFC 2131 2: a name that the field does not hold", pxe(), too_long.as_str(), SERVER, "", ""),
        (
            "firmware that we do not know",
            vec![O::ClassIdentifier(b"U-Boot.armv8".to_vec())],
            r#"{"boot-file-name": "u.img", "tftp-server-name": "10.77.0.9"}"#,
            Ipv4Addr::new(10, 77, 0, 9),
            "u.img",
            "",
        ),
    ] {
        let bytes = answered(M::Discover, options, &[], configured);
        assert_eq!(bytes[20..24], siaddr.octets(), "{rule}");
        assert_eq!(text(&bytes[FILE]), file, "{rule}");
        assert_eq!(text(&bytes[SNAME]), sname, "{rule}");
    }
}

#[test]
fn options_by_name() {
    for (rule, name, value, code, expected) in [
        ("RFC 8910 2.1", "captive-portal", r#""http://x/""#, 114, hex::encode("http://x/")),
        ("RFC 5859 3", "tftp-server-address", r#"["10.0.0.1", "10.0.0.2"]"#, 150, "0a0000010a000002".into()),
        ("RFC 5071 5", "pxelinux-config-file", r#""a/b""#, 209, hex::encode("a/b")),
        ("RFC 5071 6", "pxelinux-path-prefix", r#""tftp://x/""#, 210, hex::encode("tftp://x/")),
        (
            "RFC 3442: with the route to everywhere, since routers are not heeded then",
            "classless-static-routes",
            r#"["10.1.0.0/16 via 10.77.0.9"]"#,
            121,
            "100a010a4d0009000a4d0001".into(),
        ),
        (
            "RFC 3442: unless there is one",
            "classless-static-routes",
            r#"["10.1.0.0/16 via 10.77.0.9", "0.0.0.0/0 via 10.77.0.8"]"#,
            121,
            "100a010a4d0009000a4d0008".into(),
        ),
        (
            "PXE 2.1 table 2-1",
            "vendor-encapsulated-options",
            r#"{"discovery-control": 3, "boot-servers": "15 10.77.0.5", "boot-menu": ["15 Go"], "menu-prompt": "5 F8"}"#,
            43,
            "0601030807000f010a4d00050905000f02476f0a03054638ff".into(),
        ),
    ] {
        let wants = O::ParameterRequestList(vec![OptionCode::from(code)]);
        let configured = format!("{{\"{name}\": {value}}}");
        let bytes = answered(M::Discover, vec![wants], &[], &configured);
        assert_eq!(option(&bytes, code), Some(expected), "{rule}: {name}");
    }
}

#[test]
fn what_stands_before_the_options_is_what_dhcproto_writes() {
    use dhcproto::Encodable;
    use dhcproto::v4::Opcode;
    for (sname, file) in [
        (None, None),
        (Some(&b"boot.example"[..]), Some(&b"ipxe.efi"[..])),
        (Some(&[7; 64][..]), Some(&[9; 128][..])),
        (None, Some(&[][..])),
    ] {
        let mut message = broadcast(message(3, M::Ack, vec![O::AddressLeaseTime(60)]));
        message.set_opcode(Opcode::BootReply).set_xid(0x0102_0304).set_secs(0x0506).set_hops(7);
        message
            .set_ciaddr([10, 1, 2, 3])
            .set_yiaddr([10, 4, 5, 6])
            .set_siaddr([10, 7, 8, 9])
            .set_giaddr([10, 9, 8, 7]);
        if let Some(name) = sname {
            message.set_sname(name);
        }
        if let Some(name) = file {
            message.set_fname(name);
        }
        let by_dhcproto = message.to_vec().expect("it encodes");
        let destination = Destination::Broadcast;
        let reply = Reply { message, destination, options: Options::new(), requested: None, longest: 548 };
        let bytes = reply.encode().expect("it encodes");
        assert_eq!(bytes[..240], by_dhcproto[..240], "{sname:?} {file:?}");
        assert_eq!(&bytes[SNAME][..1], &[sname.map_or(0, |name| name[0])], "it is there");
    }
}
