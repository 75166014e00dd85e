//! Reads LLDP frames (IEEE 802.1AB): what a port is plugged into. Bytes in, neighbour out.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::read;
use crate::model::inventory::Lldp;

/// The Ethernet type of LLDP.
pub const ETHERTYPE: u16 = 0x88cc;
/// The destination and source addresses and the type before the data.
const HEADER: usize = 14;
/// IEEE 802.1's organisationally specific TLVs, and its Port VLAN ID (IEEE 802.1Q annex D.2.1).
const PORT_VLAN: [u8; 4] = [0x00, 0x80, 0xc2, 1];

/// The neighbour that an Ethernet frame tells of. `None` when it is no LLDP, is broken, lacks one of the three
/// mandatory TLVs (section 8.2), or says that the neighbour shuts down (section 9.1.2.2: time to live 0).
pub fn parse(frame: &[u8]) -> Option<Lldp> {
    let ethertype: [u8; 2] = read::array(frame, 12)?;
    if u16::from_be_bytes(ethertype) != ETHERTYPE {
        return None;
    }
    let mut rest = frame.get(HEADER..)?;
    let (chassis, behind) = tlv(rest)?;
    let (port, behind) = tlv(behind)?;
    let (ttl, behind) = tlv(behind)?;
    let ((1, chassis), (2, port), (3, [high, low, ..])) = (chassis, port, ttl) else { return None };
    if [*high, *low] == [0, 0] {
        return None;
    }
    // Chassis: 4 a MAC address, 5 a network address. Port: 3 and 4 (sections 8.5.2.2 and 8.5.3.2).
    let mut told = Lldp { chassis: id(chassis, 4, 5)?, port: id(port, 3, 4)?, ..Lldp::default() };
    rest = behind;
    while let Some((tlv, behind)) = tlv(rest) {
        rest = behind;
        match tlv {
            (0, _) => break,
            (4, value) => told.port_description = text(value),
            (5, value) => told.system_name = text(value),
            // Length of the next two, kind of address, address (section 8.5.9).
            (8, [length, value @ ..]) if told.mgmt_address.is_empty() => {
                let address = value.get(..usize::from(*length)).and_then(network_address);
                told.mgmt_address = address.unwrap_or_default();
            }
            (127, value) => {
                let id = value.strip_prefix(&PORT_VLAN).and_then(|vlan| read::array(vlan, 0));
                // 0: the port has none.
                told.vlan = id.map(u16::from_be_bytes).filter(|id| (1..4095).contains(id)).or(told.vlan);
            }
            _ => {}
        }
    }
    Some(told)
}

/// The first TLV, 7 bits of type and 9 of length before its value (section 8.4.1), and what follows it.
#[expect(clippy::type_complexity, reason = "type and value, and the rest")]
fn tlv(bytes: &[u8]) -> Option<((u8, &[u8]), &[u8])> {
    let ([high, low], rest) = bytes.split_first_chunk()?;
    let length = usize::from(high & 1) << 8 | usize::from(*low);
    let (value, rest) = rest.split_at_checked(length)?;
    Some(((high >> 1, value), rest))
}

/// A chassis or port ID: the kind, then a MAC address, a network address, or a text.
fn id(value: &[u8], mac_kind: u8, address_kind: u8) -> Option<String> {
    let (kind, value) = value.split_first()?;
    if value.is_empty() {
        return None;
    }
    if let ([a, b, c, d, e, f], true) = (value, *kind == mac_kind) {
        return Some(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"));
    }
    let address = if *kind == address_kind { network_address(value) } else { None };
    Some(address.unwrap_or_else(|| text(value)))
}

/// By IANA's address family numbers: 1 is IPv4, 2 is IPv6.
fn network_address(value: &[u8]) -> Option<String> {
    match value {
        [1, a, b, c, d] => Some(Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        [2, address @ ..] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string()),
        _ => None,
    }
}

/// A text without control characters; in hexadecimal where it is none.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned(),
        Err(_) => hex::encode(value),
    }
}

#[cfg(test)]
#[path = "lldp_tests.rs"]
mod tests;
