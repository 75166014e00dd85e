//! Ethernet, IPv4 and UDP headers around a DHCP reply for a client that has no address yet.
//!
//! Such a client cannot answer ARP, so the kernel could not send to it; the reply goes out as a finished frame to
//! its hardware address (RFC 2131 section 4.1).

use std::net::Ipv4Addr;

use crate::model::MacAddr;

/// UDP ports (RFC 2131 section 4.1).
pub const SERVER_PORT: u16 = 67;
/// See [`SERVER_PORT`].
pub const CLIENT_PORT: u16 = 68;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_UDP: u8 = 17;
const IP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// Who a frame is from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The sending interface.
    pub source_mac: MacAddr,
    /// The server identifier.
    pub source_ip: Ipv4Addr,
    /// The client's `chaddr`.
    pub target_mac: MacAddr,
    /// The client's `yiaddr`.
    pub target_ip: Ipv4Addr,
}

/// The whole frame around `payload`; `None` when it is too long for a datagram.
pub fn build(addresses: &Addresses, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(payload.len()).ok()?.checked_add(UDP_HEADER)?;
    let total_length = udp_length.checked_add(IP_HEADER)?;
    let (source, target) = (addresses.source_ip.octets(), addresses.target_ip.octets());

    // RFC 791 section 3.1: version 4, 5 words of header, do not fragment, 64 hops.
    let mut ip = [0; IP_HEADER as usize];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total_length.to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = PROTOCOL_UDP;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&target);
    let ip_checksum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&ip_checksum.to_be_bytes());

    let mut udp = [0; UDP_HEADER as usize];
    udp[0..2].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
    // RFC 768: over a pseudo header as well; 0 would mean "none", so it is sent as all ones.
    let length = udp_length.to_be_bytes();
    let pseudo = [0, PROTOCOL_UDP, length[0], length[1]];
    let udp_checksum = match checksum(&[&source, &target, &pseudo, &udp, payload]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&udp_checksum.to_be_bytes());

    Some([&addresses.target_mac.0[..], &addresses.source_mac.0, &ETHERTYPE_IPV4, &ip, &udp, payload].concat())
}

/// The Internet checksum (RFC 1071) over `parts`, all but the last of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0_u64, |sum, word| {
        let (high, low) = (word.first().copied().unwrap_or(0), word.get(1).copied().unwrap_or(0));
        sum + u64::from(u16::from_be_bytes([high, low]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or(u16::MAX)
}
