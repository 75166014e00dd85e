//! Mounts a file system of a fresh disk and grows it to its partition: ext4, XFS and btrfs, by their own ioctls.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Error;

mod ioctl {
    use nix::{ioctl_read, ioctl_write_ptr};
    ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
    ioctl_read!(xfs_geometry, b'X', 100, [u64; 14]);
    ioctl_write_ptr!(xfs_grow, b'X', 110, [u64; 2]);
    ioctl_write_ptr!(btrfs_resize, 0x94, 3, [u8; 4096]);
}

/// A file system that can be grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4; ext2 and ext3 are mounted as such.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs on one device.
    Btrfs,
}

impl FileSystem {
    /// What lies on a partition; `None` for anything else.
    pub fn detect(partition: &Path) -> Result<Option<Self>, Error> {
        let failed = || Error::io(format!("reading {}", partition.display()));
        let file = File::open(partition).map_err(failed())?;
        let at = |offset: u64, signature: &[u8]| {
            let mut bytes = vec![0; signature.len()];
            file.read_exact_at(&mut bytes, offset).is_ok() && bytes == signature
        };
        Ok(if at(0, b"XFSB") {
            Some(Self::Xfs)
        } else if at(0x1_0040, b"_BHRfS_M") {
            Some(Self::Btrfs)
        } else {
            at(1080, b"\x53\xef").then_some(Self::Ext4)
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A mounted file system; unmounted when dropped.
pub struct Mounted {
    at: PathBuf,
    file_system: Option<FileSystem>,
    active: bool,
}

impl Mounted {
    /// Mounts a partition's file system where only we look for it.
    pub fn new(partition: &Path, file_system: FileSystem) -> Result<Self, Error> {
        // Another disk may hold the same image, and XFS refuses the same UUID twice.
        let options = (file_system == FileSystem::Xfs).then_some("nouuid");
        Self::mount(partition, file_system.name(), Some(file_system), MsFlags::empty(), options)
    }

    /// Mounts an EFI system partition to be read.
    pub fn esp(partition: &Path) -> Result<Self, Error> {
        Self::mount(partition, "vfat", None, MsFlags::MS_RDONLY, None)
    }

    fn mount(
        partition: &Path,
        name: &str,
        file_system: Option<FileSystem>,
        flags: MsFlags,
        options: Option<&str>,
    ) -> Result<Self, Error> {
        // Kept, and removed by hand: a folder that something is mounted on must never be emptied.
        let at = tempfile::tempdir().map_err(Error::io("making a mount point"))?.keep();
        let flags = flags | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        if let Err(error) = mount(Some(partition), &at, Some(name), flags, options) {
            let _ = std::fs::remove_dir(&at);
            return Err(Error::io(format!("mounting {} as {name}", partition.display()))(error.into()));
        }
        Ok(Self { at, file_system, active: true })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The folder that is `/` once the system runs: on btrfs often a subvolume of its own.
    pub fn root(&self) -> PathBuf {
        let inner = ["root", "@", "@rootfs"].map(|name| self.path().join(name));
        let is_plain = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let is_root = |path: &PathBuf| is_plain(path) && is_plain(&path.join("etc"));
        if self.file_system == Some(FileSystem::Btrfs) && !is_plain(&self.path().join("etc")) {
            return inner.into_iter().find(is_root).unwrap_or_else(|| self.path().to_owned());
        }
        self.path().to_owned()
    }

    /// Grows the file system to the size of its partition, `length` bytes.
    pub fn grow(&self, length: u64) -> Result<(), Error> {
        let Some(file_system) = self.file_system else { return Ok(()) };
        let failed = || Error::io(format!("growing the {} file system", file_system.name()));
        let root = File::open(self.path()).map_err(failed())?;
        let fd = root.as_raw_fd();
        #[expect(
            unsafe_code,
            reason = "each ioctl gets the structure of its size, which lives until it returns"
        )]
        let result = match file_system {
            FileSystem::Ext4 => {
                let block = nix::sys::statvfs::fstatvfs(&root).map_err(|e| failed()(e.into()))?.block_size();
                let blocks = length / block.max(512);
                unsafe { ioctl::ext4_resize(fd, &raw const blocks) }
            }
            FileSystem::Xfs => {
                // struct xfs_fsop_geom_v1: eight u32 (the first is the block size, the last imaxpct), then u64s.
                let mut geometry = [0; 14];
                unsafe { ioctl::xfs_geometry(fd, &raw mut geometry) }.map_err(|e| failed()(e.into()))?;
                let [first, _, _, fourth, current, ..] = geometry;
                let (block, percent) = ((first & 0xffff_ffff).max(512), fourth >> 32);
                if length / block <= current {
                    return Ok(());
                }
                let wanted = [length / block, percent];
                unsafe { ioctl::xfs_grow(fd, &raw const wanted) }
            }
            FileSystem::Btrfs => {
                let mut arguments = [0; 4096];
                // struct btrfs_ioctl_vol_args: an s64, then a name.
                if let Some(name) = arguments.get_mut(8..11) {
                    name.copy_from_slice(b"max");
                }
                unsafe { ioctl::btrfs_resize(fd, &raw const arguments) }
            }
        };
        result.map(drop).map_err(|error| failed()(error.into()))
    }

    /// Writes everything out and unmounts.
    pub fn close(mut self) -> Result<(), Error> {
        let root = File::open(self.path()).map_err(Error::io("syncing a file system"))?;
        nix::unistd::syncfs(&root).map_err(|error| Error::io("syncing a file system")(error.into()))?;
        drop(root);
        umount2(self.path(), MntFlags::empty()).map_err(|error| Error::io("unmounting")(error.into()))?;
        self.active = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.active {
            let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        }
        let _ = std::fs::remove_dir(&self.at);
    }
}
