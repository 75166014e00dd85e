//! TFTP (RFC 1350, 2347–2349, 7440), read-only, of the firmware's boot files.
//!
//! [`files`] has the files in memory, and HTTP boot serves them too; [`handler`] says who gets which;
//! [`Server`] runs async-tftp with bounds.

pub mod files;
mod handler;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_tftp::server::{TftpServer, TftpServerBuilder};
use thiserror::Error;
use tokio::sync::watch;

use crate::appliance::Appliance;
pub use files::{BootFileError, BootFiles};
use handler::Handler;

/// The port (RFC 1350 section 4).
pub const PORT: u16 = 69;
/// Largest block: fits an Ethernet frame unfragmented (1500 − 20 IP − 8 UDP − 4 TFTP); some firmware cannot reassemble.
const BLOCK_SIZE: u16 = 1468;
/// Most blocks in flight (RFC 7440).
const WINDOW_SIZE: u16 = 64;
/// After this long without an acknowledgement a block is sent again, so many times: a client that has gone is
/// forgotten after 20 s. The client's own time-out (RFC 2349) is ignored, as it may be 255 s.
const TIMEOUT: Duration = Duration::from_secs(1);
/// See [`TIMEOUT`].
const RETRIES: u32 = 20;

/// Why TFTP cannot be served.
#[derive(Debug, Error)]
pub enum TftpError {
    /// Somebody else serves TFTP there.
    #[error("UDP port {PORT} on {0} is in use; is another TFTP server running? (ss -ulnp sport = :69 tells)")]
    InUse(IpAddr),
    /// Not allowed.
    #[error(
        "not allowed to bind UDP port {PORT} on {0}; run as root, or give the process CAP_NET_BIND_SERVICE"
    )]
    Permission(IpAddr),
    /// Anything else.
    #[error("cannot serve TFTP on {address}: {cause}")]
    System {
        /// The address.
        address: IpAddr,
        /// What the system says.
        cause: String,
    },
}

/// TFTP on one address.
pub struct Server {
    server: TftpServer<Handler>,
    address: IpAddr,
}

impl Server {
    /// Binds the port on `address`.
    ///
    /// # Errors
    /// When it is in use, or the system refuses.
    pub async fn bind(
        address: IpAddr,
        port: u16,
        files: Arc<BootFiles>,
        appliance: Arc<Appliance>,
    ) -> Result<Self, TftpError> {
        let system = |cause: String| TftpError::System { address, cause };
        let socket =
            UdpSocket::bind(SocketAddr::from((address, port))).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => TftpError::InUse(address),
                io::ErrorKind::PermissionDenied => TftpError::Permission(address),
                _ => system(error.to_string()),
            })?;
        let server = TftpServerBuilder::with_handler(Handler::new(files, appliance))
            .std_socket(socket)
            .map_err(|error| system(error.to_string()))?
            .block_size_limit(BLOCK_SIZE)
            .window_size_limit(WINDOW_SIZE)
            .timeout(TIMEOUT)
            .ignore_client_timeout()
            .max_send_retries(RETRIES)
            .build()
            .await
            .map_err(|error| system(error.to_string()))?;
        Ok(Self { server, address })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, TftpError> {
        let address = self.address;
        self.server.listen_addr().map_err(|error| TftpError::System { address, cause: error.to_string() })
    }

    /// Serves until told to stop. A transfer that is under way then is broken off: its client starts again.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        let address = self.address;
        tokio::select! {
            ended = self.server.serve() => {
                if let Err(error) = ended {
                    tracing::error!(%address, %error, "TFTP ended");
                }
            }
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}
