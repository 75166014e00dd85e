//! Reads what hardware this machine has.
//!
//! [`discover`] asks one file per part: `smbios` (what the firmware tells), `cpu`, `disks` and `smart`, `links`, `nics`
//! and `lldp`, `pci`, `bmc` over `ipmi`, `tpm`, `firmware`. Each leaves empty what it cannot read. Everything is found
//! below a root folder, so that tests can make one up. `read` bounds every read, `patience` every question to a device.

pub mod bmc;
pub mod cpu;
pub mod disks;
pub mod firmware;
pub mod ipmi;
pub mod links;
pub mod listen;
pub mod lldp;
pub mod nics;
mod patience;
pub mod pci;
mod read;
pub mod smart;
pub mod smbios;
pub mod tpm;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::inventory::{Bmc, Disk, Inventory, Nic, Tpm};
use patience::Pending;

/// How long a port that was taken up has for its link: 25 Gbit/s and more negotiate for seconds.
const LINK_WAIT: Duration = Duration::from_secs(8);

/// How long all devices together have for their answers; the slowest TPMs make a key in half a minute.
const DEVICE_WAIT: Duration = Duration::from_secs(45);
/// Disks that are asked; each has a thread for that time.
const ASKED_DISKS: usize = 256;

/// How thorough the inventory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Ask disks (SMART), management controller (IPMI) and TPM themselves: needs root, and seconds.
    pub ask_devices: bool,
    /// Take ports up for the time of the inventory, without which they have neither link nor neighbour. For the
    /// ramdisk: an installed system decides that itself.
    pub raise_links: bool,
    /// How long to listen for the switches; they speak every 30 seconds (IEEE 802.1AB section 9.2.5.7). Ends as soon as
    /// every port with a link has heard its own.
    pub lldp: Option<Duration>,
}

/// The inventory of the machine whose file system is mounted at `root`, `/` if not in a test. Blocks as long as
/// `options` make it. Never fails: what cannot be read stays empty.
pub fn discover(root: &Path, options: &Options) -> Inventory {
    let started = Instant::now();
    let smbios = smbios::read(root);
    let disks = disks::read(root);
    let asked = options.ask_devices.then(|| Asked::begin(root, &smbios, &disks));
    let mut inventory = Inventory {
        cpus: cpu::read(root),
        disks,
        nics: ports(root, options),
        pci: pci::read(root),
        bmc: bmc::read(root, &smbios, false),
        tpm: tpm::read(root, false),
        firmware: firmware::read(root),
        secure_boot: firmware::secure_boot(root),
        ..Inventory::default()
    };
    if inventory.cpus.model.is_empty() {
        inventory.cpus.model = smbios.cpu_model;
    }
    inventory.system = smbios.system;
    inventory.memory.total_bytes =
        smbios.dimms.iter().fold(0, |sum: u64, dimm| sum.saturating_add(dimm.size_bytes));
    inventory.memory.dimms = smbios.dimms;
    if inventory.memory.total_bytes == 0 {
        inventory.memory.total_bytes = cpu::usable_memory(root).unwrap_or(0);
    }
    if let Some(asked) = asked {
        asked.fill(&mut inventory, started + DEVICE_WAIT);
    }
    tracing::debug!(elapsed_ms = started.elapsed().as_millis(), "hardware read");
    inventory.bounded()
}

/// The questions to the devices themselves, all at once.
struct Asked {
    bmc: Pending<Option<Bmc>>,
    tpm: Pending<Option<Tpm>>,
    disks: Vec<Pending<Disk>>,
}

impl Asked {
    fn begin(root: &Path, smbios: &smbios::Smbios, disks: &[Disk]) -> Self {
        let (of_bmc, of_tpm, smbios) = (root.to_owned(), root.to_owned(), smbios.clone());
        let ask = |disk: &Disk| {
            let (root, mut disk) = (root.to_owned(), disk.clone());
            patience::begin(disk.name.clone(), move || {
                smart::ask(&root, &mut disk);
                disk
            })
        };
        Self {
            bmc: patience::begin("BMC", move || bmc::read(&of_bmc, &smbios, true)),
            tpm: patience::begin("TPM", move || tpm::read(&of_tpm, true)),
            disks: disks.iter().filter(|disk| smart::can_ask(disk)).take(ASKED_DISKS).map(ask).collect(),
        }
    }

    /// Puts in what they answer until the deadline.
    fn fill(self, inventory: &mut Inventory, deadline: Instant) {
        if let Some(bmc) = self.bmc.wait(deadline) {
            inventory.bmc = bmc;
        }
        if let Some(tpm) = self.tpm.wait(deadline) {
            inventory.tpm = tpm;
        }
        for answer in self.disks.into_iter().filter_map(|disk| disk.wait(deadline)) {
            if let Some(disk) = inventory.disks.iter_mut().find(|disk| disk.name == answer.name) {
                *disk = answer;
            }
        }
    }
}

/// The network ports, with their links up and their neighbours heard where that is asked for.
fn ports(root: &Path, options: &Options) -> Vec<Nic> {
    let mut nics = nics::read(root);
    let names = |nics: &[Nic]| nics.iter().map(|nic| nic.name.clone()).collect::<Vec<_>>();
    // Taken down again when dropped.
    let raised = options.raise_links.then(|| links::Raised::raise(&names(&nics)));
    if raised.as_ref().is_some_and(|raised| !raised.is_empty()) {
        let deadline = Instant::now() + LINK_WAIT;
        nics = nics::read(root);
        while nics.iter().any(|nic| !nic.link) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(250));
            nics = nics::read(root);
        }
    }
    if let Some(duration) = options.lldp {
        nics.iter()
            .filter(|nic| !nic.link)
            .for_each(|nic| tracing::debug!(nic = nic.name, "no link, no LLDP"));
        let linked: Vec<String> = nics.iter().filter(|nic| nic.link).map(|nic| nic.name.clone()).collect();
        let mut heard = listen::listen(&linked, duration);
        for nic in &mut nics {
            nic.lldp = heard.remove(&nic.name);
        }
    }
    nics
}

#[cfg(test)]
mod tests;
