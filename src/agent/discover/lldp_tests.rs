//! Frames of switches, whole and broken.

use proptest::prelude::*;

use super::*;

fn tlv_bytes(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap() | u16::from(kind) << 9;
    [&length.to_be_bytes(), value].concat()
}

fn frame(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc];
    for (kind, value) in tlvs {
        bytes.extend(tlv_bytes(*kind, value));
    }
    bytes
}

const CHASSIS: (u8, &[u8]) = (1, &[4, 0x0c, 0x29, 0xaa, 0, 1, 2]);
const PORT: (u8, &[u8]) = (2, b"\x05swp7");
const TTL: (u8, &[u8]) = (3, &[0, 120]);

#[test]
fn a_switch_tells_where_the_server_is() {
    let told = parse(&frame(&[
        CHASSIS,
        PORT,
        TTL,
        (4, b"rack 4, server 7"),
        (5, b"leaf1.example"),
        (6, b"Cumulus Linux"),
        (7, &[0, 4, 0, 4]),
        (8, &[5, 1, 10, 0, 0, 11, 2, 0, 0, 0, 1, 0]),
        (8, &[17, 2, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0]),
        (127, &[0, 0x80, 0xc2, 1, 0, 77]),
        (127, &[0, 0x12, 0x0f, 1, 3]),
        (0, &[]),
        (5, b"behind the end"),
    ]));
    let expected = Lldp {
        chassis: "0c:29:aa:00:01:02".into(),
        system_name: "leaf1.example".into(),
        port: "swp7".into(),
        port_description: "rack 4, server 7".into(),
        mgmt_address: "10.0.0.11".into(),
        vlan: Some(77),
    };
    assert_eq!(told, Some(expected));
}

#[test]
fn ids_of_every_kind_are_read() {
    type Row<'a> = (&'a str, &'a [u8], &'a [u8], Option<(&'a str, &'a str)>);
    let rows: &[Row] = &[
        (
            "port MAC",
            &[4, 1, 2, 3, 4, 5, 6],
            &[3, 9, 9, 9, 9, 9, 9],
            Some(("01:02:03:04:05:06", "09:09:09:09:09:09")),
        ),
        ("network address", &[5, 1, 10, 0, 0, 1], &[4, 1, 10, 0, 0, 2], Some(("10.0.0.1", "10.0.0.2"))),
        ("local texts", b"\x07spine", b"\x0712", Some(("spine", "12"))),
        ("a short MAC address is shown as it is", &[4, 0xff, 1], b"\x05a", Some(("ff01", "a"))),
        ("control characters", b"\x07sp\x1b[2Jine", b"\x05a\n", Some(("sp[2Jine", "a"))),
        ("an empty chassis", &[4], b"\x05a", None),
        ("no kind", &[], b"\x05a", None),
    ];
    for (name, chassis, port, expected) in rows {
        let told = parse(&frame(&[(1, chassis), (2, port), TTL]));
        assert_eq!(told.as_ref().map(|t| (t.chassis.as_str(), t.port.as_str())), *expected, "{name}");
    }
}

#[test]
fn what_is_no_neighbour_is_not_heard() {
    let mut other_type = frame(&[CHASSIS, PORT, TTL]);
    other_type[13] = 0xcd;
    let mut cut = frame(&[CHASSIS, PORT, TTL]);
    cut.pop();
    for (name, bytes) in [
        ("nothing", vec![]),
        ("only a header", frame(&[])),
        ("another type", other_type),
        ("cut within the time to live", cut),
        ("a wrong order", frame(&[PORT, CHASSIS, TTL])),
        ("no time to live", frame(&[CHASSIS, PORT, (4, b"x")])),
        ("an empty time to live", frame(&[CHASSIS, PORT, (3, &[])])),
        ("a shutdown", frame(&[CHASSIS, PORT, (3, &[0, 0])])),
    ] {
        assert_eq!(parse(&bytes), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_frame_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&[&frame(&[CHASSIS, PORT, TTL])[..], &bytes].concat());
        let _ = parse(&[&[0; 12], &ETHERTYPE.to_be_bytes()[..], &bytes].concat());
    }
}
