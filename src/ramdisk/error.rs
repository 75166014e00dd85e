//! Why a ramdisk is not built.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a ramdisk is not built.
#[derive(Debug, Error)]
pub enum RamdiskError {
    /// A file or folder cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A package is no Debian package, or a broken one.
    #[error("{}: not a sound Debian package ({reason}); fetch it anew", path.display())]
    Package {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Larger than anything we know of.
    #[error("{}: {what}; this is no kernel or firmware package", path.display())]
    TooLarge {
        /// The package or folder.
        path: PathBuf,
        /// Which bound it breaks.
        what: String,
    },
    /// A package without a kernel, or without its modules.
    #[error(
        "{inputs}: not a kernel package: no {what} in it; name the package with the kernel itself \
         (linux-image-6.1.0-*-amd64, not linux-image-amd64), and on Ubuntu linux-modules-* as well"
    )]
    NoKernel {
        /// The packages and folders.
        inputs: String,
        /// What is not in it.
        what: &'static str,
    },
    /// Several kernels, and no way to tell which is meant.
    #[error("{inputs}: it holds the kernels {releases}; name a package or a folder with one kernel")]
    SeveralKernels {
        /// The packages and folders.
        inputs: String,
        /// The releases.
        releases: String,
    },
    /// A kernel image that is neither for x86-64 nor for ARM64.
    #[error("{name}: not a kernel for x86_64 or aarch64; this program starts no other machines")]
    Architecture {
        /// The image.
        name: String,
    },
    /// The agent cannot be `/init`.
    #[error("{}: cannot be the ramdisk's agent: {reason}", path.display())]
    Agent {
        /// The agent.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot go where it should in the ramdisk.
    #[error("{path:?} is no place in the ramdisk: {reason}")]
    Place {
        /// The place.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl RamdiskError {
    /// For `map_err` at file operations.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}
