//! The whole disks.

use std::fs;
use std::path::Path;

use super::read;
use crate::model::inventory::{Disk, Transport};

/// More block devices than a host with many containers has.
const DEVICES: usize = 16384;
/// The unit of `size` in sysfs, whatever the disk's own sector is.
const SECTOR: u64 = 512;
/// What is made by software, or is no disk.
const NOT_DISKS: [&str; 14] = [
    "loop", "ram", "zram", "dm-", "sr", "fd", "nbd", "md", "rbd", "drbd", "mtdblock", "zd", "bcache", "ublkb",
];

/// Reads `/sys/block` (Documentation/ABI/stable/sysfs-block). Health is not asked for here: see `smart`.
pub fn read(root: &Path) -> Vec<Disk> {
    let block = root.join("sys/block");
    read::names(&block, DEVICES).into_iter().filter_map(|name| disk(&block.join(&name), name)).collect()
}

fn disk(folder: &Path, name: String) -> Option<Disk> {
    let made = NOT_DISKS.iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    // The hardware partitions of an eMMC, and the paths below a multipath NVMe namespace.
    let part = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if made || part || read::flag(&folder.join("hidden")) {
        return None;
    }
    let size_bytes = read::number::<u64>(&folder.join("size"))?.saturating_mul(SECTOR);
    let removable = read::flag(&folder.join("removable"));
    // An empty card reader.
    if removable && size_bytes == 0 {
        return None;
    }
    let device = folder.join("device");
    let transport = transport(folder, &name);
    let own = |attribute: &str| read::text(&device.join(attribute));
    Some(Disk {
        model: model(own("vendor"), own("model").or_else(|| own("name"))),
        serial: read::text(&folder.join("serial"))
            .or_else(|| own("serial"))
            .or_else(|| vpd_serial(&device))
            .unwrap_or_default(),
        wwn: read::text(&folder.join("wwid")).or_else(|| own("wwid")).unwrap_or_default(),
        size_bytes,
        logical_sector: read::number(&folder.join("queue/logical_block_size")).unwrap_or(512),
        // A virtio disk says that it spins only as nobody told it otherwise.
        rotational: transport != Transport::Virtio && read::flag(&folder.join("queue/rotational")),
        transport,
        removable,
        read_only: read::flag(&folder.join("ro")),
        wear_percent_used: None,
        smart_ok: None,
        name,
    })
}

/// SCSI tells a vendor too; libata says "ATA" there, virtio a number.
fn model(vendor: Option<String>, model: Option<String>) -> String {
    match (vendor, model) {
        (Some(vendor), Some(model)) if vendor != "ATA" && !vendor.starts_with("0x") => {
            format!("{vendor} {model}")
        }
        (_, model) => model.unwrap_or_default(),
    }
}

/// The unit serial number page (SPC-4 section 7.8.15) that the kernel keeps of a SCSI disk.
fn vpd_serial(device: &Path) -> Option<String> {
    let page = read::bytes(&device.join("vpd_pg80"), 512)?;
    let length = usize::from(u16::from_be_bytes(read::array(&page, 2)?));
    let text = String::from_utf8_lossy(page.get(4..)?.get(..length)?).into_owned();
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// By the disk's name and the devices on the way to it.
fn transport(folder: &Path, name: &str) -> Transport {
    if name.starts_with("nvme") {
        return Transport::Nvme;
    }
    if name.starts_with("mmcblk") {
        return Transport::Mmc;
    }
    let path = fs::canonicalize(folder).unwrap_or_default();
    let way: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let numbered = |prefix: &str| {
        way.iter().any(|part| {
            part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    if numbered("usb") {
        Transport::Usb
    } else if numbered("ata") {
        Transport::Sata
    } else if numbered("virtio") {
        Transport::Virtio
    } else if numbered("end_device-") {
        // A SATA disk behind a SAS controller is on SAS for all that matters here.
        Transport::Sas
    } else if name.starts_with("sd") {
        Transport::Scsi
    } else {
        Transport::Other
    }
}
