//! Memory modules: SMBIOS type 17 (DSP0134 section 7.18).

use super::tables::Structure;
use crate::model::inventory::Dimm;
use crate::model::placeholder::known;

/// The module in a slot, with the name of its bank; `None` for an empty slot.
pub(super) fn module(structure: &Structure) -> Option<(Dimm, String)> {
    let size_bytes = size(structure)?;
    let text = |offset| known(structure.text(offset));
    let module = Dimm {
        locator: text(0x10),
        size_bytes,
        kind: structure.byte(0x12).map(kind).unwrap_or_default().to_owned(),
        // As configured where the structure has that (version 2.7), else what it could do.
        speed_mts: speed(structure, 0x20, 0x58).or_else(|| speed(structure, 0x15, 0x54)),
        manufacturer: text(0x17),
        serial: text(0x18),
        part: text(0x1a),
    };
    Some((module, text(0x11)))
}

/// In bytes: MiB, or KiB with the highest bit; 0x7FFF refers to the extended size (section 7.18.5).
fn size(structure: &Structure) -> Option<u64> {
    match structure.word(0x0c)? {
        0 | 0xffff => None,
        0x7fff => {
            let mebibytes = structure.double_word(0x1c)? & 0x7fff_ffff;
            (mebibytes > 0).then(|| u64::from(mebibytes) << 20)
        }
        size if size & 0x8000 != 0 => Some(u64::from(size & 0x7fff) << 10),
        size => Some(u64::from(size) << 20),
    }
}

/// In MT/s; 0xFFFF refers to the extended speed (section 7.18.4).
fn speed(structure: &Structure, offset: usize, extended: usize) -> Option<u32> {
    match structure.word(offset)? {
        0 => None,
        0xffff => structure.double_word(extended).map(|speed| speed & 0x7fff_ffff).filter(|speed| *speed > 0),
        speed => Some(u32::from(speed)),
    }
}

/// Section 7.18.2.
fn kind(number: u8) -> &'static str {
    match number {
        0x07 => "RAM",
        0x0f => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x1f => "Non-volatile",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => "",
    }
}

/// The modules, with the bank before the slot's name where several slots have the same.
pub(super) fn told_apart(modules: Vec<(Dimm, String)>) -> Vec<Dimm> {
    let mut names: Vec<String> = modules.iter().map(|(module, _)| module.locator.clone()).collect();
    names.sort_unstable();
    let ambiguous = |name: &str| {
        names.partition_point(|n| n.as_str() <= name) - names.partition_point(|n| n.as_str() < name) > 1
    };
    modules
        .into_iter()
        .map(|(mut module, bank)| {
            if ambiguous(&module.locator) {
                module.locator.insert_str(0, &if bank.is_empty() { bank } else { bank + " " });
            }
            module
        })
        .collect()
}
