//! Router solicitations and advertisements (RFC 4861), as bytes.

use std::net::{IpAddr, Ipv6Addr};

use crate::model::{MacAddr, Network6, Subnet6};

/// `ICMPv6` types (RFC 4861 sections 4.1 and 4.2).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// Option type (section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Flags of an advertisement (section 4.2).
const MANAGED: u8 = 0x80;
/// See [`MANAGED`].
const OTHER_CONFIGURATION: u8 = 0x40;
/// Option type (section 4.6.2), and its flag.
const PREFIX_INFORMATION: u8 = 3;
/// See [`PREFIX_INFORMATION`].
const ON_LINK: u8 = 0x80;
/// See [`PREFIX_INFORMATION`].
const AUTONOMOUS: u8 = 0x40;
/// How long the prefix holds without news (section 6.2.1, `AdvValidLifetime`: 30 days).
const PREFIX_SECONDS: u32 = 2_592_000;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A solicitation of this host.
    Solicitation(Ipv6Addr),
    /// One of a host that has no address yet, as UEFI sends it: it is answered to all (section 6.2.6).
    Nameless,
    /// An advertisement of this router that says something else than ours.
    Contradiction(Ipv6Addr),
    /// Anything else.
    Nothing,
}

/// Whether `packet` is a well-formed router solicitation (RFC 4861 section 6.1.1).
pub fn is_solicitation(packet: &[u8]) -> bool {
    let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = packet else { return false };
    split(options).is_some()
}

/// The options of a message, each with its head; none when one is malformed, which makes the whole message invalid (section 4.6).
fn split(mut options: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while let [_, blocks, ..] = options {
        let (option, rest) = options.split_at_checked(usize::from(*blocks) * 8)?;
        if option.is_empty() {
            return None;
        }
        found.push(option);
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// Whether `packet` is another's advertisement that says something else than ours, which is of these prefixes (section 6.2.7): that
/// addresses do not come by `DHCPv6`, that hosts make them themselves, or that another prefix is on the link. A router that is one (its
/// lifetime is not 0) contradicts nothing by that.
pub fn contradicts(packet: &[u8], own: MacAddr, prefixes: &[Subnet6]) -> bool {
    let [ROUTER_ADVERTISEMENT, 0, _, _, _, flags, _, _, _, _, _, _, _, _, _, _, options @ ..] = packet else {
        return false;
    };
    let Some(options) = split(options) else { return false };
    let is_own = |option: &&[u8]| matches!(option, [SOURCE_LINK_LAYER_ADDRESS, 1, mac @ ..] if *mac == own.0);
    let other_prefix = |option: &&[u8]| {
        let [PREFIX_INFORMATION, 4, length, flags, rest @ ..] = option else { return false };
        let prefix = rest.get(12..).and_then(|prefix| <[u8; 16]>::try_from(prefix).ok()).map(Ipv6Addr::from);
        let known = |ours: &Subnet6| ours.prefix == *length && prefix.is_some_and(|ip| ours.contains(ip));
        flags & AUTONOMOUS != 0 || (flags & ON_LINK != 0 && !prefixes.iter().any(known))
    };
    !prefixes.is_empty()
        && !options.iter().any(is_own)
        && (flags & MANAGED == 0 || options.iter().any(other_prefix))
}

/// A router advertisement from the interface at `mac`: that addresses and more come by `DHCPv6`, and which prefixes are on the link; without a
/// prefix to tell of, nothing. We are no router either way: its lifetime is 0. The kernel fills in the checksum.
pub fn advertisement(mac: MacAddr, prefixes: &[&Network6]) -> Vec<u8> {
    let flags = if prefixes.is_empty() { 0 } else { MANAGED | OTHER_CONFIGURATION };
    let mut packet = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 0, flags];
    packet.resize(16, 0);
    packet.extend([SOURCE_LINK_LAYER_ADDRESS, 1]);
    packet.extend(mac.0);
    for network in prefixes {
        // Section 4.6.2: on the link, and nobody makes an address of it by itself.
        packet.extend([PREFIX_INFORMATION, 4, network.subnet.prefix, ON_LINK]);
        packet.extend(PREFIX_SECONDS.to_be_bytes());
        packet.extend(PREFIX_SECONDS.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(network.subnet.address.octets());
    }
    packet
}

/// What a packet of `from` is to the interface at `own`, which advertises `prefixes`.
pub fn heard(packet: &[u8], from: IpAddr, own: MacAddr, prefixes: &[Subnet6]) -> Heard {
    match from {
        // Section 6.1.1: it has no hardware address to tell, either.
        IpAddr::V6(peer) if peer.is_unspecified() && packet.len() == 8 && is_solicitation(packet) => {
            Heard::Nameless
        }
        // A link-local sender is on this link: no router passes it on.
        IpAddr::V6(peer) if !peer.is_unicast_link_local() => Heard::Nothing,
        IpAddr::V6(peer) if is_solicitation(packet) => Heard::Solicitation(peer),
        IpAddr::V6(peer) if contradicts(packet, own, prefixes) => Heard::Contradiction(peer),
        _ => Heard::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solicitations() {
        let bare = [133, 0, 0, 0, 0, 0, 0, 0];
        let with_option = [&bare[..], &[1, 1, 2, 0, 0, 0, 0, 1]].concat();
        let too_long = [&bare[..], &[1, 2, 2, 0, 0, 0, 0, 1]].concat();
        let no_length = [&bare[..], &[1, 0, 2, 0, 0, 0, 0, 1]].concat();
        for (name, packet, answer) in [
            ("a bare one", &bare[..], true),
            ("with the sender's address", &with_option, true),
            ("an option longer than the packet", &too_long, false),
            ("an option without a length", &no_length, false),
            ("an advertisement", &advertisement(MacAddr([2; 6]), &[])[..], false),
            ("another code", &[133, 1, 0, 0, 0, 0, 0, 0][..], false),
            ("cut off", &bare[..7], false),
            ("nothing", &[][..], false),
        ] {
            assert_eq!(is_solicitation(packet), answer, "{name}");
        }
    }

    #[test]
    fn another_router() {
        let network = |text: &str| {
            let subnet: Subnet6 = text.parse().expect("a prefix");
            Network6 { subnet, range: subnet.usual_range(), dns: Vec::new(), advertise: true }
        };
        let (ours, other) = (network("fd00:77::/64"), network("fd00:99::/64"));
        let (own, foreign) = (MacAddr([2, 0, 0, 0, 0, 7]), MacAddr([2, 0, 0, 0, 0, 8]));
        let same = advertisement(foreign, &[&ours]);
        let changed = |at: usize, value: u8| {
            let mut packet = same.clone();
            packet[at] = value;
            packet
        };
        for (name, packet, expected) in [
            ("the same of another", same.clone(), false),
            ("section 4.2: a default router", changed(7, 200), false),
            ("section 4.2: not managed", changed(5, 0), true),
            ("section 4.6.2: hosts make addresses", changed(27, 0xc0), true),
            ("section 4.6.2: another prefix", advertisement(foreign, &[&ours, &other]), true),
            ("no prefix", advertisement(foreign, &[]), true),
            ("our own", advertisement(own, &[&other]), false),
            ("section 4.6: an option without a length", changed(25, 0), false),
            ("another code", changed(1, 1), false),
            ("cut off", same[..10].to_vec(), false),
        ] {
            assert_eq!(contradicts(&packet, own, &[ours.subnet]), expected, "{name}");
        }
        let near: Ipv6Addr = "fe80::8".parse().expect("an address");
        let global: Ipv6Addr = "fd00:77::8".parse().expect("an address");
        let solicitation = vec![133, 0, 0, 0, 0, 0, 0, 0];
        let with_mac = [&solicitation[..], &[1, 1, 2, 0, 0, 0, 0, 8]].concat();
        for (name, packet, from, expected) in [
            ("a host", &with_mac, near, Heard::Solicitation(near)),
            (
                "section 6.2.6: a host without an address",
                &solicitation,
                Ipv6Addr::UNSPECIFIED,
                Heard::Nameless,
            ),
            ("section 6.1.1: but with a hardware address", &with_mac, Ipv6Addr::UNSPECIFIED, Heard::Nothing),
            ("from elsewhere", &solicitation, global, Heard::Nothing),
            ("another router", &changed(5, 0), near, Heard::Contradiction(near)),
            ("section 6.1.2: a router from elsewhere", &changed(5, 0), global, Heard::Nothing),
            ("a router that agrees", &same, near, Heard::Nothing),
        ] {
            assert_eq!(heard(packet, from.into(), own, &[ours.subnet]), expected, "{name}");
        }
        assert!(!contradicts(&changed(5, 0), own, &[]), "where we advertise nothing, nobody contradicts");
    }

    #[test]
    fn the_advertisement_promises_nothing() {
        let packet = advertisement(MacAddr([2, 0, 0, 0, 0, 7]), &[]);
        assert_eq!(packet[0], 134);
        assert_eq!(packet[5], 0, "neither managed nor other configuration");
        assert_eq!(packet[6..8], [0, 0], "no router lifetime");
        assert_eq!(packet[16..], [1, 1, 2, 0, 0, 0, 0, 7], "the sender's address, and no prefix");
    }

    #[test]
    fn with_a_prefix_addresses_come_by_dhcp() {
        let subnet: Subnet6 = "fd00:77::/64".parse().expect("a prefix");
        let network = Network6 { subnet, range: subnet.usual_range(), dns: Vec::new(), advertise: true };
        let packet = advertisement(MacAddr([2, 0, 0, 0, 0, 7]), &[&network]);
        assert_eq!(packet.len(), 56);
        assert_eq!((packet[5], &packet[6..8]), (0xc0, &[0, 0][..]), "managed and other, and no router");
        assert_eq!(
            packet[24..28],
            [3, 4, 64, 0x80],
            "on the link, not for addresses that hosts make themselves"
        );
        assert_eq!(packet[40..], subnet.address.octets());
    }
}
