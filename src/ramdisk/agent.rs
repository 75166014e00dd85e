//! Whether a program can be `/init`: static, and for the kernel's machine.

use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

use super::RamdiskError;
use super::cpio::read;
use crate::model::Arch;

/// Checks the program at `path`. One that needs a dynamic linker could not start: there is none in a ramdisk.
pub fn check(path: &Path, arch: Arch) -> Result<(), RamdiskError> {
    let file = read(path)?;
    verdict(&file, arch).map_err(|reason| RamdiskError::Agent { path: path.to_owned(), reason })
}

fn verdict(file: &[u8], arch: Arch) -> Result<(), String> {
    let broken = |error: object::read::Error| format!("it is not a sound 64-bit ELF program ({error})");
    if file.get(4) != Some(&2) {
        return Err("it is not a sound 64-bit ELF program".to_owned());
    }
    let header = elf::FileHeader64::<Endianness>::parse(file).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let (machine, expected) = (
        header.e_machine(endian),
        match arch {
            Arch::X86_64 => elf::EM_X86_64,
            Arch::Aarch64 => elf::EM_AARCH64,
        },
    );
    if machine != expected {
        return Err(format!("it is for another machine than the kernel, which is for {arch}"));
    }
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err("it is an ELF file that cannot be run".to_owned());
    }
    let segments = header.program_headers(endian, file).map_err(broken)?;
    if segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP) {
        return Err("it is linked dynamically; build it static (target-feature=+crt-static)".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_of_the_machine_can_be_init() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let shell = std::fs::read("/bin/sh").unwrap();
        for (name, file, arch, reason) in [
            ("this static test", &own[..], Arch::X86_64, None),
            ("another machine", &own[..], Arch::Aarch64, Some("another machine")),
            ("a dynamic program", &shell[..], Arch::X86_64, Some("linked dynamically")),
            ("a script", b"#!/bin/sh\n", Arch::X86_64, Some("not a sound")),
            ("cut", &own[..80], Arch::X86_64, Some("not a sound")),
            ("nothing", b"", Arch::X86_64, Some("not a sound")),
        ] {
            match (verdict(file, arch), reason) {
                (Ok(()), None) => {}
                (Err(told), Some(reason)) => assert!(told.contains(reason), "{name}: {told}"),
                (told, reason) => panic!("{name}: {told:?}, expected {reason:?}"),
            }
        }
    }
}
