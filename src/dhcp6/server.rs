//! The socket and the loop: receive, decide, send.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};

use super::gate::Gate;
use super::message::{LONGEST, Message};
use super::request::Request;
use crate::dhcp::interface::Interface;
use crate::gate::Rank;

/// RFC 8415 section 7.2.
pub(super) const SERVER_PORT: u16 = 547;
/// See [`SERVER_PORT`].
pub(super) const CLIENT_PORT: u16 = 546;
/// `All_DHCP_Relay_Agents_and_Servers` (section 7.1).
pub(super) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// That, and `All_DHCP_Servers`.
const GROUPS: [Ipv6Addr; 2] = [SERVERS, Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3)];
/// Messages that may wait for their commit at once; what comes beyond is dropped, and asked again.
const IN_FLIGHT: usize = 512;
/// Of [`IN_FLIGHT`], so many are kept for known nodes.
const FOR_KNOWN: usize = IN_FLIGHT / 4;

/// Why `DHCPv6` cannot be served.
#[derive(Debug, Error)]
#[error(
    "cannot serve DHCPv6 on {interface}: {cause}; is another server there? (ss -ulnp sport = :547 tells; it needs root, or CAP_NET_BIND_SERVICE)"
)]
pub struct Dhcp6Error {
    interface: String,
    cause: io::Error,
}

/// Who decides: one transaction from the message to a durable answer.
pub trait Exchange6: Send + Sync + 'static {
    /// What is known of a client, now.
    fn rank6(&self, request: &Request) -> Rank;

    /// The reply to a message that came in by `interface`, once it may be sent.
    fn exchange6(
        &self,
        request: Request,
        interface: &Interface,
    ) -> impl Future<Output = Option<Message>> + Send;
}

/// The port on one interface.
pub struct Dhcp6Socket {
    udp: UdpSocket,
    interface: Interface,
}

/// Where a datagram came from, and where it was sent to.
struct Received {
    length: usize,
    source: SocketAddrV6,
    to_group: bool,
}

impl Dhcp6Socket {
    /// Opens the port, and joins the groups.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub fn bind(interface: Interface) -> Result<Self, Dhcp6Error> {
        let open = || {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
            socket.set_only_v6(true)?;
            socket.bind_device(Some(interface.name.as_bytes()))?;
            socket.bind(&SockAddr::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0)))?;
            for group in GROUPS {
                socket.join_multicast_v6(&group, interface.index)?;
            }
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))
        };
        match open() {
            Ok(udp) => Ok(Self { udp, interface }),
            Err(cause) => Err(Dhcp6Error { interface: interface.name, cause }),
        }
    }

    /// The interface it serves.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.udp
            .async_io(Interest::READABLE, || {
                let mut parts = [IoSliceMut::new(buffer)];
                let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo);
                let fd = self.udp.as_raw_fd();
                let message =
                    recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
                let to = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
                    _ => None,
                });
                let source = message.address.map(SocketAddrV6::from);
                let source = source.ok_or_else(|| io::Error::other("a datagram without a source"))?;
                Ok(Received {
                    length: message.bytes,
                    source,
                    to_group: to.is_some_and(|to| to.is_multicast()),
                })
            })
            .await
    }
}

/// Serves one interface until told to stop, and then until what is under way is answered.
pub async fn serve<E: Exchange6>(socket: Dhcp6Socket, exchange: Arc<E>, mut shutdown: watch::Receiver<bool>) {
    let socket = Arc::new(socket);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut gate = Gate::new(Instant::now());
    let mut settle = tokio::time::interval(Duration::from_secs(1));
    let mut buffer = [0; LONGEST + 1];
    let name = socket.interface.name.clone();
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            _ = settle.tick() => {
                for what in gate.settle(Instant::now()) {
                    tracing::warn!(interface = %name, what, "DHCPv6 messages dropped");
                }
                continue;
            }
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => break,
        };
        let Received { length, source, to_group } = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(interface = %name, %error, "DHCPv6 message not received");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut request = match Request::parse(buffer.get(..length).unwrap_or_default(), *source.ip()) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(interface = %name, length, %error, "DHCPv6 datagram dropped");
                continue;
            }
        };
        let relayed = !request.hops.is_empty();
        // RFC 8415 section 18.2: a client sends from its link-local address.
        if !relayed && to_group && !source.ip().is_unicast_link_local() {
            tracing::debug!(interface = %name, %source, "DHCPv6 message dropped: a client has a link-local address");
            continue;
        }
        request.unicast = !relayed && !to_group;
        let rank = exchange.rank6(&request);
        if !gate.admit(&request, *source.ip(), rank, Instant::now()) {
            continue;
        }
        if rank != Rank::Trusted && in_flight.available_permits() <= FOR_KNOWN {
            continue;
        }
        let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else { continue };
        let (socket, exchange) = (Arc::clone(&socket), Arc::clone(&exchange));
        // A task of its own: should a defect make one datagram panic, the loop goes on.
        tokio::spawn(async move {
            let hops = request.hops.clone();
            if let Some(reply) = exchange.exchange6(request, &socket.interface).await {
                let port = if relayed { SERVER_PORT } else { CLIENT_PORT };
                let target = SocketAddrV6::new(*source.ip(), port, 0, source.scope_id());
                if let Err(error) = socket.udp.send_to(&reply.encode(&hops), SocketAddr::V6(target)).await {
                    tracing::warn!(interface = %socket.interface.name, %target, %error, "DHCPv6 reply not sent");
                }
            }
            drop(permit);
        });
    }
    let _ = in_flight.acquire_many(u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX)).await;
}
