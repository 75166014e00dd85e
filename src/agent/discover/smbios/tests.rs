//! Tables of a real firmware, made-up corners, and broken ones.

use proptest::prelude::*;

use super::*;

/// The tables of QEMU 7.2 as a PC with `-smbios` texts of ours and an IPMI device.
const QEMU: &[u8] = include_bytes!("qemu.dmi");

/// One structure: type, what is behind the header, texts.
fn structure(kind: u8, fields: &[u8], texts: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind, u8::try_from(fields.len() + 4).unwrap(), 1, 0];
    bytes.extend(fields);
    for text in texts {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    if texts.is_empty() {
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

/// The fields of a memory module of this size word, extended size and names.
fn module(size: u16, extended_size: u32, names: [u8; 2]) -> Vec<u8> {
    let mut fields = vec![0; 0x5c - 4];
    fields[0x0c - 4..0x0e - 4].copy_from_slice(&size.to_le_bytes());
    fields[0x10 - 4..0x12 - 4].copy_from_slice(&names);
    fields[0x12 - 4] = 0x22;
    fields[0x15 - 4..0x17 - 4].copy_from_slice(&5600u16.to_le_bytes());
    fields[0x1c - 4..0x20 - 4].copy_from_slice(&extended_size.to_le_bytes());
    fields
}

#[test]
fn the_tables_of_a_virtual_machine_are_read() {
    let told = parse(QEMU, (2, 8));
    let expected = System {
        vendor: "ACME".into(),
        product: "Anvil".into(),
        serial: "SN0042".into(),
        uuid: "00112233-4455-6677-8899-aabbccddeeff".into(),
        asset_tag: "rack7".into(),
        bios_version: "1.2.3".into(),
        bios_date: "01/02/2024".into(),
    };
    assert_eq!(told.system, expected);
    let dimm = Dimm {
        locator: "DIMM 0".into(),
        size_bytes: 512 << 20,
        kind: "RAM".into(),
        speed_mts: Some(3200),
        manufacturer: "Foundry".into(),
        serial: "M0001".into(),
        part: "PT-1".into(),
    };
    assert_eq!(told.dimms, [dimm]);
    assert_eq!(told.ipmi.as_deref(), Some("IPMI 2.0 (KCS)"));
    assert!(!told.redfish);
}

#[test]
fn sizes_of_modules_are_read_in_each_of_their_ways() {
    for (name, size, extended, expected) in [
        ("an empty slot", 0, 0, None),
        ("unknown", 0xffff, 0, None),
        ("MiB", 16384, 0, Some(16 << 30)),
        ("KiB", 0x8000 | 512, 0, Some(512 << 10)),
        ("extended", 0x7fff, 65536, Some(64 << 30)),
        ("extended, and empty", 0x7fff, 0, None),
        ("extended, with the reserved bit", 0x7fff, 0x8000_0000 | 131_072, Some(128u64 << 30)),
    ] {
        let told = parse(&structure(17, &module(size, extended, [1, 2]), &["A1", "BANK 0"]), (3, 0));
        assert_eq!(told.dimms.first().map(|dimm| dimm.size_bytes), expected, "{name}");
    }
}

#[test]
fn slots_of_one_name_are_told_apart_by_their_banks() {
    let mut tables = structure(17, &module(8192, 0, [1, 2]), &["DIMM 1", "CPU0"]);
    tables.extend(structure(17, &module(8192, 0, [1, 2]), &["DIMM 1", "CPU1"]));
    tables.extend(structure(17, &module(8192, 0, [1, 2]), &["DIMM 2", "CPU1"]));
    let locators: Vec<String> = parse(&tables, (3, 0)).dimms.into_iter().map(|dimm| dimm.locator).collect();
    assert_eq!(locators, ["CPU0 DIMM 1", "CPU1 DIMM 1", "DIMM 2"]);
}

#[test]
fn board_and_chassis_stand_in_for_a_system_without_a_name() {
    let mut system = vec![1, 2, 3, 4];
    system.extend([0xff; 16]);
    let mut tables =
        structure(1, &system, &["To Be Filled By O.E.M.", "Default string", "1", "Default string"]);
    tables.extend(structure(2, &[1, 2, 0, 3], &["Supermicro", "X11DPU", "BOARD7"]));
    assert_eq!(parse(&tables, (3, 0)).system.serial, "BOARD7");
    tables.extend(structure(3, &[0, 0, 0, 1, 0], &["CHASSIS9"]));
    let told = parse(&tables, (3, 0)).system;
    assert_eq!((told.vendor.as_str(), told.product.as_str()), ("Supermicro", "X11DPU"));
    assert_eq!((told.serial.as_str(), told.uuid.as_str()), ("CHASSIS9", ""));
}

#[test]
fn the_uuid_has_the_byte_order_of_its_version() {
    let uuid: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    for (version, expected) in [
        ((2, 5), Some("00010203-0405-0607-0809-0a0b0c0d0e0f")),
        ((2, 6), Some("03020100-0504-0706-0809-0a0b0c0d0e0f")),
        ((3, 4), Some("03020100-0504-0706-0809-0a0b0c0d0e0f")),
    ] {
        assert_eq!(uuid_text(uuid, version).as_deref(), expected, "{version:?}");
    }
}

#[test]
fn entry_points_of_both_kinds_tell_their_version() {
    for (name, bytes, expected) in [
        ("32-bit", &b"_SM_\x00\x1f\x02\x08"[..], Some((2, 8))),
        ("64-bit", b"_SM3_\x00\x18\x03\x04\x00", Some((3, 4))),
        ("cut", b"_SM_\x00\x1f\x02", None),
        ("another", b"_DMI_\x00\x00\x00\x00", None),
    ] {
        assert_eq!(version(bytes), expected, "{name}");
    }
}

#[test]
fn controllers_are_noticed() {
    for (name, tables, ipmi, redfish) in [
        ("none", vec![], None, false),
        ("IPMI over SSIF", structure(38, &[4, 0x20, 0x20], &[]), Some("IPMI 2.0 (SSIF)"), false),
        ("IPMI, cut", structure(38, &[], &[]), Some("IPMI 0.0 (unknown interface)"), false),
        ("Redfish", structure(42, &[0x40, 0], &[]), None, true),
        ("a host interface of another kind", structure(42, &[0x02, 0], &[]), None, false),
    ] {
        let told = parse(&tables, (3, 0));
        assert_eq!((told.ipmi.as_deref(), told.redfish), (ipmi, redfish), "{name}");
    }
}

#[test]
fn tables_cut_anywhere_are_read_so_far() {
    let whole = parse(QEMU, (2, 8));
    for end in 0..QEMU.len() {
        let told = parse(&QEMU[..end], (2, 8));
        assert!(told.system.vendor.is_empty() || told.system.vendor == whole.system.vendor, "cut at {end}");
    }
    let mut behind_the_end = structure(127, &[], &[]);
    behind_the_end.extend(QEMU);
    assert_eq!(parse(&behind_the_end, (2, 8)), Smbios::default());
}

proptest! {
    #[test]
    fn no_tables_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&bytes, (3, 0));
    }

    #[test]
    fn real_tables_with_broken_bytes_do_not_panic(broken in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut tables = QEMU.to_vec();
        for (index, byte) in broken {
            let at = index.index(tables.len());
            tables[at] = byte;
        }
        let _ = parse(&tables, (2, 8));
    }
}
