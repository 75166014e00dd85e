//! Disk images in the packed form that nodes install from: `disk.index` and `disk.data`.
//!
//! Reading order: [`index`] (the format), [`source`] and [`qcow2`] (what can be packed), [`pack`].

pub mod index;
pub mod pack;
pub mod parallel;
pub mod qcow2;
pub mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use index::{Chunk, Index};
pub use pack::{Packed, pack, pack_files};

/// Bytes of the raw disk in one chunk, aligned to itself.
pub const CHUNK_SIZE: u32 = 4 << 20;

/// The largest disk that is packed or installed: 64 TiB.
pub const MAX_RAW_SIZE: u64 = 64 << 40;

/// Why an image can't be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source or a target failed.
    #[error("{what} failed: {error}")]
    Io {
        /// What was done, with the path where there is one.
        what: String,
        /// The system's answer.
        #[source]
        error: std::io::Error,
    },
    /// The source is no image that can be packed.
    #[error("{path} can't be packed: {why}")]
    Source {
        /// The source.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A qcow2 file that is broken or that names other files.
    #[error("this qcow2 image is refused: {0}")]
    Qcow2(String),
    /// An index that can't be trusted.
    #[error("this disk index is not valid: {0}; import the image again")]
    Index(String),
}

impl Error {
    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// Whether all of `bytes` are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    bytes.chunks(ZEROS.len()).all(|part| ZEROS.get(..part.len()) == Some(part))
}
