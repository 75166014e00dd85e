//! Which kernel a source holds: its image, its release, its architecture, what it can decompress.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::RamdiskError;
use super::source::Source;
use crate::model::Arch;
use crate::modules::packed;

/// Bytes at the start of an image that tell its architecture.
const START: u64 = 4_096;

/// How a ramdisk is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// The kernel can decompress it since 5.9, when built so.
    Zstd,
    /// Every kernel can.
    Gzip,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The image's file.
    pub image: PathBuf,
    /// As `uname -r` will tell it.
    pub release: String,
    /// The machines it runs on.
    pub arch: Arch,
    /// The best it can decompress.
    pub compression: Compression,
}

/// Finds the one kernel of `source`; `inputs` names it in errors.
pub fn find(source: &Source, inputs: &str) -> Result<Kernel, RamdiskError> {
    let absent = |what| RamdiskError::NoKernel { inputs: inputs.to_owned(), what };
    let releases: BTreeSet<&str> = source
        .below("lib/modules/")
        .filter(|(place, _)| place.contains("/kernel/") || place.contains(".ko"))
        .filter_map(|(place, _)| place.split('/').next())
        .collect();
    let images: Vec<(&str, &Path)> =
        releases.iter().filter_map(|release| Some((*release, image(source, release)?))).collect();
    let (release, path) = match (images.as_slice(), releases.first()) {
        ([(release, path)], _) => (*release, *path),
        ([], Some(release)) if releases.len() == 1 => {
            (*release, unnamed(source).ok_or_else(|| absent("boot/vmlinuz-*"))?)
        }
        ([], Some(_)) => return Err(absent("boot/vmlinuz-* that fits its lib/modules/*")),
        ([], None)
            if unnamed(source).is_none()
                && !source.places().any(|place| place.starts_with("boot/vmlinuz")) =>
        {
            return Err(absent("boot/vmlinuz-*"));
        }
        ([], None) => return Err(absent("lib/modules/*")),
        (several, _) => {
            let releases = several.iter().map(|(release, _)| *release).collect::<Vec<_>>().join(", ");
            return Err(RamdiskError::SeveralKernels { inputs: inputs.to_owned(), releases });
        }
    };
    let start = start_of(path)?;
    let arch =
        arch(&start).ok_or_else(|| RamdiskError::Architecture { name: format!("vmlinuz-{release}") })?;
    Ok(Kernel {
        image: path.to_owned(),
        release: release.to_owned(),
        arch,
        compression: compression(source, release),
    })
}

/// The image that bears the name of `release`.
fn image<'a>(source: &'a Source, release: &str) -> Option<&'a Path> {
    [
        format!("boot/vmlinuz-{release}"),
        format!("lib/modules/{release}/vmlinuz"),
        format!("vmlinuz-{release}"),
    ]
    .iter()
    .find_map(|place| source.get(place))
}

/// An image without a release in its name.
fn unnamed(source: &Source) -> Option<&Path> {
    ["vmlinuz", "boot/vmlinuz", "Image", "boot/Image"].iter().find_map(|place| source.get(place))
}

/// The first bytes of an image, decompressed when it is gzip as some ARM64 ones are.
fn start_of(path: &Path) -> Result<Vec<u8>, RamdiskError> {
    use std::io::Read;
    let read = |path| {
        let mut start = Vec::new();
        packed::open(File::open(path)?)?.take(START).read_to_end(&mut start)?;
        Ok(start)
    };
    read(path).map_err(RamdiskError::io(path))
}

/// Told by the x86 boot header (Documentation/arch/x86/boot.rst), the ARM64 one
/// (Documentation/arch/arm64/booting.rst), or the machine of a PE image.
fn arch(start: &[u8]) -> Option<Arch> {
    let at = |place: usize, length: usize| start.get(place..place.checked_add(length)?);
    if at(0x202, 4) == Some(b"HdrS") {
        return Some(Arch::X86_64);
    }
    if at(56, 4) == Some(b"ARM\x64") {
        return Some(Arch::Aarch64);
    }
    if at(0, 2) != Some(b"MZ") {
        return None;
    }
    let header = usize::try_from(u32::from_le_bytes(at(0x3c, 4)?.try_into().ok()?)).ok()?;
    match (at(header, 4)?, at(header.checked_add(4)?, 2)?) {
        (b"PE\0\0", [0x64, 0x86]) => Some(Arch::X86_64),
        (b"PE\0\0", [0x64, 0xaa]) => Some(Arch::Aarch64),
        _ => None,
    }
}

/// gzip when there is a configuration, and it has no zstd.
fn compression(source: &Source, release: &str) -> Compression {
    let config = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")]
        .iter()
        .find_map(|place| source.get(place))
        .and_then(|path| packed::read(File::open(path).ok()?, 16 << 20).ok());
    match config {
        Some(config) if !config.split(|byte| *byte == b'\n').any(|line| line == b"CONFIG_RD_ZSTD=y") => {
            Compression::Gzip
        }
        _ => Compression::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pc() -> Vec<u8> {
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image
    }

    fn found(files: &[(&str, &[u8])]) -> Result<Kernel, RamdiskError> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        find(&Source::open(&[root.path().to_owned()], root.path(), &mut |_| {}).unwrap(), "x.deb")
    }

    #[test]
    fn kernels_are_found_where_distributions_put_them() {
        let mut arm = vec![0; 64];
        arm[56..60].copy_from_slice(b"ARM\x64");
        let mut efi = vec![0; 0x100];
        efi[..2].copy_from_slice(b"MZ");
        efi[0x3c] = 0x80;
        efi[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
        let module = "lib/modules/6.1/kernel/a.ko";
        for (name, files, arch, compression) in [
            ("Debian", vec![("boot/vmlinuz-6.1", pc()), (module, vec![])], Arch::X86_64, Compression::Zstd),
            (
                "Fedora",
                vec![
                    ("usr/lib/modules/6.1/vmlinuz", arm.clone()),
                    ("usr/lib/modules/6.1/kernel/a.ko.xz", vec![]),
                ],
                Arch::Aarch64,
                Compression::Zstd,
            ),
            ("a plain name", vec![("vmlinuz", efi), (module, vec![])], Arch::Aarch64, Compression::Zstd),
            (
                "no zstd",
                vec![
                    ("boot/vmlinuz-6.1", pc()),
                    (module, vec![]),
                    ("boot/config-6.1", b"CONFIG_X=y\n# CONFIG_RD_ZSTD is not set\n".to_vec()),
                ],
                Arch::X86_64,
                Compression::Gzip,
            ),
            (
                "zstd",
                vec![
                    ("boot/vmlinuz-6.1", pc()),
                    (module, vec![]),
                    ("boot/config-6.1", b"CONFIG_RD_ZSTD=y\n".to_vec()),
                ],
                Arch::X86_64,
                Compression::Zstd,
            ),
            (
                "modules of another kernel as well",
                vec![("boot/vmlinuz-6.1", pc()), (module, vec![]), ("lib/modules/5.9/kernel/a.ko", vec![])],
                Arch::X86_64,
                Compression::Zstd,
            ),
        ] {
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(path, content)| (*path, content.as_slice())).collect();
            let kernel = found(&files).expect(name);
            assert_eq!(
                (kernel.release.as_str(), kernel.arch, kernel.compression),
                ("6.1", arch, compression),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_kernel_package_is_told() {
        let pc = pc();
        let module: (&str, &[u8]) = ("lib/modules/6.1/kernel/a.ko", b"");
        let other: (&str, &[u8]) = ("lib/modules/6.2/kernel/a.ko", b"");
        for (name, files, message) in [
            ("nothing", vec![], "not a kernel package: no boot/vmlinuz-* in it"),
            ("only modules", vec![module], "no boot/vmlinuz-* in it"),
            ("only an image", vec![("boot/vmlinuz-6.1", &pc[..])], "no lib/modules/* in it"),
            (
                "an image of another release",
                vec![("boot/vmlinuz-6.3", &pc[..]), module, other],
                "that fits its lib/modules",
            ),
            (
                "two kernels",
                vec![("boot/vmlinuz-6.1", &pc[..]), ("boot/vmlinuz-6.2", &pc[..]), module, other],
                "6.1, 6.2",
            ),
            ("an image of text", vec![("boot/vmlinuz-6.1", &b"text"[..]), module], "not a kernel for x86_64"),
        ] {
            let told = found(&files).expect_err(name).to_string();
            assert!(told.contains(message), "{name}: {told}");
        }
    }
}
