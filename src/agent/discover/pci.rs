//! Everything on the PCI buses.

use std::path::Path;

use super::read;
use crate::model::inventory::PciDevice;

/// More functions than a server has, virtual ones included.
const FUNCTIONS: usize = 8192;

/// The physical functions (Documentation/PCI/sysfs-pci.rst); virtual ones (SR-IOV) come and go with the settings.
pub fn read(root: &Path) -> Vec<PciDevice> {
    let devices = root.join("sys/bus/pci/devices");
    let mut names = read::names(&devices, FUNCTIONS);
    names.sort_unstable();
    names
        .into_iter()
        .filter(|name| is_address(name) && !devices.join(name).join("physfn").exists())
        .filter_map(|address| {
            let device = devices.join(&address);
            let hexadecimal = |name: &str| {
                let text = read::text(&device.join(name))?;
                let digits = text.strip_prefix("0x")?;
                digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| digits.to_ascii_lowercase())
            };
            Some(PciDevice {
                class: hexadecimal("class")?,
                vendor: hexadecimal("vendor")?,
                device: hexadecimal("device")?,
                driver: read::link_name(&device.join("driver")).unwrap_or_default(),
                address,
            })
        })
        .collect()
}

/// Whether this is written like `0000:03:00.0`.
pub fn is_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let [domain, bus, device, function] = parts.as_slice() else { return false };
    let hexadecimal =
        |part: &str, length| part.len() >= length && part.chars().all(|c| c.is_ascii_hexdigit());
    text.len() <= 20
        && hexadecimal(domain, 4)
        && hexadecimal(bus, 2)
        && hexadecimal(device, 2)
        && hexadecimal(function, 1)
}
