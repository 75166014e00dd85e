//! Takes network ports up for a while: without that they have neither link nor neighbour.

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use socket2::{Domain, Socket, Type};

/// The ports that were taken up; they are taken down again when this is dropped.
pub struct Raised {
    socket: Option<Socket>,
    ports: Vec<String>,
}

impl Raised {
    /// Takes up those of the ports that are down; one that refuses is left out, with a line in the log.
    pub fn raise(ports: &[String]) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)
            .inspect_err(|error| tracing::debug!(%error, "no port is taken up"))
            .ok();
        let ports = ports.iter().filter(|port| {
            let Some(socket) = &socket else { return false };
            let raised = set_up(socket, port, true);
            raised
                .inspect_err(|error| tracing::debug!(nic = port, %error, "this port is not taken up"))
                .unwrap_or(false)
        });
        Self { ports: ports.cloned().collect(), socket }
    }

    /// Whether all of them were up already.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let Some(socket) = &self.socket else { return };
        for port in &self.ports {
            if let Err(error) = set_up(socket, port, false) {
                tracing::debug!(nic = port, %error, "this port stays up");
            }
        }
    }
}

/// Sets or clears `IFF_UP` (netdevice(7)), and tells whether it was otherwise before.
#[expect(unsafe_code, reason = "no library without an event loop offers SIOCSIFFLAGS")]
fn set_up(socket: &Socket, port: &str, up: bool) -> io::Result<bool> {
    nix::ioctl_readwrite_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    let flag = libc::c_short::try_from(libc::IFF_UP).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: an ifreq is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    if port.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(port.bytes()) {
        *target = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: both calls take an ifreq with a name, which lives until they return; the first fills in the flags.
    unsafe {
        get_flags(socket.as_raw_fd(), &raw mut request)?;
        let flags = request.ifr_ifru.ifru_flags;
        if (flags & flag != 0) == up {
            return Ok(false);
        }
        request.ifr_ifru.ifru_flags = if up { flags | flag } else { flags & !flag };
        set_flags(socket.as_raw_fd(), &raw const request)?;
    }
    Ok(true)
}
