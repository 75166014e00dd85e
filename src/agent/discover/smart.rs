//! Asks disks how they are: `NVMe` by an admin command, SATA through SCSI's ATA pass-through.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use nix::libc;

use crate::model::inventory::{Disk, Transport};

/// How long a disk has for an answer, in milliseconds; one that spins up needs several seconds.
const TIMEOUT_MS: u32 = 10_000;
/// The size of `NVMe`'s SMART log page.
const LOG_PAGE: usize = 512;

/// Whether it is of a kind that can be asked.
pub fn can_ask(disk: &Disk) -> bool {
    matches!(disk.transport, Transport::Nvme | Transport::Sata)
}

/// Fills in wear and health where the disk tells; see [`can_ask`].
pub fn ask(root: &Path, disk: &mut Disk) {
    let path = root.join("dev").join(&disk.name);
    // Without O_NONBLOCK a removable disk would be waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    if let Err(error) = file.and_then(|file| fill(&file, disk)) {
        tracing::debug!(path = %path.display(), %error, "SMART not read");
    }
}

fn fill(file: &File, disk: &mut Disk) -> io::Result<()> {
    if disk.transport == Transport::Nvme {
        (disk.wear_percent_used, disk.smart_ok) = health(&log_page(file)?);
    } else {
        disk.smart_ok = return_status(file)?;
    }
    Ok(())
}

/// Percentage used and health of the SMART log page (NVM Express base specification, SMART / Health Information).
pub fn health(page: &[u8; LOG_PAGE]) -> (Option<u8>, Option<bool>) {
    // Bit 1 is the temperature: the room's fault, and gone tomorrow.
    const TEMPERATURE: u8 = 1 << 1;
    let [warning, low, high, _, _, used, ..] = *page;
    // In kelvins: a page without a temperature was never filled in.
    if [low, high] == [0, 0] { (None, None) } else { (Some(used), Some(warning & !TEMPERATURE == 0)) }
}

/// `struct nvme_passthru_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// Get Log Page (opcode 02h) of SMART / Health Information (page 02h) for the whole controller.
#[expect(unsafe_code, reason = "no library offers NVME_IOCTL_ADMIN_CMD")]
fn log_page(disk: &File) -> nix::Result<[u8; LOG_PAGE]> {
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, NvmeCommand);
    const DOUBLE_WORDS: u32 = 512 / 4 - 1;
    let mut page = [0u8; LOG_PAGE];
    let mut command = NvmeCommand {
        opcode: 0x02,
        nsid: u32::MAX,
        addr: u64::try_from(page.as_mut_ptr().expose_provenance()).map_err(|_| nix::Error::EINVAL)?,
        data_len: 512,
        cdw10: 0x02 | (DOUBLE_WORDS << 16),
        timeout_ms: TIMEOUT_MS,
        ..NvmeCommand::default()
    };
    // SAFETY: the structure is the kernel's, and its buffer, of the size it tells, outlives the call.
    let status = unsafe { nvme_admin(disk.as_raw_fd(), &raw mut command) }?;
    // A positive number is the NVMe status: the disk refused.
    if status == 0 { Ok(page) } else { Err(nix::Error::EIO) }
}

/// `struct sg_io_hdr` of scsi/sg.h.
#[repr(C)]
struct SgHeader {
    interface_id: i32,
    dxfer_direction: i32,
    cmd_len: u8,
    mx_sb_len: u8,
    iovec_count: u16,
    dxfer_len: u32,
    dxferp: *mut u8,
    cmdp: *mut u8,
    sbp: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: i32,
    usr_ptr: *mut u8,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sb_len_wr: u8,
    host_status: u16,
    driver_status: u16,
    resid: i32,
    duration: u32,
    info: u32,
}

/// SMART RETURN STATUS (ATA8-ACS section 7.52.7) in an ATA PASS-THROUGH (16) (SAT-3 section 12.2.2).
#[expect(unsafe_code, reason = "no library offers SG_IO")]
fn return_status(disk: &File) -> nix::Result<Option<bool>> {
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, SgHeader);
    // No data (protocol 3), registers back in the sense data (CK_COND).
    let mut command = [0x85u8, 3 << 1, 0x20, 0, 0xda, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0];
    let mut sense = [0u8; 64];
    let mut header = SgHeader {
        interface_id: i32::from(b'S'),
        dxfer_direction: -1,
        cmd_len: 16,
        mx_sb_len: 64,
        iovec_count: 0,
        dxfer_len: 0,
        dxferp: ptr::null_mut(),
        cmdp: command.as_mut_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: TIMEOUT_MS,
        flags: 0,
        pack_id: 0,
        usr_ptr: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the structure is the kernel's, and its buffers, of the sizes it tells, outlive the call.
    unsafe { sg_io(disk.as_raw_fd(), &raw mut header) }?;
    Ok(verdict(&sense))
}

/// The registers in descriptor-format sense data: 4F/C2 is healthy, F4/2C is failing, all else is no answer.
pub fn verdict(sense: &[u8]) -> Option<bool> {
    // ATA Status Return descriptor (SAT-3 section 12.2.6).
    let descriptor = sense.get(8..).filter(|_| matches!(sense.first(), Some(0x72 | 0x73)))?;
    if !descriptor.starts_with(&[0x09, 0x0c]) {
        return None;
    }
    match (descriptor.get(9)?, descriptor.get(11)?) {
        (0x4f, 0xc2) => Some(true),
        (0xf4, 0x2c) => Some(false),
        _ => None,
    }
}
