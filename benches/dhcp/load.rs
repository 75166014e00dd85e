//! Exchanges of many clients behind a relay, as `perfdhcp` makes them, at a fifth of what they cost it: where
//! `perfdhcp` takes a core of its own, who asks is not what is measured.
//!
//! DISCOVERs go out at the rate that was asked for whatever comes back; each OFFER is followed by its REQUEST.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use firstlight::dhcp::batch::{BATCH, Datagrams, Outgoing, send};
use firstlight::dhcp::frame::SERVER_PORT;
use firstlight::dhcp::options::write::{FIXED_PART, collect};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use socket2::SockAddr;

use crate::Run;

/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at the socket when nothing came.
const PAUSE: Duration = Duration::from_micros(100);
/// Bytes of datagrams that the kernel keeps, each way.
pub const BUFFER: usize = 8 << 20;

/// Message types (RFC 2132 section 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Which half an exchange is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Discovered,
    Requested,
    Done,
}

/// What is asked, and what came of it.
struct Load {
    relay: Ipv4Addr,
    first: u32,
    clients: u32,
    /// Of each exchange, when its last message went, and where it is.
    exchanges: Vec<(Instant, Half)>,
    waiting: Vec<Vec<u8>>,
    offers: u32,
    acks: u32,
    waited: [Duration; 2],
}

/// Asks `server` as a relay with the address `relay`: `rate` exchanges a second for `seconds`, of `clients` in turns from number `first`.
///
/// # Errors
/// When the system refuses a socket, or to send.
pub fn run(server: Ipv4Addr, relay: Ipv4Addr, [rate, seconds, first, clients]: [u32; 4]) -> io::Result<Run> {
    let socket = UdpSocket::bind(SocketAddrV4::new(relay, SERVER_PORT))?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    setsockopt(&socket, SndBufForce, &BUFFER)?;
    let to = SockAddr::from(SocketAddrV4::new(server, SERVER_PORT));
    let all = rate * seconds;
    let mut load = Load {
        relay,
        first,
        clients,
        exchanges: Vec::with_capacity(all as usize),
        waiting: Vec::new(),
        offers: 0,
        acks: 0,
        waited: [Duration::ZERO; 2],
    };
    let mut datagrams = Datagrams::default();
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.into());
    loop {
        let now = Instant::now();
        let due = now.min(end).duration_since(start).as_millis() * u128::from(rate) / 1000;
        while (load.exchanges.len() as u128) < due && load.waiting.len() < 4 * BATCH {
            load.discover(now);
        }
        let sent = load.waiting.is_empty();
        load.send(&socket, &to)?;
        let came = match datagrams.fill(socket.as_fd()) {
            Ok(()) => datagrams.count(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        datagrams.iter().for_each(|(bytes, ..)| load.heard(bytes, now));
        let over = load.exchanges.len() == all as usize;
        if over && (load.acks == all || now > end + PATIENCE) {
            return Ok(load.told());
        }
        if sent && came == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Load {
    fn discover(&mut self, now: Instant) {
        let exchange = u32::try_from(self.exchanges.len()).unwrap_or(u32::MAX);
        self.exchanges.push((now, Half::Discovered));
        self.waiting.push(self.message(exchange, DISCOVER, &[]));
    }

    fn send(&mut self, socket: &UdpSocket, to: &SockAddr) -> io::Result<()> {
        let outgoing: Vec<Outgoing> =
            self.waiting.drain(..).map(|bytes| Outgoing { bytes, to: to.clone() }).collect();
        let mut rest = outgoing.as_slice();
        while !rest.is_empty() {
            match send(socket.as_fd(), rest) {
                Ok(gone) => rest = &rest[gone..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.waiting.extend(rest.iter().map(|one| one.bytes.clone()));
        Ok(())
    }

    fn heard(&mut self, bytes: &[u8], now: Instant) {
        let Some((exchange, kind, taken)) = read(bytes) else { return };
        let Some((then, half)) = self.exchanges.get_mut(exchange as usize) else { return };
        match (kind, *half) {
            (OFFER, Half::Discovered) => {
                self.waited[0] += now - *then;
                (*then, *half) = (now, Half::Requested);
                self.offers += 1;
                self.waiting.push(self.message(exchange, REQUEST, &taken));
            }
            (ACK, Half::Requested) => {
                self.waited[1] += now - *then;
                *half = Half::Done;
                self.acks += 1;
            }
            _ => {}
        }
    }

    fn told(&self) -> Run {
        let lost = |of: u32, came: u32| 100.0 * f64::from(of - came) / f64::from(of.max(1));
        let mean = |waited: Duration, count: u32| waited.as_secs_f64() * 1000.0 / f64::from(count.max(1));
        let all = u32::try_from(self.exchanges.len()).unwrap_or(u32::MAX);
        Run {
            exchanges: f64::from(self.acks),
            lost: lost(all, self.offers).max(lost(self.offers, self.acks)),
            delay_ms: mean(self.waited[0], self.offers) + mean(self.waited[1], self.acks),
        }
    }

    /// A message of a client (RFC 2131 section 2) that a relay passes on.
    fn message(&self, exchange: u32, kind: u8, taken: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0_u8; 236];
        bytes[..4].copy_from_slice(&[1, 1, 6, 1]);
        bytes[4..8].copy_from_slice(&exchange.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.relay.octets());
        bytes[28..30].copy_from_slice(&[0x02, 0x0c]);
        bytes[30..34].copy_from_slice(&(self.first + exchange % self.clients).to_be_bytes());
        bytes.extend([99, 130, 83, 99]);
        // What `perfdhcp` asks for (option 55).
        bytes.extend([53, 1, kind, 55, 7, 1, 28, 2, 3, 15, 6, 12]);
        bytes.extend(taken);
        bytes.push(255);
        bytes
    }
}

/// Of an answer: its exchange, its type, and the options of the REQUEST that takes it (50 and 54).
fn read(bytes: &[u8]) -> Option<(u32, u8, Vec<u8>)> {
    let exchange = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    let options = collect(bytes.get(FIXED_PART..)?);
    let kind = *options.get(&53)?.first()?;
    let server: [u8; 4] = options.get(&54)?.as_slice().try_into().ok()?;
    let mut taken = vec![50, 4];
    taken.extend(bytes.get(16..20)?);
    taken.extend([54, 4]);
    taken.extend(server);
    Some((exchange, kind, taken))
}
