//! Router advertisements that tell a booting machine where its IPv6 address comes from; or that there is no IPv6 here, so that it does not
//! wait for it.
//!
//! iPXE configures IPv4 and IPv6 side by side and goes on only when both have ended. Where nobody answers its
//! router solicitations, it sends them for about 15 s before it gives up, at every boot. An advertisement without
//! a prefix, without the managed and other-configuration flags and with a router lifetime of 0 (RFC 4861 section
//! 4.2: "not a default router") ends that wait at once, and changes nothing on any host that hears it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::model::{MacAddr, Network6};

/// `ICMPv6` types (RFC 4861 sections 4.1 and 4.2).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// Option type (section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// `ff02::2`, all routers on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Shortest time between two answers; what comes faster is dropped. A whole rack that boots at once fits.
const PACE: Duration = Duration::from_millis(2);
/// Flags of an advertisement (section 4.2).
const MANAGED: u8 = 0x80;
/// See [`MANAGED`].
const OTHER_CONFIGURATION: u8 = 0x40;
/// Option type (section 4.6.2), and its flag.
const PREFIX_INFORMATION: u8 = 3;
/// See [`PREFIX_INFORMATION`].
const ON_LINK: u8 = 0x80;
/// How long the prefix holds without news (section 6.2.1, `AdvValidLifetime`: 30 days).
const PREFIX_SECONDS: u32 = 2_592_000;
/// `ff02::1`, all nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The first few come soon one after the other (section 6.2.4), and then seldom (section 6.2.1, `MaxRtrAdvInterval`).
const INITIAL: u32 = 3;
/// See [`INITIAL`].
const INITIAL_PACE: Duration = Duration::from_secs(16);
/// See [`INITIAL`].
const PERIOD: Duration = Duration::from_secs(400);

/// Why solicitations on an interface cannot be answered.
#[derive(Debug, Error)]
#[error(
    "cannot listen for router solicitations on {interface}: {cause}; run as root, or give the process CAP_NET_RAW"
)]
pub struct NdpError {
    interface: String,
    cause: io::Error,
}

/// Answers router solicitations on one interface.
pub struct Advertiser {
    socket: UdpSocket,
    interface: String,
    index: u32,
    advertisement: Vec<u8>,
    /// Whether it is also sent unasked: there is something to tell.
    periodic: bool,
}

/// Whether `packet` is a well-formed router solicitation (RFC 4861 section 6.1.1).
pub fn is_solicitation(packet: &[u8]) -> bool {
    let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = packet else { return false };
    let mut options = options;
    while let [_, blocks, ..] = options {
        // A length of 0 makes the whole packet invalid (section 4.6).
        match options.split_at_checked(usize::from(*blocks) * 8) {
            Some((option, rest)) if !option.is_empty() => options = rest,
            _ => return false,
        }
    }
    options.is_empty()
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

impl Advertiser {
    /// Listens on the interface `name`, whose index and address are given.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub fn bind(name: &str, index: u32, mac: MacAddr, prefixes: &[&Network6]) -> Result<Self, NdpError> {
        let open = || {
            let socket =
                Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
            socket.bind_device(Some(name.as_bytes()))?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            // Receivers drop advertisements that could have come through a router (section 6.1.2).
            socket.set_unicast_hops_v6(255)?;
            socket.set_multicast_hops_v6(255)?;
            socket.set_multicast_if_v6(index)?;
            // A raw socket sends and receives datagrams, so tokio's type for those serves.
            UdpSocket::from_std(std::net::UdpSocket::from(std::os::fd::OwnedFd::from(socket)))
        };
        let socket = open().map_err(|cause| NdpError { interface: name.to_owned(), cause })?;
        Ok(Self {
            socket,
            interface: name.to_owned(),
            index,
            advertisement: advertisement(mac, prefixes),
            periodic: !prefixes.is_empty(),
        })
    }

    /// The interface it answers on.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Answers until told to stop.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        let mut sent = 0;
        let mut next = tokio::time::Instant::now();
        loop {
            let peer = tokio::select! {
                peer = self.receive() => peer,
                () = tokio::time::sleep_until(next), if self.periodic => {
                    next = tokio::time::Instant::now() + if sent < INITIAL { INITIAL_PACE } else { PERIOD };
                    sent += 1;
                    Ok(Some(ALL_NODES))
                }
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            match peer {
                Ok(Some(peer)) => {
                    let target = SocketAddr::V6(SocketAddrV6::new(peer, 0, 0, self.index));
                    if let Err(error) = self.socket.send_to(&self.advertisement, target).await {
                        tracing::debug!(interface = %self.interface, %peer, %error, "router advertisement not sent");
                    }
                }
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(interface = %self.interface, %error, "router solicitation not received");
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// The next packet's sender, if it is one that is answered.
    async fn receive(&self) -> io::Result<Option<Ipv6Addr>> {
        let mut buffer = [0; 1500];
        let (length, from) = self.socket.recv_from(&mut buffer).await?;
        let solicits = buffer.get(..length).is_some_and(is_solicitation);
        // A link-local sender is on this link: no router passes it on.
        Ok(match from.ip() {
            IpAddr::V6(peer) if solicits && peer.is_unicast_link_local() => Some(peer),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subnet6;

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
