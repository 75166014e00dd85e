//! The whole course: open, remember, erase, read back, and try the next method when one fails.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::certificate::{Attempt, Certificate, Method, Verification, statement};
use super::disk::Disk;
use super::error::WipeError;
use super::nvme::{self, SecureErase};
use super::verify::{Extent, Witness, verify, witnesses};
use super::{ioctl, overwrite, plan};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// This method and no other; without, the best that works.
    pub method: Option<Method>,
    /// How much is read back.
    pub extent: Extent,
    /// How long the device may take for a command that erases on its own.
    pub device_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { method: None, extent: Extent::default(), device_limit: Duration::from_secs(4 * 3600) }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Erasing.
    Erasing,
    /// Reading back.
    Verifying,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// How.
    pub method: Method,
    /// Bytes done; of device commands, their own estimate.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Erases `disk` and proves it. Blocks for as long as that takes: minutes to a day. `clock` tells milliseconds
/// since the Unix epoch; `progress` is called about once for each 4 MiB.
///
/// Without a method in `options`, what a disk offers is tried from best to worst; what was tried in vain stands
/// in the certificate. See [`WipeError`] for what is refused.
pub fn wipe(
    disk: &Path,
    options: &Options,
    clock: &dyn Fn() -> u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Certificate, WipeError> {
    let disk = Disk::open(disk)?;
    let started_ms = clock();
    let capabilities = disk.capabilities();
    let methods = match options.method {
        None => plan::methods(&capabilities),
        Some(method) => match plan::obstacle(method, &capabilities) {
            None => vec![method],
            Some(why) => return Err(WipeError::Unsupported { method, why: why.into() }),
        },
    };
    let seed = seed().map_err(|source| WipeError::Io { what: "asking the kernel for randomness", source })?;
    let witnesses = witnesses(&disk, seed);
    let mut attempts = Vec::new();
    for method in methods {
        tracing::info!(disk = disk.name, %method, bytes = disk.size_bytes, "erasing");
        let error = match once(&disk, method, &capabilities, &witnesses, seed, options, progress) {
            Ok(verification) => {
                tracing::info!(disk = disk.name, %method, verified = verification.verified_bytes, "erased");
                return Ok(certificate(disk, method, attempts, verification, (started_ms, clock())));
            }
            Err(error) => error,
        };
        if options.method.is_some() || matches!(error, WipeError::BadBlocks { .. }) {
            return Err(error);
        }
        tracing::warn!(disk = disk.name, %method, %error, "not erased this way");
        attempts.push(Attempt { method, failed: error.to_string() });
    }
    Err(WipeError::Nothing { attempts })
}

/// From a source that does not wait: early after a start the others do, for minutes, and no secret hangs on it.
fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn certificate(
    disk: Disk,
    method: Method,
    attempts: Vec<Attempt>,
    verification: Verification,
    (started_ms, finished_ms): (u64, u64),
) -> Certificate {
    Certificate {
        statement: statement(method, &verification, disk.size_bytes),
        disk: disk.name,
        model: disk.model,
        serial: disk.serial,
        wwid: disk.wwid,
        size_bytes: disk.size_bytes,
        method,
        standard: method.standard(),
        attempts,
        started_ms,
        finished_ms,
        verification,
    }
}

fn once(
    disk: &Disk,
    method: Method,
    capabilities: &plan::Capabilities,
    witnesses: &[Witness],
    seed: u64,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, WipeError> {
    let total = disk.size_bytes;
    erase(disk, method, capabilities, options.device_limit, &mut |done| {
        progress(Progress { phase: Phase::Erasing, method, done, total });
    })?;
    ioctl::flush_buffers(&disk.file).map_err(WipeError::io("emptying the kernel's cache"))?;
    let verification = verify(disk, method, witnesses, &options.extent, seed, &mut |done, total| {
        progress(Progress { phase: Phase::Verifying, method, done, total });
    })?;
    match ioctl::reread_partitions(&disk.file) {
        // Devices without partitions.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOTTY) => {}
        Err(errno) => return Err(WipeError::io("reading the partition table again")(errno)),
    }
    match disk.partitions() {
        0 => Ok(verification),
        partitions => Err(WipeError::PartitionsLeft { method, partitions }),
    }
}

fn erase(
    disk: &Disk,
    method: Method,
    capabilities: &plan::Capabilities,
    limit: Duration,
    progress: &mut dyn FnMut(u64),
) -> Result<(), WipeError> {
    let failed = |why: String| WipeError::Device { method, why };
    let size = disk.size_bytes;
    let format = |erase| match (disk.nsid(), &capabilities.nvme) {
        (Some(nsid), Some(nvme)) => {
            nvme::format(&disk.file, nsid, nvme, erase, limit).map_err(|error| failed(error.to_string()))
        }
        _ => Err(failed("it is not an NVMe disk".into())),
    };
    match method {
        Method::NvmeSanitizeBlock | Method::NvmeSanitizeCrypto => {
            let mut part = |part: u16| progress(size / (1 << 16) * u64::from(part));
            nvme::sanitize(&disk.file, method.is_crypto(), limit, &mut part)
                .map_err(|error| failed(error.to_string()))
        }
        Method::NvmeFormatUserData => format(SecureErase::UserData),
        Method::NvmeFormatCrypto => format(SecureErase::Crypto),
        Method::SecureDiscard | Method::Discard => {
            overwrite::discard(&disk.file, size, method == Method::SecureDiscard, progress)
                .map_err(|errno| failed(errno.to_string()))
        }
        Method::Overwrite => overwrite::zeros(&disk.file, size, disk.block_bytes, progress),
    }
}
