//! What a kernel module says of itself: the `.modinfo` section of its ELF file.
//!
//! The section is a row of NUL-ended `key=value` strings (`include/linux/moduleparam.h` of Linux).

use object::read::elf::ElfFile;
use object::{Object, ObjectSection};
use thiserror::Error;

use super::canonical;

/// A module's file may have this many bytes once decompressed.
pub const LARGEST_MODULE: u64 = 256 << 20;
/// A module may carry this many values in its `.modinfo`; the largest of Linux 6 have some 4,000.
const MOST_VALUES: usize = 65_536;
/// A value may have this many bytes.
const LONGEST_VALUE: usize = 4_096;

/// Why a file is not taken for a module.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModuleError {
    /// Not an ELF file, or a broken one.
    #[error("it is not a sound ELF file ({0}); fetch its package anew")]
    Elf(String),
    /// An ELF file, and not a kernel module.
    #[error("it has no .modinfo section, so it is not a kernel module")]
    NoModinfo,
}

/// What a module says of itself. Names of modules are [`canonical`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Its name; kernels before 4.13 leave it out.
    pub name: Option<String>,
    /// Patterns of the devices, and other names, that it serves.
    pub aliases: Vec<String>,
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modules or aliases to load before it, when they exist.
    pub before: Vec<String>,
    /// Modules or aliases to load after it, when they exist.
    pub after: Vec<String>,
    /// Firmware files that it may ask for, relative to `/lib/firmware`.
    pub firmware: Vec<String>,
}

impl ModInfo {
    /// Reads the module in `file`, which is decompressed.
    pub fn read(file: &[u8]) -> Result<Self, ModuleError> {
        let section = match file.get(4) {
            Some(1) => modinfo::<object::elf::FileHeader32<object::Endianness>>(file),
            _ => modinfo::<object::elf::FileHeader64<object::Endianness>>(file),
        }?;
        let mut info = Self::default();
        for (key, value) in values(section).take(MOST_VALUES) {
            info.take(key, value);
        }
        Ok(info)
    }

    fn take(&mut self, key: &str, value: &str) {
        match key {
            "name" => self.name = Some(canonical(value)),
            "alias" => self.aliases.push(value.to_owned()),
            "firmware" => self.firmware.push(value.to_owned()),
            "depends" => {
                self.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(canonical));
            }
            "softdep" => self.take_softdep(value),
            _ => {}
        }
    }

    /// `pre: a b post: c` (modprobe.d(5)).
    fn take_softdep(&mut self, value: &str) {
        let mut list = None;
        for word in value.split_ascii_whitespace() {
            match (word, &mut list) {
                ("pre:", _) => list = Some(false),
                ("post:", _) => list = Some(true),
                (name, Some(false)) => self.before.push(canonical(name)),
                (name, Some(true)) => self.after.push(canonical(name)),
                (_, None) => {}
            }
        }
    }
}

/// The bytes of the `.modinfo` section.
fn modinfo<Elf: object::read::elf::FileHeader>(file: &[u8]) -> Result<&[u8], ModuleError> {
    let broken = |error: object::read::Error| ModuleError::Elf(error.to_string());
    let elf = ElfFile::<Elf>::parse(file).map_err(broken)?;
    elf.section_by_name(".modinfo").ok_or(ModuleError::NoModinfo)?.data().map_err(broken)
}

/// The `key=value` strings of `section`; what is not UTF-8, too long or without `=` is left out.
pub(super) fn values(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section
        .split(|byte| *byte == 0)
        .filter(|value| value.len() <= LONGEST_VALUE)
        .filter_map(|value| str::from_utf8(value).ok())
        .filter(|value| !value.contains(char::is_control))
        .filter_map(|value| value.split_once('='))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 64-bit ELF file with one `.modinfo` section.
    pub(crate) fn module(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([1, 0, 62, 0, 1, 0, 0, 0]); // e_type: relocatable, e_machine: x86-64, e_version
        file.extend([0; 16]); // e_entry, e_phoff
        let sections = 64 + modinfo.len() + names.len();
        file.extend((sections as u64).to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend(modinfo);
        file.extend(names);
        file.extend([0; 64]);
        for (name, kind, offset, size) in
            [(1u32, 1u32, 64, modinfo.len()), (10, 3, 64 + modinfo.len(), names.len())]
        {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend((offset as u64).to_le_bytes());
            file.extend((size as u64).to_le_bytes());
            file.extend([0; 24]);
        }
        file
    }

    #[test]
    fn a_module_tells_its_name_aliases_dependencies_and_firmware() {
        let file = module(
            b"name=snd-x\0alias=pci:v0001d*\0alias=x\0depends=libcrc32c,ptp-core\0softdep=pre: crc32c a-b post: late\0\
              softdep=post: later\0firmware=x/y.bin\0depends=\0license=GPL\0nonsense\0alias=\xff\xfe\0",
        );
        let info = ModInfo::read(&file).expect("a module");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            info,
            ModInfo {
                name: Some("snd_x".into()),
                aliases: words(&["pci:v0001d*", "x"]),
                depends: words(&["libcrc32c", "ptp_core"]),
                before: words(&["crc32c", "a_b"]),
                after: words(&["late", "later"]),
                firmware: words(&["x/y.bin"]),
            }
        );
    }

    #[test]
    fn what_is_no_module_is_refused_and_no_cut_or_flipped_file_breaks_the_reader() {
        assert!(matches!(ModInfo::read(b""), Err(ModuleError::Elf(_))));
        assert!(matches!(
            ModInfo::read(b"#!/bin/sh\necho this is no module, it is a script\n"),
            Err(ModuleError::Elf(_))
        ));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(ModInfo::read(&own), Err(ModuleError::NoModinfo));
        let sound = module(b"name=x\0alias=y\0");
        for length in 0..sound.len() {
            drop(ModInfo::read(&sound[..length]));
        }
        for place in 0..sound.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = sound.clone();
                broken[place] = value;
                drop(ModInfo::read(&broken));
            }
        }
    }
}
