//! Tables of `DHCPv6`'s rules, and properties that hold for any sequence of messages.

use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::message::{LONGEST, Message, OptionList, WireError, find, kind, open, option, options, put};
use super::respond::{Decision, View, respond};
use super::{Request, RequestError};
use crate::boot::FirmwareTable;
use crate::model::{Change, Duid, Lease6, LeaseState, MacAddr, Network6, Subnet6, Timestamp, World};

const NOW: Timestamp = Timestamp(1_000_000);
const LEASE: Duration = Duration::from_secs(3600);

fn network() -> Network6 {
    let subnet: Subnet6 = "fd00:77::/64".parse().expect("a prefix");
    let range = "fd00:77::1000-fd00:77::1007".parse().expect("a range");
    Network6 { subnet, range, dns: vec!["fd00:77::53".parse().expect("an address")], advertise: true }
}

fn server() -> Ipv6Addr {
    "fd00:77::1".parse().expect("an address")
}

fn our_duid() -> Duid {
    Duid::new(&[0, 4, 9, 9, 9, 9]).expect("a DUID")
}

fn link_local(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, u16::from(n))
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// A client's name for itself, in stage `stage` of its boot.
fn duid(n: u8, stage: u8) -> Duid {
    Duid::new(&[0, 4, stage, n]).expect("a DUID")
}

fn ia(iaid: u32, addresses: &[Ipv6Addr]) -> (u16, Vec<u8>) {
    let mut data = [iaid, 0, 0].iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    for ip in addresses {
        let mut inner = ip.octets().to_vec();
        inner.extend([0; 8]);
        put(&mut data, option::IAADDR, &inner);
    }
    (option::IA_NA, data)
}

fn bytes(kind: u8, client: &Duid, to_us: bool, more: OptionList) -> Vec<u8> {
    let mut options = vec![(option::CLIENT_ID, client.as_bytes().to_vec())];
    options.extend(to_us.then(|| (option::SERVER_ID, our_duid().as_bytes().to_vec())));
    options.extend(more);
    Message { kind, xid: [1, 2, 3], options }.encode(&[])
}

fn request(n: u8, kind: u8, to_us: bool, more: OptionList) -> Request {
    Request::parse(&bytes(kind, &duid(n, 0), to_us, more), link_local(n)).expect("a request")
}

/// How the appliance is set up.
struct Setting<'a> {
    strangers: bool,
    scripts: bool,
    firmware: Option<&'a FirmwareTable>,
    now: Timestamp,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { strangers: true, scripts: false, firmware: None, now: NOW }
    }
}

fn decide_as(world: &World, request: &Request, setting: &Setting<'_>) -> Decision {
    let (network, duid) = (network(), our_duid());
    let built_in = FirmwareTable::new(&[]).expect("the built-in tables");
    let view = View {
        world,
        network: &network,
        lease: LEASE,
        server: server(),
        duid: &duid,
        firmware: setting.firmware.unwrap_or(&built_in),
        domain: Some("mgmt.example"),
        names: true,
        http_port: 8080,
        script: setting.scripts,
        serves_strangers: setting.strangers,
    };
    respond(request, &view, setting.now)
}

fn decide_at(world: &World, request: &Request, strangers: bool, now: Timestamp) -> Decision {
    decide_as(world, request, &Setting { strangers, now, ..Setting::default() })
}

fn decide(world: &mut World, request: &Request) -> Decision {
    let decision = decide_at(world, request, true, NOW);
    for change in &decision.changes {
        world.apply(change);
    }
    decision
}

/// The addresses in an answer with their lifetimes, and the status codes, those within associations last.
fn told(decision: &Decision) -> (Vec<(Ipv6Addr, u32)>, Vec<u16>) {
    let (mut addresses, mut statuses) = (Vec::new(), Vec::new());
    let code = |data: &[u8]| u16::from_be_bytes(*data.first_chunk().expect("a code"));
    let reply = decision.reply.as_ref().expect("an answer");
    for (option, data) in &reply.options {
        match *option {
            option::STATUS_CODE => statuses.push(code(data)),
            option::IA_NA => {
                for (option, data) in options(&data[12..]).expect("options") {
                    match option {
                        option::IAADDR => {
                            let ip: [u8; 16] = *data.first_chunk().expect("an address");
                            let valid = u32::from_be_bytes(data[20..24].try_into().expect("four bytes"));
                            addresses.push((ip.into(), valid));
                        }
                        option::STATUS_CODE => statuses.push(code(&data)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (addresses, statuses)
}

fn given(decision: &Decision) -> Ipv6Addr {
    told(decision).0.first().expect("an address").0
}

#[test]
fn what_is_dropped() {
    let client = duid(1, 0);
    let solicit = bytes(kind::SOLICIT, &client, false, vec![ia(1, &[])]);
    let mut nested = solicit.clone();
    let mut deepest = Vec::new();
    for _ in 0..10 {
        deepest.clone_from(&nested);
        let mut outer = vec![kind::RELAY_FORW, 0];
        outer.extend([0; 32]);
        put(&mut outer, option::RELAY_MSG, &nested);
        nested = outer;
    }
    let rules = RequestError::Rules;
    for (rule, bytes, error) in [
        ("8: shorter than its head", vec![1, 2, 3], WireError::Length.into()),
        ("longer than a frame", vec![0; LONGEST + 1], WireError::Length.into()),
        ("21.1: an option beyond the end", vec![1, 0, 0, 0, 0, 1, 0, 9, 0], WireError::Options.into()),
        ("19.1.1: a tenth relay", nested, WireError::Hops.into()),
        ("19.1: a relay without a message", [&[12; 1][..], &[0; 33]].concat(), WireError::Empty.into()),
        (
            "16.3: an ADVERTISE is a server's",
            bytes(kind::ADVERTISE, &client, true, vec![]),
            RequestError::NotARequest,
        ),
        ("16.2: SOLICIT names no server", bytes(kind::SOLICIT, &client, true, vec![]), rules),
        ("16.4: REQUEST names its server", bytes(kind::REQUEST, &client, false, vec![]), rules),
        ("16.6: RENEW names its server", bytes(kind::RENEW, &client, false, vec![]), rules),
        ("16.7: REBIND names none", bytes(kind::REBIND, &client, true, vec![]), rules),
        ("16.5: CONFIRM names none", bytes(kind::CONFIRM, &client, true, vec![]), rules),
        (
            "16.12: INFORMATION-REQUEST has no association",
            bytes(kind::INFORMATION_REQUEST, &client, false, vec![ia(1, &[])]),
            rules,
        ),
        ("16.2: no client identifier", Message { kind: 1, xid: [0; 3], options: vec![] }.encode(&[]), rules),
        (
            "11.1: a client identifier of two bytes",
            Message { kind: 1, xid: [0; 3], options: vec![(1, vec![0, 1])] }.encode(&[]),
            rules,
        ),
        (
            "21.4: an association without its times",
            bytes(kind::SOLICIT, &client, false, vec![(3, vec![0; 8])]),
            rules,
        ),
    ] {
        assert_eq!(Request::parse(&bytes, link_local(1)), Err(error), "{rule}");
    }
    assert!(Request::parse(&solicit, link_local(1)).is_ok());
    let through_nine = Request::parse(&deepest, link_local(1)).expect("19.1.1: hop counts 0 to 8");
    assert_eq!(through_nine.hops.len(), 9);
}

#[test]
fn the_hardware_address() {
    let envelope = |more: OptionList, peer: Ipv6Addr, inner: &[u8]| {
        let mut outer = vec![kind::RELAY_FORW, 0];
        outer.extend(Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1).octets());
        outer.extend(peer.octets());
        for (code, data) in more {
            put(&mut outer, code, &data);
        }
        put(&mut outer, option::RELAY_MSG, inner);
        outer
    };
    let random: Ipv6Addr = "fe80::1234:5678:9abc:def0".parse().expect("an address");
    let plain = bytes(kind::SOLICIT, &duid(1, 0), false, vec![ia(1, &[])]);
    let with_mac = Duid::new(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 9]).expect("a DUID");
    let by_duid = bytes(kind::SOLICIT, &with_mac, false, vec![ia(1, &[])]);
    let told = vec![(option::CLIENT_LINKLAYER_ADDR, vec![0, 1, 2, 0, 0, 0, 0, 7])];
    for (name, bytes, source, expected) in [
        ("RFC 4291: the link-local address", plain.clone(), link_local(5), Some(mac(5))),
        ("RFC 6939: a relay tells", envelope(told, random, &plain), server(), Some(mac(7))),
        (
            "of the relay's peer, not of the relay",
            envelope(vec![], link_local(6), &plain),
            link_local(5),
            Some(mac(6)),
        ),
        ("RFC 8415 11.4: the DUID", by_duid, random, Some(mac(9))),
        ("nobody tells", plain, random, None),
    ] {
        let request = Request::parse(&bytes, source).expect(name);
        assert_eq!(request.client.mac, expected, "{name}");
        let link = request.link();
        assert_eq!(link.is_some(), !request.hops.is_empty(), "{name}: the link is the relay's");
    }
}

#[test]
fn a_relay_gets_back_what_it_sent() {
    let (mut inner, mut outer) = (vec![kind::RELAY_FORW, 0], vec![kind::RELAY_FORW, 1]);
    for (bytes, id, message) in [
        (&mut inner, b"port 12", bytes(kind::SOLICIT, &duid(1, 0), false, vec![ia(1, &[])])),
        (&mut outer, b"switch4", Vec::new()),
    ] {
        bytes.extend(server().octets());
        bytes.extend(link_local(1).octets());
        put(bytes, option::INTERFACE_ID, id);
        if !message.is_empty() {
            put(bytes, option::RELAY_MSG, &message);
        }
    }
    put(&mut outer, option::RELAY_MSG, &inner);
    let request = Request::parse(&outer, server()).expect("a request");
    let reply = decide_at(&World::default(), &request, true, NOW).reply.expect("an answer");
    let encoded = reply.encode(&request.hops);
    // RFC 8415 section 19.3: type and count, link, peer, interface id, then the message.
    assert_eq!(encoded[..2], [kind::RELAY_REPL, 1]);
    assert_eq!(encoded[2..34], outer[2..34]);
    let first = options(&encoded[34..]).expect("options");
    assert_eq!(find(&first, option::INTERFACE_ID), Some(&b"switch4"[..]));
    let second = find(&first, option::RELAY_MSG).expect("a message");
    assert_eq!(second[..2], [kind::RELAY_REPL, 0]);
    let last = options(&second[34..]).expect("options");
    assert_eq!(find(&last, option::INTERFACE_ID), Some(&b"port 12"[..]));
    let (_, message) = open(find(&last, option::RELAY_MSG).expect("a message")).expect("opens");
    assert_eq!(message, reply);
}

#[test]
fn an_exchange_and_what_follows() {
    let mut world = World::default();
    let asks = (option::ORO, vec![0, 23, 0, 24, 0, 59]);
    let offer = decide(&mut world, &request(1, kind::SOLICIT, false, vec![ia(1, &[]), asks.clone()]));
    let offered = given(&offer);
    let reply = offer.reply.as_ref().expect("an offer");
    assert_eq!(
        (reply.kind, world.leases6().count()),
        (kind::ADVERTISE, 0),
        "18.3.1: nothing is kept of an offer"
    );
    assert_eq!(find(&reply.options, option::DNS_SERVERS).map(<[u8]>::len), Some(16), "RFC 3646");
    assert_eq!(find(&reply.options, option::DOMAIN_LIST), Some(&b"\x04mgmt\x07example\x00"[..]), "RFC 3646");
    assert_eq!(find(&reply.options, option::BOOTFILE_URL), None, "RFC 5970: no firmware asks");
    assert!(network().range.contains(offered));

    let granted = decide(&mut world, &request(1, kind::REQUEST, true, vec![ia(1, &[offered])]));
    assert_eq!(told(&granted).0, [(offered, 3600)], "18.3.2");
    assert!(granted.event.is_some());
    let other: Ipv6Addr = "fd00:88::5".parse().expect("an address");
    let ours = |ip| vec![ia(1, &[ip])];
    let unknown = || vec![ia(9, &[other])];
    for (rule, kind, to_us, options, addresses, statuses) in [
        ("18.3.4: RENEW", kind::RENEW, true, ours(offered), vec![(offered, 3600)], vec![]),
        ("18.3.4: nothing known of it", kind::RENEW, true, unknown(), vec![], vec![3]),
        ("18.3.5: REBIND", kind::REBIND, false, ours(offered), vec![(offered, 3600)], vec![]),
        ("18.3.5: an address of elsewhere ends", kind::REBIND, false, unknown(), vec![(other, 0)], vec![]),
        (
            "18.3.4: its own instead of another",
            kind::RENEW,
            true,
            ours(other),
            vec![(offered, 3600), (other, 0)],
            vec![],
        ),
        ("18.3.3: CONFIRM", kind::CONFIRM, false, ours(offered), vec![], vec![0]),
        ("18.3.3: CONFIRM elsewhere", kind::CONFIRM, false, ours(other), vec![], vec![4]),
        ("18.3.7: RELEASE of what it has not", kind::RELEASE, true, unknown(), vec![], vec![0, 3]),
        ("18.3.2: a prefix", kind::REQUEST, true, vec![(option::IA_PD, vec![0; 12])], vec![], vec![]),
    ] {
        let decision = decide(&mut world, &request(1, kind, to_us, options));
        assert_eq!(told(&decision), (addresses, statuses), "{rule}");
    }
    let rapid = vec![ia(1, &[]), (option::RAPID_COMMIT, vec![])];
    let decision = decide(&mut world, &request(2, kind::SOLICIT, false, rapid));
    let reply = decision.reply.as_ref().expect("a reply");
    assert_eq!(reply.kind, kind::REPLY, "18.3.1: rapid commit");
    assert!(find(&reply.options, option::RAPID_COMMIT).is_some());
    assert_ne!(given(&decision), offered);

    let mut elsewhere = request(1, kind::REQUEST, true, vec![ia(1, &[])]);
    elsewhere.server = Some(vec![0, 4, 1]);
    assert!(decide(&mut world, &elsewhere).reply.is_none(), "16: for another server");

    decide(&mut world, &request(1, kind::RELEASE, true, ours(offered)));
    assert_eq!(world.lease6(offered).map(|lease| lease.state), Some(LeaseState::Released), "18.3.7");
    let again = decide(&mut world, &request(1, kind::SOLICIT, false, vec![ia(1, &[])]));
    assert_eq!(given(&again), offered, "it sticks");
    decide(&mut world, &request(1, kind::REQUEST, true, vec![ia(1, &[])]));
    decide(&mut world, &request(1, kind::DECLINE, true, ours(offered)));
    assert_eq!(world.lease6(offered).map(|lease| lease.state), Some(LeaseState::Declined), "18.3.8");
    let again = decide(&mut world, &request(1, kind::SOLICIT, false, vec![ia(1, &[])]));
    assert_ne!(given(&again), offered, "18.3.8: in use by somebody");
}

#[test]
fn one_address_through_all_stages_of_a_boot() {
    let mut world = World::default();
    let mut stage = |n: u8, iaid: u32| {
        let bytes = bytes(kind::REQUEST, &duid(1, n), true, vec![ia(iaid, &[])]);
        given(&decide(&mut world, &Request::parse(&bytes, link_local(1)).expect("a request")))
    };
    let first = stage(0, 7);
    assert_eq!(
        (stage(1, 8), stage(2, 9), stage(0, 7)),
        (first, first, first),
        "firmware, iPXE, system, firmware"
    );
    // An appliance that has forgotten everything gives the same.
    let fresh = decide(&mut World::default(), &request(1, kind::REQUEST, true, vec![ia(3, &[])]));
    assert_eq!(given(&fresh), first);
    // Two associations of one client have two addresses.
    let both = request(4, kind::REQUEST, true, vec![ia(1, &[]), ia(2, &[])]);
    let decision = decide(&mut World::default(), &both);
    let (addresses, _) = told(&decision);
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0].0, addresses[1].0);
}

#[test]
fn firmware_gets_its_boot_file() {
    let asks = || (option::ORO, vec![0, 59, 0, 60]);
    let arch = |code: u8| (option::CLIENT_ARCH_TYPE, vec![0, code]);
    let http = || (option::VENDOR_CLASS, b"\x00\x00\x01\x57\x00\x0aHTTPClient".to_vec());
    let ipxe = || (option::USER_CLASS, b"\x00\x04iPXE".to_vec());
    let script = "http://[fd00:77::1]:8080/boot/02-00-00-00-00-01/script.ipxe";
    for (name, options, scripts, url) in [
        ("RFC 5970 3.3: x64 UEFI", vec![arch(7), asks()], true, Some("tftp://[fd00:77::1]/ipxe.efi")),
        (
            "UEFI 2.10 24.7: HTTP boot",
            vec![arch(16), http(), asks()],
            false,
            Some("http://[fd00:77::1]:8080/boot/files/ipxe.efi"),
        ),
        (
            "of arm64",
            vec![arch(19), http(), asks()],
            false,
            Some("http://[fd00:77::1]:8080/boot/files/ipxe-arm64.efi"),
        ),
        ("iPXE where IPv4 is not served", vec![arch(7), ipxe(), asks()], true, Some(script)),
        ("iPXE takes its script over IPv4 elsewhere", vec![arch(7), ipxe(), asks()], false, None),
        ("who does not ask", vec![arch(7)], true, None),
        ("an HTTP boot's number without its class", vec![arch(16), asks()], true, None),
        ("a system", vec![asks()], true, None),
    ] {
        let is_http = options.contains(&http());
        let options = options.into_iter().chain([ia(1, &[])]).collect();
        let decision = decide_as(
            &World::default(),
            &request(1, kind::SOLICIT, false, options),
            &Setting { scripts, ..Setting::default() },
        );
        let reply = decision.reply.expect("an offer");
        let found = find(&reply.options, option::BOOTFILE_URL).map(String::from_utf8_lossy);
        assert_eq!(found.as_deref(), url, "{name}");
        let class = find(&reply.options, option::VENDOR_CLASS);
        assert_eq!(class, is_http.then_some(http().1.as_slice()), "{name}: UEFI 2.10 24.7.3");
        assert_eq!(find(&reply.options, option::BOOTFILE_PARAM), None, "{name}: nothing to tell");
    }
}

#[test]
fn a_boot_file_is_told_what_its_table_says() {
    let table = r#"
        [[firmware]]
        name = "x"
        architectures = [7]
        arch = "x86_64"
        firmware = "uefi"
        transport = "tftp"
        boot_file = "x.efi"
        path = "/x.efi"
        package = "x"
        parameters = ["-v", "a b"]
    "#;
    let firmware = FirmwareTable::new(&[("x86_64.toml".into(), table.into())]).expect("a table");
    for (asked, told) in [(vec![0, 59, 0, 60], Some(&b"\x00\x02-v\x00\x03a b"[..])), (vec![0, 59], None)] {
        let options = vec![(option::CLIENT_ARCH_TYPE, vec![0, 7]), (option::ORO, asked), ia(1, &[])];
        let request = request(1, kind::SOLICIT, false, options);
        let setting = Setting { firmware: Some(&firmware), ..Setting::default() };
        let reply = decide_as(&World::default(), &request, &setting).reply.expect("an offer");
        assert_eq!(find(&reply.options, option::BOOTFILE_PARAM), told, "RFC 5970 3.2");
    }
    let nii = vec![(option::NII, vec![1, 3, 16]), ia(1, &[])];
    assert_eq!(request(1, kind::SOLICIT, false, nii).client.interface, Some([1, 3, 16]), "RFC 5970 3.4");
}

#[test]
fn what_is_sent_to_our_own_address() {
    let mut world = World::default();
    let offered = given(&decide(&mut world, &request(1, kind::REQUEST, true, vec![ia(1, &[])])));
    for (rule, kind, to_us, answered) in [
        ("18.4: REQUEST", kind::REQUEST, true, true),
        ("18.4: RENEW", kind::RENEW, true, true),
        ("18.4: RELEASE", kind::RELEASE, true, true),
        ("18.4: DECLINE", kind::DECLINE, true, true),
        ("16: SOLICIT", kind::SOLICIT, false, false),
        ("16: REBIND", kind::REBIND, false, false),
        ("16: CONFIRM", kind::CONFIRM, false, false),
    ] {
        let mut request = request(1, kind, to_us, vec![ia(1, &[offered])]);
        request.unicast = true;
        let decision = decide_at(&world, &request, true, NOW);
        assert!(decision.changes.is_empty() && decision.event.is_none(), "{rule}");
        let codes: Option<Vec<u16>> =
            decision.reply.as_ref().map(|reply| reply.options.iter().map(|(code, _)| *code).collect());
        assert_eq!(codes, answered.then(|| vec![1, 2, 13]), "{rule}: nothing else");
        if answered {
            assert_eq!(told(&decision), (vec![], vec![5]), "{rule}: UseMulticast");
        }
    }
}

#[test]
fn what_goes_on_is_no_news() {
    let mut world = World::default();
    let first = decide(&mut world, &request(1, kind::REQUEST, true, vec![ia(1, &[])]));
    assert!(first.event.is_some(), "a lease is");
    let ours = || vec![ia(1, &[given(&first)]), (option::IA_PD, vec![0; 12]), (option::IA_TA, vec![0; 4])];
    let renewed = decide(&mut world, &request(1, kind::RENEW, true, ours()));
    assert_eq!((renewed.event.is_none(), renewed.changes.len()), (true, 1));
    let reply = renewed.reply.expect("an answer");
    let status = |code: u16, from: usize| {
        let data = find(&reply.options, code).expect("18.3.4: each association is answered");
        let inner = options(&data[from..]).expect("options");
        find(&inner, option::STATUS_CODE).map(|status| status[1])
    };
    assert_eq!(status(option::IA_PD, 12), Some(6), "18.3.4: NoPrefixAvail");
    assert_eq!(status(option::IA_TA, 4), Some(2), "18.3.4: NoAddrsAvail");
    let rebound = decide(&mut world, &request(1, kind::REBIND, false, vec![ia(1, &[given(&first)])]));
    assert!(rebound.event.is_none());
    decide(&mut world, &request(1, kind::RELEASE, true, vec![ia(1, &[given(&first)])]));
    let again = decide(&mut world, &request(1, kind::REBIND, false, vec![ia(1, &[given(&first)])]));
    assert!(again.event.is_some(), "what was given back, and is taken again, is news");
}

#[test]
fn options_without_an_address() {
    let asks = (option::ORO, vec![0, 23, 0, 24]);
    let named = request(1, kind::INFORMATION_REQUEST, false, vec![asks.clone()]);
    let nameless = Message { kind: kind::INFORMATION_REQUEST, xid: [7; 3], options: vec![asks] }.encode(&[]);
    let nameless = Request::parse(&nameless, link_local(1)).expect("18.2.6: a client identifier is optional");
    for (rule, request) in [("18.3.6", named), ("18.3.6: of who does not name itself", nameless)] {
        // Whoever it is: nothing is kept.
        let decision = decide_at(&World::default(), &request, false, NOW);
        let reply = decision.reply.expect(rule);
        assert_eq!((reply.kind, decision.changes.len()), (kind::REPLY, 0), "{rule}");
        assert_eq!(find(&reply.options, option::SERVER_ID), Some(our_duid().as_bytes()), "{rule}");
        let client = request.client.duid.as_ref().map(|duid| duid.as_bytes().to_vec());
        assert_eq!(find(&reply.options, option::CLIENT_ID).map(<[u8]>::to_vec), client, "{rule}");
        assert_eq!(find(&reply.options, option::DNS_SERVERS).map(<[u8]>::len), Some(16), "{rule}");
        assert_eq!(
            find(&reply.options, option::DOMAIN_LIST),
            Some(&b"\x04mgmt\x07example\x00"[..]),
            "{rule}"
        );
        assert_eq!(find(&reply.options, option::IA_NA), None, "{rule}");
    }
}

#[test]
fn strangers_are_turned_away_when_there_are_too_many() {
    let mut world = World::default();
    let solicit = request(1, kind::SOLICIT, false, vec![ia(1, &[])]);
    assert!(decide_at(&world, &solicit, false, NOW).reply.is_none());
    decide(&mut world, &request(1, kind::REQUEST, true, vec![ia(1, &[])]));
    assert!(decide_at(&world, &solicit, false, NOW).reply.is_some(), "who has an address keeps it");
    let another = request(2, kind::REQUEST, true, vec![ia(1, &[])]);
    let decision = decide_at(&world, &another, false, NOW);
    assert_eq!((told(&decision), decision.changes.len()), ((vec![], vec![2]), 0));
}

#[test]
fn a_full_range() {
    let mut world = World::default();
    for n in 1..=8 {
        let decision = decide(&mut world, &request(n, kind::REQUEST, true, vec![ia(1, &[])]));
        assert_eq!(told(&decision).0.len(), 1, "client {n} of eight");
    }
    let ninth = request(9, kind::REQUEST, true, vec![ia(1, &[])]);
    assert_eq!(told(&decide(&mut world, &ninth)), (vec![], vec![2]), "NoAddrsAvail");
    let later = decide_at(&world, &ninth, true, NOW.plus(LEASE).plus(Duration::from_secs(1)));
    assert_eq!(told(&later).0.len(), 1, "addresses that ran out are given again");
}

fn step() -> impl Strategy<Value = (u8, u8, u32, u8, u8)> {
    let kinds = prop::sample::select(vec![
        kind::SOLICIT,
        kind::REQUEST,
        kind::CONFIRM,
        kind::RENEW,
        kind::REBIND,
        kind::RELEASE,
        kind::DECLINE,
    ]);
    (kinds, 1..7_u8, 1..3_u32, 0..8_u8, 0..200_u8)
}

fn play(steps: &[(u8, u8, u32, u8, u8)]) -> Vec<Lease6> {
    let (mut world, mut now) = (World::default(), NOW);
    for (kind, client, iaid, ip, minutes) in steps {
        now = now.plus(Duration::from_secs(u64::from(*minutes) * 60));
        let ip = Ipv6Addr::from_bits(network().range.first.to_bits() + u128::from(*ip));
        let to_us = matches!(*kind, kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE);
        let request = request(*client, *kind, to_us, vec![ia(*iaid, &[ip])]);
        let decision = decide_at(&world, &request, true, now);
        for change in &decision.changes {
            if let Change::PutLease6(lease) = change {
                // Nobody takes an address that another holds by right.
                if let Some(old) = world.lease6(lease.ip) {
                    assert!(old.mac == lease.mac || old.expires <= now, "{old:?} {lease:?}");
                }
                assert!(network().range.contains(lease.ip));
            }
            world.apply(change);
        }
    }
    world.leases6().cloned().collect()
}

proptest! {
    #[test]
    fn no_address_is_given_to_two_clients(steps in prop::collection::vec(step(), 0..60)) {
        let leases = play(&steps);
        prop_assert_eq!(&leases, &play(&steps), "a replay gives the same");
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::parse(&bytes, link_local(1));
    }

    #[test]
    fn any_options(kind in 1..13_u8, told in prop::collection::vec((0..90_u16, prop::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let message = Message { kind, xid: [0; 3], options: told };
        if let Ok(request) = Request::parse(&message.encode(&[]), link_local(1)) {
            let decision = decide_at(&World::default(), &request, true, NOW);
            if let Some(reply) = decision.reply {
                prop_assert_eq!(open(&reply.encode(&[])).expect("our own answer is well-formed").1, reply);
            }
        }
    }
}
