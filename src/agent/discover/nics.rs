//! The physical network ports.

use std::fs;
use std::path::Path;

use super::{pci, read};
use crate::model::inventory::Nic;

/// More interfaces than a host with many containers has.
const INTERFACES: usize = 16384;

/// The Ethernet ports behind which there is a device (Documentation/ABI/testing/sysfs-class-net): no bridges, bonds,
/// VLANs, and no virtual functions. Neighbours are not heard here: see `listen`.
pub fn read(root: &Path) -> Vec<Nic> {
    let class = root.join("sys/class/net");
    read::names(&class, INTERFACES).into_iter().filter_map(|name| nic(&class.join(&name), name)).collect()
}

fn nic(folder: &Path, name: String) -> Option<Nic> {
    let device = folder.join("device");
    // ARPHRD_ETHER.
    if !device.exists() || device.join("physfn").exists() || read::text(&folder.join("type"))? != "1" {
        return None;
    }
    // A port of a bond has the bond's address, and its own beside it.
    let mac = read::text(&folder.join("bonding_slave/perm_hwaddr"))
        .or_else(|| read::text(&folder.join("address")))?;
    let path = fs::canonicalize(&device).unwrap_or_default();
    let address = path.iter().rev().filter_map(|part| part.to_str()).find(|part| pci::is_address(part));
    Some(Nic {
        name,
        mac: mac.to_ascii_lowercase(),
        driver: read::link_name(&device.join("driver")).unwrap_or_default(),
        // Cannot be read while the port is down.
        link: read::flag(&folder.join("carrier")),
        // -1 or the largest number when unknown.
        speed_mbps: read::number(&folder.join("speed")).filter(|speed| (1..u32::MAX).contains(speed)),
        pci: address.unwrap_or_default().to_owned(),
        lldp: None,
    })
}
