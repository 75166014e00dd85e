//! `firstlight agent enrol`: an installed host joins with an invitation.

use std::path::Path;

use tokio::net::UdpSocket;

use super::client::{As, Client};
use super::credentials::{self, Settings};
use super::discover::{Options, discover};
use super::{AgentError, machine};
use crate::appliance::{EnrolStep, HostEnrol};
use crate::model::{MacAddr, NodeName, Sha256Digest, Timestamp};
use crate::trust::client::{Credentials, request};

/// The unit that keeps the agent running.
pub const UNIT: &str = include_str!("../../systemd/firstlight-agent.service");
/// Where it goes.
const UNIT_PATH: &str = "/etc/systemd/system/firstlight-agent.service";

/// Joins; the name of the node that this host is now.
///
/// # Errors
/// When no server answers, the token is refused, or the host's files cannot be written.
pub async fn enrol(folder: &Path, servers: &[String], token: &str) -> Result<NodeName, AgentError> {
    let (authority, secret) = token
        .trim()
        .split_once('.')
        .and_then(|(authority, secret)| Some((authority.parse::<Sha256Digest>().ok()?, secret)))
        .ok_or_else(|| {
            AgentError::machine("use the token", "it is not whole; `firstlight node invite` makes one")
        })?;
    let (key, request) = request().map_err(|error| AgentError::machine("make a key", error))?;
    let inventory = tokio::task::spawn_blocking(|| {
        discover(Path::new("/"), &Options { ask_devices: true, raise_links: false, lldp: None })
    });
    let inventory = inventory.await.map_err(|error| AgentError::machine("read the hardware", error))?;
    let mut last = AgentError::machine("enrol", "no server was named");
    for server in servers {
        let client = Client::new(server, authority, As::Token(secret), Timestamp(0))?;
        let mac = match mac_towards(server).await {
            Ok(mac) => mac,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let host = HostEnrol {
            request: request.clone(),
            hostname: machine::hostname(),
            inventory: inventory.clone(),
            mac,
        };
        match client.ask("/agent/v2/enrol-host", &host).await {
            Ok(EnrolStep::Certificate { certificate, node, .. }) => {
                let settings = Settings { servers: vec![server.clone()], authority, image: None };
                credentials::write(folder, &settings, &Credentials { key, certificate })?;
                return Ok(node);
            }
            Ok(EnrolStep::Challenge { kind, .. }) => {
                return Err(AgentError::machine(
                    format!("answer the challenge '{kind}'"),
                    "this agent is too old",
                ));
            }
            Err(error @ AgentError::Refused { .. }) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Installs and starts the unit, where the host has systemd; whether it has.
///
/// # Errors
/// When the unit cannot be written or started.
pub async fn start_unit() -> Result<bool, AgentError> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(false);
    }
    std::fs::write(UNIT_PATH, UNIT)
        .map_err(|error| AgentError::machine(format!("write {UNIT_PATH}"), error))?;
    for arguments in [
        &["daemon-reload"][..],
        &["enable", "firstlight-agent.service"],
        &["restart", "firstlight-agent.service"],
    ] {
        let output = tokio::process::Command::new("systemctl").args(arguments).output().await;
        let output = output.map_err(|error| AgentError::machine("run systemctl", error))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(AgentError::machine(format!("systemctl {}", arguments.join(" ")), told));
        }
    }
    Ok(true)
}

/// The MAC of the interface that leads to a server.
async fn mac_towards(server: &str) -> Result<MacAddr, AgentError> {
    let failed =
        |error: &dyn std::fmt::Display| AgentError::machine(format!("find the way to {server}"), error);
    let address = server.strip_prefix("https://").unwrap_or(server).trim_end_matches('/');
    // Nothing is sent: a connected datagram socket has the address that would be spoken from.
    let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(|error| failed(&error))?;
    socket.connect(address).await.map_err(|error| failed(&error))?;
    let own = socket.local_addr().map_err(|error| failed(&error))?.ip();
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| failed(&error))?;
    let name = addresses
        .filter(|entry| {
            entry.address.and_then(|address| address.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip))
                == v4(own)
        })
        .map(|entry| entry.interface_name)
        .next()
        .ok_or_else(|| failed(&"no interface has the address that leads there"))?;
    let text =
        std::fs::read_to_string(format!("/sys/class/net/{name}/address")).map_err(|error| failed(&error))?;
    text.trim().parse().map_err(|error| failed(&error))
}

fn v4(ip: std::net::IpAddr) -> Option<std::net::Ipv4Addr> {
    match ip {
        std::net::IpAddr::V4(ip) => Some(ip),
        std::net::IpAddr::V6(_) => None,
    }
}
