//! Installs a packed disk image on a node's disk.
//!
//! Reading order: [`disk_rule`] and [`holds`] (which disk), [`pipeline`], [`writer`], [`resume`] (the image), [`gpt`],
//! [`grow`], [`identity`], [`efi`] (what makes it this node's), and [`steps`], which joins them.

pub mod disk;
pub mod efi;
pub mod gpt;
pub mod grow;
pub mod head;
pub mod holds;
pub mod identity;
pub mod marker;
pub mod pipeline;
pub mod resume;
pub mod source;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod writer;

use std::io;
use std::path::PathBuf;

use crate::model::disk_rule;
pub use gpt::{DataPartition, Plan};
pub use identity::Identity;
pub use pipeline::{Fetch, Retry};
pub use source::Source;
pub use steps::{Boot, Installed, Order, Phase, Progress, install, install_on};

/// Why an install failed. Unless it says otherwise, it goes on where it stopped when it is started again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{what} failed: {error}")]
    Io {
        /// What was done.
        what: String,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
    /// No disk was chosen.
    #[error(transparent)]
    Choice(#[from] disk_rule::Refusal),
    /// Something that is neither a block device nor a file.
    #[error("{0} is no disk")]
    NotADisk(PathBuf),
    /// A disk that somebody has mounted or claimed.
    #[error("{0} is in use: it is mounted, or part of a RAID, LVM or LUKS volume; stop that first")]
    InUse(PathBuf),
    /// A disk with less room than the image needs.
    #[error(
        "the image's {image} bytes, with a partition table at the end, don't fit on the disk's {size}; choose a larger disk"
    )]
    TooSmall {
        /// The disk's size in bytes.
        size: u64,
        /// The image's size in bytes.
        image: u64,
    },
    /// An image made for other sectors.
    #[error(
        "the image is made for sectors of {image} bytes, the disk has sectors of {disk}; use an image made for such disks"
    )]
    Sector {
        /// The image's sectors in bytes.
        image: u64,
        /// The disk's sectors in bytes.
        disk: u32,
    },
    /// A write that the checks should have stopped.
    #[error("a write at {offset} would leave the disk of {size} bytes")]
    OutsideDisk {
        /// Where.
        offset: u64,
        /// The disk's size.
        size: u64,
    },
    /// Bytes that are not what the index says.
    #[error(
        "chunk {chunk} is not what the index says ({what}); nothing of it was used. If it happens again, import the image again, or the disk is broken"
    )]
    Corrupt {
        /// Its number.
        chunk: usize,
        /// When it was found.
        what: &'static str,
    },
    /// A source that stays silent.
    #[error("fetching the disk's data from byte {at} on failed {attempts} times in a row, at last: {error}")]
    Fetch {
        /// Where.
        at: u64,
        /// How often.
        attempts: u32,
        /// The last answer.
        #[source]
        error: io::Error,
    },
    /// A partition table that does not fit.
    #[error("the partition table does not fit: {0}")]
    Table(String),
    /// An identity that can't be written.
    #[error("the node's identity can't be written: {0}")]
    Identity(String),
    /// A boot entry that can't be made.
    #[error("the firmware's boot entry can't be set: {0}")]
    Efi(String),
}

impl Error {
    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
