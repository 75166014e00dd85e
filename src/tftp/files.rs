//! The firmware's boot files, read once at start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;

use crate::boot::FirmwareTable;
use crate::model::Arch;

/// Longest boot file, bytes. iPXE has about one megabyte.
const LONGEST: u64 = 16 << 20;

/// Why a boot file cannot be served.
#[derive(Debug, Error)]
pub enum BootFileError {
    /// It is not there.
    #[error(
        "boot file {path} for {firmware} is missing; install the package '{package}', or take {arch} out of boot.architectures"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Who needs it.
        firmware: String,
        /// What brings it.
        package: String,
        /// The architecture it is for.
        arch: Arch,
    },
    /// It cannot be read, or is no boot file.
    #[error("cannot use boot file {path}: {cause}")]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// Boot files by name.
#[derive(Debug, Clone, Default)]
pub struct BootFiles {
    files: BTreeMap<String, Bytes>,
    /// Programs that may come and go with their package; read when they are asked for.
    tools: BTreeMap<String, PathBuf>,
}

impl BootFiles {
    /// Reads the boot files of the firmware of `architectures`.
    ///
    /// # Errors
    /// When one is missing, unreadable, empty or too long.
    pub fn load(table: &FirmwareTable, architectures: &[Arch]) -> Result<Self, BootFileError> {
        let mut files = BTreeMap::new();
        for entry in table.entries().iter().filter(|entry| architectures.contains(&entry.arch)) {
            let unusable = |cause: String| BootFileError::Unusable { path: entry.path.clone(), cause };
            let length = match std::fs::metadata(&entry.path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(BootFileError::Missing {
                        path: entry.path.clone(),
                        firmware: entry.name.clone(),
                        package: entry.package.clone(),
                        arch: entry.arch,
                    });
                }
                Err(error) => return Err(unusable(error.to_string())),
            };
            if !(1..=LONGEST).contains(&length) {
                return Err(unusable(format!("it has {length} bytes; a boot file has 1 to {LONGEST}")));
            }
            let bytes = std::fs::read(&entry.path).map_err(|error| unusable(error.to_string()))?;
            files.insert(entry.boot_file.clone(), Bytes::from(bytes));
        }
        let tools = table.tools().iter().map(|tool| (tool.boot_file.clone(), tool.path.clone())).collect();
        Ok(Self { files, tools })
    }

    /// Boot files from memory; for tests.
    pub fn of(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self { files: files.into_iter().collect(), tools: BTreeMap::new() }
    }

    /// The file of this name. Firmware may put a slash before it; any other path names nothing.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let name = name.strip_prefix('/').unwrap_or(name);
        self.files.get(name).cloned().or_else(|| {
            let path = self.tools.get(name)?;
            let fits = std::fs::metadata(path).is_ok_and(|found| (1..=LONGEST).contains(&found.len()));
            fits.then(|| std::fs::read(path).ok())?.map(Bytes::from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_name_a_file() {
        let files = BootFiles::of([("ipxe.efi".to_owned(), Bytes::from_static(b"x"))]);
        for (name, found) in [
            ("ipxe.efi", true),
            ("/ipxe.efi", true),
            ("//ipxe.efi", false),
            ("../ipxe.efi", false),
            ("./ipxe.efi", false),
            ("ipxe.efi/..", false),
            ("IPXE.EFI", false),
            ("ipxe.efi\0", false),
            ("", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(files.get(name).is_some(), found, "{name:?}");
        }
    }

    #[test]
    fn a_missing_file_names_its_package() {
        let table = include_str!("../../firmware-cfg/x86_64.toml").replace("/usr/lib/ipxe/", "/nowhere/");
        let table = FirmwareTable::new(&[("x86_64.toml".into(), table)]).expect("a valid table");
        let error = BootFiles::load(&table, &[Arch::X86_64]).expect_err("nothing is in /nowhere").to_string();
        assert!(error.contains("/nowhere/undionly.kpxe") && error.contains("package 'ipxe'"), "{error}");
        assert!(BootFiles::load(&table, &[]).is_ok(), "no architecture, no file");
    }
}
