//! What is said of each change, and what nothing is said of.

use super::super::{Bmc, Firmware, Tpm, Transport};
use super::*;

fn server() -> Inventory {
    let dimm = |locator: &str, serial: &str| Dimm {
        locator: locator.into(),
        serial: serial.into(),
        size_bytes: 16 << 30,
        ..Dimm::default()
    };
    let disk = |name: &str, serial: &str| Disk {
        name: name.into(),
        serial: serial.into(),
        model: "SSDPE2KX020T8".into(),
        size_bytes: 2_000_398_934_016,
        transport: Transport::Nvme,
        wear_percent_used: Some(70),
        smart_ok: Some(true),
        ..Disk::default()
    };
    let nic = |name: &str, mac: &str| Nic {
        name: name.into(),
        mac: mac.into(),
        link: true,
        speed_mbps: Some(1000),
        lldp: Some(Lldp { system_name: "leaf1".into(), port: "swp1".into(), ..Lldp::default() }),
        ..Nic::default()
    };
    let mut server = Inventory {
        disks: vec![disk("nvme0n1", "S1"), disk("nvme1n1", "S2")],
        nics: vec![nic("eth0", "02:00:00:00:00:01"), nic("eth1", "02:00:00:00:00:02")],
        pci: vec![PciDevice {
            address: "0000:01:00.0".into(),
            vendor: "8086".into(),
            ..PciDevice::default()
        }],
        bmc: Some(Bmc { address: Some([10, 0, 0, 1].into()), ..Bmc::default() }),
        tpm: Some(Tpm { version: "2.0".into(), ek_sha256: Some("aa".into()) }),
        secure_boot: Some(true),
        firmware: Some(Firmware::Uefi),
        ..Inventory::default()
    };
    server.memory.dimms = vec![dimm("A1", "M1"), dimm("A2", "M2")];
    server.memory.total_bytes = 32 << 30;
    server.system.vendor = "ACME".into();
    server.system.bios_version = "1.2".into();
    server.cpus.cores = 8;
    server
}

type Change = fn(&mut Inventory);

#[test]
fn each_change_is_said_as_a_person_would() {
    let rows: &[(Change, &[&str])] = &[
        (|s| drop(s.memory.dimms.pop()), &["DIMM A2 (16 GiB, serial M2) is gone"]),
        (|s| s.memory.dimms[1].size_bytes = 8 << 30, &["DIMM A2 16 GiB → 8 GiB"]),
        (
            |s| s.memory.dimms[1].serial = "M3".into(),
            &["DIMM A2 (16 GiB, serial M2) is gone", "DIMM A2 (16 GiB, serial M3) is new"],
        ),
        (
            |s| s.disks.push(Disk { name: "sda".into(), size_bytes: 1 << 40, ..Disk::default() }),
            &["disk sda (1 TiB) is new"],
        ),
        (|s| drop(s.disks.remove(0)), &["disk nvme0n1 (1.8 TiB, SSDPE2KX020T8, serial S1) is gone"]),
        (|s| s.disks[0].read_only = true, &["disk nvme0n1 (serial S1) is now read-only"]),
        (
            |s| s.disks[0].smart_ok = Some(false),
            &["disk nvme0n1 (serial S1) says that it is failing (SMART)"],
        ),
        (
            |s| s.disks[0].wear_percent_used = Some(75),
            &["disk nvme0n1 (serial S1) has used 75 % of its endurance (it was 70 %)"],
        ),
        (|s| s.system.bios_version = "1.3".into(), &["BIOS version 1.2 → 1.3"]),
        (|s| s.nics[1].link = false, &["link of eth1 down"]),
        (
            |s| s.nics[1].mac = "02:00:00:00:00:09".into(),
            &[
                "network port eth1 (02:00:00:00:00:02) is gone",
                "network port eth1 (02:00:00:00:00:09) is new",
            ],
        ),
        (
            |s| s.nics[0].lldp.as_mut().unwrap().port = "swp9".into(),
            &["eth0 is plugged into leaf1 port swp9 (it was leaf1 port swp1)"],
        ),
        (|s| s.pci.clear(), &["PCI device 8086: (class , at 0000:01:00.0) is gone"]),
        (
            |s| s.bmc.as_mut().unwrap().address = Some([10, 0, 0, 2].into()),
            &["BMC address 10.0.0.1 → 10.0.0.2"],
        ),
        (|s| s.bmc = None, &["the BMC is gone"]),
        (|s| s.tpm = None, &["the TPM is gone"]),
        (
            |s| s.tpm.as_mut().unwrap().ek_sha256 = Some("bb".into()),
            &["the TPM is another one (its endorsement key changed)"],
        ),
        (|s| s.secure_boot = Some(false), &["Secure Boot is now off"]),
        (|s| s.firmware = Some(Firmware::Bios), &["firmware uefi → bios"]),
        (|s| s.cpus.cores = 6, &["processor cores 8 → 6"]),
        (
            |s| {
                s.system = System::default();
                s.memory.dimms.clear();
            },
            &["the system's tables (SMBIOS) can no longer be read"],
        ),
    ];
    for (change, expected) in rows {
        let (old, mut new) = (server(), server());
        change(&mut new);
        let told: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(told, *expected);
    }
}

#[test]
fn volatile_things_and_renumbered_devices_are_no_difference() {
    let rows: &[(&str, Change)] = &[
        ("nothing", |_| {}),
        ("disks renumbered", |s| {
            s.disks.swap(0, 1);
            s.disks[0].name = "nvme0n1".into();
            s.disks[1].name = "nvme1n1".into();
        }),
        ("ports renumbered", |s| {
            s.nics.swap(0, 1);
            s.nics[0].name = "eth0".into();
        }),
        ("another PCI address", |s| s.pci[0].address = "0000:02:00.0".into()),
        ("another speed", |s| s.nics[0].speed_mbps = Some(100)),
        ("a little wear", |s| s.disks[0].wear_percent_used = Some(74)),
        ("wear not read", |s| s.disks[0].wear_percent_used = None),
        ("a quiet switch", |s| s.nics[0].lldp = None),
        ("the clock", |s| s.clock_skew_ms = Some(5000)),
        ("EK not read", |s| s.tpm.as_mut().unwrap().ek_sha256 = None),
        ("another order of modules", |s| s.memory.dimms.swap(0, 1)),
    ];
    for (name, change) in rows {
        let (old, mut new) = (server(), server());
        change(&mut new);
        assert_eq!(diff(&old, &new), [], "{name}");
    }
}

#[test]
fn wear_is_told_where_a_limit_is_crossed() {
    for (from, to, told) in
        [(79, 80, true), (80, 84, false), (88, 90, true), (99, 101, true), (101, 104, false), (90, 3, false)]
    {
        let (mut old, mut new) = (server(), server());
        old.disks[0].wear_percent_used = Some(from);
        new.disks[0].wear_percent_used = Some(to);
        assert_eq!(!diff(&old, &new).is_empty(), told, "{from} to {to}");
    }
}

#[test]
fn disks_without_serials_are_told_apart_by_their_number() {
    let plain = Disk { size_bytes: 1 << 30, ..Disk::default() };
    let of = |count| Inventory { disks: vec![plain.clone(); count], ..Inventory::default() };
    assert_eq!(diff(&of(2), &of(2)), []);
    assert_eq!(diff(&of(2), &of(1)).len(), 1);
}

#[test]
fn sizes_read_as_people_say_them() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (16 << 30, "16 GiB"),
        (1536 << 20, "1.5 GiB"),
        (2_000_398_934_016, "1.8 TiB"),
        (u64::MAX, "16383 PiB"),
    ] {
        assert_eq!(human_bytes(bytes), text);
    }
}
