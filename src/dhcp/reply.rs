//! A reply: what it says, and where it goes.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};

use crate::boot::{BootFile, ClientKind};
use crate::model::{MacAddr, Network};

use super::options::value::default_route;
use super::options::write::{COOKIE, FILE, FIXED_PART, MAGIC_COOKIE, SNAME};
use super::options::{self, Options, VENDOR_OPTIONS, pxe};
use super::place::View;
use super::request::Request;

/// The shortest message that is sent: relays and clients from BOOTP's days drop shorter ones (RFC 1542 section 2.1).
const SHORTEST: usize = 300;
/// The longest that is sent: an Ethernet frame without the headers.
const LONGEST: usize = 1472;
/// RFC 3442.
const ROUTES: u8 = 121;
/// RFC 4702.
const FQDN: u8 = 81;
/// RFC 2132 section 9.4.
const TFTP_SERVER_NAME: u8 = 66;
/// RFC 2132 section 9.5.
pub(super) const BOOT_FILE_NAME: u8 = 67;
/// T1 and T2 as parts of the lease time (RFC 2131 section 4.4.5).
const T1: (u32, u32) = (1, 2);
/// See [`T1`].
const T2: (u32, u32) = (7, 8);
/// PXE vendor options (option 43): `PXE_DISCOVERY_CONTROL` = 8, "use the boot file given, ask no boot server" (PXE
/// specification 2.1, table 2-1), and their end.
const PXE_USE_BOOT_FILE: [u8; 4] = [6, 1, 8, 255];
/// iPXE's own options (option 175): `no-pxedhcp` = 1, "do not wait for a proxy DHCP server" (<https://ipxe.org/howto/dhcpd>).
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];

/// Where a reply goes (RFC 2131 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the relay that passed the request on, port 67.
    Relay(Ipv4Addr),
    /// To a client that has an address.
    Unicast(Ipv4Addr),
    /// To everybody on the link.
    Broadcast,
    /// To a client that has no address yet and can take a unicast frame.
    Frame {
        /// Its hardware address.
        mac: MacAddr,
        /// The address it is given.
        ip: Ipv4Addr,
    },
}

/// A message and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What is said.
    pub message: Message,
    /// Where to.
    pub destination: Destination,
    /// Options beside the message's own, by number; they beat those.
    pub options: Options,
    /// What the client asks for (option 55).
    pub requested: Option<Vec<u8>>,
    /// Bytes of the longest message that it takes.
    pub longest: usize,
}

impl Reply {
    /// The bytes on the wire; `None` when the message does not encode, which only an over-long option could cause.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut own = Vec::with_capacity(FIXED_PART);
        self.message.opts().encode(&mut Encoder::new(&mut own)).ok()?;
        let requested = self.requested.as_deref();
        let limits = options::Limits { requested, longest: self.longest, frame: LONGEST };
        let mut bytes = options::write(&fixed(&self.message)?, &own, &self.options, &limits);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        Some(bytes)
    }
}

/// What stands before a message's options (RFC 2131 section 2). dhcproto 0.15 writes the zeros of `sname` and `file` one by one, which is
/// most of its time.
fn fixed(message: &Message) -> Option<[u8; FIXED_PART]> {
    let mut fixed = [0; FIXED_PART];
    let mut put = |(at, length): (usize, usize), bytes: &[u8]| {
        fixed.get_mut(at..at + length)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(())
    };
    put((0, 4), &[message.opcode().into(), message.htype().into(), message.hlen(), message.hops()])?;
    put((4, 4), &message.xid().to_be_bytes())?;
    put((8, 2), &message.secs().to_be_bytes())?;
    put((10, 2), &u16::from(message.flags()).to_be_bytes())?;
    put((12, 4), &message.ciaddr().octets())?;
    put((16, 4), &message.yiaddr().octets())?;
    put((20, 4), &message.siaddr().octets())?;
    put((24, 4), &message.giaddr().octets())?;
    put((28, 16), message.chaddr())?;
    put(SNAME, message.sname().unwrap_or_default())?;
    put(FILE, message.fname().unwrap_or_default())?;
    put((COOKIE, 4), &MAGIC_COOKIE)?;
    Some(fixed)
}

/// What a reply is made of beside the request.
pub struct Grant<'a> {
    /// Offer or acknowledgement.
    pub message_type: MessageType,
    /// The address; unspecified for an INFORM.
    pub ip: Ipv4Addr,
    /// The network it is on.
    pub network: &'a Network,
    /// Who answers.
    pub server: Ipv4Addr,
    /// What to boot.
    pub boot_file: Option<&'a BootFile>,
    /// The client's name, if it is a known node.
    pub hostname: Option<&'a str>,
    /// The domain it is in.
    pub domain: Option<&'a str>,
    /// Whether we serve names: then we are the name server where no other is configured.
    pub names: bool,
    /// Options that an operator configured.
    pub options: &'a Options,
}

/// An OFFER, or an ACK.
pub fn grant(request: &Request, grant: &Grant<'_>) -> Reply {
    let mut message = answer(request, grant.message_type, grant.server);
    message.set_yiaddr(grant.ip);
    // RFC 2131 table 3: an OFFER has none.
    if grant.message_type == MessageType::Ack {
        message.set_ciaddr(request.message.ciaddr());
    }
    let network = grant.network;
    let mut add = |option| drop(message.opts_mut().insert(option));
    add(DhcpOption::SubnetMask(network.subnet.mask()));
    add(DhcpOption::BroadcastAddr(network.subnet.broadcast()));
    if let Some(gateway) = network.gateway {
        add(DhcpOption::Router(vec![gateway]));
    }
    if !network.dns.is_empty() {
        add(DhcpOption::DomainNameServer(network.dns.clone()));
    } else if grant.names {
        add(DhcpOption::DomainNameServer(vec![grant.server]));
    }
    if let Some(name) = grant.hostname {
        add(DhcpOption::Hostname(name.to_owned()));
    }
    if let Some(domain) = grant.domain {
        add(DhcpOption::DomainName(domain.to_owned()));
    }
    // RFC 2131 section 4.3.5: an answer to INFORM carries no lease.
    if !grant.ip.is_unspecified() {
        let lease_seconds = u32::try_from(network.lease.as_secs()).unwrap_or(u32::MAX);
        let part = |(n, of): (u32, u32)| (lease_seconds / of).saturating_mul(n);
        add(DhcpOption::AddressLeaseTime(lease_seconds));
        add(DhcpOption::Renewal(part(T1)));
        add(DhcpOption::Rebinding(part(T2)));
    }
    if let Some(file) = grant.boot_file {
        name_boot_file(&mut message, file, &request.client.kind);
    }
    let mut options = grant.options.clone();
    follow(&mut message, &options);
    if let (Some(routes), Some(gateway)) = (options.get_mut(&ROUTES), network.gateway)
        && !has_default(routes)
    {
        // Who heeds it heeds no router option any more (RFC 3442, "DHCP Client Behavior").
        routes.extend(default_route(gateway));
    }
    match (request.client.fqdn, grant.hostname) {
        (Some(asked), Some(name)) => {
            options.entry(FQDN).or_insert_with(|| fqdn(asked, name, grant.domain));
        }
        (Some(_), None) => {}
        // RFC 4702 section 4: it answers the client's own.
        (None, _) => drop(options.remove(&FQDN)),
    }
    let destination = destination(request, network, grant.ip);
    reply(message, request, destination, options)
}

/// What to boot, and nothing else: another server gives the address and all that belongs to it (PXE specification 2.1, section 2.2.3).
pub fn boot_only(
    request: &Request,
    message_type: MessageType,
    view: &View<'_>,
    file: Option<&BootFile>,
) -> Reply {
    let mut message = answer(request, message_type, view.server);
    message.set_ciaddr(request.message.ciaddr());
    if let Some(file) = file {
        name_boot_file(&mut message, file, &request.client.kind);
    }
    let mut options = view.options.clone();
    options.retain(|code, _| options::is_for_boot(*code));
    if matches!(request.client.kind, ClientKind::Ipxe(_)) {
        // With the class beside it, iPXE would go by the menu, which is its firmware's, and not by its script.
        options.remove(&VENDOR_OPTIONS);
    }
    if let Some(item) = request.client.boot_item {
        // Who chose a line of the menu takes no answer that names another.
        options.insert(VENDOR_OPTIONS, pxe::chosen(item));
    }
    follow(&mut message, &options);
    if !matches!(request.client.kind, ClientKind::HttpBoot(_)) {
        // iPXE, too, knows such an offer by this class.
        message.opts_mut().insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
    }
    let destination = destination(request, view.network, Ipv4Addr::UNSPECIFIED);
    reply(message, request, destination, options)
}

/// A NAK (RFC 2131 section 4.3.2 and table 3).
pub fn refusal(request: &Request, server: Ipv4Addr, reason: &str) -> Reply {
    let mut message = answer(request, MessageType::Nak, server);
    message.opts_mut().insert(DhcpOption::Message(reason.to_owned()));
    let giaddr = request.message.giaddr();
    let destination = if giaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        // The relay must broadcast it: the client's address is wrong.
        message.set_flags(Flags::default().set_broadcast());
        Destination::Relay(giaddr)
    };
    reply(message, request, destination, Options::new())
}

/// What every answer has.
fn answer(request: &Request, message_type: MessageType, server: Ipv4Addr) -> Message {
    let asked = &request.message;
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(asked.htype())
        .set_xid(asked.xid())
        .set_flags(asked.flags())
        .set_giaddr(asked.giaddr())
        .set_chaddr(&request.client.mac.0);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(message_type));
    options.insert(DhcpOption::ServerIdentifier(server));
    // Echoed: the client identifier (RFC 6842) and the machine identifier (RFC 4578 section 2.3).
    for code in [OptionCode::ClientIdentifier, OptionCode::ClientMachineIdentifier] {
        if let Some(option) = asked.opts().get(code) {
            options.insert(option.clone());
        }
    }
    message
}

/// With what the relay gave, as it came; written last of all (RFC 3046 section 2.2).
fn reply(mut message: Message, request: &Request, destination: Destination, options: Options) -> Reply {
    let code = OptionCode::RelayAgentInformation;
    if let Some(option) = request.message.opts().get(code) {
        // Under its own code even when its content is raw: else it would stand twice.
        let with = message.opts().clone().into_iter().chain([(code, option.clone())]).collect();
        message.set_opts(with);
    }
    let (requested, longest) = (request.requested_options(), request.longest_reply());
    Reply { message, destination, options, requested, longest }
}

/// Whether routes (RFC 3442) have one to everywhere.
fn has_default(mut routes: &[u8]) -> bool {
    while let [prefix, rest @ ..] = routes {
        if *prefix == 0 {
            return true;
        }
        routes = rest.get(usize::from(prefix.div_ceil(8)) + 4..).unwrap_or_default();
    }
    false
}

/// The client's full name as we know it (RFC 4702 section 4): names are ours to tell, whatever it would like.
fn fqdn(asked: u8, name: &str, domain: Option<&str>) -> Vec<u8> {
    let (server, overrides, encoded) = (1, 2, 4);
    let flags = server | if asked & server == 0 { overrides } else { 0 } | asked & encoded;
    let full = domain.map_or_else(|| name.to_owned(), |domain| format!("{name}.{domain}"));
    let mut bytes = vec![flags, 255, 255];
    if asked & encoded == 0 {
        bytes.extend(full.as_bytes());
    } else {
        for label in full.split('.') {
            // A label has 63 bytes at most: names and domains are checked.
            bytes.push(u8::try_from(label.len()).unwrap_or(63));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}

/// Names the boot file in every place where some firmware looks for it.
fn name_boot_file(message: &mut Message, file: &BootFile, client: &ClientKind) {
    message.set_siaddr(file.next_server);
    // The field holds 128 bytes with a final zero; what does not fit stands in option 67 alone.
    if file.name.len() < 128 {
        message.set_fname(file.name.as_bytes());
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::TFTPServerName(file.next_server.to_string().into_bytes()));
    options.insert(DhcpOption::BootfileName(file.name.as_bytes().to_vec()));
    match client {
        ClientKind::Pxe(_) => {
            options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
            options.insert(DhcpOption::VendorExtensions(PXE_USE_BOOT_FILE.to_vec()));
        }
        ClientKind::HttpBoot(_) => {
            options.insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
        }
        ClientKind::Ipxe(_) => {
            let option = UnknownOption::new(OptionCode::Unknown(175), IPXE_NO_PROXY.to_vec());
            options.insert(DhcpOption::Unknown(option));
        }
        ClientKind::Other(_) => {}
    }
}

/// The fields of the header say what the options do where an operator set these: firmware reads either (RFC 2132 sections 9.4
/// and 9.5).
fn follow(message: &mut Message, options: &Options) {
    if let Some(server) = options.get(&TFTP_SERVER_NAME) {
        let address = std::str::from_utf8(server).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
        // A name is for the client to look up.
        message.set_siaddr(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
        if address.is_none() && server.len() < 64 {
            message.set_sname(server);
        }
    }
    if let Some(file) = options.get(&BOOT_FILE_NAME) {
        // One that is too long for the field is named by the option alone.
        message.set_fname(if file.len() < 128 { file } else { &[] });
    }
}

/// RFC 2131 section 4.1, for everything but a NAK. `ciaddr` counts only as an address of the network: nobody gets
/// packets sent to strangers with it.
fn destination(request: &Request, network: &Network, yiaddr: Ipv4Addr) -> Destination {
    let asked = &request.message;
    if !asked.giaddr().is_unspecified() {
        Destination::Relay(asked.giaddr())
    } else if network.subnet.has_host(asked.ciaddr()) {
        Destination::Unicast(asked.ciaddr())
    } else if asked.flags().broadcast() || yiaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::Frame { mac: request.client.mac, ip: yiaddr }
    }
}
