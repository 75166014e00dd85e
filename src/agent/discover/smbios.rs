//! What the firmware tells in its SMBIOS tables (DMTF DSP0134).

mod modules;
mod tables;

use std::path::Path;

use super::read;
use crate::model::inventory::{Dimm, System};
use crate::model::placeholder::known;
use tables::{Structure, structures};

/// The largest tables that are read; those of large servers have some 64 KiB.
const TABLES: u64 = 1 << 20;

/// What the tables tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// The machine, its chassis, its board and its firmware.
    pub system: System,
    /// The filled memory slots.
    pub dimms: Vec<Dimm>,
    /// The first processor's name.
    pub cpu_model: String,
    /// How the host speaks IPMI, `IPMI 2.0 (KCS)`, when it does.
    pub ipmi: Option<String>,
    /// Whether there is a management controller host interface (Redfish, DSP0270).
    pub redfish: bool,
}

/// Reads the tables that the kernel shows to root; empty when there are none.
pub fn read(root: &Path) -> Smbios {
    let folder = root.join("sys/firmware/dmi/tables");
    let version = read::bytes(&folder.join("smbios_entry_point"), 64).as_deref().and_then(version);
    let tables = read::bytes(&folder.join("DMI"), TABLES).unwrap_or_default();
    // A version that cannot be read is newer than 2.6 (2008).
    parse(&tables, version.unwrap_or((3, 0)))
}

/// Major and minor version of the entry point, 32-bit (section 5.2.1) or 64-bit (section 5.2.2).
pub fn version(entry_point: &[u8]) -> Option<(u8, u8)> {
    let at = if entry_point.starts_with(b"_SM3_") {
        7
    } else if entry_point.starts_with(b"_SM_") {
        6
    } else {
        return None;
    };
    let [major, minor] = read::array(entry_point, at)?;
    Some((major, minor))
}

/// What tables of this version tell. Broken ones are read as far as they go.
pub fn parse(tables: &[u8], version: (u8, u8)) -> Smbios {
    let mut found = Smbios::default();
    let mut modules = Vec::new();
    // Serials of board and chassis stand in for a missing one of the system.
    let (mut board, mut chassis, mut board_vendor, mut board_product) = Default::default();
    for structure in structures(tables) {
        let text = |offset| known(structure.text(offset));
        let system = &mut found.system;
        match structure.kind {
            0 => first(&mut system.bios_version, text(0x05)).then(|| system.bios_date = text(0x08)),
            1 => first(&mut system.product, text(0x05)).then(|| {
                system.vendor = text(0x04);
                system.serial = text(0x07);
                system.uuid =
                    structure.array(0x08).and_then(|uuid| uuid_text(uuid, version)).unwrap_or_default();
            }),
            2 => first(&mut board_product, text(0x05)).then(|| {
                board_vendor = text(0x04);
                board = text(0x07);
            }),
            // Blades have a second chassis, the enclosure's, after their own.
            3 => {
                first(&mut chassis, text(0x07));
                first(&mut system.asset_tag, text(0x08)).then_some(())
            }
            4 => first(&mut found.cpu_model, text(0x10)).then_some(()),
            17 => {
                modules.extend(modules::module(&structure));
                None
            }
            38 => {
                found.ipmi = found.ipmi.take().or_else(|| Some(ipmi(&structure)));
                None
            }
            // Network host interface (section 7.43).
            42 => {
                found.redfish |= structure.byte(0x04) == Some(0x40);
                None
            }
            _ => None,
        };
    }
    found.dimms = modules::told_apart(modules);
    first(&mut found.system.vendor, board_vendor);
    first(&mut found.system.product, board_product);
    first(&mut found.system.serial, chassis);
    first(&mut found.system.serial, board);
    found
}

/// Fills what is still empty, and says whether it did.
fn first(target: &mut String, text: String) -> bool {
    let fills = target.is_empty() && !text.is_empty();
    if fills {
        *target = text;
    }
    fills
}

/// Section 7.2.1: before version 2.6 all bytes were written in network order, since then the first three fields are
/// little-endian. All zeros or ones: there is none.
fn uuid_text(mut uuid: [u8; 16], version: (u8, u8)) -> Option<String> {
    if uuid == [0; 16] || uuid == [0xff; 16] {
        return None;
    }
    if version >= (2, 6) {
        for (from, to) in [(0, 4), (4, 6), (6, 8)] {
            uuid.get_mut(from..to)?.reverse();
        }
    }
    let hex = hex::encode(uuid);
    let part = |range: std::ops::Range<usize>| hex.get(range);
    Some([part(0..8)?, part(8..12)?, part(12..16)?, part(16..20)?, part(20..32)?].join("-"))
}

/// Section 7.39: the interface, and the version as two decimal digits.
fn ipmi(structure: &Structure) -> String {
    let interface = match structure.byte(0x04) {
        Some(1) => "KCS",
        Some(2) => "SMIC",
        Some(3) => "BT",
        Some(4) => "SSIF",
        _ => "unknown interface",
    };
    let version = structure.byte(0x05).unwrap_or(0);
    format!("IPMI {}.{} ({interface})", version >> 4, version & 0xf)
}

#[cfg(test)]
mod tests;
