//! Talks to the management controller through the kernel's IPMI driver.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long the controller has for an answer; slow ones take a second.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const ANSWER: usize = 256;

/// An open way to the controller.
pub struct Ipmi {
    device: File,
    last_id: libc::c_long,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IpmiError {
    /// The system failed; mostly there is no such device, as there is no controller or no driver is loaded.
    #[error("the IPMI device cannot be used: {0}; load ipmi_si and ipmi_devintf if this machine has a BMC")]
    System(#[from] io::Error),
    /// Nothing came in time.
    #[error("the BMC did not answer within {} s; it may be restarting", TIMEOUT.as_secs())]
    Timeout,
    /// It answered with an error (IPMI 2.0 table 5-2).
    #[error("the BMC refused the command with completion code {0:#04x}")]
    Refused(u8),
    /// The answer is not one.
    #[error("the BMC's answer has no completion code")]
    Short,
}

impl From<nix::Error> for IpmiError {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

/// `struct ipmi_msg` of linux/ipmi.h.
#[repr(C)]
struct Message {
    netfn: u8,
    cmd: u8,
    data_len: u16,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct Request {
    addr: *mut u8,
    addr_len: u32,
    msgid: libc::c_long,
    msg: Message,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct Received {
    recv_type: i32,
    addr: *mut u8,
    addr_len: u32,
    msgid: libc::c_long,
    msg: Message,
}

/// `struct ipmi_system_interface_addr`.
#[repr(C)]
struct SystemAddress {
    addr_type: i32,
    channel: i16,
    lun: u8,
}

/// An answer to a command of ours (linux/ipmi.h).
const IPMI_RESPONSE_RECV_TYPE: i32 = 1;

impl Ipmi {
    /// Opens the first controller.
    pub fn open(root: &Path) -> Result<Self, IpmiError> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for path in ["dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0"] {
            result = OpenOptions::new().read(true).write(true).open(root.join(path));
            if result.is_ok() {
                break;
            }
        }
        Ok(Self { device: result?, last_id: 0 })
    }

    /// Sends a command, and returns the data of its answer, behind the completion code.
    pub fn command(&mut self, netfn: u8, cmd: u8, data: &[u8]) -> Result<Vec<u8>, IpmiError> {
        self.last_id = self.last_id.wrapping_add(1);
        self.send(netfn, cmd, data)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(IpmiError::Timeout);
            }
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(nix::Error::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            // An answer to a command that was given up on is dropped.
            let Some(answer) = self.receive()? else { continue };
            return match answer.split_first() {
                Some((0, data)) => Ok(data.to_vec()),
                Some((code, _)) => Err(IpmiError::Refused(*code)),
                None => Err(IpmiError::Short),
            };
        }
    }

    #[expect(unsafe_code, reason = "no library offers IPMICTL_SEND_COMMAND")]
    fn send(&self, netfn: u8, cmd: u8, data: &[u8]) -> Result<(), IpmiError> {
        nix::ioctl_read!(send_command, b'i', 13, Request);
        let mut data = data.to_vec();
        let data_len = u16::try_from(data.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // The controller itself: IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL.
        let mut address = SystemAddress { addr_type: 0x0c, channel: 0xf, lun: 0 };
        let mut request = Request {
            addr: (&raw mut address).cast(),
            addr_len: u32::try_from(size_of::<SystemAddress>()).unwrap_or(8),
            msgid: self.last_id,
            msg: Message { netfn, cmd, data_len, data: data.as_mut_ptr() },
        };
        // SAFETY: the structure is the kernel's, which copies it and what it points at before the call returns.
        unsafe { send_command(self.device.as_raw_fd(), &raw mut request) }?;
        Ok(())
    }

    #[expect(unsafe_code, reason = "no library offers IPMICTL_RECEIVE_MSG_TRUNC")]
    fn receive(&self) -> Result<Option<Vec<u8>>, IpmiError> {
        nix::ioctl_readwrite!(receive_message, b'i', 11, Received);
        let mut data = vec![0u8; ANSWER];
        // As large as any of the kernel's addresses (IPMI_MAX_ADDR_SIZE).
        let mut address = [0u64; 8];
        let mut received = Received {
            recv_type: 0,
            addr: address.as_mut_ptr().cast(),
            addr_len: 64,
            msgid: 0,
            msg: Message {
                netfn: 0,
                cmd: 0,
                data_len: u16::try_from(ANSWER).unwrap_or(0),
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: the structure is the kernel's, and its buffers, of the sizes it tells, outlive the call.
        match unsafe { receive_message(self.device.as_raw_fd(), &raw mut received) } {
            // EMSGSIZE: the answer was cut to the buffer.
            Ok(_) | Err(nix::Error::EMSGSIZE) => {}
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        data.truncate(usize::from(received.msg.data_len));
        let ours = received.recv_type == IPMI_RESPONSE_RECV_TYPE && received.msgid == self.last_id;
        Ok(ours.then_some(data))
    }
}
