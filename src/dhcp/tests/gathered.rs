//! Options in parts, and in the fields of the boot file and the server name.

use dhcproto::v4::{DhcpOption as O, MessageType as M};

use super::*;
use crate::boot::ClientKind;

const SNAME: usize = 44;
const FILE: usize = 108;

/// A DISCOVER of client 1 with these options behind its type, and these bytes in `file` and `sname`.
fn datagram(options: &[u8], file: &[u8], sname: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[28..34].copy_from_slice(&mac(1).0);
    bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
    bytes[SNAME..SNAME + sname.len()].copy_from_slice(sname);
    bytes[FILE..FILE + file.len()].copy_from_slice(file);
    bytes.extend([53, 1, 1]);
    bytes.extend(options);
    bytes.push(255);
    bytes
}

fn option(code: u8, data: &[u8]) -> Vec<u8> {
    [&[code, u8::try_from(data.len()).expect("short")], data].concat()
}

/// An option in parts of 255 bytes.
fn parts(code: u8, data: &[u8]) -> Vec<u8> {
    data.chunks(255).flat_map(|part| option(code, part)).collect()
}

fn bytes_of(request: &Request, code: u8) -> Vec<u8> {
    match request.message.opts().get(OptionCode::from(code)) {
        Some(
            O::ClassIdentifier(data)
            | O::ClientIdentifier(data)
            | O::UserClass(data)
            | O::ClientMachineIdentifier(data),
        ) => data.clone(),
        Some(O::ParameterRequestList(codes)) => codes.iter().map(|code| u8::from(*code)).collect(),
        Some(O::Unknown(option)) => option.data().to_vec(),
        _ => Vec::new(),
    }
}

#[test]
fn an_option_in_parts_is_one() {
    for code in [55, 60, 61, 77, 97, 175] {
        let value: Vec<u8> = (1..=200).collect();
        let (head, tail) = value.split_at(120);
        let between = option(12, b"web");
        for (rule, options, file, sname) in [
            (
                "RFC 3396 7: the parts of one belong together, whatever stands between",
                [option(code, head), between.clone(), option(code, tail)].concat(),
                vec![],
                vec![],
            ),
            (
                "RFC 3396 7: in the options first, then in file",
                [option(code, head), between.clone(), option(52, &[1])].concat(),
                option(code, tail),
                vec![],
            ),
            (
                "RFC 3396 7: then in sname",
                [option(code, &head[..50]), option(52, &[3]), between].concat(),
                option(code, &[&head[50..], &tail[..50]].concat()),
                option(code, &tail[50..]),
            ),
        ] {
            let request = Request::parse(&datagram(&options, &file, &sname)).expect(rule);
            assert_eq!(bytes_of(&request, code), value, "option {code}: {rule}");
            assert_eq!(request.client.hostname.as_deref(), Some("web"), "option {code}: {rule}");
        }
        let long: Vec<u8> = (0..600_u16).map(|n| u8::try_from(n % 250 + 1).expect("below 251")).collect();
        let request = Request::parse(&datagram(&parts(code, &long), &[], &[])).expect("a request");
        assert_eq!(bytes_of(&request, code), long, "option {code}: RFC 3396 5: longer than one option holds");
        let reply = decide(&World::default(), request.message, 1).reply.expect("an offer");
        assert!(reply.encode().is_some(), "option {code}: what is echoed of it");
    }
}

#[test]
fn a_long_client_id_goes_back_whole() {
    let id: Vec<u8> = (0..400_u16).map(|n| u8::try_from(n % 256).expect("below 256")).collect();
    let options = [parts(61, &id), option(57, &1400_u16.to_be_bytes())].concat();
    let request = Request::parse(&datagram(&options, &[], &[])).expect("a request");
    let reply = decide(&World::default(), request.message, 1).reply.expect("an offer");
    let encoded = reply.encode().expect("it encodes");
    assert_eq!(super::super::options::write::collect(&encoded[240..])[&61], id, "RFC 6842 3, RFC 3396 5");
}

#[test]
fn options_in_the_fields_of_the_header() {
    let class = option(60, b"PXEClient:Arch:00007:UNDI:003016");
    let arch = option(93, &[0, 7]);
    let overload = |fields: u8| option(52, &[fields]);
    let pxe = ClientKind::Pxe(7);
    let other = ClientKind::Other(String::new());
    for (rule, options, file, sname, kind) in [
        ("RFC 2132 9.3: 1, file", overload(1), [&class[..], &arch, &[255]].concat(), vec![], &pxe),
        ("RFC 2132 9.3: 2, sname", overload(2), vec![], [&class[..], &arch].concat(), &pxe),
        ("RFC 2132 9.3: 3, both", overload(3), class.clone(), arch.clone(), &pxe),
        ("RFC 2132 9.3: 1 is not sname", overload(1), vec![], class.clone(), &other),
        ("RFC 2131 2: no option 52: file is a name", vec![], class.clone(), arch.clone(), &other),
        (
            "RFC 2131 4.1: the options end there as anywhere",
            overload(1),
            [&[255][..], &class].concat(),
            vec![],
            &other,
        ),
        (
            "RFC 2132 9.3: an overload within overloaded fields is none",
            overload(1),
            overload(2),
            class.clone(),
            &other,
        ),
        ("cut off by the field's end", overload(1), [&vec![0; 126][..], &[60, 9]].concat(), vec![], &other),
        ("an overload of nothing", vec![52, 0], class.clone(), vec![], &other),
    ] {
        let request = Request::parse(&datagram(&options, &file, &sname)).expect(rule);
        assert_eq!((&request.client.kind, request.message_type), (kind, M::Discover), "{rule}");
    }
}

#[test]
fn of_a_value_of_fixed_size_that_stands_twice_the_first_counts() {
    let options = [option(50, &ip(3).octets()), option(50, &ip(4).octets()), option(53, &[3])].concat();
    let request = Request::parse(&datagram(&options, &[], &[])).expect("a request");
    assert_eq!((request.message_type, request.requested_ip()), (M::Discover, Some(ip(3))));
}

proptest::proptest! {
    /// Any bytes in any field, and as much as a datagram holds.
    #[test]
    fn no_bytes_in_any_field_make_it_panic(
        options in proptest::collection::vec(proptest::num::u8::ANY, 0..1200),
        file in proptest::collection::vec(proptest::num::u8::ANY, 128),
        sname in proptest::collection::vec(proptest::num::u8::ANY, 64),
        overload in 0..5_u8,
    ) {
        let all = [option(52, &[overload]), options].concat();
        if let Ok(request) = Request::parse(&datagram(&all, &file, &sname)) {
            let decision = decide(&World::default(), request.message, 1);
            proptest::prop_assert!(decision.reply.is_none_or(|reply| reply.encode().is_some()));
        }
    }
}
