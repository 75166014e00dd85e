//! Made-up trees in place of a machine's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::ipmi::IpmiError;
use super::*;
use crate::model::inventory::{Bmc, Firmware, Tpm, Transport};

/// A tree of files, `path` and content; a content that begins with `->` is where a symbolic link points.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        put(root.path(), path, content.as_bytes());
    }
    root
}

fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    match std::str::from_utf8(content).ok().and_then(|text| text.strip_prefix("->")) {
        Some(target) => symlink(target, &path).expect("a link"),
        None => fs::write(&path, content).expect("a file"),
    }
}

#[test]
fn a_machine_that_tells_nothing_has_an_empty_inventory() {
    let root = tree(&[]);
    let all = Options { ask_devices: true, raise_links: true, lldp: Some(Duration::from_secs(1)) };
    assert_eq!(discover(root.path(), &all), Inventory::default());
    assert_eq!(discover(Path::new("/nonexistent"), &Options::default()), Inventory::default());
}

#[test]
fn disks_are_told_from_what_only_looks_like_one() {
    let root = tree(&[
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/model", "SSDPE2KX020T8   \n"),
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/serial", "PHLJ1  \n"),
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/size", "3907029168\n"),
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/wwid", "eui.01\n"),
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/queue/logical_block_size", "4096\n"),
        ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/device", "->.."),
        ("sys/block/nvme0n1", "->../devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1"),
        ("sys/block/nvme0c0n1/size", "3907029168\n"),
        ("sys/block/nvme0c0n1/hidden", "1\n"),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/model", "WDC WD40EFRX\n"),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/vendor", "ATA     \n"),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/wwid", "naa.5001\n"),
        (
            "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/vpd_pg80",
            "\0\u{7f}\0\u{8}  WD-1  ",
        ),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/size", "100\n"),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/ro", "1\n"),
        (
            "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/queue/rotational",
            "1\n",
        ),
        ("sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/device", "->../.."),
        ("sys/block/sda", "->../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"),
        ("sys/devices/pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdb/size", "100\n"),
        ("sys/devices/pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/vendor", "SEAGATE\n"),
        ("sys/devices/pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/model", "ST8000\n"),
        (
            "sys/devices/pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdb/device",
            "->../..",
        ),
        (
            "sys/block/sdb",
            "->../devices/pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdb",
        ),
        ("sys/devices/pci0000:00/usb2/2-1/host2/1:0:0:0/block/sdc/size", "100\n"),
        ("sys/devices/pci0000:00/usb2/2-1/host2/1:0:0:0/block/sdc/removable", "1\n"),
        ("sys/block/sdc", "->../devices/pci0000:00/usb2/2-1/host2/1:0:0:0/block/sdc"),
        ("sys/devices/pci0000:00/usb2/2-2/host3/1:0:0:0/block/sdd/size", "0\n"),
        ("sys/devices/pci0000:00/usb2/2-2/host3/1:0:0:0/block/sdd/removable", "1\n"),
        ("sys/block/sdd", "->../devices/pci0000:00/usb2/2-2/host3/1:0:0:0/block/sdd"),
        ("sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda/size", "8\n"),
        ("sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda/serial", "V1\n"),
        ("sys/block/vda", "->../devices/pci0000:00/0000:00:05.0/virtio2/block/vda"),
        ("sys/block/mmcblk0/size", "8\n"),
        ("sys/block/mmcblk0/device/name", "SD32G\n"),
        ("sys/block/mmcblk0boot0/size", "8\n"),
        ("sys/block/loop0/size", "8\n"),
        ("sys/block/dm-0/size", "8\n"),
        ("sys/block/md127/size", "8\n"),
        ("sys/block/zram0/size", "8\n"),
        ("sys/block/sr0/size", "8\n"),
        ("sys/block/sde/size", "many\n"),
    ]);
    let disks = disks::read(root.path());
    let told: Vec<_> =
        disks.iter().map(|d| (d.name.as_str(), d.transport, d.model.as_str(), d.serial.as_str())).collect();
    let expected = [
        ("mmcblk0", Transport::Mmc, "SD32G", ""),
        ("nvme0n1", Transport::Nvme, "SSDPE2KX020T8", "PHLJ1"),
        ("sda", Transport::Sata, "WDC WD40EFRX", "WD-1"),
        ("sdb", Transport::Sas, "SEAGATE ST8000", ""),
        ("sdc", Transport::Usb, "", ""),
        ("vda", Transport::Virtio, "", "V1"),
    ];
    assert_eq!(told, expected);
    let (nvme, sata) = (&disks[1], &disks[2]);
    assert_eq!(
        (nvme.size_bytes, nvme.logical_sector, nvme.wwn.as_str()),
        (2_000_398_934_016, 4096, "eui.01")
    );
    assert_eq!(
        (sata.rotational, sata.read_only, sata.removable, sata.wwn.as_str()),
        (true, true, false, "naa.5001")
    );
}

#[test]
fn only_physical_ports_are_told_with_their_own_addresses() {
    let root = tree(&[
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/driver", "->../../../../bus/pci/drivers/igb"),
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1/address", "AA:00:00:00:00:01\n"),
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1/type", "1\n"),
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1/carrier", "1\n"),
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1/speed", "1000\n"),
        ("sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1/device", "->../.."),
        ("sys/class/net/eno1", "->../../devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1"),
        ("sys/devices/pci0000:00/0000:00:06.0/virtio3/net/eth2/address", "aa:00:00:00:00:02\n"),
        (
            "sys/devices/pci0000:00/0000:00:06.0/virtio3/net/eth2/bonding_slave/perm_hwaddr",
            "aa:00:00:00:00:03\n",
        ),
        ("sys/devices/pci0000:00/0000:00:06.0/virtio3/net/eth2/type", "1\n"),
        ("sys/devices/pci0000:00/0000:00:06.0/virtio3/net/eth2/speed", "-1\n"),
        ("sys/devices/pci0000:00/0000:00:06.0/virtio3/net/eth2/device", "->../.."),
        ("sys/class/net/eth2", "->../../devices/pci0000:00/0000:00:06.0/virtio3/net/eth2"),
        ("sys/class/net/eth10/address", "aa:00:00:00:00:04\n"),
        ("sys/class/net/eth10/type", "1\n"),
        ("sys/class/net/eth10/device/physfn/vendor", "0x8086\n"),
        ("sys/class/net/ib0/address", "80:00\n"),
        ("sys/class/net/ib0/type", "32\n"),
        ("sys/class/net/ib0/device/vendor", "0x15b3\n"),
        ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
        ("sys/class/net/bond0/type", "1\n"),
        ("sys/class/net/bonding_masters", "bond0\n"),
    ]);
    let nics = nics::read(root.path());
    let told: Vec<_> = nics
        .iter()
        .map(|n| (n.name.as_str(), n.mac.as_str(), n.driver.as_str(), n.pci.as_str(), n.link, n.speed_mbps))
        .collect();
    let expected = [
        ("eno1", "aa:00:00:00:00:01", "igb", "0000:03:00.0", true, Some(1000)),
        ("eth2", "aa:00:00:00:00:03", "", "0000:00:06.0", false, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn processors_are_counted_by_socket_core_and_thread() {
    let mut files = vec![
        ("proc/cpuinfo".to_owned(), "processor : 0\nmodel name\t: Xeon(R)   Gold 6130\n".to_owned()),
        ("proc/meminfo".to_owned(), "MemTotal:       65536000 kB\nMemFree: 1 kB\n".to_owned()),
        ("sys/devices/system/cpu/cpufreq/x".to_owned(), "1".to_owned()),
        ("sys/devices/system/cpu/cpu99/online".to_owned(), "0".to_owned()),
    ];
    for cpu in 0..16 {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        files.push((format!("{topology}/physical_package_id"), format!("{}\n", cpu / 4 % 2)));
        files.push((format!("{topology}/core_id"), format!("{}\n", cpu % 4)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let root = tree(&files);
    let cpus = cpu::read(root.path());
    assert_eq!(
        (cpus.model.as_str(), cpus.sockets, cpus.cores, cpus.threads),
        ("Xeon(R) Gold 6130", 2, 8, 16)
    );
    assert_eq!(discover(root.path(), &Options::default()).memory.total_bytes, 65_536_000 * 1024);
}

#[test]
fn pci_devices_are_told_without_virtual_functions() {
    let root = tree(&[
        ("sys/bus/pci/devices/0000:03:00.0/class", "0x020000\n"),
        ("sys/bus/pci/devices/0000:03:00.0/vendor", "0x8086\n"),
        ("sys/bus/pci/devices/0000:03:00.0/device", "0x1533\n"),
        ("sys/bus/pci/devices/0000:03:00.0/driver", "->../../drivers/igb"),
        ("sys/bus/pci/devices/0000:03:10.0/class", "0x020000\n"),
        ("sys/bus/pci/devices/0000:03:10.0/physfn/x", ""),
        ("sys/bus/pci/devices/0000:04:00.0/class", "nonsense\n"),
        ("sys/bus/pci/devices/evil/class", "0x020000\n"),
    ]);
    let told = pci::read(root.path());
    assert_eq!(told.len(), 1, "{told:?}");
    let device = &told[0];
    assert_eq!(
        (device.class.as_str(), device.vendor.as_str(), device.device.as_str()),
        ("020000", "8086", "1533")
    );
    assert_eq!(device.driver, "igb");
}

#[test]
fn firmware_and_secure_boot_are_told_apart() {
    const VARIABLE: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    const OTHER: (&str, &str) = ("sys/firmware/efi/efivars/Boot0001-x", "x");
    for (name, files, expected) in [
        ("no sysfs", vec![], (None, None)),
        ("BIOS", vec![("sys/firmware/memmap/0/start", "0")], (Some(Firmware::Bios), None)),
        (
            "efivarfs not mounted",
            vec![("sys/firmware/efi/fw_platform_size", "64")],
            (Some(Firmware::Uefi), None),
        ),
        ("no such variable", vec![OTHER], (Some(Firmware::Uefi), Some(false))),
        ("off", vec![OTHER, (VARIABLE, "\x06\0\0\0\0")], (Some(Firmware::Uefi), Some(false))),
        ("on", vec![OTHER, (VARIABLE, "\x06\0\0\0\x01")], (Some(Firmware::Uefi), Some(true))),
        ("cut", vec![OTHER, (VARIABLE, "\x06\0")], (Some(Firmware::Uefi), None)),
    ] {
        let root = tree(&files);
        assert_eq!((firmware::read(root.path()), firmware::secure_boot(root.path())), expected, "{name}");
    }
}

#[test]
fn a_tpm_that_cannot_be_asked_still_has_a_version() {
    for (files, version) in [
        (vec![("sys/class/tpm/tpm0/tpm_version_major", "2\n")], Some("2.0")),
        (vec![("sys/class/tpm/tpm0/tpm_version_major", "1\n")], Some("1.2")),
        (vec![("sys/class/tpm/tpm0/caps", "TCG version: 1.2\n")], Some("1.2")),
        (vec![], None),
    ] {
        let expected = version.map(|version| Tpm { version: version.into(), ek_sha256: None });
        assert_eq!(tpm::read(tree(&files).path(), true), expected);
    }
}

#[test]
fn the_bmc_tells_its_network() {
    // What each channel answers to: address, gateway, MAC address, source.
    type Answer = fn(u8, bmc::Parameter) -> Result<Vec<u8>, IpmiError>;
    let address = |last: u8| Some([10, 0, 0, last].into());
    let full = Bmc {
        address: address(5),
        mac: "aa:00:00:00:00:05".into(),
        gateway: address(1),
        source: "dhcp".into(),
        ..Bmc::default()
    };
    let answers = |parameter| match parameter {
        bmc::Parameter::Address => vec![0x11, 10, 0, 0, 5],
        bmc::Parameter::Gateway => vec![0x11, 10, 0, 0, 1],
        bmc::Parameter::Mac => vec![0x11, 0xaa, 0, 0, 0, 0, 5],
        bmc::Parameter::Source => vec![0x11, 2],
    };
    let rows: &[(&str, Answer, Option<Bmc>)] = &[
        ("channel 1", |_, _| Err(IpmiError::Refused(0xc1)), Some(Bmc::default())),
        ("timeout", |_, _| Err(IpmiError::Timeout), None),
        ("cut answers", |_, _| Ok(vec![0x11]), Some(Bmc::default())),
        ("nothing", |_, _| Ok(vec![]), Some(Bmc::default())),
        (
            "no address yet",
            |_, parameter| {
                Ok(if parameter == bmc::Parameter::Source { vec![0x11, 1] } else { vec![0x11, 0, 0, 0, 0] })
            },
            Some(Bmc { source: "static".into(), ..Bmc::default() }),
        ),
    ];
    for (name, answer, expected) in rows {
        let mut told = Bmc::default();
        let result = bmc::network(&mut told, answer).ok().map(|()| told);
        assert_eq!(result, *expected, "{name}");
    }
    for lan in [1, 2, 8] {
        let mut told = Bmc::default();
        let get = |channel, parameter| match channel {
            _ if channel == lan => Ok(answers(parameter)),
            // A LAN that is not connected comes before.
            1 => Ok(vec![0x11, 0, 0, 0, 0]),
            _ => Err(IpmiError::Refused(0xcc)),
        };
        bmc::network(&mut told, get).expect("answers");
        assert_eq!(told, full, "LAN on channel {lan}");
    }
}

#[test]
fn smart_answers_are_read() {
    let page = |warning: u8, used: u8| {
        let mut page = [0; 512];
        [page[0], page[1], page[2], page[5]] = [warning, 0x2c, 0x01, used];
        page
    };
    for (name, page, expected) in [
        ("healthy", page(0, 3), (Some(3), Some(true))),
        ("worn", page(0, 104), (Some(104), Some(true))),
        ("hot", page(0b10, 0), (Some(0), Some(true))),
        ("no spare blocks", page(0b1, 50), (Some(50), Some(false))),
        ("read-only", page(0b1010, 50), (Some(50), Some(false))),
        ("never filled in", [0; 512], (None, None)),
    ] {
        assert_eq!(smart::health(&page), expected, "{name}");
    }
    let sense = |mid: u8, high: u8| {
        [0x72, 1, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 0, 0, 0, 0, 0, 0, mid, 0, high, 0, 0x50]
    };
    for (name, sense, expected) in [
        ("healthy", &sense(0x4f, 0xc2)[..], Some(true)),
        ("failing", &sense(0xf4, 0x2c), Some(false)),
        ("registers of another command", &sense(0, 0), None),
        ("fixed format", &[0x70, 0, 0, 0], None),
        ("cut", &sense(0x4f, 0xc2)[..15], None),
        ("nothing", &[], None),
    ] {
        assert_eq!(smart::verdict(sense), expected, "{name}");
    }
}
