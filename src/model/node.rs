//! A node: a physical or virtual server, what it should run and what it last said it runs.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::hardware::{Arch, Firmware};
use super::ids::{GroupName, ImageRef, MacAddr, NodeId, NodeName, Sha256Digest};
use super::lifecycle::State;
use super::time::Timestamp;

/// A server that was seen on a management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its identity for ever.
    pub id: NodeId,
    /// Its stable, unique name.
    pub name: NodeName,
    /// Its boot interfaces; the first is the one it was discovered by.
    pub macs: Vec<MacAddr>,
    /// Where in its life it is.
    #[serde(flatten)]
    pub state: State,
    /// Since when it is in that state.
    pub state_since: Timestamp,
    /// When its first packet came.
    pub first_seen: Timestamp,
    /// Its machine architecture, once its firmware told it (DHCP option 93).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Its firmware, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// SMBIOS UUID as the firmware told it (DHCP option 97), in the usual hyphenated form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Its own pin, which beats its group's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<ImageRef>,
    /// The boot it is on, or was last on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootAttempt>,
    /// What its iPXE was last told that it waits for; `None` once it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What it last reported of itself.
    #[serde(default)]
    pub observed: Observed,
}

impl Node {
    /// A node that was just seen for the first time.
    pub fn discovered(id: NodeId, name: NodeName, mac: MacAddr, at: Timestamp) -> Self {
        Self {
            id,
            name,
            macs: vec![mac],
            state: State::Discovered,
            state_since: at,
            first_seen: at,
            arch: None,
            firmware: None,
            uuid: None,
            group: None,
            pin: None,
            boot: None,
            waits_for: None,
            observed: Observed::default(),
        }
    }
}

/// One boot of a node with an image that the appliance handed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootAttempt {
    /// What it boots.
    pub image: ImageRef,
    /// When its script was served.
    pub started: Timestamp,
    /// The address it was served to; reports must come from there.
    pub ip: Ipv4Addr,
    /// SHA-256 of the one-time token in its kernel command line; the token itself is not kept.
    pub token: Sha256Digest,
}

/// What a node last said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The image it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// Kernel release (`uname -r`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The kernel's random id of this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When it last reported `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// What discovery found in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// What the discovery ramdisk tells of a machine. Every text is as the machine gave it, cut to 128 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// SMBIOS system manufacturer.
    #[serde(default)]
    pub vendor: String,
    /// SMBIOS product name.
    #[serde(default)]
    pub product: String,
    /// SMBIOS serial number.
    #[serde(default)]
    pub serial: String,
    /// SMBIOS system UUID.
    #[serde(default)]
    pub uuid: String,
    /// Logical processors.
    #[serde(default)]
    pub cpus: u32,
    /// Memory the kernel sees, MiB.
    #[serde(default)]
    pub memory_mib: u64,
}
