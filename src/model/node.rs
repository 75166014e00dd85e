//! A node: a physical or virtual server, what it should run and what it last said it runs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::hardware::{Arch, Firmware};
use super::ids::{BundleRef, GroupName, ImageRef, MacAddr, NodeId, NodeName, RoleName, Sha256Digest};
use super::lifecycle::State;
use super::os_release::OsRelease;
use super::placeholder::known;
use super::time::Timestamp;
use crate::bundle::desired::Applied;

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
    /// Its own bundles, one version of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<BundleRef>,
    /// What it is in its group, as an operator said; in a cluster the cluster says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The boot it is on, or was last on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootAttempt>,
    /// What its iPXE was last told that it waits for; `None` once it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Which machine it is, as it told when it was first trusted; whoever comes with its MAC and is another machine is
    /// not it.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// Certificates that speak for it, the newest last: the one it uses, and while it changes, the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// What is on its disk, once it was verified there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// The disk that its agent said it would write to, until it said that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installing_on: Option<String>,
    /// How its image is installed.
    #[serde(default, skip_serializing_if = "InstallRule::is_default")]
    pub install: InstallRule,
    /// What an operator ordered and is not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Whether it was ordered, or retired, whatever stands against it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// What its next boot is for, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_boot: Option<NextBoot>,
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
            bundles: Vec::new(),
            role: None,
            boot: None,
            waits_for: None,
            identity: Identity::default(),
            certificates: Vec::new(),
            installed: None,
            installing_on: None,
            install: InstallRule::default(),
            order: None,
            forced: false,
            next_boot: None,
            observed: Observed::default(),
        }
    }

    /// Whether it is a node that was seen and no more: nobody ever approved it, or set anything for it.
    pub fn is_untouched(&self) -> bool {
        self.state == State::Discovered
            && self.group.is_none()
            && self.pin.is_none()
            && self.bundles.is_empty()
            && self.role.is_none()
            && self.identity.is_empty()
            && self.certificates.is_empty()
            && self.installed.is_none()
            && self.install.is_default()
            && self.order.is_none()
            && self.next_boot.is_none()
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
    pub ip: IpAddr,
    /// SHA-256 of the one-time token in its kernel command line; the token itself is not kept.
    pub token: Sha256Digest,
    /// What the boot is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// SHA-256 of the certificate request that the token was traded in with; nobody else can trade it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traded: Option<Sha256Digest>,
}

/// What a boot over the network is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To run its image from memory.
    #[default]
    Image,
    /// To tell what it is.
    Discover,
    /// To write its image to its disk.
    Install,
    /// To erase its disks.
    Wipe,
    /// To give the operator a shell.
    Rescue,
}

impl Purpose {
    /// Its name on the timeline and on the kernel's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "boot",
            Self::Discover => "discover",
            Self::Install => "install",
            Self::Wipe => "wipe",
            Self::Rescue => "rescue",
        }
    }
}

/// Which machine a node is. What the machine does not tell is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// SMBIOS serial number.
    #[serde(default)]
    pub serial: String,
    /// SMBIOS system UUID, lower case.
    #[serde(default)]
    pub uuid: String,
    /// SHA-256 of the TPM's endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement_key: Option<String>,
}

impl Identity {
    /// From what the machine tells. What its maker left in where nothing was known is left out: two machines may well have
    /// the same.
    pub fn of(serial: &str, uuid: &str, endorsement_key: Option<String>) -> Self {
        let serial = known(serial.to_owned());
        Self { serial, uuid: known(uuid.to_ascii_lowercase()), endorsement_key }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What `told` contradicts of this, for a person; what either does not tell contradicts nothing.
    pub fn contradiction(&self, told: &Self) -> Option<String> {
        let key = |identity: &Self| identity.endorsement_key.clone().unwrap_or_default();
        [
            ("serial", self.serial.clone(), told.serial.clone()),
            ("UUID", self.uuid.clone(), told.uuid.clone()),
            ("TPM endorsement key", key(self), key(told)),
        ]
        .into_iter()
        .find(|(_, known, told)| !known.is_empty() && !told.is_empty() && known != told)
        .map(|(what, known, told)| format!("its {what} is '{told}', and was '{known}'"))
    }
}

/// A certificate that speaks for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of its DER.
    pub fingerprint: Sha256Digest,
    /// When it ends.
    pub expires: Timestamp,
}

/// What is on a node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The image.
    pub image: ImageRef,
    /// The disk: its serial, else its WWN, else its name.
    pub disk: String,
    /// When it had been verified there.
    pub at: Timestamp,
}

/// How a node's image is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRule {
    /// Which disk, in the words of the installer's rule; the image's own rule unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Whether a disk that holds data may be overwritten.
    #[serde(default)]
    pub allow_wipe: bool,
}

impl InstallRule {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an operator ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Restart into what it has.
    Reload,
    /// Install the pinned image again, or the newer one.
    Install,
    /// Erase its disks.
    Wipe,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Reload => "reload",
            Self::Install => "install",
            Self::Wipe => "wipe",
        })
    }
}

/// What one boot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextBoot {
    /// Its disk.
    Local,
    /// What it is pinned to, installing it again if it is a disk image.
    Image,
    /// The ramdisk, with a shell for the operator.
    Rescue,
    /// The memory test.
    Memtest,
}

impl std::str::FromStr for NextBoot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Local, Self::Image, Self::Rescue, Self::Memtest];
        all.into_iter()
            .find(|what| what.to_string() == text)
            .ok_or_else(|| format!("'{text}' is nothing to boot; use local, image, rescue or memtest"))
    }
}

impl std::fmt::Display for NextBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Image => "image",
            Self::Rescue => "rescue",
            Self::Memtest => "memtest",
        })
    }
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
    /// Its operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Box<OsRelease>>,
    /// The kernel's random id of this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When it last reported `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// What it says of its bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundles: Option<Applied>,
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
