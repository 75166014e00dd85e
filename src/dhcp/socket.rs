//! The sockets of DHCP on one interface: UDP port 67, and a packet socket for clients without an address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, RcvBufForce};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::batch::{self, Datagrams, Outgoing};
use super::frame::{self, Addresses, CLIENT_PORT, SERVER_PORT};
use super::interface::Interface;
use super::reply::{Destination, Reply};

/// Bytes of requests that the kernel keeps for us while a batch is being made durable.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Why a socket cannot be had, or a reply not be sent.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody else serves DHCP there.
    #[error("UDP port {1} on {0} is in use; is another DHCP server running? (ss -ulnp sport = :{1} tells)")]
    InUse(String, u16),
    /// Not allowed.
    #[error(
        "not allowed to serve DHCP on {0}; run as root, or give the process CAP_NET_BIND_SERVICE and CAP_NET_RAW"
    )]
    Permission(String),
    /// Anything else.
    #[error("cannot serve DHCP on {interface}: {cause}")]
    System {
        /// The interface.
        interface: String,
        /// The system's error.
        cause: io::Error,
    },
}

/// Receives requests on one interface and sends replies there.
pub struct DhcpSocket {
    udp: UdpSocket,
    packet: Socket,
    link: SockAddr,
    interface: Interface,
    port: u16,
}

/// Where PXE clients ask a server that gives no addresses (PXE specification 2.1, section 2.2.3).
pub const PROXY_PORT: u16 = 4011;

impl DhcpSocket {
    /// Opens both sockets.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub fn bind(interface: Interface) -> Result<Self, SocketError> {
        Self::bind_to(interface, SERVER_PORT)
    }

    /// The same at port 4011, where each client is answered at the address it asks from.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub fn bind_proxy(interface: Interface) -> Result<Self, SocketError> {
        Self::bind_to(interface, PROXY_PORT)
    }

    fn bind_to(interface: Interface, port: u16) -> Result<Self, SocketError> {
        let failed = |cause: io::Error| {
            let name = interface.name.clone();
            match cause.kind() {
                io::ErrorKind::AddrInUse => SocketError::InUse(name, port),
                io::ErrorKind::PermissionDenied => SocketError::Permission(name),
                _ => SocketError::System { interface: name, cause },
            }
        };
        let udp = udp(&interface.name, port).map_err(failed)?;
        // Protocol 0: it sends, and receives nothing.
        let packet = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None).map_err(failed)?;
        let link = link_address(interface.index, libc::ETH_P_IP, [0; 6]).map_err(failed)?;
        Ok(Self { udp, packet, link, interface, port })
    }

    /// The interface it serves.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether it is the one at port 67.
    pub fn is_main(&self) -> bool {
        self.port == SERVER_PORT
    }

    /// The next datagrams, as many as wait.
    ///
    /// # Errors
    /// When the system fails; the next call may succeed.
    pub async fn receive(&self, datagrams: &mut Datagrams) -> io::Result<()> {
        self.udp.async_io(Interest::READABLE, || datagrams.fill(self.udp.as_fd())).await
    }

    /// Sends replies where they go, each to a request from the address beside it. What became of those that could not be sent:
    /// the number of each, and why; their clients ask again.
    pub async fn send(&self, replies: &[(Reply, SocketAddr)]) -> Vec<(usize, io::Error)> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the reply does not fit a datagram");
        let (mut failed, mut datagrams, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (reply, source)) in replies.iter().enumerate() {
            // Should one not even encode, the others go all the same.
            let outgoing = catch_unwind(AssertUnwindSafe(|| self.outgoing(reply, *source)));
            match outgoing.ok().flatten() {
                Some((outgoing, true)) => frames.push((number, outgoing)),
                Some((outgoing, false)) => datagrams.push((number, outgoing)),
                None => failed.push((number, too_long())),
            }
        }
        let (numbers, datagrams): (Vec<usize>, Vec<Outgoing>) = datagrams.into_iter().unzip();
        let mut at = 0;
        while let Some(rest) = datagrams.get(at..).filter(|rest| !rest.is_empty()) {
            let sent = self.udp.async_io(Interest::WRITABLE, || batch::send(self.udp.as_fd(), rest)).await;
            at += count(sent, numbers.get(at), &mut failed);
        }
        let (numbers, frames): (Vec<usize>, Vec<Outgoing>) = frames.into_iter().unzip();
        let mut at = 0;
        while let Some(rest) = frames.get(at..).filter(|rest| !rest.is_empty()) {
            at += count(batch::send(self.packet.as_fd(), rest), numbers.get(at), &mut failed);
        }
        failed
    }

    /// A reply as it is sent, and whether it is a frame.
    fn outgoing(&self, reply: &Reply, source: SocketAddr) -> Option<(Outgoing, bool)> {
        let bytes = reply.encode()?;
        let target = match reply.destination {
            _ if self.port == PROXY_PORT => source,
            Destination::Relay(ip) => SocketAddr::from((ip, SERVER_PORT)),
            Destination::Unicast(ip) => SocketAddr::from((ip, CLIENT_PORT)),
            Destination::Broadcast => SocketAddr::from((Ipv4Addr::BROADCAST, CLIENT_PORT)),
            Destination::Frame { mac, ip } => {
                let Interface { mac: source_mac, address: source_ip, .. } = self.interface;
                let addresses = Addresses { source_mac, source_ip, target_mac: mac, target_ip: ip };
                let bytes = frame::build(&addresses, &bytes)?;
                return Some((Outgoing { bytes, to: self.link.clone() }, true));
            }
        };
        Some((Outgoing { bytes, to: SockAddr::from(target) }, false))
    }
}

/// How many are done with: those that were sent, or the one that the system refused.
fn count(sent: io::Result<usize>, number: Option<&usize>, failed: &mut Vec<(usize, io::Error)>) -> usize {
    match sent {
        Ok(sent) => sent.max(1),
        Err(error) => {
            failed.extend(number.map(|number| (*number, error)));
            1
        }
    }
}

/// A port of one interface only, so that several can be served and another server on the port is noticed.
fn udp(interface: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    // Who renews is told from who rebinds by the address that a datagram was sent to.
    setsockopt(&socket, Ipv4PacketInfo, &true)?;
    // Beyond the system's limit where that is allowed.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))
}

/// `sockaddr_ll` (packet(7)) of the interface of this number, for packets of a protocol; a raw frame names its target itself.
#[expect(unsafe_code, reason = "no library builds a sockaddr_ll for sending")]
pub(super) fn link_address(index: u32, protocol: i32, to: [u8; 6]) -> io::Result<SockAddr> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "a number outside the system's range");
    let mut sll_addr = [0; 8];
    sll_addr[..6].copy_from_slice(&to);
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(invalid)?,
        sll_protocol: u16::try_from(protocol).map_err(invalid)?.to_be(),
        sll_ifindex: i32::try_from(index).map_err(invalid)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(invalid)?;
    // SAFETY: a sockaddr_storage is at least as large and as aligned as every other sockaddr, sockaddr_ll too; all of
    // it is written, and the length told is its own.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            *length = size;
            Ok(())
        })?
    };
    Ok(address)
}
