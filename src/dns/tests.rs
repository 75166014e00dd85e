//! Tables of DNS's rules, and bytes that are none.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;

use super::answer::{Answer, answer, datagram, one_question, reply_to};
use super::zone::{Among, Target, Zone};

struct Small {
    hosts: BTreeMap<&'static str, Vec<IpAddr>>,
    targets: Vec<Target>,
}

impl Zone for Small {
    fn domain(&self) -> &'static str {
        "mgmt.example"
    }
    fn serial(&self) -> u32 {
        7
    }
    fn server(&self) -> &'static str {
        "firstlight"
    }
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.hosts.get(host).cloned()
    }
    fn host_at(&self, ip: IpAddr) -> Option<String> {
        self.hosts.iter().find(|(_, ips)| ips.contains(&ip)).map(|(host, _)| (*host).to_owned())
    }
    fn covers(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.octets().starts_with(&[10, 77, 0]),
            IpAddr::V6(ip) => ip.segments().starts_with(&[0xfd00, 0x77]),
        }
    }
    fn overlaps(&self, first: IpAddr, last: IpAddr) -> bool {
        self.covers(first) && self.covers(last)
    }
    fn has_cluster(&self, cluster: &str) -> bool {
        cluster == "prod"
    }
    fn role(&self, cluster: &str, role: &str) -> Option<Vec<String>> {
        (cluster == "prod" && role == "control").then(|| vec!["n1".into(), "n2".into()])
    }
    fn service(&self, service: &str, protocol: &str, among: &Among<'_>) -> Option<Vec<Target>> {
        let known = service == "etcd-client"
            && protocol == "tcp"
            && among.cluster.is_none_or(|name| name == "prod")
            && among.role.is_none_or(|role| role == "control");
        let most = if among.role.is_some() { 1 } else { self.targets.len() };
        known.then(|| self.targets.iter().take(most).cloned().collect())
    }
}

fn zone() -> Small {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let target = |host: &str| Target { host: host.into(), port: 2379 };
    Small {
        hosts: BTreeMap::from([
            ("n1", vec![ip("10.77.0.21"), ip("fd00:77::21")]),
            ("n2", vec![ip("10.77.0.22")]),
            ("n3", vec![]),
            ("firstlight", vec![ip("10.77.0.1")]),
        ]),
        targets: vec![target("n1"), target("n2")],
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    query
}

/// The code, whether it is authoritative, and the answers; or what is done instead.
fn told(found: &Answer) -> String {
    let reply = match found {
        Answer::Reply(reply) => reply,
        Answer::Forward => return "forward".into(),
        Answer::Drop => return "drop".into(),
    };
    let answers: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    let soa = reply.authorities.first().map(|record| format!(" [{}]", record.name)).unwrap_or_default();
    let code = reply.metadata.response_code;
    let authoritative = if reply.metadata.authoritative { " aa" } else { "" };
    format!("{code:?}{authoritative} {}{soa}", answers.join(", ")).trim().to_owned()
}

#[test]
fn questions_and_answers() {
    use RecordType as T;
    for (rule, name, kind, expected) in [
        ("RFC 1035 3.4.1: an address", "n1.mgmt.example.", T::A, "NoError aa 10.77.0.21"),
        ("RFC 3596 2.1: an IPv6 address", "n1.mgmt.example.", T::AAAA, "NoError aa fd00:77::21"),
        ("RFC 4343 3: case does not count", "N1.MGMT.Example.", T::A, "NoError aa 10.77.0.21"),
        ("RFC 2308 2.2: nothing of that kind", "n2.mgmt.example.", T::AAAA, "NoError aa  [mgmt.example.]"),
        ("a node without an address", "n3.mgmt.example.", T::A, "NoError aa  [mgmt.example.]"),
        ("RFC 2308 2.1: no such name", "n9.mgmt.example.", T::A, "NXDomain aa  [mgmt.example.]"),
        ("no such name below one", "a.n1.mgmt.example.", T::A, "NXDomain aa  [mgmt.example.]"),
        ("another domain", "example.", T::A, "forward"),
        ("a domain that ends alike", "amgmt.example.", T::A, "forward"),
        ("the root", ".", T::NS, "forward"),
        ("the domain's server", "mgmt.example.", T::NS, "NoError aa firstlight.mgmt.example."),
        (
            "RFC 1035 3.3.13: its SOA",
            "mgmt.example.",
            T::SOA,
            "NoError aa firstlight.mgmt.example. hostmaster.mgmt.example. 7 3600 600 86400 30",
        ),
        (
            "RFC 2782: a service",
            "_etcd-client._tcp.prod.mgmt.example.",
            T::SRV,
            "NoError aa 0 10 2379 n1.mgmt.example., 0 10 2379 n2.mgmt.example.",
        ),
        (
            "of all clusters",
            "_etcd-client._tcp.mgmt.example.",
            T::SRV,
            "NoError aa 0 10 2379 n1.mgmt.example., 0 10 2379 n2.mgmt.example.",
        ),
        (
            "of a role",
            "_etcd-client._tcp.control.prod.mgmt.example.",
            T::SRV,
            "NoError aa 0 10 2379 n1.mgmt.example.",
        ),
        ("of no role", "_etcd-client._tcp.worker.prod.mgmt.example.", T::SRV, "NXDomain aa  [mgmt.example.]"),
        ("RFC 8020: a role's", "_tcp.control.prod.mgmt.example.", T::A, "NoError aa  [mgmt.example.]"),
        ("over another protocol", "_etcd-client._udp.mgmt.example.", T::SRV, "NXDomain aa  [mgmt.example.]"),
        ("of no cluster", "_etcd-client._tcp.test.mgmt.example.", T::SRV, "NXDomain aa  [mgmt.example.]"),
        ("RFC 8020: names on the way", "_tcp.prod.mgmt.example.", T::A, "NoError aa  [mgmt.example.]"),
        ("a cluster", "prod.mgmt.example.", T::A, "NoError aa  [mgmt.example.]"),
        ("a role", "control.prod.mgmt.example.", T::A, "NoError aa 10.77.0.21, 10.77.0.22"),
        ("no role", "worker.prod.mgmt.example.", T::A, "NXDomain aa  [mgmt.example.]"),
        ("RFC 1035 3.5: whose address", "21.0.77.10.in-addr.arpa.", T::PTR, "NoError aa n1.mgmt.example."),
        ("nobody's address", "99.0.77.10.in-addr.arpa.", T::PTR, "NXDomain aa  [0.77.10.in-addr.arpa.]"),
        ("an address elsewhere", "8.8.8.8.in-addr.arpa.", T::PTR, "forward"),
        ("half an address", "77.10.in-addr.arpa.", T::PTR, "forward"),
        (
            "RFC 1035 3.5: the zone of addresses",
            "0.77.10.in-addr.arpa.",
            T::SOA,
            "NoError aa firstlight.mgmt.example. hostmaster.mgmt.example. 7 3600 600 86400 30",
        ),
        ("its server", "0.77.10.in-addr.arpa.", T::NS, "NoError aa firstlight.mgmt.example."),
        ("nothing else", "0.77.10.in-addr.arpa.", T::A, "NoError aa  [0.77.10.in-addr.arpa.]"),
        ("another's zone", "1.77.10.in-addr.arpa.", T::SOA, "forward"),
        (
            "RFC 3596 2.5: the zone of IPv6 addresses",
            "0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.",
            T::NS,
            "NoError aa firstlight.mgmt.example.",
        ),
        (
            "RFC 8020: between that and an address",
            "0.0.0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.",
            T::A,
            "NoError aa  [0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.]",
        ),
        ("above it", "7.7.0.0.0.0.d.f.ip6.arpa.", T::NS, "forward"),
        ("too many octets", "1.21.0.77.10.in-addr.arpa.", T::PTR, "forward"),
        ("no octet", "256.0.77.10.in-addr.arpa.", T::PTR, "forward"),
        ("no address", "021.0.77.10.in-addr.arpa.", T::PTR, "forward"),
        (
            "RFC 3596 2.5: whose IPv6 address",
            "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.",
            T::PTR,
            "NoError aa n1.mgmt.example.",
        ),
        ("RFC 8482 4.2: any", "n1.mgmt.example.", T::ANY, "NoError aa RFC8482"),
        ("RFC 5936: the whole zone", "mgmt.example.", T::AXFR, "Refused"),
    ] {
        let found = told(&answer(&question(name, kind), &zone()));
        assert!(found.starts_with(expected), "{rule}: {found}, not {expected}");
    }
}

#[test]
fn edns_is_answered_with_edns_in_errors_too() {
    let mut query = question("example.", RecordType::A);
    assert!(reply_to(&query).edns.is_none(), "RFC 6891 7: to who sends none");
    query.set_edns(Edns::new());
    assert!(reply_to(&query).edns.is_some(), "RFC 6891 6.1.1");
}

#[test]
fn targets_come_with_their_addresses() {
    let Answer::Reply(reply) =
        answer(&question("_etcd-client._tcp.prod.mgmt.example.", RecordType::SRV), &zone())
    else {
        panic!("an answer");
    };
    let additional: Vec<String> = reply.additionals.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(additional, ["10.77.0.21", "fd00:77::21", "10.77.0.22"], "RFC 2782");
}

#[test]
fn what_is_no_question_for_us() {
    let base = || question("n1.mgmt.example.", RecordType::A);
    let mut response = base();
    response.metadata.message_type = MessageType::Response;
    let mut update = base();
    update.metadata.op_code = OpCode::Update;
    let mut chaos = base();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut newer = base();
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    let mut two = base();
    two.add_query(two.queries[0].clone());
    for (rule, message, expected) in [
        ("RFC 1035 4.1.1: a response", response, "drop"),
        ("an update", update, "NotImp"),
        ("another class", chaos, "Refused"),
        ("RFC 6891 6.1.3: a newer EDNS", newer, "BADVERS"),
        ("RFC 9619: two questions", two, "FormErr"),
    ] {
        let found = told(&answer(&message, &zone()));
        assert!(found.starts_with(expected), "{rule}: {found}");
    }
}

#[test]
fn what_does_not_fit_is_cut_off() {
    let target = |n: u32| Target { host: format!("node-with-a-long-name-{n}"), port: 1 };
    let large = Small { targets: (0..100).map(target).collect(), ..zone() };
    let ask = |payload: Option<u16>| {
        let mut query = question("_etcd-client._tcp.prod.mgmt.example.", RecordType::SRV);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            query.set_edns(edns);
        }
        let Answer::Reply(reply) = answer(&query, &large) else { panic!("an answer") };
        let bytes = datagram(&reply, &query).expect("it encodes");
        (bytes.len(), Message::from_vec(&bytes).expect("it decodes").metadata.truncation, reply)
    };
    for (rule, payload, most) in [
        ("RFC 1035 4.2.1: without EDNS", None, 512),
        ("RFC 6891 6.2.3: less than the least", Some(100), 512),
        ("RFC 6891 6.2.5: what the client takes", Some(1000), 1000),
        ("RFC 9715 3.2: no fragments", Some(65_000), 1232),
    ] {
        let (length, truncated, reply) = ask(payload);
        assert!(length <= most && truncated, "{rule}: {length}");
        assert_eq!(reply.answers.len(), 100, "all of it over TCP");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_not(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut good = question("n1.mgmt.example.", RecordType::A).to_vec().expect("it encodes");
        good.truncate(12);
        good.extend_from_slice(&bytes);
        for bytes in [&bytes, &good] {
            if one_question(bytes)
                && let Ok(query) = Message::from_vec(bytes)
                && let Answer::Reply(reply) = answer(&query, &zone())
            {
                prop_assert!(datagram(&reply, &query).is_some_and(|bytes| bytes.len() <= 1232));
            }
        }
    }

    #[test]
    fn addresses_turn_round(octets in any::<[u8; 4]>()) {
        let [a, b, c, d] = octets;
        let found = told(&answer(&question(&format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR), &zone()));
        let ours = Ipv4Addr::from(octets).octets().starts_with(&[10, 77, 0]);
        prop_assert_eq!(found == "forward", !ours);
    }
}
