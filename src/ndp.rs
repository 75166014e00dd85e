//! Router advertisements that tell a booting machine: there is no IPv6 here, do not wait for it.
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

use crate::model::MacAddr;

/// `ICMPv6` types (RFC 4861 sections 4.1 and 4.2).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// Option type (section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// `ff02::2`, all routers on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Shortest time between two answers; what comes faster is dropped. A whole rack that boots at once fits.
const PACE: Duration = Duration::from_millis(2);

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
    advertisement: [u8; 24],
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

/// A router advertisement from the interface at `mac` that promises nothing. The kernel fills in the checksum.
pub fn advertisement(mac: MacAddr) -> [u8; 24] {
    let mut packet = [0; 24];
    packet[0] = ROUTER_ADVERTISEMENT;
    packet[16] = SOURCE_LINK_LAYER_ADDRESS;
    packet[17] = 1;
    packet[18..].copy_from_slice(&mac.0);
    packet
}

impl Advertiser {
    /// Listens on the interface `name`, whose index and address are given.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub fn bind(name: &str, index: u32, mac: MacAddr) -> Result<Self, NdpError> {
        let open = || {
            let socket =
                Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
            socket.bind_device(Some(name.as_bytes()))?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            // Receivers drop advertisements that could have come through a router (section 6.1.2).
            socket.set_unicast_hops_v6(255)?;
            socket.set_multicast_if_v6(index)?;
            // A raw socket sends and receives datagrams, so tokio's type for those serves.
            UdpSocket::from_std(std::net::UdpSocket::from(std::os::fd::OwnedFd::from(socket)))
        };
        let socket = open().map_err(|cause| NdpError { interface: name.to_owned(), cause })?;
        Ok(Self { socket, interface: name.to_owned(), index, advertisement: advertisement(mac) })
    }

    /// Answers until told to stop.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let peer = tokio::select! {
                peer = self.receive() => peer,
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
            ("an advertisement", &advertisement(MacAddr([2; 6]))[..], false),
            ("another code", &[133, 1, 0, 0, 0, 0, 0, 0][..], false),
            ("cut off", &bare[..7], false),
            ("nothing", &[][..], false),
        ] {
            assert_eq!(is_solicitation(packet), answer, "{name}");
        }
    }

    #[test]
    fn the_advertisement_promises_nothing() {
        let packet = advertisement(MacAddr([2, 0, 0, 0, 0, 7]));
        assert_eq!(packet[0], 134);
        assert_eq!(packet[5], 0, "neither managed nor other configuration");
        assert_eq!(packet[6..8], [0, 0], "no router lifetime");
        assert_eq!(packet[16..], [1, 1, 2, 0, 0, 0, 0, 7], "the sender's address, and no prefix");
    }
}
