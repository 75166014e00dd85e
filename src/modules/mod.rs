//! Kernel modules: what is in a ramdisk, what a device needs, and how it gets into the kernel.
//!
//! Read in this order: [`elf`] (what a module says of itself), [`glob`] (how aliases match), [`index`]
//! (all modules of a ramdisk) and [`index_text`] (how it is written), [`loader`] (loading at run time).
//! [`packed`] opens files that are compressed, [`sysfs`] tells which devices there are, [`insert`] is
//! the kernel's side.

pub mod elf;
pub mod glob;
pub mod index;
pub mod index_text;
pub mod insert;
pub mod loader;
pub mod packed;
pub mod sysfs;

/// Where the index lies in a ramdisk.
pub const INDEX_PATH: &str = "lib/modules/firstlight.index";

/// A module's name as the kernel writes it: `-` becomes `_` (modprobe(8)).
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in the file at `path`: `kernel/fs/ext4/ext4.ko.xz` is `ext4`; `None` when it is no module.
pub fn name_of_file(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = ["", ".xz", ".zst", ".gz"]
        .iter()
        .find_map(|packing| file.strip_suffix(packing).and_then(|plain| plain.strip_suffix(".ko")))?;
    (!stem.is_empty()).then(|| canonical(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_of_their_modules() {
        for (path, name) in [
            ("kernel/fs/ext4/ext4.ko", Some("ext4")),
            ("kernel/arch/x86/crypto/crc32c-intel.ko.xz", Some("crc32c_intel")),
            ("hid-generic.ko.zst", Some("hid_generic")),
            ("a.ko.gz", Some("a")),
            (".ko", None),
            ("modules.order", None),
            ("a.ko.bz2", None),
            ("", None),
        ] {
            assert_eq!(name_of_file(path).as_deref(), name, "{path}");
        }
    }
}
