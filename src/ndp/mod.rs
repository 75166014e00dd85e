//! Router advertisements that tell a booting machine where its IPv6 address comes from; or that there is no IPv6 here, so that it does not
//! wait for it.
//!
//! iPXE configures IPv4 and IPv6 side by side and goes on only when both have ended. Where nobody answers its
//! router solicitations, it sends them for about 15 s before it gives up, at every boot. An advertisement without
//! a prefix, without the managed and other-configuration flags and with a router lifetime of 0 (RFC 4861 section
//! 4.2: "not a default router") ends that wait at once, and changes nothing on any host that hears it.
//!
//! [`message`] reads and writes the bytes; here is the socket, and when something is sent.

pub mod message;

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::model::{MacAddr, Network6, Subnet6};

use message::{Heard, advertisement, heard};

/// `ff02::2`, all routers on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Shortest time between two that go to all nodes (RFC 4861 section 10, `MIN_DELAY_BETWEEN_RAS`).
const SPACING: Duration = Duration::from_secs(3);
/// Shortest time between two answers; what comes faster is dropped. A whole rack that boots at once fits.
const PACE: Duration = Duration::from_millis(2);
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
    mac: MacAddr,
    advertisement: Vec<u8>,
    /// What is told of; when there is something, it is also sent unasked.
    prefixes: Vec<Subnet6>,
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
            socket.set_multicast_loop_v6(false)?;
            // A raw socket sends and receives datagrams, so tokio's type for those serves.
            UdpSocket::from_std(std::net::UdpSocket::from(std::os::fd::OwnedFd::from(socket)))
        };
        let socket = open().map_err(|cause| NdpError { interface: name.to_owned(), cause })?;
        Ok(Self {
            socket,
            interface: name.to_owned(),
            index,
            mac,
            advertisement: advertisement(mac, prefixes),
            prefixes: prefixes.iter().map(|network| network.subnet).collect(),
        })
    }

    /// The interface it answers on.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Answers until told to stop; `contradicted` is told of each advertisement that says something else than ours.
    pub async fn serve(self, mut contradicted: impl FnMut(Ipv6Addr), mut shutdown: watch::Receiver<bool>) {
        let mut sent = 0;
        let mut next = tokio::time::Instant::now();
        let mut to_all = None;
        loop {
            let peer = tokio::select! {
                peer = self.receive() => peer,
                () = tokio::time::sleep_until(next), if !self.prefixes.is_empty() => {
                    let now = tokio::time::Instant::now();
                    to_all = Some(now);
                    next = now + if sent < INITIAL { INITIAL_PACE } else { PERIOD };
                    sent += 1;
                    Ok(Heard::Solicitation(ALL_NODES))
                }
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            match peer {
                Ok(Heard::Solicitation(peer)) => {
                    let target = SocketAddr::V6(SocketAddrV6::new(peer, 0, 0, self.index));
                    if let Err(error) = self.socket.send_to(&self.advertisement, target).await {
                        tracing::debug!(interface = %self.interface, %peer, %error, "router advertisement not sent");
                    }
                }
                Ok(Heard::Contradiction(router)) => contradicted(router),
                // The next that goes to all comes earlier.
                Ok(Heard::Nameless) => {
                    let now = tokio::time::Instant::now();
                    next = next.min(to_all.map_or(now, |last| now.max(last + SPACING)));
                }
                Ok(Heard::Nothing) => continue,
                Err(error) => {
                    tracing::debug!(interface = %self.interface, %error, "router solicitation not received");
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// The next packet.
    async fn receive(&self) -> io::Result<Heard> {
        let mut buffer = [0; 1500];
        let (length, from) = self.socket.recv_from(&mut buffer).await?;
        let packet = buffer.get(..length).unwrap_or_default();
        Ok(heard(packet, from.ip(), self.mac, &self.prefixes))
    }
}
