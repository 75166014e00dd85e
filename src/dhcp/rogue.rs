//! Other DHCP servers on our networks: asked for, and listened to.
//!
//! Now and then a DISCOVER of our own goes out from the client's port; whoever answers it is another server, since our own does
//! not answer its own interface. A client that names another server in its REQUEST proves nothing, since anybody can send one; it only
//! makes us ask sooner.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};

use super::frame::{CLIENT_PORT, SERVER_PORT};
use super::interface::{self, Interface};
use crate::model::{MacAddr, Timestamp};

/// Between two questions.
const EVERY: Duration = Duration::from_secs(600);
/// Before the first: a link that just came up forwards nothing yet.
const FIRST: Duration = Duration::from_secs(3);
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two questions when clients name other servers.
const SOONEST: Duration = Duration::from_secs(20);
/// Servers that are remembered: who lies about them fills no memory. The one not heard for the longest makes room.
const MOST: usize = 64;
/// One that is still there is told again after so long, milliseconds.
const AGAIN_MS: u64 = 3_600_000;

/// Another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rogue {
    /// What it calls itself (option 54); over IPv6, where it answers from.
    pub server: IpAddr,
    /// Where it was heard.
    pub interface: String,
    /// When it was heard last.
    pub at: Timestamp,
    /// When that was told.
    told: Timestamp,
}

/// The other servers that were heard since the start.
#[derive(Debug, Default)]
pub struct Rogues {
    heard: Mutex<HashMap<(String, IpAddr), Rogue>>,
    /// By interface.
    suspected: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Rogues {
    /// Takes note of a server; whether that is news.
    pub fn hear(&self, interface: &str, server: impl Into<IpAddr>, at: Timestamp) -> bool {
        let server = server.into();
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (interface.to_owned(), server);
        if let Some(known) = all.get_mut(&key) {
            known.at = at;
            let news = at.0.saturating_sub(known.told.0) >= AGAIN_MS;
            if news {
                known.told = at;
            }
            return news;
        }
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, rogue)| rogue.at).map(|(key, _)| key.clone());
            oldest.map(|key| all.remove(&key));
        }
        all.insert(key, Rogue { server, interface: interface.to_owned(), at, told: at });
        true
    }

    /// A client named another server: whoever watches the interface asks sooner.
    pub fn suspect(&self, interface: &str) {
        self.suspicion(interface).notify_one();
    }

    /// Told of each such client, of those on one of our interfaces.
    pub fn suspicion(&self, interface: &str) -> Arc<Notify> {
        let mut suspected = self.suspected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = suspected.get(interface) {
            return Arc::clone(known);
        }
        Arc::clone(suspected.entry(interface.to_owned()).or_default())
    }

    /// Those that were heard after `since`.
    pub fn since(&self, since: Timestamp) -> Vec<Rogue> {
        let all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Rogue> = all.values().filter(|rogue| rogue.at > since).cloned().collect();
        found.sort_by_key(|rogue| rogue.server);
        found
    }
}

/// Asks on one interface until told to stop, sooner when there is a suspicion; `heard` is told of each answer.
pub async fn watch_for(
    interface: Interface,
    suspicion: Arc<Notify>,
    mut heard: impl FnMut(Ipv4Addr),
    mut shutdown: watch::Receiver<bool>,
) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The first question comes soon anyway.
            () = suspicion.notified(), if pause == EVERY => {}
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
        }
        pause = EVERY;
        match ask(&interface).await {
            Ok(servers) => servers.into_iter().for_each(&mut heard),
            // A DHCP client of this host may have the port.
            Err(error) => {
                tracing::debug!(interface = %interface.name, %error, "cannot look for other DHCP servers");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SOONEST) => {}
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
        }
    }
}

async fn ask(interface: &Interface) -> io::Result<Vec<Ipv4Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))?;
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))?;
    let mut xid = [0; 4];
    getrandom::fill(&mut xid).map_err(io::Error::other)?;
    let xid = u32::from_be_bytes(xid);
    let bytes = question(interface.mac, xid).ok_or_else(|| io::Error::other("it does not encode"))?;
    socket.send_to(&bytes, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT)).await?;
    // This host may hear itself by another interface.
    let own = interface::own_addresses()?;
    let mut servers = Vec::new();
    let mut buffer = [0; 1500];
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Ok(received) = tokio::time::timeout_at(deadline, socket.recv_from(&mut buffer)).await {
        let (length, _) = received?;
        if let Some(server) = buffer.get(..length).and_then(|bytes| answer(bytes, xid))
            && !own.contains(&server)
            && servers.len() < MOST
        {
            servers.push(server);
        }
    }
    Ok(servers)
}

/// A DISCOVER whose answer comes by broadcast.
fn question(mac: MacAddr, xid: u32) -> Option<Vec<u8>> {
    let mut message = Message::default();
    message.set_chaddr(&mac.0).set_xid(xid).set_flags(Flags::default().set_broadcast());
    message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
    let mut bytes = message.to_vec().ok()?;
    bytes.resize(bytes.len().max(300), 0);
    Some(bytes)
}

/// Who answers it.
fn answer(bytes: &[u8], xid: u32) -> Option<Ipv4Addr> {
    let fixed = bytes.get(..240)?;
    if fixed.first() != Some(&2) || fixed.get(4..8) != Some(&xid.to_be_bytes()) {
        return None;
    }
    // The option is found by hand: dhcproto panics at some that are malformed.
    let mut options = bytes.get(240..)?;
    loop {
        options = match options {
            [0, rest @ ..] => rest,
            [54, 4, a, b, c, d, ..] => return Some(Ipv4Addr::new(*a, *b, *c, *d)),
            [255, ..] | [] | [_] => return None,
            [_, length, rest @ ..] => rest.get(usize::from(*length)..)?,
        };
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{Decodable, Decoder};

    use super::*;

    #[test]
    fn who_answers_is_told() {
        let asked = question(MacAddr([2, 0, 0, 0, 0, 1]), 7).expect("it encodes");
        let decoded = Message::decode(&mut Decoder::new(&asked)).expect("it decodes");
        assert!(decoded.flags().broadcast());
        assert_eq!(decoded.opts().msg_type(), Some(MessageType::Discover));
        let other = Ipv4Addr::new(10, 77, 0, 9);
        let reply = |xid: u32, options: &[u8]| {
            let mut bytes = vec![0; 240];
            bytes[0] = 2;
            bytes[4..8].copy_from_slice(&xid.to_be_bytes());
            bytes.extend(options);
            bytes
        };
        for (name, bytes, expected) in [
            ("an offer", reply(7, &[53, 1, 2, 54, 4, 10, 77, 0, 9, 255]), Some(other)),
            ("behind padding", reply(7, &[0, 0, 54, 4, 10, 77, 0, 9]), Some(other)),
            ("another's", reply(8, &[54, 4, 10, 77, 0, 9, 255]), None),
            ("a question", asked.clone(), None),
            ("cut off", reply(7, &[54, 4, 10]), None),
            ("an option too long", reply(7, &[53, 200, 1]), None),
            ("short", vec![2; 20], None),
        ] {
            assert_eq!(answer(&bytes, 7), expected, "{name}");
        }
    }

    #[test]
    fn a_server_is_told_once_an_hour_and_liars_fill_no_memory() {
        let rogues = Rogues::default();
        let one = Ipv4Addr::new(10, 77, 0, 9);
        let told: Vec<bool> =
            [1, 2, 3_600_000, 3_600_001].map(|at| rogues.hear("br0", one, Timestamp(at))).to_vec();
        assert_eq!(told, [true, false, false, true]);
        for n in 0..1000_u32 {
            rogues.hear("br0", Ipv4Addr::from_bits(n), Timestamp(5_000_000));
        }
        assert_eq!(rogues.since(Timestamp(4_000_000)).len(), MOST);
        assert!(rogues.hear("br0", one, Timestamp(5_000_001)), "liars do not make us deaf");
        assert_eq!(rogues.since(Timestamp(5_000_000)).len(), 1);
    }
}
