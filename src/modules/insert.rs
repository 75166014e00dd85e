//! The kernel's side of loading: which devices there are, and one module into the kernel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module, init_module};

use super::elf::LARGEST_MODULE;
use super::packed::{self, Packing};
use super::sysfs;

/// How a module came into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// By this call.
    Now,
    /// It was there before.
    Before,
}

/// A kernel that modules are loaded into; tests have one of their own.
pub trait Kernel: Send + Sync + 'static {
    /// The modaliases of the devices that there are now.
    fn modaliases(&self) -> BTreeSet<String>;
    /// Loads the module in the file `path`, relative to the root of the ramdisk. Returns when its
    /// start is over, or with the reason why it is not loaded.
    fn insert(&self, path: &str) -> Result<Inserted, String>;
}

/// The kernel that runs this program.
#[derive(Debug, Clone)]
pub struct Linux {
    root: PathBuf,
    devices: PathBuf,
}

impl Linux {
    /// With the modules of an [`Index`](super::index::Index) below `root`, which is `/` in a ramdisk.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), devices: "/sys/devices".into() }
    }
}

impl Kernel for Linux {
    fn modaliases(&self) -> BTreeSet<String> {
        sysfs::modaliases(&self.devices)
    }

    fn insert(&self, path: &str) -> Result<Inserted, String> {
        let unread = |error| format!("its file {path} cannot be read: {error}");
        let mut file = File::open(self.root.join(path)).map_err(unread)?;
        let mut start = Vec::new();
        file.by_ref().take(6).read_to_end(&mut start).map_err(unread)?;
        file.seek(SeekFrom::Start(0)).map_err(unread)?;
        let inserted = if Packing::of(&start) == Packing::Plain {
            finit_module(&file, c"", ModuleInitFlags::empty())
        } else {
            // Not every kernel decompresses by itself (CONFIG_MODULE_DECOMPRESS, since 5.17).
            let image = packed::read(file, LARGEST_MODULE).map_err(unread)?;
            init_module(&image, c"")
        };
        match inserted {
            Ok(()) => Ok(Inserted::Now),
            Err(Errno::EEXIST) => Ok(Inserted::Before),
            Err(errno) => Err(reason(errno)),
        }
    }
}

/// What an error of `init_module`(2) means.
fn reason(errno: Errno) -> String {
    let meaning = match errno {
        Errno::ENODEV => "it found no device it can drive",
        Errno::ENOENT => "a symbol is missing: a module that it needs is not loaded",
        Errno::ENOEXEC => "it is not a module of this kernel",
        Errno::EKEYREJECTED | Errno::ENOKEY => "the kernel does not accept its signature (Secure Boot)",
        Errno::EPERM => "the kernel allows no modules (not root, or modules_disabled)",
        Errno::EBUSY => "another driver has its device",
        Errno::ENOMEM => "there is not enough memory",
        Errno::EOPNOTSUPP => "the machine lacks a feature that it needs",
        _ => return errno.to_string(),
    };
    format!("{meaning} ({errno})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_reason_and_no_panic() {
        let root = tempfile::tempdir().unwrap();
        let kernel = Linux::new(root.path());
        let told = kernel.insert("lib/none.ko").expect_err("no such file");
        assert!(told.contains("lib/none.ko"), "{told}");
        // Bytes that are no module: refused as such by the kernel, or for lack of rights.
        std::fs::write(root.path().join("bad.ko"), b"this is no module").unwrap();
        assert!(kernel.insert("bad.ko").is_err());
        std::fs::write(root.path().join("cut.ko"), [0x28, 0xb5, 0x2f, 0xfd, 4, 0]).unwrap();
        let told = kernel.insert("cut.ko").expect_err("a cut zstd stream");
        assert!(told.contains("cannot be read"), "{told}");
    }

    #[test]
    fn errors_are_told_in_words() {
        assert!(reason(Errno::ENOEXEC).contains("not a module of this kernel"));
        assert!(reason(Errno::EIO).contains("EIO"));
    }
}
