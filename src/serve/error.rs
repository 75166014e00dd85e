//! Why the appliance cannot serve.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::appliance::AppError;
use crate::boot::firmware::FirmwareError;
use crate::boot::script::ScriptError;
use crate::dhcp::interface::InterfaceError;
use crate::dhcp::socket::SocketError;
use crate::dhcp6::server::Dhcp6Error;
use crate::dns;
use crate::http::ListenError;
use crate::ndp::NdpError;
use crate::store::StoreError;
use crate::store::blobs::BlobError;
use crate::tftp::{BootFileError, TftpError};
use crate::trust::TrustError;

/// Why the appliance cannot serve, or had to stop.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A file of the overrides cannot be read.
    #[error("cannot read {path}: {cause}")]
    Override {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
    /// A firmware table is wrong.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// A script template is wrong.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Names cannot be served.
    #[error(transparent)]
    Dns(#[from] dns::DnsError),
    /// A boot file is missing.
    #[error(transparent)]
    BootFile(#[from] BootFileError),
    /// An interface is not as configured.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// DHCP cannot be served.
    #[error(transparent)]
    Dhcp(#[from] SocketError),
    /// `DHCPv6` cannot be served.
    #[error(transparent)]
    Dhcp6(#[from] Dhcp6Error),
    /// Router solicitations cannot be answered.
    #[error(transparent)]
    Ndp(#[from] NdpError),
    /// TFTP cannot be served.
    #[error(transparent)]
    Tftp(#[from] TftpError),
    /// HTTP cannot be served.
    #[error(transparent)]
    Http(#[from] ListenError),
    /// The authority cannot be opened.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifacts cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The state cannot be written.
    #[error(transparent)]
    Appliance(#[from] AppError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// The key of secrets cannot be used.
    #[error("cannot use the key of secrets {path}: {cause}")]
    Secrets {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A commit failed: nothing more can be promised.
    #[error("stopped, since the state can no longer be written: {0}")]
    Broken(String),
}
