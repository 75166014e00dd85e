//! The firmware's boot entries (UEFI 2.10, 3.1.3), through efivarfs: ours is added or renewed, others are left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::Error;

/// Where the kernel has it.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, seen by boot services and at run time.
const ATTRIBUTES: [u8; 4] = 7_u32.to_le_bytes();
const ACTIVE: u32 = 1;
const IMMUTABLE: nix::libc::c_long = 0x10;
/// No firmware has variables larger than this.
const MAX_VARIABLE: usize = 64 << 10;

mod ioctl {
    use nix::{ioctl_read, ioctl_write_ptr};
    ioctl_read!(get_flags, b'f', 1, nix::libc::c_long);
    ioctl_write_ptr!(set_flags, b'f', 2, nix::libc::c_long);
}

/// `EFI_LOAD_OPTION`: one boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// Bit 0: the firmware tries it.
    pub attributes: u32,
    /// What people see.
    pub description: String,
    /// Where the loader is, encoded.
    pub device_path: Vec<u8>,
    /// What the loader is given.
    pub optional_data: Vec<u8>,
}

impl LoadOption {
    /// Parses a variable's value, without efivarfs' attributes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (attributes, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let units = rest.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let description: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let after = description.len().checked_add(1)?.checked_mul(2)?;
        let (device_path, optional) =
            rest.get(after..)?.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        Some(Self {
            attributes: u32::from_le_bytes(*attributes),
            description: String::from_utf16_lossy(&description),
            device_path: device_path.to_vec(),
            optional_data: optional.to_vec(),
        })
    }

    /// The value of a variable; `None` when the device path is too long for one.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = self.attributes.to_le_bytes().to_vec();
        bytes.extend_from_slice(&u16::try_from(self.device_path.len()).ok()?.to_le_bytes());
        bytes.extend(utf16(&self.description));
        bytes.extend_from_slice(&self.device_path);
        bytes.extend_from_slice(&self.optional_data);
        (bytes.len() <= MAX_VARIABLE).then_some(bytes)
    }
}

/// The partition a loader lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspPartition {
    /// Its number.
    pub number: u32,
    /// Its first sector.
    pub first: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// Its GUID, as it lies in the table.
    pub guid: [u8; 16],
}

/// The device path `HD(…)/File(loader)` (UEFI 2.10, 10.3.5.1 and 10.3.5.4). `loader` has backslashes.
pub fn device_path(esp: &EspPartition, loader: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![4, 1, 42, 0];
    bytes.extend_from_slice(&esp.number.to_le_bytes());
    bytes.extend_from_slice(&esp.first.to_le_bytes());
    bytes.extend_from_slice(&esp.sectors.to_le_bytes());
    bytes.extend_from_slice(&esp.guid);
    // A GPT, and its signature is a GUID.
    bytes.extend_from_slice(&[2, 2, 4, 4]);
    let file = utf16(loader);
    bytes.extend_from_slice(&u16::try_from(file.len() + 4).ok()?.to_le_bytes());
    bytes.extend_from_slice(&file);
    bytes.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    Some(bytes)
}

/// Where in the boot order an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Before all others.
    First,
    /// Behind the first, which is the network where nodes are asked for each boot.
    Second,
}

/// Adds an entry, or renews ours of the same description; says its number.
///
/// The entry is written first, then the order, and stale entries go last: a power cut leaves a firmware that boots.
pub fn set_entry(efivars: &Path, option: &LoadOption, position: Position) -> Result<u16, Error> {
    let value = option.encode().ok_or_else(|| Error::Efi("the boot entry is too long".into()))?;
    let mut taken = Vec::new();
    let mut ours = Vec::new();
    for entry in fs::read_dir(efivars).map_err(Error::io(format!("reading {}", efivars.display())))? {
        let name = entry.map_err(Error::io(format!("reading {}", efivars.display())))?.file_name();
        let Some(number) = name.to_str().and_then(boot_number) else { continue };
        taken.push(number);
        if let Some(old) = read(efivars, &variable(number))?
            && LoadOption::parse(&old).is_some_and(|old| old.description == option.description)
        {
            ours.push((number, old == value));
        }
    }
    let same = ours.iter().find(|(_, same)| *same).map(|(number, _)| *number);
    let number = if let Some(number) = same {
        number
    } else {
        let free = (0..=u16::MAX).find(|number| !taken.contains(number));
        let number = free.ok_or_else(|| Error::Efi("all numbers for boot entries are taken".into()))?;
        write(efivars, &variable(number), &value)?;
        number
    };
    let old = read(efivars, "BootOrder")?.unwrap_or_default();
    let stale = |other: &u16| ours.iter().any(|(number, _)| number == other) || *other == number;
    let order = old.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two));
    let mut order: Vec<u16> = order.filter(|other| !stale(other)).collect();
    let place = if position == Position::First { 0 } else { order.len().min(1) };
    order.insert(place, number);
    let order: Vec<u8> = order.into_iter().flat_map(u16::to_le_bytes).collect();
    if order != old {
        write(efivars, "BootOrder", &order)?;
    }
    for (stale, _) in ours.iter().filter(|(other, _)| *other != number) {
        let path = path(efivars, &variable(*stale));
        make_mutable(&path);
        fs::remove_file(&path).map_err(Error::io(format!("removing {}", path.display())))?;
    }
    Ok(number)
}

/// Has the firmware boot over the network the next time, once, whatever its order is (`BootNext`). The number of the entry;
/// `None` when there is no entry for the network.
pub fn network_next(efivars: &Path) -> Result<Option<u16>, Error> {
    let order = read(efivars, "BootOrder")?.unwrap_or_default();
    for number in order.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)) {
        let option = read(efivars, &variable(number))?.and_then(|value| LoadOption::parse(&value));
        if option.is_some_and(|option| option.attributes & ACTIVE != 0 && is_network(&option.device_path)) {
            write(efivars, "BootNext", &number.to_le_bytes())?;
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether a device path leads over IPv4 from a network card: it has nodes `MAC(…)` and `IPv4(…)`, and no URI, which is HTTP
/// boot (UEFI 2.10, 10.3.4.13, 10.3.4.14 and 10.3.4.22).
fn is_network(mut path: &[u8]) -> bool {
    let (mut card, mut ipv4) = (false, false);
    while let Some(([kind, subtype, length @ ..], _)) = path.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes(*length));
        match (kind, subtype) {
            (3, 0x0b) => card = true,
            (3, 0x0c) => ipv4 = true,
            (3, 0x18) => return false,
            (0x7f, 0xff) => return card && ipv4,
            _ => {}
        }
        let Some(rest) = path.get(length.max(4)..) else { return false };
        path = rest;
    }
    false
}

/// The loader on a mounted EFI system partition, as a device path names it: a distribution's shim, then its GRUB, then
/// the one for removable media. `architecture` is as in file names: `x64`, `aa64`.
pub fn find_loader(esp: &Path, architecture: &str) -> Option<String> {
    let efi = child(esp, "EFI")?;
    let mut folders: Vec<String> =
        names(&efi.1).into_iter().filter(|name| !name.eq_ignore_ascii_case("boot")).collect();
    folders.sort();
    let known = [
        format!("shim{architecture}.efi"),
        format!("grub{architecture}.efi"),
        format!("systemd-boot{architecture}.efi"),
    ];
    for file in &known {
        for folder in &folders {
            if let Some((name, _)) = child(&efi.1.join(folder), file) {
                return Some(format!("\\{}\\{folder}\\{name}", efi.0));
            }
        }
    }
    let boot = child(&efi.1, "BOOT")?;
    let (name, _) = child(&boot.1, &format!("BOOT{architecture}.EFI"))?;
    Some(format!("\\{}\\{}\\{name}", efi.0, boot.0))
}

/// The boot entry that Firstlight makes.
pub fn entry(description: &str, esp: &EspPartition, loader: &str) -> Option<LoadOption> {
    let device_path = device_path(esp, loader)?;
    Some(LoadOption {
        attributes: ACTIVE,
        description: description.into(),
        device_path,
        optional_data: Vec::new(),
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(1024);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn child(folder: &Path, name: &str) -> Option<(String, std::path::PathBuf)> {
    let found = names(folder).into_iter().find(|other| other.eq_ignore_ascii_case(name))?;
    let path = folder.join(&found);
    Some((found, path))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn variable(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn boot_number(file: &str) -> Option<u16> {
    let digits = file.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
    let is_hex = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c));
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

fn path(efivars: &Path, name: &str) -> std::path::PathBuf {
    efivars.join(format!("{name}-{GLOBAL}"))
}

/// A variable's value, without its attributes.
fn read(efivars: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = path(efivars, name);
    match fs::read(&path) {
        Ok(bytes) => Ok(bytes.get(4..).map(<[u8]>::to_vec)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("reading {}", path.display()))(error)),
    }
}

fn write(efivars: &Path, name: &str, value: &[u8]) -> Result<(), Error> {
    let path = path(efivars, name);
    make_mutable(&path);
    // efivarfs wants attributes and value in one call.
    let bytes = [&ATTRIBUTES, value].concat();
    let open = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
    open.and_then(|mut file| file.write_all(&bytes)).map_err(Error::io(format!("writing {}", path.display())))
}

/// efivarfs marks variables immutable, so that `rm -rf` can't break a board.
fn make_mutable(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let mut flags = 0;
    #[expect(unsafe_code, reason = "both ioctls use one long, which lives until they return")]
    unsafe {
        if ioctl::get_flags(file.as_raw_fd(), &raw mut flags).is_ok() && flags & IMMUTABLE != 0 {
            flags &= !IMMUTABLE;
            let _ = ioctl::set_flags(file.as_raw_fd(), &raw const flags);
        }
    }
}
