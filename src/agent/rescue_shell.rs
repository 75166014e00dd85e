//! The rescue ramdisk: a shell on each console, and over SSH for whoever has one of the operators' keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tokio::sync::watch;

use super::AgentError;
use super::console::Console;
use super::rescue::{HostKey, Server, serial};

/// The shell of the ramdisk, where it has one.
const SHELL: &str = "/bin/sh";
/// The port of SSH (RFC 4253 section 4.1).
const PORT: u16 = 22;

/// Shells that run until this is dropped.
pub struct Rescue {
    /// How to get in, for the operator.
    pub told: String,
    _stop: watch::Sender<bool>,
}

impl Rescue {
    /// Starts them.
    ///
    /// # Errors
    /// When the ramdisk has no shell, or the SSH server cannot be started.
    pub async fn start(console: &Console, ssh_keys: &[String], ip: Ipv4Addr) -> Result<Self, AgentError> {
        if !Path::new(SHELL).exists() {
            return Err(AgentError::machine(
                "start a rescue shell",
                "this ramdisk has none; set ramdisk.busybox in the configuration",
            ));
        }
        let (stop, stopped) = watch::channel(false);
        for device in console.devices() {
            let (device, stopped) = (device.clone(), stopped.clone());
            tokio::spawn(async move { serial::keep(&device, Path::new(SHELL), stopped).await });
        }
        if ssh_keys.is_empty() {
            let told = "rescue shell on the console; none over SSH, as install.ssh_keys names no key".into();
            return Ok(Self { told, _stop: stop });
        }
        let key = HostKey::generate().map_err(|error| AgentError::machine("make an SSH host key", error))?;
        let told = format!("rescue shell: ssh root@{ip}, host key {}", key.fingerprint());
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let server = Server::bind(listen, ssh_keys, key, Path::new(SHELL)).await;
        let server = server.map_err(|error| AgentError::machine("serve SSH", error))?;
        tokio::spawn(server.run(stopped));
        Ok(Self { told, _stop: stop })
    }
}
