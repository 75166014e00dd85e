//! `NVMe` controllers: what they can erase, and the two commands that do it.
//!
//! Field positions are those of the NVM Express base specification 1.4; later ones keep them.

use std::fs::File;
use std::time::{Duration, Instant};

use super::ioctl::{AdminCommand, AdminError, nvme_admin};

/// Opcodes of admin commands.
const GET_LOG_PAGE: u8 = 0x02;
/// See [`GET_LOG_PAGE`].
const IDENTIFY: u8 = 0x06;
/// See [`GET_LOG_PAGE`].
const FORMAT_NVM: u8 = 0x80;
/// See [`GET_LOG_PAGE`].
const SANITIZE: u8 = 0x84;
/// The log page of Sanitize.
const SANITIZE_STATUS: u32 = 0x81;
/// All namespaces.
const ALL: u32 = 0xffff_ffff;
/// How often the progress of Sanitize is asked for.
const POLL: Duration = Duration::from_millis(500);
/// Consecutive failures to ask that are borne: controllers restart in the midst.
const POLL_FAILURES: u32 = 60;

/// What a controller and a namespace say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of the specification, independent of the others"
)]
pub struct Capabilities {
    /// SANICAP bit 1.
    pub sanitize_block: bool,
    /// SANICAP bit 0.
    pub sanitize_crypto: bool,
    /// OACS bit 1.
    pub format: bool,
    /// FNA bit 2: secure erase setting 2.
    pub format_crypto: bool,
    /// FNA bits 0 and 1: a format, or its secure erase, reaches all namespaces.
    pub format_reaches_all: bool,
    /// The controller has no namespace but this.
    pub alone: bool,
    /// Command dword 10 of a format that keeps block size, metadata and protection as they are.
    pub format_as_is: u32,
}

/// How a sanitize operation ended badly.
#[derive(Debug, thiserror::Error)]
pub enum SanitizeError {
    /// The command or its log was refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The controller gave up.
    #[error("the controller says that sanitizing failed")]
    Failed,
    /// It never began.
    #[error("the controller took the command and did not begin")]
    NotBegun,
    /// It takes too long.
    #[error("it was not done after {} s", .0.as_secs())]
    TooLong(Duration),
}

/// Secure erase settings of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureErase {
    /// All user data.
    UserData = 1,
    /// The key.
    Crypto = 2,
}

/// What there is to choose from for the namespace `nsid`.
pub fn capabilities(disk: &File, nsid: u32) -> Result<Capabilities, AdminError> {
    let controller = identify(disk, 1, 0)?;
    let namespace = identify(disk, 0, nsid)?;
    let manages_namespaces = u16_at(&controller, 256) & 1 << 3 != 0;
    // Namespaces that exist, attached or not; those attached, where there is no other list.
    let alone = match if manages_namespaces { identify(disk, 0x10, 0) } else { identify(disk, 0x02, 0) } {
        Ok(list) => u32_at(&list, 0) == nsid && u32_at(&list, 4) == 0,
        Err(_) => nsid == 1 && u32_at(&controller, 516) == 1,
    };
    Ok(read_capabilities(&controller, &namespace, alone))
}

fn read_capabilities(controller: &[u8; 4096], namespace: &[u8; 4096], alone: bool) -> Capabilities {
    let (oacs, fna, sanicap) = (u16_at(controller, 256), byte_at(controller, 524), u32_at(controller, 328));
    let (flbas, dps) = (u32::from(byte_at(namespace, 26)), u32::from(byte_at(namespace, 29)));
    let metadata_at_end = flbas >> 4 & 1;
    let format_as_is =
        (flbas & 0xf) | metadata_at_end << 4 | (dps & 7) << 5 | (dps >> 3 & 1) << 8 | (flbas >> 5 & 3) << 12;
    Capabilities {
        sanitize_block: sanicap & 2 != 0,
        sanitize_crypto: sanicap & 1 != 0,
        format: oacs & 2 != 0,
        format_crypto: fna & 4 != 0,
        format_reaches_all: fna & 3 != 0,
        alone,
        format_as_is,
    }
}

fn identify(disk: &File, cns: u32, nsid: u32) -> Result<[u8; 4096], AdminError> {
    let mut data = [0; 4096];
    nvme_admin(disk, AdminCommand::new(IDENTIFY, nsid, cns), &mut data)?;
    Ok(data)
}

/// Formats the namespace `nsid`; comes back when it is done.
pub fn format(
    disk: &File,
    nsid: u32,
    capabilities: &Capabilities,
    erase: SecureErase,
    limit: Duration,
) -> Result<(), AdminError> {
    let cdw10 = capabilities.format_as_is | (erase as u32) << 9;
    let timeout_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    let mut command = AdminCommand::new(FORMAT_NVM, nsid, cdw10);
    command.timeout_ms = timeout_ms;
    nvme_admin(disk, command, &mut [])
}

/// Sanitizes all of the controller's storage; comes back when it is done. `progress` gets 0 to 65,535.
pub fn sanitize(
    disk: &File,
    crypto: bool,
    limit: Duration,
    progress: &mut dyn FnMut(u16),
) -> Result<(), SanitizeError> {
    let action = if crypto { 4 } else { 2 };
    // Bit 3, unrestricted exit: should it fail, other methods may still be tried.
    nvme_admin(disk, AdminCommand::new(SANITIZE, 0, action | 1 << 3), &mut [])?;
    let begun = Instant::now();
    let mut failures = 0;
    while begun.elapsed() < limit {
        std::thread::sleep(POLL);
        match sanitize_status(disk) {
            Ok((_, 1 | 4)) => return Ok(()),
            Ok((part, 2)) => progress(part),
            Ok((_, 3)) => {
                leave_failure_mode(disk);
                return Err(SanitizeError::Failed);
            }
            Ok(_) => return Err(SanitizeError::NotBegun),
            Err(error) if failures == POLL_FAILURES => return Err(error.into()),
            Err(_) => {
                failures += 1;
                continue;
            }
        }
        failures = 0;
    }
    Err(SanitizeError::TooLong(limit))
}

/// SPROG, and the lowest three bits of SSTAT.
fn sanitize_status(disk: &File) -> Result<(u16, u16), AdminError> {
    let mut log = [0; 512];
    // The number of dwords less one stands in the upper half.
    nvme_admin(disk, AdminCommand::new(GET_LOG_PAGE, ALL, SANITIZE_STATUS | 127 << 16), &mut log)?;
    Ok((u16_at(&log, 0), u16_at(&log, 2) & 7))
}

/// So that the disk can be written again.
fn leave_failure_mode(disk: &File) {
    if let Err(error) = nvme_admin(disk, AdminCommand::new(SANITIZE, 0, 1), &mut []) {
        tracing::warn!(%error, "the controller stays in the failure mode of Sanitize");
    }
}

fn byte_at(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or_default()
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([byte_at(data, at), byte_at(data, at + 1)])
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from(u16_at(data, at)) | u32::from(u16_at(data, at + 2)) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_stand_where_the_specification_puts_them() {
        let (mut controller, mut namespace) = ([0; 4096], [0; 4096]);
        assert_eq!(
            read_capabilities(&controller, &namespace, true),
            Capabilities { alone: true, ..Capabilities::default() }
        );
        controller[256] = 0b0010;
        controller[524] = 0b0110;
        controller[328] = 0b0011;
        // Format 0x12 (upper bits 01, lower 0010), metadata at the end; protection 3 at the front.
        namespace[26] = 0b0011_0010;
        namespace[29] = 0b1011;
        let read = read_capabilities(&controller, &namespace, false);
        assert_eq!(
            read,
            Capabilities {
                sanitize_block: true,
                sanitize_crypto: true,
                format: true,
                format_crypto: true,
                format_reaches_all: true,
                alone: false,
                format_as_is: 0b01_0001_0111_0010,
            }
        );
    }
}
