//! What a virtual server is made of, and how that is said to QEMU.

use super::error::{RackError, Result};
use super::netns::{BRIDGE, fnv1a, mac_from_name};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Which firmware a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`; the network card carries Debian's iPXE ROM.
    Bios,
    /// OVMF; its own PXE loads the boot file over TFTP, no ROM on the card.
    Uefi,
}

/// A disk of a machine (virtio-blk: `/dev/vda`, `/dev/vdb`, …).
#[derive(Debug, Clone)]
pub enum Disk {
    /// A raw file. `options` are added to QEMU's `-drive`, as `cache=none,discard=unmap`; may be empty.
    Raw { path: PathBuf, options: String },
    /// The words of QEMU's `-blockdev` without `node-name`, for any stack of block drivers.
    Blockdev(String),
}

/// Boots a kernel without firmware or network.
#[derive(Debug, Clone)]
pub struct DirectBoot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// Kernel command line.
    pub append: String,
}

/// A virtual server. Start from [`MachineSpec::bios`] or [`MachineSpec::uefi`] and change what matters.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Tells the machines of a rack apart; MAC, serial number and UUID are derived from it.
    pub name: String,
    pub firmware: Firmware,
    /// The card's address, as `52:54:00:12:34:56`.
    pub mac: String,
    /// SMBIOS type 1: manufacturer.
    pub vendor: String,
    /// SMBIOS type 1: product name.
    pub product: String,
    /// SMBIOS type 1: serial number.
    pub serial_number: String,
    /// SMBIOS type 1: UUID.
    pub uuid: String,
    pub memory_mib: u32,
    pub cpus: u32,
    /// The network card, in QEMU's words.
    pub card: &'static str,
    /// The bridge that the card is plugged into; `None` leaves the card out.
    pub bridge: Option<String>,
    /// Whether the firmware tries the network before the disks; else it does not try it at all.
    pub network_boot: bool,
    /// The network is tried first, then these, in order.
    pub disks: Vec<Disk>,
    pub direct_boot: Option<DirectBoot>,
    /// Whether UEFI also tries PXE and HTTP over IPv6 (after IPv4; unanswered, each takes a minute).
    pub uefi_ipv6: bool,
    /// Whether a reboot from inside reboots; else it ends QEMU.
    pub reboots: bool,
    /// More words for QEMU's command line.
    pub extra: Vec<String>,
}

impl MachineSpec {
    /// A server with BIOS and a network card, no disk.
    pub fn bios(name: &str) -> MachineSpec {
        let id = fnv1a(name);
        MachineSpec {
            name: name.to_owned(),
            firmware: Firmware::Bios,
            mac: mac_from_name(name),
            vendor: "Firstlight Rack".into(),
            product: "Virtual Server".into(),
            serial_number: format!("FL-{name}"),
            uuid: format!("f1757119-0000-4000-8000-{:012x}", id & 0xffff_ffff_ffff),
            memory_mib: 512,
            cpus: 1,
            card: "virtio-net-pci",
            bridge: Some(BRIDGE.into()),
            network_boot: true,
            disks: Vec::new(),
            direct_boot: None,
            uefi_ipv6: false,
            reboots: true,
            extra: Vec::new(),
        }
    }

    /// A server with UEFI and a network card, no disk.
    pub fn uefi(name: &str) -> MachineSpec {
        MachineSpec { firmware: Firmware::Uefi, ..MachineSpec::bios(name) }
    }

    /// A server without network that boots a kernel at once; for tests of disks. A reboot ends it.
    pub fn direct(name: &str, boot: DirectBoot, disks: Vec<Disk>) -> MachineSpec {
        let bios = MachineSpec::bios(name);
        MachineSpec { bridge: None, direct_boot: Some(boot), disks, reboots: false, ..bios }
    }

    /// QEMU's arguments.
    pub(super) fn arguments(&self, files: &Files, tap: Option<&str>, accel: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: String| words.extend([name.into(), value.into()]);

        option("-name", self.name.clone());
        option("-accel", accel.to_owned());
        option("-m", self.memory_mib.to_string());
        option("-smp", self.cpus.to_string());
        option("-display", "none".into());
        option("-qmp", format!("unix:{},server=on,wait=off", escaped(&files.qmp)));
        option("-chardev", format!("file,id=serial,path={},append=on", escaped(&files.serial)));
        option("-serial", "chardev:serial".into());
        option("-device", "virtio-rng-pci".into());
        option("-uuid", self.uuid.clone());
        let [vendor, product, number] =
            [&self.vendor, &self.product, &self.serial_number].map(|text| text.replace(',', ",,"));
        let identity = format!("manufacturer={vendor},product={product},serial={number},uuid={}", self.uuid);
        option("-smbios", format!("type=1,{identity}"));

        match &files.firmware {
            // `graphics=off` makes SeaBIOS, and through it iPXE, talk to the serial port.
            None => option("-machine", "pc,graphics=off".into()),
            Some(FirmwareFiles { code, variables }) => {
                option("-machine", "q35".into());
                let code = escaped(code);
                option("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
                option("-drive", format!("if=pflash,unit=1,format=raw,file={}", escaped(variables)));
                let services = if self.uefi_ipv6 { &[][..] } else { &["IPv6PXESupport", "IPv6Support"] };
                for service in services {
                    option("-fw_cfg", format!("name=opt/org.tianocore/{service},string=n"));
                }
            }
        }
        if let Some(tap) = tap {
            option("-netdev", format!("tap,id=net0,ifname={tap},script=no,downscript=no"));
            let no_rom = self.firmware == Firmware::Uefi || !self.network_boot;
            let rom = if no_rom { ",romfile=" } else { "" };
            let order = if self.network_boot { ",bootindex=0" } else { "" };
            option("-device", format!("{},netdev=net0,mac={}{order}{rom}", self.card, self.mac));
        }
        for (n, disk) in self.disks.iter().enumerate() {
            match disk {
                Disk::Raw { path, options } => {
                    let more = if options.is_empty() { String::new() } else { format!(",{options}") };
                    option("-drive", format!("if=none,id=disk{n},format=raw,file={}{more}", escaped(path)));
                }
                Disk::Blockdev(driver) => option("-blockdev", format!("{driver},node-name=disk{n}")),
            }
            let number = &self.serial_number.replace(',', ",,");
            option(
                "-device",
                format!("virtio-blk-pci,drive=disk{n},bootindex={},serial={number}-{n}", n + 1),
            );
        }
        if let Some(boot) = &self.direct_boot {
            words.extend(["-kernel".into(), boot.kernel.clone().into()]);
            words.extend(["-initrd".into(), boot.initrd.clone().into()]);
            words.extend(["-append".into(), boot.append.clone().into()]);
        }
        words.extend(["-nodefaults", "-no-user-config"].map(OsString::from));
        if !self.reboots {
            words.push("-no-reboot".into());
        }
        words.extend(self.extra.iter().map(OsString::from));
        words
    }
}

/// Where a machine's files are.
#[derive(Debug)]
pub(super) struct Files {
    pub serial: PathBuf,
    pub qmp: PathBuf,
    /// What QEMU itself says.
    pub stderr: PathBuf,
    /// `None`: `SeaBIOS`, which QEMU finds by itself.
    pub firmware: Option<FirmwareFiles>,
}

/// OVMF: the code, and the machine's own copy of the variables.
#[derive(Debug)]
pub(super) struct FirmwareFiles {
    pub code: PathBuf,
    pub variables: PathBuf,
}

/// OVMF's code and the variables that belong to it, from the package `ovmf`.
pub(super) fn ovmf() -> Result<(&'static Path, &'static Path)> {
    const PAIRS: [(&str, &str); 2] = [
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ];
    let pair = PAIRS.iter().map(|(code, vars)| (Path::new(*code), Path::new(*vars)));
    pair.into_iter().find(|(code, vars)| code.exists() && vars.exists()).ok_or_else(|| {
        RackError::MissingFile { paths: PAIRS.map(|(code, _)| code).join(", "), package: "ovmf" }
    })
}

/// A path within one of QEMU's option lists, where a comma is doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
