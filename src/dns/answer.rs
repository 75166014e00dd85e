//! What a question is answered: one pure decision.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Among, Target, Zone};

/// How long answers may be kept, seconds: short, since nodes come and go.
const TTL: u32 = 30;
/// What others ask us again after, seconds (SOA, RFC 1035 section 3.3.13): refresh, retry, expire.
const TIMES: (i32, i32, i32) = (3600, 600, 86_400);
/// The largest datagram that is sent (RFC 9715 section 3.2): it is not fragmented anywhere.
const LARGEST_DATAGRAM: u16 = 1232;
/// The largest to who does not say more (RFC 1035 section 4.2.1).
const SMALLEST_DATAGRAM: u16 = 512;
/// Most records of one kind in an answer.
const RECORDS: usize = 500;

/// What is done about a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is answered.
    Reply(Box<Message>),
    /// It is not about our domain: others may know.
    Forward,
    /// It is no question.
    Drop,
}

/// Decides about a message. It has one question: see [`one_question`].
pub fn answer(query: &Message, zone: &impl Zone) -> Answer {
    if query.metadata.message_type != MessageType::Query {
        return Answer::Drop;
    }
    let mut reply = reply_to(query);
    if query.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        // RFC 6891 section 6.1.3.
        return refused(reply, ResponseCode::BADVERS);
    }
    if query.metadata.op_code != OpCode::Query {
        return refused(reply, ResponseCode::NotImp);
    }
    let [question] = query.queries.as_slice() else { return refused(reply, ResponseCode::FormErr) };
    if question.query_class() != DNSClass::IN {
        return refused(reply, ResponseCode::Refused);
    }
    if matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refused(reply, ResponseCode::Refused);
    }
    let Some(place) = Place::of(question.name(), zone) else { return Answer::Forward };
    reply.metadata.authoritative = true;
    place.fill(&mut reply, question.name(), question.query_type(), zone);
    Answer::Reply(Box::new(reply))
}

/// An answer that says nothing yet.
pub fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        // RFC 6891 section 6.1.1: to who sends one; section 7: in an error, too.
        let mut ours = Edns::new();
        ours.set_max_payload(LARGEST_DATAGRAM);
        reply.set_edns(ours);
    }
    reply
}

/// An answer to a message that cannot be answered as it is.
pub fn refused(mut reply: Message, code: ResponseCode) -> Answer {
    reply.metadata.response_code = code;
    Answer::Reply(Box::new(reply))
}

/// Whether a datagram says that it has one question and no answers, and is of a length that one has: else it is not decoded
/// at all (RFC 9619: a query has one question).
pub fn one_question(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, 0, 1, 0, 0, 0, 0, 0, 0 | 1, ..])
}

/// The bytes of a reply that fit what the client takes over UDP; cut off and marked as such when they do not (RFC 2181 section 9).
pub fn datagram(reply: &Message, query: &Message) -> Option<Vec<u8>> {
    let takes = query.edns.as_ref().map_or(SMALLEST_DATAGRAM, Edns::max_payload);
    let most = usize::from(takes.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM));
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= most {
        return Some(bytes);
    }
    // What is only a help goes first.
    let mut less = reply.clone();
    less.additionals.clear();
    let bytes = less.to_vec().ok()?;
    if bytes.len() <= most { Some(bytes) } else { reply.truncate().to_vec().ok() }
}

/// Where a name is.
enum Place {
    /// Below the domain, by its labels from the left, in lower case; none: the domain itself.
    Domain(Vec<String>),
    /// An address, turned round (RFC 1035 section 3.5, RFC 3596 section 2.5).
    Reverse(IpAddr),
    /// The zone of such addresses, by its first one.
    ReverseZone(IpAddr),
    /// Between that and an address: a way to what is below (RFC 8020).
    Inside(IpAddr),
}

impl Place {
    /// Nothing, when it is not ours.
    fn of(name: &Name, zone: &impl Zone) -> Option<Self> {
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        let domain: Vec<&str> = zone.domain().split('.').collect();
        let split = labels.len().checked_sub(domain.len());
        if let Some((own, rest)) = split.and_then(|at| labels.split_at_checked(at))
            && rest.iter().eq(domain.iter())
        {
            return Some(Self::Domain(own.to_vec()));
        }
        let Turned { first, last, depth } = turned(&labels)?;
        let (whole, apex) = if first.is_ipv4() { (4, 3) } else { (32, 16) };
        match depth {
            depth if depth == whole => zone.covers(first).then_some(Self::Reverse(first)),
            depth if depth == apex => zone.overlaps(first, last).then_some(Self::ReverseZone(first)),
            depth if depth > apex => zone.overlaps(first, last).then_some(Self::Inside(first)),
            _ => None,
        }
    }

    fn fill(&self, reply: &mut Message, name: &Name, kind: RecordType, zone: &impl Zone) {
        let mut found = Vec::new();
        let exists = match self {
            Self::ReverseZone(_) => {
                of_apex(zone, &mut found);
                true
            }
            Self::Inside(_) => true,
            Self::Domain(labels) => of_domain(labels, zone, &mut found, &mut reply.additionals),
            Self::Reverse(ip) => {
                let host = zone.host_at(*ip).and_then(|host| within(&host, zone));
                found.extend(host.map(|host| RData::PTR(PTR(host))));
                !found.is_empty()
            }
        };
        if kind == RecordType::ANY && !found.is_empty() {
            // RFC 8482 section 4.2: as little as possible.
            let little = HINFO::new("RFC8482".into(), String::new());
            reply.add_answer(Record::from_rdata(name.clone(), TTL, RData::HINFO(little)));
            reply.additionals.clear();
            return;
        }
        let wanted = found.into_iter().filter(|data| data.record_type() == kind).take(RECORDS);
        reply.answers = wanted.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect();
        if reply.answers.is_empty() {
            // RFC 2308 sections 2.1 and 2.2: no such name, or nothing of that kind.
            reply.additionals.clear();
            if !exists {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            let owner = match self {
                Self::Domain(_) => within("", zone),
                Self::Reverse(ip) | Self::ReverseZone(ip) | Self::Inside(ip) => reverse_zone(*ip),
            };
            let soa = owner.zip(soa(zone)).map(|(owner, soa)| Record::from_rdata(owner, TTL, soa));
            reply.authorities.extend(soa);
        } else if kind != RecordType::SRV {
            reply.additionals.clear();
        }
    }
}

/// All that there is of a name of the domain; whether there is such a name.
fn of_domain(
    labels: &[String],
    zone: &impl Zone,
    found: &mut Vec<RData>,
    additional: &mut Vec<Record>,
) -> bool {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let addresses = |host: &str| zone.addresses(host).unwrap_or_default().into_iter().map(data);
    let is_protocol = |label: &str| matches!(label, "_tcp" | "_udp");
    match labels.as_slice() {
        [] => {
            of_apex(zone, found);
            true
        }
        // Nothing but a way to what is below (RFC 8020).
        [protocol] if is_protocol(protocol) => true,
        [protocol, cluster] if is_protocol(protocol) => zone.has_cluster(cluster),
        [protocol, role, cluster] if is_protocol(protocol) => zone.role(cluster, role).is_some(),
        [service, protocol] if is_protocol(protocol) => {
            targets(find(service, protocol, &Among::default(), zone), zone, found, additional)
        }
        [service, protocol, cluster] if is_protocol(protocol) => {
            let among = Among { cluster: Some(cluster), role: None };
            targets(find(service, protocol, &among, zone), zone, found, additional)
        }
        // A role has no port of its own: its services have.
        [service, protocol, role, cluster] if is_protocol(protocol) => {
            let among = Among { cluster: Some(cluster), role: Some(role) };
            targets(find(service, protocol, &among, zone), zone, found, additional)
        }
        [host] => {
            found.extend(addresses(host));
            zone.addresses(host).is_some() || zone.has_cluster(host)
        }
        [role, cluster] => match zone.role(cluster, role) {
            Some(hosts) => {
                found.extend(hosts.iter().take(RECORDS).flat_map(|host| addresses(host)));
                true
            }
            None => false,
        },
        _ => false,
    }
}

/// What is at the top of each zone of ours.
fn of_apex(zone: &impl Zone, found: &mut Vec<RData>) {
    found.extend(soa(zone));
    found.extend(within(zone.server(), zone).map(|server| RData::NS(NS(server))));
}

fn find(service: &str, protocol: &str, among: &Among<'_>, zone: &impl Zone) -> Option<Vec<Target>> {
    zone.service(service.strip_prefix('_')?, protocol.strip_prefix('_')?, among)
}

/// SRV records (RFC 2782), and where their targets are.
fn targets(
    targets: Option<Vec<Target>>,
    zone: &impl Zone,
    found: &mut Vec<RData>,
    additional: &mut Vec<Record>,
) -> bool {
    let Some(targets) = targets else { return false };
    for Target { host, port } in targets.into_iter().take(RECORDS) {
        let Some(name) = within(&host, zone) else { continue };
        found.push(RData::SRV(SRV::new(0, 10, port, name.clone())));
        if !additional.iter().any(|known| known.name == name) {
            let addresses = zone.addresses(&host).unwrap_or_default();
            additional
                .extend(addresses.into_iter().map(|ip| Record::from_rdata(name.clone(), TTL, data(ip))));
        }
    }
    true
}

fn data(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn soa(zone: &impl Zone) -> Option<RData> {
    let (refresh, retry, expire) = TIMES;
    let (server, person) = (within(zone.server(), zone)?, within("hostmaster", zone)?);
    Some(RData::SOA(SOA::new(server, person, zone.serial(), refresh, retry, expire, TTL)))
}

/// A name of the domain; empty: the domain itself.
fn within(host: &str, zone: &impl Zone) -> Option<Name> {
    let labels = host.split('.').chain(zone.domain().split('.')).filter(|label| !label.is_empty());
    Name::from_labels(labels.map(str::as_bytes)).ok()
}

/// The addresses that begin as a name below `in-addr.arpa` or `ip6.arpa` says.
struct Turned {
    first: IpAddr,
    last: IpAddr,
    /// How many labels say it.
    depth: usize,
}

fn turned(labels: &[String]) -> Option<Turned> {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let (digits, v4) = match labels.as_slice() {
        [digits @ .., "in-addr", "arpa"] => (digits, true),
        [digits @ .., "ip6", "arpa"] => (digits, false),
        _ => return None,
    };
    let (most, longest, radix, bits) = if v4 { (4, 3, 10, 8) } else { (32, 1, 16, 4) };
    let depth = digits.len();
    if depth > most {
        return None;
    }
    let number = |digit: &&str| {
        let plain = digit.len() <= longest && (digit.len() == 1 || !digit.starts_with('0'));
        let plain = plain && digit.bytes().all(|c| c.is_ascii_hexdigit());
        let number = u128::from_str_radix(digit, radix).ok().filter(|_| plain)?;
        (number < 1 << bits).then_some(number)
    };
    let mut said = 0_u128;
    for digit in digits.iter().rev() {
        said = said << bits | number(digit)?;
    }
    let rest = bits * (u32::try_from(most - depth).ok()?);
    let first = said.checked_shl(rest).unwrap_or(0);
    let last = first | 1_u128.checked_shl(rest).unwrap_or(0).wrapping_sub(1);
    let address = |bits: u128| {
        if v4 {
            u32::try_from(bits).ok().map(|bits| Ipv4Addr::from_bits(bits).into())
        } else {
            Some(Ipv6Addr::from_bits(bits).into())
        }
    };
    Some(Turned { first: address(first)?, last: address(last)?, depth })
}

/// The zone above an address, at the octet or 64 bits above it.
fn reverse_zone(ip: IpAddr) -> Option<Name> {
    let labels: Vec<String> = match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [c, b, a].iter().map(ToString::to_string).chain(["in-addr".into(), "arpa".into()]).collect()
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            let above: Vec<String> = digits.chars().take(16).map(String::from).collect();
            above.into_iter().rev().chain(["ip6".into(), "arpa".into()]).collect()
        }
    };
    Name::from_labels(labels.iter().map(String::as_bytes)).ok()
}
