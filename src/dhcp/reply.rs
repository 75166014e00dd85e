//! A reply: what it says, and where it goes.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};

use crate::boot::{BootFile, ClientKind};
use crate::model::{MacAddr, Network};

use super::request::Request;

/// The shortest message that is sent: relays and clients from BOOTP's days drop shorter ones (RFC 1542 section 2.1).
const SHORTEST: usize = 300;
/// The longest that is sent: an Ethernet frame without the headers.
const LONGEST: usize = 1472;
/// What is left away, in this order, when the client takes no longer message. What is not listed stays.
const EXPENDABLE: [OptionCode; 9] = [
    OptionCode::TFTPServerName,
    OptionCode::DomainName,
    OptionCode::Hostname,
    OptionCode::Rebinding,
    OptionCode::Renewal,
    OptionCode::BroadcastAddr,
    OptionCode::DomainNameServer,
    OptionCode::ClientIdentifier,
    OptionCode::ClientMachineIdentifier,
];
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
}

impl Reply {
    /// The bytes on the wire; `None` when the message does not encode, which only an over-long option could cause.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(576);
        self.message.encode(&mut Encoder::new(&mut bytes)).ok()?;
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        Some(bytes)
    }
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
    let destination = destination(request, network, grant.ip);
    Reply { message: fitted(message, request), destination }
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
    Reply { message: fitted(message, request), destination }
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

/// Leaves away what is convenient until the client can take the message, and adds what the relay gave, as it came and
/// last of all (RFC 3046 section 2.2). The relay takes that off again, so it only has to fit into a frame; if it does
/// not, it is left away whole.
fn fitted(mut message: Message, request: &Request) -> Message {
    let length = |message: &Message| message.to_vec().map_or(usize::MAX, |bytes| bytes.len());
    for code in EXPENDABLE {
        if length(&message) <= request.longest_reply() {
            break;
        }
        message.opts_mut().remove(code);
    }
    let code = OptionCode::RelayAgentInformation;
    if let Some(option) = request.message.opts().get(code) {
        let without = message.opts().clone();
        // Under its own code even when its content is raw: dhcproto puts last what it finds there.
        message.set_opts(without.clone().into_iter().chain([(code, option.clone())]).collect());
        if length(&message) > LONGEST {
            message.set_opts(without);
        }
    }
    message
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
