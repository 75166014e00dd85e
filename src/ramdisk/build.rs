//! From packages to a kernel and a ramdisk, in one call.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::cpio::{Archive, Content};
use super::kernel::{self, Compression};
use super::select::{self, Chosen};
use super::source::Source;
use super::{RamdiskError, agent};
use crate::model::Arch;
use crate::modules::{INDEX_PATH, index_text};

/// zstd's level: 19 is the highest that needs no more memory to decompress than 8 MiB.
const LEVEL: i32 = 19;

/// What a ramdisk is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The kernel and its modules: `linux-image-*.deb`s, or folders with `boot` and `lib/modules`.
    pub kernel: Vec<PathBuf>,
    /// Firmware: `firmware-*.deb`s, or folders with `lib/firmware`. A kernel input's own counts as well.
    pub firmware: Vec<PathBuf>,
    /// The program that becomes `/init`; static.
    pub agent: PathBuf,
    /// A static busybox, which becomes `/bin/busybox`, with `/bin/sh` a link to it.
    pub busybox: Option<PathBuf>,
    /// Further files: place in the ramdisk, file, permissions.
    pub files: Vec<(String, PathBuf, u32)>,
    /// Further symbolic links: place in the ramdisk, target.
    pub links: Vec<(String, String)>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A package or a folder is being opened.
    Opening(PathBuf),
    /// The modules are being read.
    Selecting,
    /// Files are being packed.
    Packing {
        /// Done so far.
        done: usize,
        /// Of how many.
        of: usize,
    },
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The ramdisk.
    pub initrd: PathBuf,
    /// As `uname -r` will tell it.
    pub kernel_release: String,
    /// The machines it runs on.
    pub arch: Arch,
    /// How many modules are in it.
    pub modules: usize,
    /// How many firmware files are in it.
    pub firmware: usize,
    /// Firmware that a module in it may ask for, and that no input has.
    pub missing_firmware: Vec<String>,
    /// Modules that should be in it and are not, and why.
    pub left_out: Vec<(String, String)>,
    /// The ramdisk's size, in bytes.
    pub initrd_bytes: u64,
    /// Its size once the kernel has unpacked it, in bytes of memory.
    pub unpacked_bytes: u64,
}

/// Builds `vmlinuz` and `initrd.img` in `out_dir`, which must exist and have room for the unpacked
/// packages (500 MiB). Each file is replaced as a whole or not at all. Takes minutes; blocks.
pub fn build(
    inputs: &Inputs,
    out_dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built, RamdiskError> {
    let mut opening = |path: &Path| progress(Progress::Opening(path.to_owned()));
    let source = Source::open(&inputs.kernel, out_dir, &mut opening)?;
    let names = inputs.kernel.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let kernel = kernel::find(&source, &names)?;
    agent::check(&inputs.agent, kernel.arch)?;
    if let Some(busybox) = &inputs.busybox {
        agent::check(busybox, kernel.arch)?;
    }
    let mut firmware = inputs.firmware.clone();
    firmware.extend(inputs.kernel.iter().filter(|path| path.is_dir()).cloned());
    let firmware = Source::open(&firmware, out_dir, &mut opening)?;
    progress(Progress::Selecting);
    let chosen = select::select(&source, &firmware, &kernel.release)?;
    let archive = archive(inputs, &chosen)?;

    let initrd = out_dir.join("initrd.img");
    let mut file = NamedTempFile::new_in(out_dir).map_err(RamdiskError::io(out_dir))?;
    let unpacked_bytes = pack(&archive, kernel.compression, &mut file, &initrd, progress)?;
    let initrd_bytes = file.as_file().metadata().map_err(RamdiskError::io(&initrd))?.len();
    let image = out_dir.join("vmlinuz");
    let mut image_file = NamedTempFile::new_in(out_dir).map_err(RamdiskError::io(out_dir))?;
    File::open(&kernel.image)
        .and_then(|mut from| io::copy(&mut from, &mut image_file))
        .map_err(RamdiskError::io(&image))?;
    keep(image_file, &image)?;
    keep(file, &initrd)?;
    Ok(Built {
        kernel: image,
        initrd,
        kernel_release: kernel.release,
        arch: kernel.arch,
        modules: chosen.modules.len(),
        firmware: chosen.firmware.len(),
        missing_firmware: chosen.missing_firmware,
        left_out: chosen.left_out,
        initrd_bytes,
        unpacked_bytes,
    })
}

/// All that goes in, in its place.
fn archive(inputs: &Inputs, chosen: &Chosen) -> Result<Archive, RamdiskError> {
    let mut archive = Archive::default();
    for (folder, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("mnt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("sbin", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("var", 0o755),
    ] {
        archive.folder(folder, mode)?;
    }
    // The kernel opens it for `/init` before anything is mounted.
    archive.device("dev/console", 0o600, 5, 1)?;
    archive.device("dev/null", 0o666, 1, 3)?;
    archive.file("init", 0o755, Content::File(inputs.agent.clone()))?;
    if let Some(busybox) = &inputs.busybox {
        archive.file("bin/busybox", 0o755, Content::File(busybox.clone()))?;
        archive.link("bin/sh", "busybox")?;
    }
    archive.file(INDEX_PATH, 0o644, Content::Bytes(index_text::write(&chosen.index).into_bytes()))?;
    for (place, file) in chosen.modules.iter().chain(&chosen.firmware) {
        archive.file(place, 0o644, Content::Unpacked(file.clone()))?;
    }
    for (place, file, mode) in &inputs.files {
        archive.file(place, *mode, Content::File(file.clone()))?;
    }
    for (place, target) in &inputs.links {
        archive.link(place, target)?;
    }
    Ok(archive)
}

/// Writes `archive` compressed into `file`; the size before that, in bytes. The bytes are the same on
/// every machine: zstd cuts its work the same way however many threads do it, as long as it is not none.
fn pack(
    archive: &Archive,
    compression: Compression,
    file: &mut NamedTempFile,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, RamdiskError> {
    let of = archive.len();
    let mut written = |done| progress(Progress::Packing { done, of });
    let to = BufWriter::new(file);
    match compression {
        Compression::Zstd => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = u32::try_from(threads).unwrap_or(1).clamp(1, 16);
            let start = || -> io::Result<_> {
                let mut encoder = zstd::stream::write::Encoder::new(to, LEVEL)?;
                encoder.multithread(threads)?;
                encoder.include_checksum(true)?;
                Ok(encoder)
            };
            let mut count = Count { to: start().map_err(RamdiskError::io(path))?, bytes: 0 };
            archive.write(&mut count, path, &mut written)?;
            count.to.finish().and_then(|mut to| to.flush()).map_err(RamdiskError::io(path))?;
            Ok(count.bytes)
        }
        Compression::Gzip => {
            let encoder = flate2::GzBuilder::new().mtime(0).write(to, flate2::Compression::best());
            let mut count = Count { to: encoder, bytes: 0 };
            archive.write(&mut count, path, &mut written)?;
            count.to.finish().and_then(|mut to| to.flush()).map_err(RamdiskError::io(path))?;
            Ok(count.bytes)
        }
    }
}

/// Counts what is written.
struct Count<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Count<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or(0));
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Puts a finished file in its place, for everybody to read, also after a power cut.
fn keep(file: NamedTempFile, path: &Path) -> Result<(), RamdiskError> {
    use std::os::unix::fs::PermissionsExt;
    let kept = file
        .as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .and_then(|()| file.as_file().sync_all());
    kept.map_err(RamdiskError::io(path))?;
    file.persist(path).map_err(|error| RamdiskError::Io { path: path.to_owned(), error: error.error })?;
    Ok(())
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
