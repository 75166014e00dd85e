//! The system calls on block devices that nobody else wraps: `linux/fs.h` and `linux/nvme_ioctl.h`.
#![expect(unsafe_code, reason = "ioctl with plain structs of asserted size, on a file that is open")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

mod raw {
    use super::AdminCommand;

    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_write_ptr_bad!(blksecdiscard, nix::request_code_none!(0x12, 125), [u64; 2]);
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, AdminCommand);
}

/// `struct nvme_passthru_cmd` of `linux/nvme_ioctl.h`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct AdminCommand {
    /// What is to be done; `NVMe` base specification, "Opcodes for Admin Commands".
    pub opcode: u8,
    /// Fused operations; 0.
    pub flags: u8,
    reserved: u16,
    /// Namespace, or `0xffff_ffff` for all.
    pub nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    /// Command dwords 10 to 15.
    pub cdw: [u32; 6],
    /// How long the kernel waits, in milliseconds; 0 is its default of a minute.
    pub timeout_ms: u32,
    result: u32,
}

impl AdminCommand {
    /// A command with command dword 10; all else is 0.
    pub fn new(opcode: u8, nsid: u32, cdw10: u32) -> Self {
        Self { opcode, nsid, cdw: [cdw10, 0, 0, 0, 0, 0], ..Self::default() }
    }
}

const _: () = assert!(size_of::<AdminCommand>() == 72, "the kernel's struct has 72 bytes");
const _: () = assert!(size_of::<usize>() == 8, "BLKGETSIZE64 writes 64 bits");

/// How an `NVMe` command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The controller's status: code type (bits 10:8) and code (7:0).
    #[error("the controller answers with status {0:#05x}")]
    Status(u16),
    /// It did not come that far.
    #[error("{0}")]
    System(#[from] Errno),
}

/// Size in bytes.
pub fn size_bytes(disk: &File) -> nix::Result<u64> {
    let mut size = 0;
    // SAFETY: the kernel writes 64 bits.
    unsafe { raw::blkgetsize64(disk.as_raw_fd(), &raw mut size) }?;
    u64::try_from(size).map_err(|_| Errno::EOVERFLOW)
}

/// Logical block size in bytes: a power of two, at least 512.
pub fn logical_block_bytes(disk: &File) -> nix::Result<u32> {
    let mut size = 0;
    // SAFETY: the kernel writes one int.
    unsafe { raw::blksszget(disk.as_raw_fd(), &raw mut size) }?;
    let size = u32::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size.is_power_of_two() && (512..=1 << 16).contains(&size) { Ok(size) } else { Err(Errno::EINVAL) }
}

/// Lets the kernel read the partition table again.
pub fn reread_partitions(disk: &File) -> nix::Result<()> {
    // SAFETY: no argument.
    unsafe { raw::blkrrpart(disk.as_raw_fd()) }.map(drop)
}

/// Writes and forgets what the kernel holds of the disk.
pub fn flush_buffers(disk: &File) -> nix::Result<()> {
    // SAFETY: no argument.
    unsafe { raw::blkflsbuf(disk.as_raw_fd()) }.map(drop)
}

/// Discards `length` bytes from `start`; with `secure`, the copies that the device made of them too.
pub fn discard(disk: &File, start: u64, length: u64, secure: bool) -> nix::Result<()> {
    let range = [start, length];
    // SAFETY: the kernel reads two u64.
    unsafe {
        if secure {
            raw::blksecdiscard(disk.as_raw_fd(), &raw const range)
        } else {
            raw::blkdiscard(disk.as_raw_fd(), &raw const range)
        }
    }
    .map(drop)
}

/// Sends an admin command that reads into `data`, or one without data when that is empty.
pub fn nvme_admin(disk: &File, mut command: AdminCommand, data: &mut [u8]) -> Result<(), AdminError> {
    command.data_len = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
    command.addr = if data.is_empty() { 0 } else { data.as_mut_ptr().expose_provenance() as u64 };
    // SAFETY: the struct is the kernel's; it writes at most `data_len` bytes to `addr`, borrowed until then.
    let status =
        unsafe { raw::nvme_admin(disk.as_raw_fd(), &raw mut command) }.map_err(AdminError::System)?;
    match u16::try_from(status) {
        Ok(0) => Ok(()),
        // Without the bits More and Do Not Retry.
        Ok(status) => Err(AdminError::Status(status & 0x7ff)),
        Err(_) => Err(AdminError::System(Errno::EIO)),
    }
}
