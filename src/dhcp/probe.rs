//! Whether somebody uses an address already, before it is offered for the first time (RFC 2131 section 3.1, step 2): by ARP on
//! the link (RFC 5227 section 2.1.1), by an ICMP echo (RFC 792) through relays.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, oneshot, watch};

use super::interface::Interface;
use super::socket::link_address;
use crate::model::MacAddr;

/// How long an answer is waited for: who is there answers within milliseconds, and a client waits for seconds.
const PATIENCE: Duration = Duration::from_millis(250);
/// The question is asked again after so long: one may be lost.
const AGAIN: Duration = Duration::from_millis(100);
/// Addresses that are asked about at once; beyond that nobody is kept waiting.
const AT_ONCE: usize = 256;
/// An ARP packet for IPv4 on Ethernet (RFC 826): hardware 1, protocol 0x0800, lengths 6 and 4.
const ARP: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// Marks our echo requests.
const ECHO_ID: [u8; 2] = *b"fl";

/// Who answered: by ARP, the hardware address is known.
type Holder = Option<MacAddr>;

/// Asks on one interface.
pub struct Prober {
    arp: Asking,
    icmp: Asking,
    everybody: SockAddr,
    mac: MacAddr,
    waiting: Mutex<HashMap<Ipv4Addr, Vec<oneshot::Sender<Holder>>>>,
    permits: Semaphore,
}

/// A socket to ask by, and the same to hear answers.
struct Asking {
    ask: Socket,
    hear: UdpSocket,
}

impl Asking {
    fn new(ask: Socket) -> io::Result<Self> {
        // Both sockets send and receive datagrams, so tokio's type for those serves.
        let hear = UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(ask.try_clone()?)))?;
        Ok(Self { ask, hear })
    }
}

impl Prober {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the system refuses them.
    pub fn bind(interface: &Interface) -> io::Result<Self> {
        let kind = |kind: Type| kind.nonblocking().cloexec();
        let protocol = i32::from(u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?.to_be());
        let arp = Socket::new(Domain::PACKET, kind(Type::DGRAM), Some(Protocol::from(protocol)))?;
        let everybody = link_address(interface.index, libc::ETH_P_ARP, [0xff; 6])?;
        arp.bind(&everybody)?;
        let icmp = Socket::new(Domain::IPV4, kind(Type::RAW), Some(Protocol::ICMPV4))?;
        Ok(Self {
            arp: Asking::new(arp)?,
            icmp: Asking::new(icmp)?,
            everybody,
            mac: interface.mac,
            waiting: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
        })
    }

    /// Hears the answers until told to stop.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut buffer = [0; 1500];
        loop {
            let heard = tokio::select! {
                length = self.arp.hear.recv(&mut buffer) => length.map(|length| arp_sender(buffer.get(..length)?)),
                () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
            };
            match heard {
                Ok(Some((ip, mac))) => self.tell(ip, Some(mac)),
                Ok(None) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Hears the answers to echo requests until told to stop.
    pub async fn run_echo(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut buffer = [0; 1500];
        loop {
            let heard = tokio::select! {
                length = self.icmp.hear.recv(&mut buffer) => length.map(|length| echo_sender(buffer.get(..length)?)),
                () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
            };
            match heard {
                Ok(Some(ip)) => self.tell(ip, None),
                Ok(None) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Who uses an address on the link, or behind a relay; `None` when nobody answers.
    pub async fn holder(&self, ip: Ipv4Addr, relayed: bool) -> Option<Holder> {
        let _permit = self.permits.try_acquire().ok()?;
        let (sender, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(ip).or_default().push(sender);
        let asking = async {
            self.ask(ip, relayed);
            tokio::time::sleep(AGAIN).await;
            self.ask(ip, relayed);
            std::future::pending::<()>().await;
        };
        let found = tokio::select! {
            found = tokio::time::timeout(PATIENCE, answered) => found.ok().and_then(Result::ok),
            () = asking => None,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(senders) = waiting.get_mut(&ip) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(&ip);
            }
        }
        found
    }

    fn ask(&self, ip: Ipv4Addr, relayed: bool) {
        let sent = if relayed {
            let to = SockAddr::from(SocketAddrV4::new(ip, 0));
            self.icmp.ask.send_to(&echo_request(), &to)
        } else {
            self.arp.ask.send_to(&arp_probe(self.mac, ip), &self.everybody)
        };
        if let Err(error) = sent {
            tracing::debug!(%ip, %error, "cannot ask whether an address is in use");
        }
    }

    fn tell(&self, ip: Ipv4Addr, holder: Holder) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ip);
        for sender in waiting.into_iter().flatten() {
            // Who asked has given up: no harm.
            let _ = sender.send(holder);
        }
    }
}

/// "Who has it?", from nobody (RFC 5227 section 1.1: an ARP probe).
fn arp_probe(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    [&ARP[..], &[0, 1], &mac.0, &[0; 4], &[0; 6], &ip.octets()].concat()
}

/// Who says that an address is its own, in a request or a reply (RFC 5227 section 2.4). A probe by somebody else says so of
/// the address it asks for.
fn arp_sender(packet: &[u8]) -> Option<(Ipv4Addr, MacAddr)> {
    let (head, rest) = packet.split_first_chunk::<6>()?;
    let (_operation, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (ip, _) = rest.split_first_chunk::<4>()?;
    let ip = Ipv4Addr::from(*ip);
    (*head == ARP && !ip.is_unspecified()).then_some((ip, MacAddr(*mac)))
}

fn echo_request() -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0, ECHO_ID[0], ECHO_ID[1], 0, 1];
    let sum = packet.chunks_exact(2).fold(0_u32, |sum, pair| match pair {
        [high, low] => sum + u32::from(u16::from_be_bytes([*high, *low])),
        _ => sum,
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!folded & 0xffff).to_be_bytes();
    packet.splice(2..4, [high, low]);
    packet
}

/// Who answers an echo request of ours: the packet begins with its IP header (raw(7)).
fn echo_sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let words = usize::from(packet.first()? & 0x0f);
    let ip = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
    let icmp = packet.get(words * 4..)?;
    (icmp.first() == Some(&0) && icmp.get(4..6) == Some(&ECHO_ID)).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let ip = Ipv4Addr::new(10, 77, 0, 9);
        assert_eq!(arp_sender(&arp_probe(mac, ip)), None, "a probe claims nothing");
        let reply = [&ARP[..], &[0, 2], &mac.0, &ip.octets(), &[0; 10]].concat();
        assert_eq!(arp_sender(&reply), Some((ip, mac)));
        for length in 0..reply.len().min(18) {
            assert_eq!(arp_sender(&reply[..length]), None, "cut off");
        }
        let echo = echo_request();
        let sum: u32 = echo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "RFC 1071");
        let mut answer = vec![0x45; 20];
        answer.splice(12..16, ip.octets());
        answer.extend([0, 0, 0, 0, ECHO_ID[0], ECHO_ID[1], 0, 1]);
        assert_eq!(echo_sender(&answer), Some(ip));
        answer[20] = 8;
        assert_eq!(echo_sender(&answer), None, "a request");
        for length in 0..26 {
            assert_eq!(echo_sender(&answer[..length]), None, "cut off");
        }
    }
}
