//! Cuts an inventory to a sane size: it arrives from a hostile network.

use super::{Inventory, Nic};

/// Characters of one text.
const TEXT: usize = 128;
/// Modules of the largest servers, twice over.
const DIMMS: usize = 512;
/// Disks: several full shelves.
const DISKS: usize = 512;
/// Physical ports.
const NICS: usize = 128;
/// PCI functions.
const PCI: usize = 1024;

impl Inventory {
    /// The same with every text cut to 128 printable characters and every list to more than any server has.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.memory.dimms.truncate(DIMMS);
        self.disks.truncate(DISKS);
        self.nics.truncate(NICS);
        self.pci.truncate(PCI);
        for text in self.texts() {
            bound(text);
        }
        self
    }

    /// Every text of it.
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let system = &mut self.system;
        let one = [
            &mut system.vendor,
            &mut system.product,
            &mut system.serial,
            &mut system.uuid,
            &mut system.asset_tag,
            &mut system.bios_version,
            &mut system.bios_date,
            &mut self.cpus.model,
        ];
        let dimms = self.memory.dimms.iter_mut().flat_map(|dimm| {
            [&mut dimm.locator, &mut dimm.kind, &mut dimm.manufacturer, &mut dimm.serial, &mut dimm.part]
        });
        let disks = self
            .disks
            .iter_mut()
            .flat_map(|disk| [&mut disk.name, &mut disk.model, &mut disk.serial, &mut disk.wwn]);
        let pci = self.pci.iter_mut().flat_map(|pci| {
            [&mut pci.address, &mut pci.class, &mut pci.vendor, &mut pci.device, &mut pci.driver]
        });
        let bmc = self.bmc.iter_mut().flat_map(|bmc| [&mut bmc.kind, &mut bmc.mac, &mut bmc.source]);
        let tpm =
            self.tpm.iter_mut().flat_map(|tpm| std::iter::once(&mut tpm.version).chain(&mut tpm.ek_sha256));
        let nics = self.nics.iter_mut().flat_map(of_nic);
        one.into_iter().chain(dimms).chain(disks).chain(nics).chain(pci).chain(bmc).chain(tpm)
    }
}

fn of_nic(nic: &mut Nic) -> impl Iterator<Item = &mut String> {
    let own = [&mut nic.name, &mut nic.mac, &mut nic.driver, &mut nic.pci];
    let heard = nic.lldp.iter_mut().flat_map(|lldp| {
        [
            &mut lldp.chassis,
            &mut lldp.system_name,
            &mut lldp.port,
            &mut lldp.port_description,
            &mut lldp.mgmt_address,
        ]
    });
    own.into_iter().chain(heard)
}

/// Keeps the text's first printable characters.
pub(super) fn bound(text: &mut String) {
    if text.chars().count() > TEXT || !text.chars().all(printable) {
        *text = text.chars().filter(|c| printable(*c)).take(TEXT).collect();
    }
}

/// Neither a control character nor one of those that hide or turn around the text beside them on a terminal.
fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::super::{Bmc, Dimm, Disk, Lldp, PciDevice, Tpm};
    use super::*;

    #[test]
    fn hostile_texts_and_lists_are_cut() {
        let evil = format!("\u{1b}[2J\u{202e}{}", "ä".repeat(5000));
        let mut inventory = Inventory {
            disks: vec![Disk { model: evil.clone(), ..Disk::default() }; 3000],
            nics: vec![
                Nic {
                    lldp: Some(Lldp { system_name: evil.clone(), ..Lldp::default() }),
                    ..Nic::default()
                };
                3000
            ],
            pci: vec![PciDevice { driver: evil.clone(), ..PciDevice::default() }; 3000],
            bmc: Some(Bmc { kind: evil.clone(), ..Bmc::default() }),
            tpm: Some(Tpm { version: "2.0".into(), ek_sha256: Some(evil.clone()) }),
            ..Inventory::default()
        };
        inventory.memory.dimms = vec![Dimm { part: evil.clone(), ..Dimm::default() }; 3000];
        inventory.system.product = evil;
        let cut = inventory.bounded();
        assert_eq!(
            (cut.disks.len(), cut.nics.len(), cut.pci.len(), cut.memory.dimms.len()),
            (512, 128, 1024, 512)
        );
        let mut again = cut.clone();
        for text in again.texts() {
            assert!(text.chars().count() <= 128, "{text}");
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        }
        assert!(cut.system.product.starts_with("[2Jä"));
        assert_eq!(cut.clone().bounded(), cut, "bounding twice changes nothing");
    }

    #[test]
    fn missing_and_unknown_fields_are_no_error() {
        let old: Inventory =
            serde_json::from_str(r#"{"system":{"vendor":"ACME"},"gpu":[1],"disks":[{"transport":"cxl"}]}"#)
                .expect("a partial inventory");
        assert_eq!(old.system.vendor, "ACME");
        assert_eq!(old.disks.len(), 1);
        let text = serde_json::to_string(&old).expect("JSON");
        assert_eq!(serde_json::from_str::<Inventory>(&text).expect("its own JSON"), old);
    }
}
