//! The ramdisk with the agent: which image it is, and what its agent is told on the kernel's command line.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::boot::Action;
use crate::model::{ImageRef, Timestamp};

use super::Appliance;

/// Whether there is a ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ramdisk", rename_all = "kebab-case")]
pub enum RamdiskState {
    /// None is configured.
    None,
    /// It is being built.
    Building,
    /// Building it failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is there.
    Ready {
        /// As this image.
        image: ImageRef,
    },
}

/// Words for a kernel's command line.
pub(super) struct Arguments {
    /// Of every system.
    all: Vec<String>,
    /// Of the ramdisk.
    agent: Vec<String>,
}

impl Arguments {
    /// Those of what is booted.
    pub(super) fn of(&self, action: &Action) -> Vec<String> {
        let agent = self.agent.iter().filter(|_| matches!(action, Action::Agent(..)));
        self.all.iter().chain(agent).cloned().collect()
    }
}

impl Appliance {
    /// Whether there is a ramdisk.
    pub fn ramdisk(&self) -> Arc<RamdiskState> {
        self.ramdisk.load_full()
    }

    /// Takes note of how the ramdisk's building went.
    pub fn set_ramdisk(&self, state: RamdiskState) {
        self.ramdisk.store(Arc::new(state));
    }

    /// The image that the ramdisk is.
    pub fn ramdisk_image(&self) -> Option<ImageRef> {
        match self.ramdisk.load().as_ref() {
            RamdiskState::Ready { image } => Some(image.clone()),
            _ => None,
        }
    }

    /// What is added to the kernel's command line of who asked from `ip`.
    pub(super) fn boot_arguments(&self, ip: IpAddr, base_url: &str, at: Timestamp) -> Arguments {
        let IpAddr::V6(own) = ip else {
            let agent = self.ramdisk_arguments(ip, base_url, at);
            return Arguments { all: Vec::new(), agent };
        };
        // A system that has IPv6 alone finds the appliance with the address that it was booted with.
        let prefixes = self.config.networks.iter().filter_map(|network| network.v6.as_ref());
        let mut prefixes = prefixes.map(|v6| v6.subnet).filter(|subnet| subnet.contains(own));
        let all = prefixes.next().map(|subnet| format!("firstlight.ip6={own}/{}", subnet.prefix));
        Arguments { all: all.into_iter().collect(), agent: Vec::new() }
    }

    /// What the agent needs to reach the appliance before it knows anything: its own address, so that it asks nobody for
    /// one; where the appliance listens, and the digest of its authority; and the time, since its clock may have stopped.
    fn ramdisk_arguments(&self, ip: IpAddr, base_url: &str, at: Timestamp) -> Vec<String> {
        let host = base_url.strip_prefix("http://").unwrap_or(base_url);
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let network = self.config.networks.iter().find(|network| match ip {
            IpAddr::V4(ip) => network.subnet.contains(ip),
            IpAddr::V6(_) => false,
        });
        let mut arguments = vec![
            format!("firstlight.agent=https://{host}:{}", self.config.tls_port),
            format!("firstlight.ca={}", self.authority.fingerprint()),
            format!("firstlight.time={}", at.0 / 1000),
        ];
        if let Some(network) = network {
            arguments.push(format!("firstlight.ip={ip}/{}", network.subnet.prefix));
            arguments.extend(network.gateway.map(|gateway| format!("firstlight.gateway={gateway}")));
        }
        if self.config.syslog_port != 0 {
            arguments.push(format!("firstlight.syslog={host}:{}", self.config.syslog_port));
        }
        arguments
    }
}
