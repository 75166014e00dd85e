//! Who answers each DHCP message at once and decides nothing, with as many options as Firstlight: what `perfdhcp` reaches with it is
//! its own end, and no server can be seen to be faster.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use firstlight::dhcp::batch::{Datagrams, Outgoing, send};
use firstlight::dhcp::frame::SERVER_PORT;
use firstlight::dhcp::options::write::{FIXED_PART, collect};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use socket2::SockAddr;

use crate::load::BUFFER;

/// What Firstlight sends to a client that says what it wants: server, lease, netmask, broadcast address, T1 and T2, a name.
const OPTIONS: [u8; 47] = [
    54, 4, 10, 64, 0, 1, 51, 4, 0, 0, 168, 192, 1, 4, 255, 240, 0, 0, 28, 4, 10, 79, 255, 255, 58, 4, 0, 0,
    84, 96, 59, 4, 0, 0, 147, 168, 12, 8, b'n', b'o', b'd', b'e', b'-', b'a', b'b', b'c', 255,
];
/// The first address that is given.
const FIRST: u32 = 0x0a40_0100;

/// Answers until it is killed.
///
/// # Errors
/// When the system refuses the socket, or to receive.
pub fn run() -> io::Result<Infallible> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT))?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    setsockopt(&socket, SndBufForce, &BUFFER)?;
    let mut datagrams = Datagrams::default();
    loop {
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        datagrams.fill(socket.as_fd())?;
        let answers = datagrams.iter().filter_map(|(message, from, _)| {
            Some(Outgoing { bytes: answer(message)?, to: SockAddr::from(from) })
        });
        let answers: Vec<Outgoing> = answers.collect();
        let mut rest = answers.as_slice();
        while !rest.is_empty() {
            // Whom it could not be sent to asks again.
            let sent = send(socket.as_fd(), rest).unwrap_or(1).max(1);
            rest = rest.get(sent..).unwrap_or_default();
        }
    }
}

/// OFFER to a DISCOVER, ACK to a REQUEST (RFC 2132 section 9.6).
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let (fixed, options) = message.split_at_checked(FIXED_PART)?;
    let kind = match collect(options).get(&53).map(Vec::as_slice) {
        Some([1]) => 2,
        Some([3]) => 5,
        _ => return None,
    };
    let mut answer = fixed.to_vec();
    let client = u32::from_be_bytes([0, answer[31], answer[32], answer[33]]) & 0x000f_ffff;
    answer[0] = 2;
    answer[16..20].copy_from_slice(&(FIRST + client).to_be_bytes());
    answer.extend([53, 1, kind]);
    answer.extend(OPTIONS);
    answer.resize(answer.len().max(300), 0);
    Some(answer)
}
