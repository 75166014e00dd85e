//! What `--where` can ask of an inventory.

use super::super::filter::{Field, Kind, Value};
use super::{Inventory, Transport};

/// The fields that [`Inventory::field`] knows.
pub const FIELDS: &[Field] = &[
    field("memory", Kind::Number, "installed memory, in bytes (memory>=64GiB)"),
    field("dimms", Kind::Number, "how many memory modules it has"),
    field("cpu.sockets", Kind::Number, "how many processors it has"),
    field("cpu.cores", Kind::Number, "cores of all processors"),
    field("cpu.threads", Kind::Number, "hardware threads of all processors"),
    field("cpu.model", Kind::Text, "the model of its processors"),
    field("disk", Kind::Number, "how many disks it has"),
    field("disk.nvme", Kind::Number, "how many NVMe disks it has"),
    field("disk.ssd", Kind::Number, "how many disks do not spin and are not NVMe"),
    field("disk.hdd", Kind::Number, "how many disks spin"),
    field("disk.size", Kind::Number, "the size of all disks, in bytes"),
    field("disk.largest", Kind::Number, "the size of the largest disk, in bytes"),
    field("nic", Kind::Number, "how many physical network ports it has"),
    field("nic.up", Kind::Number, "how many of them have a carrier"),
    field("nic.speed", Kind::Number, "the speed of the fastest, in Mbit/s (nic.speed>=10000)"),
    field("vendor", Kind::Text, "who made it"),
    field("product", Kind::Text, "which product it is"),
    field("serial", Kind::Text, "its serial number"),
    field("uuid", Kind::Text, "its SMBIOS UUID"),
    field("asset", Kind::Text, "the owner's asset tag"),
    field("bios", Kind::Text, "the version of its firmware, ordered as versions are (bios<2.10)"),
    field("firmware", Kind::Text, "what started it: bios or uefi"),
    field("secureboot", Kind::Flag, "whether Secure Boot is enforced"),
    field("switch", Kind::List, "the switches it is plugged into, by name (LLDP)"),
    field("port", Kind::List, "the ports it is plugged into, by ID (LLDP)"),
    field("tpm", Kind::Text, "the version of its TPM: 1.2 or 2.0"),
    field("bmc", Kind::Text, "the address of its management controller, or what kind it is"),
    field("pci", Kind::List, "its PCI devices, as vendor:device (pci=8086:1533)"),
];

const fn field(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { name, kind, help }
}

impl Inventory {
    /// The value of a field of [`FIELDS`]; `None` when the inventory does not tell, or there is no such field.
    pub fn field(&self, name: &str) -> Option<Value> {
        let flash = |transport: Transport| transport == Transport::Nvme;
        let disks = &self.disks;
        Some(match name {
            "memory" => known(self.memory.total_bytes)?,
            "dimms" => count(self.memory.dimms.len()),
            "cpu.sockets" => known(self.cpus.sockets.into())?,
            "cpu.cores" => known(self.cpus.cores.into())?,
            "cpu.threads" => known(self.cpus.threads.into())?,
            "cpu.model" => text(&self.cpus.model)?,
            "disk" => count(disks.len()),
            "disk.nvme" => count(disks.iter().filter(|disk| flash(disk.transport)).count()),
            "disk.ssd" => {
                count(disks.iter().filter(|disk| !disk.rotational && !flash(disk.transport)).count())
            }
            "disk.hdd" => count(disks.iter().filter(|disk| disk.rotational).count()),
            "disk.size" => {
                Value::Number(disks.iter().fold(0, |sum: u64, disk| sum.saturating_add(disk.size_bytes)))
            }
            "disk.largest" => Value::Number(disks.iter().map(|disk| disk.size_bytes).max().unwrap_or(0)),
            "nic" => count(self.nics.len()),
            "nic.up" => count(self.nics.iter().filter(|nic| nic.link).count()),
            "nic.speed" => {
                Value::Number(self.nics.iter().filter_map(|nic| nic.speed_mbps).max().unwrap_or(0).into())
            }
            "vendor" => text(&self.system.vendor)?,
            "product" => text(&self.system.product)?,
            "serial" => text(&self.system.serial)?,
            "uuid" => text(&self.system.uuid)?,
            "asset" => text(&self.system.asset_tag)?,
            "bios" => text(&self.system.bios_version)?,
            "firmware" => text(self.firmware?.name())?,
            "secureboot" => text(if self.secure_boot? { "yes" } else { "no" })?,
            "switch" => list(self.nics.iter().filter_map(|nic| nic.lldp.as_ref()).map(|lldp| {
                if lldp.system_name.is_empty() { lldp.chassis.clone() } else { lldp.system_name.clone() }
            })),
            "port" => {
                list(self.nics.iter().filter_map(|nic| nic.lldp.as_ref()).map(|lldp| lldp.port.clone()))
            }
            "tpm" => text(&self.tpm.as_ref()?.version)?,
            "bmc" => {
                let bmc = self.bmc.as_ref()?;
                Value::Text(bmc.address.map_or_else(|| bmc.kind.clone(), |address| address.to_string()))
            }
            "pci" => list(self.pci.iter().map(|pci| format!("{}:{}", pci.vendor, pci.device))),
            _ => return None,
        })
    }
}

/// Zero of what every machine has some means that it could not be read.
fn known(number: u64) -> Option<Value> {
    (number > 0).then_some(Value::Number(number))
}

fn count(number: usize) -> Value {
    Value::Number(u64::try_from(number).unwrap_or(u64::MAX))
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| Value::Text(text.to_owned()))
}

/// Each once, in order.
fn list(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
    texts.sort_unstable();
    texts.dedup();
    Value::List(texts)
}

#[cfg(test)]
mod tests {
    use super::super::super::filter::Filter;
    use super::super::{Disk, Firmware, Lldp, Nic, PciDevice};
    use super::*;

    fn server() -> Inventory {
        let disk =
            |transport, rotational, size_bytes| Disk { size_bytes, rotational, transport, ..Disk::default() };
        let mut inventory = Inventory {
            disks: vec![
                disk(Transport::Nvme, false, 1 << 40),
                disk(Transport::Sata, false, 1 << 38),
                disk(Transport::Sas, true, 8 << 40),
            ],
            nics: vec![
                Nic { link: true, speed_mbps: Some(25000), ..Nic::default() },
                Nic {
                    lldp: Some(Lldp { system_name: "leaf1".into(), port: "swp7".into(), ..Lldp::default() }),
                    ..Nic::default()
                },
            ],
            pci: vec![PciDevice { vendor: "8086".into(), device: "1533".into(), ..PciDevice::default() }],
            firmware: Some(Firmware::Uefi),
            secure_boot: Some(true),
            ..Inventory::default()
        };
        inventory.memory.total_bytes = 64 << 30;
        inventory.system.vendor = "Dell Inc.".into();
        inventory
    }

    #[test]
    fn nodes_are_selected_by_what_they_have() {
        let server = server();
        for (text, expected) in [
            ("memory>=64GiB and disk.nvme>0", true),
            ("disk=3 and disk.nvme=1 and disk.ssd=1 and disk.hdd=1", true),
            ("disk.largest>=8TiB and disk.size>9TiB", true),
            ("nic=2 and nic.up=1 and nic.speed>=25000", true),
            ("switch=leaf1 and port~swp", true),
            ("pci=8086:1533", true),
            ("firmware=uefi and secureboot=yes", true),
            ("tpm or bmc or serial or cpu.cores", false),
            ("vendor~dell and not tpm=2.0", true),
        ] {
            let filter = Filter::parse(text, FIELDS).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.matches(&|name| server.field(name)), expected, "{text}");
        }
    }

    #[test]
    fn every_listed_field_is_known_and_of_its_kind() {
        let mut server = server();
        server.tpm = Some(super::super::Tpm { version: "2.0".into(), ek_sha256: None });
        server.bmc = Some(super::super::Bmc { kind: "IPMI".into(), ..super::super::Bmc::default() });
        server.cpus = super::super::Cpus { model: "x".into(), sockets: 1, cores: 1, threads: 1 };
        let system = &mut server.system;
        for text in [
            &mut system.product,
            &mut system.serial,
            &mut system.uuid,
            &mut system.asset_tag,
            &mut system.bios_version,
        ] {
            "x".clone_into(text);
        }
        for field in FIELDS {
            let value = server.field(field.name).unwrap_or_else(|| panic!("{} is not known", field.name));
            let fits = match field.kind {
                Kind::Number => matches!(value, Value::Number(_)),
                Kind::Text | Kind::Flag => matches!(value, Value::Text(_)),
                Kind::List => matches!(value, Value::List(_)),
            };
            assert!(fits && !field.help.is_empty(), "{}", field.name);
        }
    }
}
