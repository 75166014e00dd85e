//! What changed between two inventories of the same server, as a person would say it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dimm, Disk, Inventory, Lldp, Nic, PciDevice, System, human_bytes};

/// Wear that is worth a word when it is crossed, in percent used.
const WEAR_LIMITS: [u8; 3] = [80, 90, 100];
/// Wear that is worth a word by itself, in percentage points.
const WEAR_STEP: u8 = 5;

/// Which part of the machine a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The machine as a whole.
    System,
    /// BIOS or UEFI and its settings.
    Firmware,
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// Disks.
    Disk,
    /// Network ports.
    Nic,
    /// PCI devices.
    Pci,
    /// The management controller.
    Bmc,
    /// The trusted platform module.
    Tpm,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What it is about.
    pub part: Part,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// What changed from `old` to `new`, part by part. Renumbered devices, link speeds, a neighbour not heard, drivers, the
/// clock and wear of less than 5 points are no difference.
pub fn diff(old: &Inventory, new: &Inventory) -> Vec<Difference> {
    let mut told = Told(Vec::new());
    let smbios_lost = new.system == System::default() && old.system != System::default();
    if smbios_lost {
        told.say(Part::System, "the system's tables (SMBIOS) can no longer be read".into());
    } else {
        system(&mut told, old, new);
        memory(&mut told, old, new);
    }
    cpus(&mut told, old, new);
    pairs(&mut told, Part::Disk, &old.disks, &new.disks, same_disk, describe_disk, disk);
    pairs(&mut told, Part::Nic, &old.nics, &new.nics, |a, b| a.mac == b.mac, describe_nic, nic);
    pairs(&mut told, Part::Pci, &old.pci, &new.pci, same_pci, describe_pci, |_, _, _| {});
    bmc(&mut told, old, new);
    tpm(&mut told, old, new);
    told.0
}

struct Told(Vec<Difference>);

impl Told {
    fn say(&mut self, part: Part, text: String) {
        self.0.push(Difference { part, text });
    }

    /// A text that is another now; one that was or is unknown tells nothing.
    fn changed(&mut self, part: Part, what: &str, old: &str, new: &str) {
        if old != new && !old.is_empty() && !new.is_empty() {
            self.say(part, format!("{what} {old} → {new}"));
        }
    }
}

fn system(told: &mut Told, old: &Inventory, new: &Inventory) {
    let (a, b) = (&old.system, &new.system);
    for (what, old, new) in [
        ("vendor", &a.vendor, &b.vendor),
        ("product", &a.product, &b.product),
        ("serial number", &a.serial, &b.serial),
        ("UUID", &a.uuid, &b.uuid),
        ("asset tag", &a.asset_tag, &b.asset_tag),
    ] {
        told.changed(Part::System, what, old, new);
    }
    told.changed(Part::Firmware, "BIOS version", &a.bios_version, &b.bios_version);
    if a.bios_version == b.bios_version {
        told.changed(Part::Firmware, "BIOS date", &a.bios_date, &b.bios_date);
    }
    if let (Some(a), Some(b)) = (old.firmware, new.firmware) {
        told.changed(Part::Firmware, "firmware", a.name(), b.name());
    }
    match (old.secure_boot, new.secure_boot) {
        (Some(false), Some(true)) => told.say(Part::Firmware, "Secure Boot is now on".into()),
        (Some(true), Some(false)) => told.say(Part::Firmware, "Secure Boot is now off".into()),
        _ => {}
    }
}

fn cpus(told: &mut Told, old: &Inventory, new: &Inventory) {
    let (a, b) = (&old.cpus, &new.cpus);
    told.changed(Part::Cpu, "processor", &a.model, &b.model);
    for (what, old, new) in [
        ("processors", a.sockets, b.sockets),
        ("processor cores", a.cores, b.cores),
        ("processor threads", a.threads, b.threads),
    ] {
        if old != new && old > 0 && new > 0 {
            told.say(Part::Cpu, format!("{what} {old} → {new}"));
        }
    }
}

fn memory(told: &mut Told, old: &Inventory, new: &Inventory) {
    let (a, b) = (&old.memory, &new.memory);
    let same = |a: &Dimm, b: &Dimm| a.locator == b.locator && a.serial == b.serial;
    let describe = |dimm: &Dimm| {
        let serial = with_comma("serial ", &dimm.serial);
        format!("{} ({}{serial})", slot(dimm), human_bytes(dimm.size_bytes))
    };
    let change = |told: &mut Told, old: &Dimm, new: &Dimm| {
        if old.size_bytes != new.size_bytes {
            let (a, b) = (human_bytes(old.size_bytes), human_bytes(new.size_bytes));
            told.say(Part::Memory, format!("{} {a} → {b}", slot(new)));
        }
    };
    pairs(told, Part::Memory, &a.dimms, &b.dimms, same, describe, change);
    // What the kernel counts varies by a little from one kernel to the next.
    let far = a.total_bytes.abs_diff(b.total_bytes) > a.total_bytes / 16;
    if a.dimms.is_empty() && b.dimms.is_empty() && far && a.total_bytes > 0 && b.total_bytes > 0 {
        let (a, b) = (human_bytes(a.total_bytes), human_bytes(b.total_bytes));
        told.say(Part::Memory, format!("memory {a} → {b}"));
    }
}

/// `DIMM A2`, also where the board says just that.
fn slot(dimm: &Dimm) -> String {
    let named = dimm.locator.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("DIMM"));
    if named { dimm.locator.clone() } else { format!("DIMM {}", dimm.locator).trim_end().to_owned() }
}

/// Pairs what is the same, and says what is gone, what is new and what changed in between.
fn pairs<T>(
    told: &mut Told,
    part: Part,
    old: &[T],
    new: &[T],
    same: impl Fn(&T, &T) -> bool,
    describe: impl Fn(&T) -> String,
    change: impl Fn(&mut Told, &T, &T),
) {
    let mut left: Vec<&T> = new.iter().collect();
    for item in old {
        match left.iter().position(|other| same(item, other)) {
            Some(at) => change(told, item, left.remove(at)),
            None => told.say(part, format!("{} is gone", describe(item))),
        }
    }
    for item in left {
        told.say(part, format!("{} is new", describe(item)));
    }
}

/// By world-wide name where both have one, else by serial number; one without either by model and size.
fn same_disk(a: &Disk, b: &Disk) -> bool {
    if !a.wwn.is_empty() && !b.wwn.is_empty() {
        return a.wwn == b.wwn;
    }
    a.serial == b.serial && (!a.serial.is_empty() || (&a.model, a.size_bytes) == (&b.model, b.size_bytes))
}

fn describe_disk(disk: &Disk) -> String {
    let (model, serial) = (with_comma("", &disk.model), with_comma("serial ", &disk.serial));
    format!("disk {} ({}{model}{serial})", disk.name, human_bytes(disk.size_bytes))
}

fn disk(told: &mut Told, old: &Disk, new: &Disk) {
    let name = format!("disk {}{}", new.name, in_parentheses("serial ", &new.serial));
    let mut say = |text: String| told.say(Part::Disk, text);
    if old.size_bytes != new.size_bytes {
        say(format!("{name}: size {} → {}", human_bytes(old.size_bytes), human_bytes(new.size_bytes)));
    }
    match (old.read_only, new.read_only) {
        (false, true) => say(format!("{name} is now read-only")),
        (true, false) => say(format!("{name} can be written again")),
        _ => {}
    }
    match (old.smart_ok, new.smart_ok) {
        (Some(true) | None, Some(false)) => say(format!("{name} says that it is failing (SMART)")),
        (Some(false), Some(true)) => say(format!("{name} says that it is healthy again (SMART)")),
        _ => {}
    }
    if let (Some(a), Some(b)) = (old.wear_percent_used, new.wear_percent_used) {
        let crossed = WEAR_LIMITS.iter().any(|limit| a < *limit && b >= *limit);
        if crossed || b.saturating_sub(a) >= WEAR_STEP {
            say(format!("{name} has used {b} % of its endurance (it was {a} %)"));
        }
    }
}

fn describe_nic(nic: &Nic) -> String {
    format!("network port {}{}", nic.name, in_parentheses("", &nic.mac))
}

fn nic(told: &mut Told, old: &Nic, new: &Nic) {
    match (old.link, new.link) {
        (true, false) => told.say(Part::Nic, format!("link of {} down", new.name)),
        (false, true) => told.say(Part::Nic, format!("link of {} up", new.name)),
        _ => {}
    }
    // A neighbour that was not heard may only have been quiet.
    if let (Some(a), Some(b)) = (&old.lldp, &new.lldp)
        && (&a.chassis, &a.port) != (&b.chassis, &b.port)
    {
        told.say(Part::Nic, format!("{} is plugged into {} (it was {})", new.name, place(b), place(a)));
    }
}

fn place(lldp: &Lldp) -> String {
    let switch = if lldp.system_name.is_empty() { &lldp.chassis } else { &lldp.system_name };
    format!("{switch} port {}", lldp.port)
}

fn same_pci(a: &PciDevice, b: &PciDevice) -> bool {
    (&a.vendor, &a.device, &a.class) == (&b.vendor, &b.device, &b.class)
}

fn describe_pci(pci: &PciDevice) -> String {
    format!("PCI device {}:{} (class {}, at {})", pci.vendor, pci.device, pci.class, pci.address)
}

fn bmc(told: &mut Told, old: &Inventory, new: &Inventory) {
    match (&old.bmc, &new.bmc) {
        (Some(a), Some(b)) => {
            let text =
                |address: Option<std::net::Ipv4Addr>| address.map(|ip| ip.to_string()).unwrap_or_default();
            told.changed(Part::Bmc, "BMC address", &text(a.address), &text(b.address));
            told.changed(Part::Bmc, "BMC MAC address", &a.mac, &b.mac);
        }
        (Some(_), None) => told.say(Part::Bmc, "the BMC is gone".into()),
        (None, Some(_)) => told.say(Part::Bmc, "a BMC is new".into()),
        (None, None) => {}
    }
}

fn tpm(told: &mut Told, old: &Inventory, new: &Inventory) {
    match (&old.tpm, &new.tpm) {
        (Some(a), Some(b)) => {
            told.changed(Part::Tpm, "TPM version", &a.version, &b.version);
            if let (Some(a), Some(b)) = (&a.ek_sha256, &b.ek_sha256)
                && a != b
            {
                told.say(Part::Tpm, "the TPM is another one (its endorsement key changed)".into());
            }
        }
        (Some(_), None) => told.say(Part::Tpm, "the TPM is gone".into()),
        (None, Some(_)) => told.say(Part::Tpm, "a TPM is new".into()),
        (None, None) => {}
    }
}

fn with_comma(label: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", {label}{text}") }
}

fn in_parentheses(label: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({label}{text})") }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
