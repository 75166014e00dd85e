//! A `DHCPv6` message from a client, read once into what matters.

use std::net::Ipv6Addr;

use thiserror::Error;

use super::message::{Hop, Message, OptionList, WireError, find, kind, open, option, options as read};
use crate::boot::ClientKind;
use crate::dhcp::request::printable;
use crate::model::{Duid, MacAddr};

/// Most associations that are looked at in one message, and addresses in one of them.
const ASSOCIATIONS: usize = 4;

/// What a client wants (RFC 8415 section 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// An offer.
    Solicit,
    /// What was offered.
    Request,
    /// To know whether its addresses fit the link it is on now.
    Confirm,
    /// To go on using them.
    Renew,
    /// The same, of any server.
    Rebind,
    /// To give them back.
    Release,
    /// To tell that somebody else uses them.
    Decline,
    /// Options only.
    Information,
}

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Of a type that clients do not send.
    #[error("not a client's message")]
    NotARequest,
    /// Without what its type demands, or with what it forbids (RFC 8415 section 16).
    #[error("options that its type must have are missing, or it has such as it must not have")]
    Rules,
}

/// An association that wants addresses (`IA_NA`, RFC 8415 section 21.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The client's number for it.
    pub iaid: u32,
    /// Addresses that it has, or would like.
    pub addresses: Vec<Ipv6Addr>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it calls itself; only an INFORMATION-REQUEST may leave it out.
    pub duid: Option<Duid>,
    /// The hardware address of the interface that asks, as far as it is told: by a relay, by its link-local address, or by its DUID.
    pub mac: Option<MacAddr>,
    /// What it says it is.
    pub kind: ClientKind,
    /// The network interface that its firmware has (option 62, RFC 5970 section 3.4): type, major and minor revision.
    pub interface: Option<[u8; 3]>,
}

/// A message that was found to be a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants.
    pub wants: Wants,
    /// Transaction.
    pub xid: [u8; 3],
    /// Who asks.
    pub client: Client,
    /// The server it speaks to.
    pub server: Option<Vec<u8>>,
    /// What it wants addresses for.
    pub associations: Vec<Association>,
    /// Associations of kinds that are not served here (temporary addresses, prefixes): type and number.
    pub others: Vec<(u16, [u8; 4])>,
    /// Options that it asks for (option 6).
    pub asks: Vec<u16>,
    /// Whether it takes addresses without a second exchange (option 14).
    pub rapid_commit: bool,
    /// The relays it came through, ours first.
    pub hops: Vec<Hop>,
    /// Whether the client sent it to our own address, not to the group of all servers. The socket knows.
    pub unicast: bool,
}

impl Request {
    /// Reads a datagram that `source` sent.
    ///
    /// # Errors
    /// When it is no client's message, or breaks a rule of section 16.
    pub fn parse(bytes: &[u8], source: Ipv6Addr) -> Result<Self, RequestError> {
        let (hops, message) = open(bytes)?;
        let Message { kind, xid, options } = message;
        let wants = match kind {
            kind::SOLICIT => Wants::Solicit,
            kind::REQUEST => Wants::Request,
            kind::CONFIRM => Wants::Confirm,
            kind::RENEW => Wants::Renew,
            kind::REBIND => Wants::Rebind,
            kind::RELEASE => Wants::Release,
            kind::DECLINE => Wants::Decline,
            kind::INFORMATION_REQUEST => Wants::Information,
            _ => return Err(RequestError::NotARequest),
        };
        let duid = match find(&options, option::CLIENT_ID) {
            Some(bytes) => Some(Duid::new(bytes).ok_or(RequestError::Rules)?),
            None => None,
        };
        let server = find(&options, option::SERVER_ID).map(<[u8]>::to_vec);
        let names_server = matches!(wants, Wants::Request | Wants::Renew | Wants::Release | Wants::Decline);
        let may_name = names_server || wants == Wants::Information;
        if (server.is_some() && !may_name)
            || (server.is_none() && names_server)
            || (duid.is_none() && wants != Wants::Information)
        {
            return Err(RequestError::Rules);
        }
        let (mut associations, mut others) = (Vec::new(), Vec::new());
        for (code, data) in &options {
            match (*code, data.split_first_chunk::<4>()) {
                (option::IA_NA, Some((iaid, rest))) if associations.len() < ASSOCIATIONS => {
                    let inner = read(rest.get(8..).ok_or(RequestError::Rules)?)?;
                    let addresses = inner
                        .iter()
                        .filter(|(code, _)| *code == option::IAADDR)
                        .filter_map(|(_, data)| data.first_chunk::<16>())
                        .map(|octets| Ipv6Addr::from(*octets))
                        .take(ASSOCIATIONS);
                    let iaid = u32::from_be_bytes(*iaid);
                    associations.push(Association { iaid, addresses: addresses.collect() });
                }
                (option::IA_TA | option::IA_PD, Some((iaid, _))) if others.len() < ASSOCIATIONS => {
                    others.push((*code, *iaid));
                }
                _ => {}
            }
        }
        // Section 16.12: who wants options only names no associations.
        if wants == Wants::Information && !(associations.is_empty() && others.is_empty()) {
            return Err(RequestError::Rules);
        }
        let asks = find(&options, option::ORO).unwrap_or_default().chunks_exact(2);
        let asks = asks.filter_map(|code| code.first_chunk().map(|code| u16::from_be_bytes(*code)));
        let nearest = hops.last();
        let mac = nearest
            .and_then(|hop| hop.mac)
            .or_else(|| eui64(nearest.map_or(source, |hop| hop.peer)))
            .or_else(|| duid.as_ref().and_then(Duid::mac));
        Ok(Self {
            wants,
            xid,
            client: Client {
                duid,
                mac,
                kind: client_kind(&options),
                interface: find(&options, option::NII).and_then(|data| data.try_into().ok()),
            },
            server,
            associations,
            others,
            asks: asks.collect(),
            rapid_commit: find(&options, option::RAPID_COMMIT).is_some(),
            hops,
            unicast: false,
        })
    }

    /// An address of the link that the client is on, when a relay told one: the nearest to the client that did (section 13.1).
    pub fn link(&self) -> Option<Ipv6Addr> {
        let mut links = self.hops.iter().rev().map(|hop| hop.link);
        links.find(|link| !link.is_unspecified() && !link.is_unicast_link_local())
    }
}

/// The hardware address that a link-local address was made of (RFC 4291 appendix A). One that was made up otherwise has those two bytes
/// once in 65,536 times, and then another.
fn eui64(ip: Ipv6Addr) -> Option<MacAddr> {
    let [_, _, _, _, _, _, _, _, first, second, third, 0xff, 0xfe, rest @ ..] = ip.octets() else {
        return None;
    };
    let [fourth, fifth, sixth] = rest;
    let mac = MacAddr([first ^ 2, second, third, fourth, fifth, sixth]);
    (ip.is_unicast_link_local() && mac.is_client()).then_some(mac)
}

fn client_kind(told: &OptionList) -> ClientKind {
    // RFC 5970 section 3.3: the first counts.
    let architecture = find(told, option::CLIENT_ARCH_TYPE)
        .and_then(|data| data.first_chunk())
        .map(|code| u16::from_be_bytes(*code));
    // RFC 8415 section 21.15: each class with its length before it.
    let is_ipxe =
        find(told, option::USER_CLASS).is_some_and(|data| data == b"\x00\x04iPXE" || data == b"iPXE");
    // Section 21.16: an enterprise number, then classes in the same way.
    let class = find(told, option::VENDOR_CLASS).and_then(|data| data.get(6..)).unwrap_or_default();
    match architecture {
        code if is_ipxe => ClientKind::Ipxe(code),
        Some(code) if class.starts_with(b"HTTPClient") => ClientKind::HttpBoot(code),
        Some(code) => ClientKind::Pxe(code),
        None => ClientKind::Other(printable(class)),
    }
}
