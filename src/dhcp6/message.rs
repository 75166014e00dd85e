//! The bytes of `DHCPv6`: messages, options and the envelopes of relays.

use std::net::Ipv6Addr;

use thiserror::Error;

use crate::model::MacAddr;

/// The longest datagram that is taken, bytes: an Ethernet frame's worth.
pub const LONGEST: usize = 1452;
/// Most options in one message, or association.
const OPTIONS: usize = 64;
/// Most relays' envelopes: a relay passes on what has fewer than `HOP_COUNT_LIMIT` (8, RFC 8415 section 7.6) hops behind it, and the
/// first counts none (section 19.1).
const HOPS: usize = 9;

/// Message types (RFC 8415 section 7.3).
pub mod kind {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION_REQUEST: u8 = 11;
    pub const RELAY_FORW: u8 = 12;
    pub const RELAY_REPL: u8 = 13;
}

/// Options (RFC 8415 section 21, RFC 3646, RFC 5970, RFC 6939).
pub mod option {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IAADDR: u16 = 5;
    pub const ORO: u16 = 6;
    pub const ELAPSED_TIME: u16 = 8;
    pub const RELAY_MSG: u16 = 9;
    pub const STATUS_CODE: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const USER_CLASS: u16 = 15;
    pub const VENDOR_CLASS: u16 = 16;
    pub const INTERFACE_ID: u16 = 18;
    pub const DNS_SERVERS: u16 = 23;
    pub const DOMAIN_LIST: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const BOOTFILE_URL: u16 = 59;
    pub const BOOTFILE_PARAM: u16 = 60;
    pub const CLIENT_ARCH_TYPE: u16 = 61;
    pub const NII: u16 = 62;
    pub const CLIENT_LINKLAYER_ADDR: u16 = 79;
}

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// Shorter than its fixed part, or longer than a frame.
    #[error("a length that no DHCPv6 message has")]
    Length,
    /// An option that goes beyond the end, or too many of them.
    #[error("malformed options")]
    Options,
    /// Passed on too often (RFC 8415 section 19.1.2).
    #[error("more relay hops than RFC 8415 allows")]
    Hops,
    /// A relay that passes nothing on.
    #[error("a relay's envelope without a message")]
    Empty,
}

/// Options in their order.
pub type OptionList = Vec<(u16, Vec<u8>)>;

/// A relay that a message came through (RFC 8415 section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// How many relays it had passed before.
    pub count: u8,
    /// An address of the link that the client is on; unspecified when the relay has none there.
    pub link: Ipv6Addr,
    /// Whom the relay had it from.
    pub peer: Ipv6Addr,
    /// What the relay wants back as it is (option 18).
    pub interface_id: Option<Vec<u8>>,
    /// The client's hardware address (option 79, RFC 6939).
    pub mac: Option<MacAddr>,
}

/// A message between client and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// Transaction.
    pub xid: [u8; 3],
    /// Its options.
    pub options: OptionList,
}

/// Reads options.
///
/// # Errors
/// When one goes beyond the end, or there are too many.
pub fn options(mut bytes: &[u8]) -> Result<OptionList, WireError> {
    let mut found = OptionList::new();
    while !bytes.is_empty() {
        let [a, b, c, d, rest @ ..] = bytes else { return Err(WireError::Options) };
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        let (data, rest) = rest.split_at_checked(length).ok_or(WireError::Options)?;
        if found.len() >= OPTIONS {
            return Err(WireError::Options);
        }
        found.push((u16::from_be_bytes([*a, *b]), data.to_vec()));
        bytes = rest;
    }
    Ok(found)
}

/// Writes an option; one that is too long for its length field is left out.
pub fn put(bytes: &mut Vec<u8>, code: u16, data: &[u8]) {
    if let Ok(length) = u16::try_from(data.len()) {
        bytes.extend(code.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(data);
    }
}

/// The first option with this code.
pub fn find(options: &OptionList, code: u16) -> Option<&[u8]> {
    options.iter().find(|(other, _)| *other == code).map(|(_, data)| data.as_slice())
}

/// A datagram's message, and the relays that it came through, the server's nearest first.
///
/// # Errors
/// When it is malformed.
pub fn open(bytes: &[u8]) -> Result<(Vec<Hop>, Message), WireError> {
    if bytes.len() > LONGEST {
        return Err(WireError::Length);
    }
    let (mut hops, mut bytes) = (Vec::new(), bytes.to_vec());
    while bytes.first() == Some(&kind::RELAY_FORW) {
        if hops.len() >= HOPS {
            return Err(WireError::Hops);
        }
        let (fixed, rest) = bytes.split_first_chunk::<34>().ok_or(WireError::Length)?;
        let [_, count, addresses @ ..] = fixed;
        let (link, peer) = addresses.split_first_chunk::<16>().ok_or(WireError::Length)?;
        let peer: [u8; 16] = peer.try_into().map_err(|_| WireError::Length)?;
        let told = options(rest)?;
        hops.push(Hop {
            count: *count,
            link: (*link).into(),
            peer: peer.into(),
            interface_id: find(&told, option::INTERFACE_ID).map(<[u8]>::to_vec),
            mac: find(&told, option::CLIENT_LINKLAYER_ADDR).and_then(link_layer),
        });
        bytes = find(&told, option::RELAY_MSG).ok_or(WireError::Empty)?.to_vec();
    }
    let ([kind, xid @ ..], rest) = bytes.split_first_chunk::<4>().ok_or(WireError::Length)?;
    Ok((hops, Message { kind: *kind, xid: *xid, options: options(rest)? }))
}

/// RFC 6939 section 4: the hardware type (1: Ethernet), then the address.
fn link_layer(data: &[u8]) -> Option<MacAddr> {
    let [0, 1, mac @ ..] = data else { return None };
    mac.try_into().ok().map(MacAddr).filter(|mac| mac.is_client())
}

impl Message {
    /// Its bytes, in the envelopes that bring it back through the relays (RFC 8415 section 19.3).
    pub fn encode(&self, hops: &[Hop]) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        bytes.extend(self.xid);
        for (code, data) in &self.options {
            put(&mut bytes, *code, data);
        }
        for hop in hops.iter().rev() {
            let mut outer = vec![kind::RELAY_REPL, hop.count];
            outer.extend(hop.link.octets());
            outer.extend(hop.peer.octets());
            if let Some(id) = &hop.interface_id {
                put(&mut outer, option::INTERFACE_ID, id);
            }
            put(&mut outer, option::RELAY_MSG, &bytes);
            bytes = outer;
        }
        bytes
    }
}
