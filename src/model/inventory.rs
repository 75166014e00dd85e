//! What hardware a server has, as its agent read it: plain data, without any input or output.
//!
//! Read this file, then `inventory/diff.rs` (what changed, as a person would say it), `inventory/fields.rs` (what
//! `--where` can ask for) and `inventory/bounds.rs` (it arrives from a hostile network).

mod bounds;
mod diff;
mod fields;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use super::hardware::Firmware;
pub use diff::{Difference, Part, diff};
pub use fields::FIELDS;

/// The hardware of one server. Every part may be empty: the agent leaves out what it could not read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// The machine as a whole.
    pub system: System,
    /// Its processors, taken together.
    pub cpus: Cpus,
    /// Its memory.
    pub memory: Memory,
    /// Its whole disks; no partitions and no virtual ones.
    pub disks: Vec<Disk>,
    /// Its physical network ports.
    pub nics: Vec<Nic>,
    /// Everything on its PCI buses.
    pub pci: Vec<PciDevice>,
    /// Its management controller.
    pub bmc: Option<Bmc>,
    /// Its trusted platform module.
    pub tpm: Option<Tpm>,
    /// Whether Secure Boot is enforced; `None` on BIOS, or when the variable cannot be read.
    pub secure_boot: Option<bool>,
    /// What firmware started it.
    pub firmware: Option<Firmware>,
    /// Its clock minus the appliance's, in milliseconds; the appliance fills it in.
    pub clock_skew_ms: Option<i64>,
}

/// SMBIOS types 0 to 3 (DSP0134 sections 7.1 to 7.4). Placeholders such as "To Be Filled By O.E.M." are left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// Who made it.
    pub vendor: String,
    /// Which product.
    pub product: String,
    /// The serial number of the system, or else of its chassis or board.
    pub serial: String,
    /// The system UUID, lower-case with hyphens.
    pub uuid: String,
    /// The owner's tag on the chassis.
    pub asset_tag: String,
    /// The version of the firmware (BIOS or UEFI).
    pub bios_version: String,
    /// The day that firmware was released, as the vendor writes it (mostly `MM/DD/YYYY`).
    pub bios_date: String,
}

/// All processors of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpus {
    /// The model of the first.
    pub model: String,
    /// How many sockets are filled.
    pub sockets: u32,
    /// Cores of all sockets.
    pub cores: u32,
    /// Hardware threads of all cores.
    pub threads: u32,
}

/// The machine's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What is installed, in bytes; what the kernel can use where the firmware names no modules.
    pub total_bytes: u64,
    /// The filled slots.
    pub dimms: Vec<Dimm>,
}

/// A memory module (SMBIOS type 17).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dimm {
    /// The slot, as printed on the board.
    pub locator: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// `DDR4`, `DDR5`, ...
    pub kind: String,
    /// The speed it runs at, in megatransfers a second.
    pub speed_mts: Option<u32>,
    /// Who made it.
    pub manufacturer: String,
    /// Its serial number.
    pub serial: String,
    /// Its part number.
    pub part: String,
}

/// A whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The kernel's name, `nvme0n1`; it may be another after the next boot.
    pub name: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its world-wide name as the kernel tells it: `eui.…`, `naa.…`, `nvme.…`.
    pub wwn: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The logical sector, in bytes.
    pub logical_sector: u32,
    /// Whether it spins.
    pub rotational: bool,
    /// How it is attached.
    pub transport: Transport,
    /// Whether its medium can be taken out.
    pub removable: bool,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// How much of its endurance is used, in percent; more than 100 is possible (NVM Express base specification, SMART log).
    pub wear_percent_used: Option<u8>,
    /// Whether it calls itself healthy.
    pub smart_ok: Option<bool>,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// PCI Express or fabrics.
    Nvme,
    /// Serial ATA.
    Sata,
    /// Serial attached SCSI.
    Sas,
    /// A hypervisor's, virtio-blk or virtio-scsi.
    Virtio,
    /// USB.
    Usb,
    /// eMMC or SD card.
    Mmc,
    /// SCSI of another or unknown kind, such as a RAID controller's volume.
    Scsi,
    /// Unknown here, or named by a newer agent.
    #[default]
    #[serde(other)]
    Other,
}

/// A physical network port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// The kernel's name, `eth0`; it may be another after the next boot.
    pub name: String,
    /// Its permanent MAC address, lower-case with colons.
    pub mac: String,
    /// The kernel driver.
    pub driver: String,
    /// Whether it has a carrier.
    pub link: bool,
    /// The negotiated speed in Mbit/s.
    pub speed_mbps: Option<u32>,
    /// Where it sits, `0000:03:00.0`; empty when not on PCI.
    pub pci: String,
    /// What it is plugged into, when that was heard.
    pub lldp: Option<Lldp>,
}

/// The neighbour on a port, as told by LLDP (IEEE 802.1AB).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lldp {
    /// The chassis ID: mostly a MAC address.
    pub chassis: String,
    /// The switch's name.
    pub system_name: String,
    /// The port ID.
    pub port: String,
    /// What an administrator wrote at the port.
    pub port_description: String,
    /// Where the switch is managed, IPv4 or IPv6.
    pub mgmt_address: String,
    /// The port's own VLAN (PVID, IEEE 802.1Q annex D.2.1).
    pub vlan: Option<u16>,
}

/// A PCI function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PciDevice {
    /// `0000:03:00.0`.
    pub address: String,
    /// The class code, six hexadecimal digits (`020000`: Ethernet).
    pub class: String,
    /// The vendor, four hexadecimal digits.
    pub vendor: String,
    /// The device, four hexadecimal digits.
    pub device: String,
    /// The kernel driver that runs it; empty when none does.
    pub driver: String,
}

/// The management controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bmc {
    /// What it speaks to the host: `IPMI 2.0 (KCS)`, `Redfish host interface`.
    pub kind: String,
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// Its own MAC address.
    pub mac: String,
    /// Its gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Where it has its address from: `static`, `dhcp`, `bios`, `other`; empty when unknown.
    pub source: String,
}

/// The trusted platform module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tpm {
    /// `1.2` or `2.0`.
    pub version: String,
    /// SHA-256, in hexadecimal, of its endorsement key's certificate, or of the key's public area when it has none.
    pub ek_sha256: Option<String>,
}

/// The world's way to say so many bytes: `16 GiB`, `1.8 TiB`; powers of two, one decimal at most.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = (1u64, "bytes");
    for name in UNITS {
        let Some(next) = unit.0.checked_mul(1024).filter(|next| bytes >= *next) else { break };
        unit = (next, name);
    }
    let (size, name) = unit;
    let whole = bytes / size;
    let tenth = (u128::from(bytes % size) * 10) / u128::from(size);
    if tenth == 0 || whole >= 100 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") }
}
