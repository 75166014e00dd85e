//! What a `DHCPv6` client is answered: one pure decision.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use super::message::{Message, OptionList, kind, option, put};
use super::pool::{Holder, Pool};
use super::request::{Association, Request, Wants};
use crate::boot::{ClientKind, FirmwareTable, Transport};
use crate::dhcp::respond::DECLINED;
use crate::model::{Change, Duid, EventKind, Lease6, LeaseState, Network6, Timestamp, World};

/// T1 and T2 as tenths of the lifetime (RFC 8415 section 21.4).
const T1: u32 = 5;
/// See [`T1`].
const T2: u32 = 8;
/// IANA's enterprise number of Intel, whose vendor class UEFI speaks.
const INTEL: u32 = 343;

/// RFC 8415 section 21.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success = 0,
    NoAddrsAvail = 2,
    NoBinding = 3,
    NotOnLink = 4,
    UseMulticast = 5,
    NoPrefixAvail = 6,
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The state.
    pub world: &'a World,
    /// The network the client is on.
    pub network: &'a Network6,
    /// How long an address is lent.
    pub lease: Duration,
    /// Our address there.
    pub server: Ipv6Addr,
    /// What we call ourselves (RFC 8415 section 11).
    pub duid: &'a Duid,
    /// Which boot file which firmware gets.
    pub firmware: &'a FirmwareTable,
    /// The nodes' domain.
    pub domain: Option<&'a str>,
    /// Whether we serve names.
    pub names: bool,
    /// Our port of boot files and scripts.
    pub http_port: u16,
    /// Whether iPXE gets its script over IPv6: where IPv4 is not served. Elsewhere it takes it over IPv4, which agents speak.
    pub script: bool,
    /// Whether a client that nobody knows is given an address.
    pub serves_strangers: bool,
}

/// What is done about a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// What is answered, if anything.
    pub reply: Option<Message>,
    /// What changes in the leases.
    pub changes: Vec<Change>,
    /// What is written on the node's timeline.
    pub event: Option<EventKind>,
    /// Why nothing is answered; for the log.
    pub silent: Option<&'static str>,
}

impl Decision {
    fn silence(why: &'static str) -> Self {
        Self { silent: Some(why), ..Self::default() }
    }
}

/// Decides about a message.
pub fn respond(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    // RFC 8415 section 16: a message for another server is not ours.
    if request.server.as_deref().is_some_and(|server| server != view.duid.as_bytes()) {
        return Decision::silence("it is for another server");
    }
    if request.unicast {
        return to_all(request, view);
    }
    let Some(duid) = &request.client.duid else {
        return answer(request, view, kind::REPLY, OptionList::new());
    };
    let work = Work { request, view, duid, world: view.world.clone(), changes: Vec::new(), now };
    match request.wants {
        // Section 18.3.1.
        Wants::Solicit => work.solicit(),
        // Section 18.3.2.
        Wants::Request => work.grant(),
        Wants::Confirm => work.confirm(),
        // Sections 18.3.4 and 18.3.5.
        Wants::Renew | Wants::Rebind => work.extend(),
        Wants::Release => work.end(LeaseState::Released),
        Wants::Decline => work.end(LeaseState::Declined),
        // Section 18.3.6.
        Wants::Information => answer(request, view, kind::REPLY, OptionList::new()),
    }
}

/// What came to our own address: nobody was told that this may be done (option 12).
fn to_all(request: &Request, view: &View<'_>) -> Decision {
    match (request.wants, &request.client.duid) {
        // Section 18.4: this, and nothing else.
        (Wants::Request | Wants::Renew | Wants::Release | Wants::Decline, Some(duid)) => {
            let options = vec![
                (option::CLIENT_ID, duid.as_bytes().to_vec()),
                (option::SERVER_ID, view.duid.as_bytes().to_vec()),
                status_code(Status::UseMulticast),
            ];
            let reply = Message { kind: kind::REPLY, xid: request.xid, options };
            Decision { reply: Some(reply), ..Decision::default() }
        }
        // Section 16.
        _ => Decision::silence("a client sends it to the group of all servers"),
    }
}

/// A message that is being worked on. Its associations see each other's leases.
struct Work<'a> {
    request: &'a Request,
    view: &'a View<'a>,
    duid: &'a Duid,
    world: World,
    changes: Vec<Change>,
    now: Timestamp,
}

impl Work<'_> {
    fn holder(&self, iaid: u32) -> Holder<'_> {
        Holder { duid: self.duid, iaid, mac: self.request.client.mac }
    }

    fn pool(&self) -> Pool<'_> {
        Pool { world: &self.world, network: self.view.network, server: self.view.server }
    }

    fn put(&mut self, change: Change) {
        self.world.apply(&change);
        self.changes.push(change);
    }

    /// Lends an association an address; it is its own from here on.
    fn lend(&mut self, association: &Association) -> Option<Ipv6Addr> {
        let holder = self.holder(association.iaid);
        let knows = self.pool().own(&holder).is_some();
        if !knows
            && !self.view.serves_strangers
            && holder.mac.is_none_or(|mac| self.world.node_with_mac(mac).is_none())
        {
            return None;
        }
        let ip = self.pool().choose(&holder, &association.addresses, self.now)?;
        let lease = Lease6 {
            ip,
            duid: self.duid.clone(),
            iaid: association.iaid,
            mac: self.request.client.mac.or_else(|| self.world.lease6(ip)?.mac),
            state: LeaseState::Bound,
            expires: self.now.plus(self.view.lease),
        };
        self.put(Change::PutLease6(lease));
        Some(ip)
    }

    fn solicit(mut self) -> Decision {
        if self.request.rapid_commit {
            return self.grant();
        }
        let offered = self.associations();
        // Nothing is kept of an offer: the same address follows from the same client when it asks for it.
        self.changes.clear();
        if offered.given.is_empty() && !self.request.associations.is_empty() && !self.view.serves_strangers {
            return Decision::silence("too many strangers wait already (enrolment.max_unknown)");
        }
        answer(self.request, self.view, kind::ADVERTISE, offered.options)
    }

    fn grant(mut self) -> Decision {
        let granted = self.associations();
        self.told(granted)
    }

    fn told(self, granted: Granted) -> Decision {
        let mut decision = answer(self.request, self.view, kind::REPLY, granted.options);
        let boot_file = decision.reply.as_ref().and_then(|reply| {
            let url = super::message::find(&reply.options, option::BOOTFILE_URL)?;
            Some(String::from_utf8_lossy(url).into_owned())
        });
        // What only goes on is no news.
        let request = self.request;
        let goes_on = |ip: &&Ipv6Addr| {
            let before = self.view.world.lease6(**ip);
            before.is_some_and(|lease| lease.duid == *self.duid && lease.state == LeaseState::Bound)
        };
        let asked = matches!(request.wants, Wants::Solicit | Wants::Request);
        decision.event = granted.given.iter().find(|ip| asked || !goes_on(ip)).map(|ip| EventKind::Dhcp {
            message: "v6 reply".into(),
            ip: (*ip).into(),
            client: request.client.kind.describe(self.view.firmware),
            boot_file,
            reason: None,
        });
        decision.changes = self.changes;
        decision
    }

    fn associations(&mut self) -> Granted {
        let mut granted = Granted::default();
        for association in &self.request.associations {
            match self.lend(association) {
                Some(ip) => granted.with(association.iaid, ip, self.view.lease),
                None => granted.without(association.iaid, Status::NoAddrsAvail, &[]),
            }
        }
        for (code, iaid) in &self.request.others {
            granted.other(*code, *iaid);
        }
        granted
    }

    fn confirm(self) -> Decision {
        // Section 18.3.3.
        let mut addresses = self.request.associations.iter().flat_map(|one| &one.addresses).peekable();
        if addresses.peek().is_none() {
            return Decision::silence("a CONFIRM without addresses");
        }
        let fits = addresses.all(|ip| self.view.network.subnet.contains(*ip));
        let status = if fits { Status::Success } else { Status::NotOnLink };
        answer(self.request, self.view, kind::REPLY, vec![status_code(status)])
    }

    fn extend(mut self) -> Decision {
        let mut granted = Granted::default();
        let rebinds = self.request.wants == Wants::Rebind;
        for association in &self.request.associations {
            let known = self.pool().own(&self.holder(association.iaid)).is_some();
            let ours = association.addresses.iter().any(|ip| self.view.network.subnet.contains(*ip));
            if known || ours {
                match self.lend(association) {
                    Some(ip) => {
                        granted.with(association.iaid, ip, self.view.lease);
                        // What it must not use any more has no lifetime left.
                        let stale: Vec<Ipv6Addr> =
                            association.addresses.iter().copied().filter(|other| *other != ip).collect();
                        granted.stale(&stale);
                    }
                    None => granted.without(association.iaid, Status::NoBinding, &[]),
                }
            } else if rebinds && association.addresses.is_empty() {
                // Section 18.3.5: of whom nothing is known, another server may know.
            } else if rebinds {
                granted.without(association.iaid, Status::Success, &association.addresses);
            } else {
                granted.without(association.iaid, Status::NoBinding, &[]);
            }
        }
        // Section 18.3.4: what is not given here is not given anew, either.
        for (code, iaid) in self.request.others.iter().filter(|_| !rebinds) {
            granted.other(*code, *iaid);
        }
        if rebinds && granted.options.is_empty() {
            return Decision::silence("a REBIND of what nothing is known of");
        }
        self.told(granted)
    }

    /// Sections 18.3.7 and 18.3.8: only what is the client's changes.
    fn end(mut self, state: LeaseState) -> Decision {
        let mut options = vec![status_code(Status::Success)];
        let mut event = None;
        for association in &self.request.associations {
            let own = |ip: &Ipv6Addr| {
                let lease = self.world.lease6(*ip)?;
                let is_own = lease.duid == *self.duid && lease.iaid == association.iaid;
                (is_own && lease.state == LeaseState::Bound).then(|| lease.clone())
            };
            let leases: Vec<Lease6> = association.addresses.iter().filter_map(own).collect();
            if leases.is_empty() {
                let mut granted = Granted::default();
                granted.without(association.iaid, Status::NoBinding, &[]);
                options.append(&mut granted.options);
            }
            for lease in leases {
                let expires = if state == LeaseState::Declined { self.now.plus(DECLINED) } else { self.now };
                event = Some(EventKind::LeaseEnded { ip: lease.ip.into(), how: state.name().into() });
                self.put(Change::PutLease6(Lease6 { state, expires, ..lease }));
            }
        }
        let changes = std::mem::take(&mut self.changes);
        Decision { changes, event, ..answer(self.request, self.view, kind::REPLY, options) }
    }
}

/// What associations are told.
#[derive(Default)]
struct Granted {
    options: OptionList,
    given: Vec<Ipv6Addr>,
}

impl Granted {
    fn with(&mut self, iaid: u32, ip: Ipv6Addr, lease: Duration) {
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        let tenth = seconds / 10;
        let mut data = association(iaid, tenth.saturating_mul(T1), tenth.saturating_mul(T2));
        put(&mut data, option::IAADDR, &address(ip, seconds));
        self.options.push((option::IA_NA, data));
        self.given.push(ip);
    }

    /// Adds addresses without a lifetime to the association that was told last.
    fn stale(&mut self, addresses: &[Ipv6Addr]) {
        if let Some((_, data)) = self.options.last_mut() {
            for ip in addresses {
                put(data, option::IAADDR, &address(*ip, 0));
            }
        }
    }

    fn without(&mut self, iaid: u32, status: Status, stale: &[Ipv6Addr]) {
        let mut data = association(iaid, 0, 0);
        for ip in stale {
            put(&mut data, option::IAADDR, &address(*ip, 0));
        }
        if status != Status::Success {
            let (code, status) = status_code(status);
            put(&mut data, code, &status);
        }
        self.options.push((option::IA_NA, data));
    }

    /// Temporary addresses and prefixes are given to nobody.
    fn other(&mut self, code: u16, iaid: [u8; 4]) {
        let mut data = iaid.to_vec();
        let mut status = Status::NoAddrsAvail;
        if code == option::IA_PD {
            data.extend([0; 8]);
            status = Status::NoPrefixAvail;
        }
        let (inner, status) = status_code(status);
        put(&mut data, inner, &status);
        self.options.push((code, data));
    }
}

fn association(iaid: u32, t1: u32, t2: u32) -> Vec<u8> {
    [iaid, t1, t2].iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Section 21.6; preferred as long as it is valid.
fn address(ip: Ipv6Addr, seconds: u32) -> Vec<u8> {
    let mut data = ip.octets().to_vec();
    data.extend(seconds.to_be_bytes());
    data.extend(seconds.to_be_bytes());
    data
}

fn status_code(status: Status) -> (u16, Vec<u8>) {
    let words = match status {
        Status::Success => "",
        Status::NoAddrsAvail => "no address can be given",
        Status::NoBinding => "this association has no address from here",
        Status::NotOnLink => "an address that is of another link",
        Status::UseMulticast => "send it to all servers (ff02::1:2)",
        Status::NoPrefixAvail => "no prefixes are given here",
    };
    let mut data = (status as u16).to_be_bytes().to_vec();
    data.extend(words.as_bytes());
    (option::STATUS_CODE, data)
}

/// An answer with what every answer has, and what the client asks for.
fn answer(request: &Request, view: &View<'_>, message: u8, associations: OptionList) -> Decision {
    let mut options = OptionList::new();
    options.extend(request.client.duid.as_ref().map(|duid| (option::CLIENT_ID, duid.as_bytes().to_vec())));
    options.push((option::SERVER_ID, view.duid.as_bytes().to_vec()));
    options.extend(associations);
    if request.wants == Wants::Solicit && message == kind::REPLY {
        // Section 18.3.1.
        options.push((option::RAPID_COMMIT, Vec::new()));
    }
    let asks = |code: u16| request.asks.contains(&code);
    if asks(option::DNS_SERVERS) {
        // RFC 3646 section 3.
        let own = if view.network.dns.is_empty() && view.names { vec![view.server] } else { Vec::new() };
        let servers: Vec<u8> = view.network.dns.iter().chain(&own).flat_map(Ipv6Addr::octets).collect();
        options.extend((!servers.is_empty()).then_some((option::DNS_SERVERS, servers)));
    }
    if asks(option::DOMAIN_LIST) {
        options.extend(view.domain.map(|domain| (option::DOMAIN_LIST, domain_list(domain))));
    }
    if request.client.kind.is_http_boot() {
        // UEFI specification 2.10, section 24.7.3: who boots over HTTP takes an offer that says so.
        options.push((option::VENDOR_CLASS, http_client()));
    }
    if asks(option::BOOTFILE_URL) {
        let file = boot_url(view, request);
        options.extend(file.as_ref().map(|(url, _)| (option::BOOTFILE_URL, url.clone().into_bytes())));
        let told = file.map(|(_, told)| told).filter(|told| !told.is_empty() && asks(option::BOOTFILE_PARAM));
        options.extend(told.map(|told| (option::BOOTFILE_PARAM, parameters(told))));
    }
    Decision { reply: Some(Message { kind: message, xid: request.xid, options }), ..Decision::default() }
}

/// RFC 1035 section 3.1. A checked domain has labels of 63 bytes at most.
fn domain_list(domain: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for label in domain.split('.') {
        data.push(u8::try_from(label.len()).unwrap_or(0));
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

/// The boot file (RFC 5970 section 3.1), and what it is told. Firmware gets iPXE, by TFTP or HTTP as it can; iPXE its script.
fn boot_url<'a>(view: &View<'a>, request: &Request) -> Option<(String, &'a [String])> {
    let http = format!("http://{}", SocketAddrV6::new(view.server, view.http_port, 0, 0));
    let entry = |code: u16, transport| {
        view.firmware.of_architecture(code).filter(|entry| entry.transport == transport)
    };
    match request.client.kind {
        ClientKind::Pxe(code) => {
            let entry = entry(code, Transport::Tftp)?;
            Some((format!("tftp://[{}]/{}", view.server, entry.boot_file), &entry.parameters))
        }
        ClientKind::HttpBoot(code) => {
            let entry = entry(code, Transport::Http)?;
            Some((format!("{http}/boot/files/{}", entry.boot_file), &entry.parameters))
        }
        ClientKind::Ipxe(_) if view.script => {
            Some((format!("{http}/boot/{}/script.ipxe", request.client.mac?.hyphenated()), &[]))
        }
        ClientKind::Ipxe(_) | ClientKind::Other(_) => None,
    }
}

/// RFC 5970 section 3.2: each with its length before it.
fn parameters(told: &[String]) -> Vec<u8> {
    let mut data = Vec::new();
    for one in told {
        if let Ok(length) = u16::try_from(one.len()) {
            data.extend(length.to_be_bytes());
            data.extend(one.as_bytes());
        }
    }
    data
}

/// RFC 8415 section 21.16, as UEFI's HTTP boot wants it: Intel's number, and one class.
fn http_client() -> Vec<u8> {
    [&INTEL.to_be_bytes()[..], &[0, 10], b"HTTPClient"].concat()
}
