//! Listens on network ports for what they are plugged into.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::lldp;
use crate::model::inventory::Lldp;

/// The nearest bridge's group address (IEEE 802.1AB table 7-1), filled up as packet(7) wants it.
const NEAREST_BRIDGE: [u8; 8] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e, 0, 0];
/// Frames that are looked at: many more than switches send in a minute.
const FRAMES: usize = 10_000;

/// What was heard on these ports, by their names, within `duration`; ends as soon as every port has heard something.
/// The last frame counts. Empty, with a line in the log, when the system refuses the socket (it needs `CAP_NET_RAW`).
pub fn listen(ports: &[String], duration: Duration) -> HashMap<String, Lldp> {
    let mut heard = HashMap::new();
    if ports.is_empty() {
        return heard;
    }
    if let Err(error) = hear(ports, duration, &mut heard) {
        tracing::debug!(%error, "not listening for LLDP");
    }
    heard
}

fn hear(ports: &[String], duration: Duration, heard: &mut HashMap<String, Lldp>) -> io::Result<()> {
    let deadline = Instant::now() + duration;
    let protocol = Protocol::from(i32::from(lldp::ETHERTYPE.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    let mut names = HashMap::new();
    for port in ports {
        let joined = if_nametoindex(port.as_str()).map_err(io::Error::from).and_then(|index| {
            join(&socket, index)?;
            Ok(index)
        });
        match joined {
            Ok(index) => drop(names.insert(index, port)),
            Err(error) => tracing::debug!(nic = port, %error, "not listening for LLDP on this port"),
        }
    }
    let mut buffer = [0u8; 2048];
    for _ in 0..FRAMES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || heard.len() >= names.len() {
            break;
        }
        // Rounded up, so that the last millisecond is no busy loop.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(nix::Error::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let (length, from) = match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            // A port that went down meanwhile.
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => continue,
            Err(error) => return Err(error.into()),
        };
        let index = from
            .as_ref()
            .and_then(SockaddrStorage::as_link_addr)
            .map(|link| (link.ifindex(), link.pkttype()));
        let Some((index, kind)) = index else { continue };
        let port = u32::try_from(index).ok().and_then(|index| names.get(&index));
        let neighbour = buffer.get(..length).filter(|_| kind != libc::PACKET_OUTGOING).and_then(lldp::parse);
        if let (Some(port), Some(neighbour)) = (port, neighbour) {
            let last = heard.insert((*port).clone(), neighbour.clone());
            if last.as_ref() != Some(&neighbour) {
                tracing::debug!(
                    nic = *port,
                    switch = neighbour.system_name,
                    port = neighbour.port,
                    "LLDP heard"
                );
            }
        }
    }
    Ok(())
}

/// Has the port's hardware take frames to the group address, as long as the socket lives (packet(7)).
#[expect(unsafe_code, reason = "no library offers PACKET_ADD_MEMBERSHIP for a multicast address")]
fn join(socket: &Socket, index: u32) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(invalid)?,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).map_err(invalid)?,
        mr_alen: 6,
        mr_address: NEAREST_BRIDGE,
    };
    let size = libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).map_err(invalid)?;
    // SAFETY: the option takes a packet_mreq, which lives until the call returns, and this is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
