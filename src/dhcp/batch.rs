//! Many datagrams in one system call: recvmmsg(2) and sendmmsg(2).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg};
use socket2::SockAddr;

use super::request::{Cast, LONGEST};

/// Datagrams that one call takes or sends at most.
pub const BATCH: usize = 64;

/// Datagrams as they came in; the memory serves again.
pub struct Datagrams {
    buffers: Vec<[u8; LONGEST + 1]>,
    received: Vec<(usize, SocketAddr, Cast)>,
}

impl Default for Datagrams {
    fn default() -> Self {
        // One byte more than is taken, so that a longer datagram is seen to be longer.
        Self { buffers: vec![[0; LONGEST + 1]; BATCH], received: Vec::with_capacity(BATCH) }
    }
}

impl Datagrams {
    /// Takes what waits at the socket, without waiting for more.
    ///
    /// # Errors
    /// When nothing waits, or the system fails.
    pub fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.received.clear();
        let beside = nix::cmsg_space!(libc::in_pktinfo);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(self.buffers.len(), Some(beside));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)?;
        let from = |address: Option<SockaddrIn>| {
            address.map_or(SocketAddrV4::new([0, 0, 0, 0].into(), 0), |address| {
                SocketAddrV4::new(address.ip(), address.port())
            })
        };
        self.received.extend(
            received.map(|message| (message.bytes, SocketAddr::V4(from(message.address)), cast(&message))),
        );
        Ok(())
    }

    /// How many came in.
    pub fn count(&self) -> usize {
        self.received.len()
    }

    /// What came in, where from, and how: that is known of sockets with `IP_PKTINFO`, all else counts as sent to us.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr, Cast)> {
        let taken = self.buffers.iter().zip(&self.received);
        taken.filter_map(|(buffer, (length, from, cast))| Some((buffer.get(..*length)?, *from, *cast)))
    }
}

/// How a datagram came (ip(7), `IP_PKTINFO`): what was sent to an address of ours has that as its local address, too; for a broadcast
/// the system puts there what it would answer from.
fn cast(message: &RecvMsg<'_, '_, SockaddrIn>) -> Cast {
    let all_to_us = |control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => info.ipi_spec_dst.s_addr == info.ipi_addr.s_addr,
        _ => true,
    };
    let to_us = message.cmsgs().map_or(true, |mut controls| controls.all(all_to_us));
    if to_us { Cast::Unicast } else { Cast::Broadcast }
}

/// A datagram or a frame, and where it goes.
pub struct Outgoing {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Where to.
    pub to: SockAddr,
}

/// Sends the first ones, as many as go without waiting; how many did.
///
/// # Errors
/// When the very first does not go: the system says why.
#[expect(
    unsafe_code,
    reason = "nix 0.31 tells how many went only by reading addresses that sendmmsg does not write"
)]
pub fn send(socket: BorrowedFd<'_>, all: &[Outgoing]) -> io::Result<usize> {
    let all = all.get(..BATCH).unwrap_or(all);
    let mut parts: Vec<libc::iovec> = all
        .iter()
        .map(|one| libc::iovec { iov_base: one.bytes.as_ptr().cast_mut().cast(), iov_len: one.bytes.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = all
        .iter()
        .zip(&mut parts)
        .map(|(one, part)| libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: one.to.as_ptr().cast_mut().cast(),
                msg_namelen: one.to.len(),
                msg_iov: part,
                msg_iovlen: 1,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        })
        .collect();
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
    // SAFETY: each header points to one address and one part, and each part to bytes, that outlive the call; `count` is the
    // number of headers. The system reads what they point to and writes `msg_len` alone.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_sent_in_one_go_comes_in_one_go_and_one_that_does_not_go_stops_none_behind_it() {
        let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let (from, to) = (socket(), socket());
        let target = SockAddr::from(to.local_addr().expect("an address"));
        let one = |bytes: Vec<u8>| Outgoing { bytes, to: target.clone() };
        let mut all: Vec<Outgoing> = (0..70_u8).map(|n| one(vec![n; usize::from(n) * 22])).collect();
        // Longer than any datagram.
        all.insert(10, one(vec![0; 70_000]));
        let (mut rest, mut failed) = (&all[..], 0);
        while !rest.is_empty() {
            let gone = send(from.as_fd(), rest).unwrap_or_else(|_| {
                failed += 1;
                1
            });
            assert!((1..=BATCH).contains(&gone));
            rest = &rest[gone..];
        }
        assert_eq!(failed, 1);
        let mut datagrams = Datagrams::default();
        let mut lengths = Vec::new();
        while datagrams.fill(to.as_fd()).is_ok() {
            assert!(datagrams.iter().all(|(_, source, _)| source == from.local_addr().expect("an address")));
            lengths.extend(datagrams.iter().map(|(bytes, ..)| bytes.len()));
        }
        let longest = LONGEST + 1;
        let expected: Vec<usize> = (0..70).map(|n| (n * 22).min(longest)).collect();
        assert_eq!(lengths, expected);
        assert_eq!(datagrams.iter().count(), 0, "nothing waits");
    }
    #[test]
    fn what_is_sent_to_everybody_is_told_from_what_is_sent_to_us() {
        use nix::sys::socket::{setsockopt, sockopt::Ipv4PacketInfo};
        let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        from.set_broadcast(true).expect("allowed to broadcast");
        let everybody = Ipv4Addr::new(127, 255, 255, 255);
        for (to, told, expected) in [
            (Ipv4Addr::LOCALHOST, true, Cast::Unicast),
            (everybody, true, Cast::Broadcast),
            // Rather believed than refused: a renewal that is taken for a rebinding would end a lease.
            (everybody, false, Cast::Unicast),
        ] {
            let socket = UdpSocket::bind((to, 0)).expect("a socket");
            setsockopt(&socket, Ipv4PacketInfo, &told).expect("the option");
            from.send_to(b"x", socket.local_addr().expect("its address")).expect("sent");
            let mut datagrams = Datagrams::default();
            datagrams.fill(socket.as_fd()).expect("it is there: loopback delivers at once");
            let casts: Vec<Cast> = datagrams.iter().map(|(.., cast)| cast).collect();
            assert_eq!(casts, [expected], "{to}, told: {told}");
        }
    }
}
