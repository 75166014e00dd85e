//! Why a disk is not certified as erased.

use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use super::certificate::{Attempt, Method};

/// Why a disk is not certified as erased. With the first four, nothing was written to it.
#[derive(Debug, Error)]
pub enum WipeError {
    /// No device, or not ours to open.
    #[error("cannot open {disk}: {source}; name a disk that is there, as root", disk = disk.display())]
    Open {
        /// What was to be erased.
        disk: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file, a partition, a volume of several disks.
    #[error("{disk} is not erased: it is {what}; name a whole disk, as /dev/sda or /dev/nvme0n1", disk = disk.display())]
    NotADisk {
        /// What was to be erased.
        disk: PathBuf,
        /// What it is.
        what: String,
    },
    /// Somebody uses it.
    #[error("{disk} is not erased: it is in use ({by}); end that first", disk = disk.display())]
    InUse {
        /// What was to be erased.
        disk: PathBuf,
        /// A mount point, swap, a volume.
        by: String,
    },
    /// The method that was asked for is not to be had.
    #[error(
        "{method} is not possible on this disk: {why}; ask for another method, or for none in particular"
    )]
    Unsupported {
        /// What was asked for.
        method: Method,
        /// What is missing.
        why: String,
    },
    /// A read or write failed where none may.
    #[error("{what} failed: {source}; look at the disk's health, replace it or destroy it")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Blocks that cannot be written.
    #[error("{count} blocks of {block_bytes} bytes could not be overwritten, the first at byte {}{}; \
             destroy the disk if what was on it matters",
             offsets.first().copied().unwrap_or_default(), if *given_up { ", and no more were tried" } else { "" })]
    BadBlocks {
        /// How many.
        count: u64,
        /// Their size in bytes.
        block_bytes: u64,
        /// Where they begin, in bytes.
        offsets: Vec<u64>,
        /// There were so many that the rest was not tried.
        given_up: bool,
    },
    /// The device refused or broke off.
    #[error("{method} failed: {why}")]
    Device {
        /// What was done.
        method: Method,
        /// The device's status, or the system's error.
        why: String,
    },
    /// The method said it was done, and what was read says otherwise.
    #[error("the disk is not clean after {method}: {found} at byte {offset}")]
    NotClean {
        /// What was done.
        method: Method,
        /// What is there.
        found: &'static str,
        /// Where, in bytes.
        offset: u64,
    },
    /// The kernel still shows partitions.
    #[error("after {method} the kernel still shows {partitions} partitions; restart and look again")]
    PartitionsLeft {
        /// What was done.
        method: Method,
        /// How many.
        partitions: usize,
    },
    /// Each method failed.
    #[error("the disk could not be erased: {}; destroy it if what was on it matters", tried(attempts))]
    Nothing {
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
}

fn tried(attempts: &[Attempt]) -> String {
    attempts.iter().map(|a| format!("{}: {}", a.method, a.failed)).collect::<Vec<_>>().join("; ")
}

impl WipeError {
    /// A system call on the disk that failed.
    pub fn io(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Io { what, source: errno.into() }
    }
}
