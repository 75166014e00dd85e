//! Other `DHCPv6` servers on our links: asked for now and then, as on the IPv4 side (`dhcp/rogue.rs`), by a SOLICIT of our own
//! that our own server does not hear.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::message::{LONGEST, Message, find, kind, open, option};
use super::server::{CLIENT_PORT, SERVER_PORT, SERVERS};
use crate::dhcp::interface::Interface;
use crate::model::{Duid, MacAddr};

/// Between two questions.
const EVERY: Duration = Duration::from_secs(600);
/// Before the first: a link that just came up forwards nothing yet.
const FIRST: Duration = Duration::from_secs(3);
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Answers that are looked at.
const MOST: usize = 64;

/// Asks on one interface until told to stop; `heard` is told of each server that is not called `own`.
pub async fn watch_for(
    interface: Interface,
    own: Duid,
    mut heard: impl FnMut(Ipv6Addr),
    mut shutdown: watch::Receiver<bool>,
) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
        }
        pause = EVERY;
        match ask(&interface, &own).await {
            Ok(servers) => servers.into_iter().for_each(&mut heard),
            // A DHCPv6 client of this host may have the port.
            Err(error) => {
                tracing::debug!(interface = %interface.name, %error, "cannot look for other DHCPv6 servers");
            }
        }
    }
}

async fn ask(interface: &Interface, own: &Duid) -> io::Result<Vec<Ipv6Addr>> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_reuse_address(true)?;
    socket.set_multicast_loop_v6(false)?;
    socket.bind(&SockAddr::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0)))?;
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))?;
    let mut xid = [0; 3];
    getrandom::fill(&mut xid).map_err(io::Error::other)?;
    let all = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, interface.index);
    socket.send_to(&question(interface.mac, xid), SocketAddr::V6(all)).await?;
    let mut servers = Vec::new();
    let mut buffer = [0; LONGEST];
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while servers.len() < MOST
        && let Ok(received) = tokio::time::timeout_at(deadline, socket.recv_from(&mut buffer)).await
    {
        let (length, from) = received?;
        if let IpAddr::V6(server) = from.ip()
            && buffer.get(..length).is_some_and(|bytes| is_anothers(bytes, xid, own))
        {
            servers.push(server);
        }
    }
    Ok(servers)
}

/// A SOLICIT (RFC 8415 section 18.2.1) that is never followed by a REQUEST: nothing is kept of it.
fn question(mac: MacAddr, xid: [u8; 3]) -> Vec<u8> {
    let name = [&[0, 3, 0, 1][..], &mac.0].concat();
    let association = [&[0, 0, 0, 1][..], &[0; 8]].concat();
    let options = vec![
        (option::CLIENT_ID, name),
        (option::ELAPSED_TIME, vec![0, 0]),
        (option::ORO, vec![0, 23]),
        (option::IA_NA, association),
    ];
    Message { kind: kind::SOLICIT, xid, options }.encode(&[])
}

/// Whether another server answers it.
fn is_anothers(bytes: &[u8], xid: [u8; 3], own: &Duid) -> bool {
    let Ok((hops, message)) = open(bytes) else { return false };
    let server = find(&message.options, option::SERVER_ID);
    hops.is_empty()
        && matches!(message.kind, kind::ADVERTISE | kind::REPLY)
        && message.xid == xid
        && server.is_some_and(|server| server != own.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::{Request, request::Wants};
    use super::*;

    #[test]
    fn who_answers_is_told() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let asked = question(mac, [1, 2, 3]);
        let request = Request::parse(&asked, "fe80::1".parse().expect("an address")).expect("a request");
        assert_eq!((request.wants, request.client.mac), (Wants::Solicit, Some(mac)));
        assert_eq!(request.associations.len(), 1);
        let own = Duid::new(&[0, 4, 9, 9]).expect("a DUID");
        let answer = |kind: u8, xid: u8, server: Option<&[u8]>| {
            let options = server.map(|server| (option::SERVER_ID, server.to_vec())).into_iter().collect();
            Message { kind, xid: [1, 2, xid], options }.encode(&[])
        };
        for (name, bytes, expected) in [
            ("an offer of another", answer(kind::ADVERTISE, 3, Some(&[0, 4, 1])), true),
            ("our own", answer(kind::ADVERTISE, 3, Some(own.as_bytes())), false),
            ("another's question", answer(kind::ADVERTISE, 4, Some(&[0, 4, 1])), false),
            ("nobody's", answer(kind::ADVERTISE, 3, None), false),
            ("a question", asked.clone(), false),
            ("cut off", vec![2, 1], false),
        ] {
            assert_eq!(is_anothers(&bytes, [1, 2, 3], &own), expected, "{name}");
        }
    }
}
