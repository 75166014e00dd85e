//! A disk, or a file that stands for one: aligned reads and writes past the page cache, zeroing, the kernel's view.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};

use super::Error;

/// What `O_DIRECT` wants of offsets, lengths and memory on all disks in use.
const ALIGN: usize = 4096;

mod ioctl {
    use nix::{ioctl_none, ioctl_read_bad, ioctl_write_ptr_bad, request_code_none};
    ioctl_none!(blkrrpart, 0x12, 95);
    ioctl_read_bad!(blksszget, request_code_none!(0x12, 104), nix::libc::c_int);
    ioctl_write_ptr_bad!(blkzeroout, request_code_none!(0x12, 127), [u64; 2]);
    ioctl_write_ptr_bad!(blkpg, request_code_none!(0x12, 105), super::PartitionCall);
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
pub struct PartitionCall {
    op: nix::libc::c_int,
    flags: nix::libc::c_int,
    data_length: nix::libc::c_int,
    data: *const PartitionRange,
}

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct PartitionRange {
    start: i64,
    length: i64,
    number: nix::libc::c_int,
    names: [u8; 128],
}

const BLKPG_ADD_PARTITION: nix::libc::c_int = 1;
const BLKPG_DEL_PARTITION: nix::libc::c_int = 2;

/// Memory that `O_DIRECT` takes.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// `length` zeros.
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start, length }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }
}

/// A disk opened for writing.
pub struct Disk {
    path: PathBuf,
    plain: File,
    direct: Option<File>,
    /// Keeps everybody else from mounting it; given up while we mount.
    exclusive: Option<File>,
    size: u64,
    sector: u32,
    block: bool,
}

impl Disk {
    /// Opens the disk at `path`, which nobody may use at the time.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what: &str| Error::io(format!("{what} {}", path.display()));
        let open = |flags: OFlag| {
            let flags = (flags | OFlag::O_CLOEXEC).bits();
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
        };
        let mut plain = open(OFlag::empty()).map_err(failed("opening"))?;
        let kind = plain.metadata().map_err(failed("looking at"))?.file_type();
        let block = kind.is_block_device();
        if !block && !kind.is_file() {
            return Err(Error::NotADisk(path.to_owned()));
        }
        let exclusive = if block {
            Some(open(OFlag::O_EXCL).map_err(|error| match error.raw_os_error() {
                Some(nix::libc::EBUSY) => Error::InUse(path.to_owned()),
                _ => failed("opening")(error),
            })?)
        } else {
            None
        };
        let size = plain.seek(SeekFrom::End(0)).map_err(failed("asking for the size of"))?;
        let sector = if block {
            sector_size(&plain).map_err(|e| failed("asking for the sectors of")(e.into()))?
        } else {
            512
        };
        let direct = open(OFlag::O_DIRECT).ok();
        Ok(Self { path: path.to_owned(), plain, direct, exclusive, size, sector, block })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its logical sectors' size in bytes.
    pub fn sector(&self) -> u32 {
        self.sector
    }

    /// Whether it is a block device, not a file.
    pub fn is_block(&self) -> bool {
        self.block
    }

    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let aligned = offset.is_multiple_of(ALIGN as u64)
            && bytes.len().is_multiple_of(ALIGN)
            && bytes.as_ptr().align_offset(ALIGN) == 0;
        self.direct.as_ref().filter(|_| aligned)
    }

    /// Writes; past the page cache when memory and place allow it.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Error::OutsideDisk { offset, size: self.size });
        }
        if let Some(direct) = self.direct_for(offset, bytes) {
            match direct.write_all_at(bytes, offset) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {}
                result => return result.map_err(self.failed("writing")),
            }
        }
        self.plain.write_all_at(bytes, offset).map_err(self.failed("writing"))
    }

    /// Reads what is on the disk, not what the page cache has of it.
    pub fn read(&self, offset: u64, target: &mut [u8]) -> Result<(), Error> {
        if let Some(direct) = self.direct_for(offset, target)
            && direct.read_exact_at(target, offset).is_ok()
        {
            return Ok(());
        }
        let (from, length) = (i64::try_from(offset).unwrap_or(0), i64::try_from(target.len()).unwrap_or(0));
        // Best effort: pages that are clean are dropped, so that the read goes to the disk.
        let _ = posix_fadvise(&self.plain, from, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        self.plain.read_exact_at(target, offset).map_err(self.failed("reading"))
    }

    /// Makes a range zero, by the disk's own means where it has any.
    pub fn zero(&self, offset: u64, length: u64) -> Result<(), Error> {
        /// In steps, so that a slow disk can't keep the kernel busy for minutes in one call.
        const STEP: u64 = 1 << 30;
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let end = end.ok_or(Error::OutsideDisk { offset, size: self.size })?;
        let mut at = offset;
        while at < end {
            let part = STEP.min(end - at);
            if !self.zero_by_system(at, part) {
                self.zero_by_hand(at, part)?;
            }
            at += part;
        }
        Ok(())
    }

    fn zero_by_system(&self, offset: u64, length: u64) -> bool {
        if self.block {
            let range = [offset, length];
            #[expect(unsafe_code, reason = "BLKZEROOUT reads two u64, which live until it returns")]
            let result = unsafe { ioctl::blkzeroout(self.plain.as_raw_fd(), &raw const range) };
            return result.is_ok();
        }
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return false };
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.plain, flags, offset, length).is_ok()
    }

    fn zero_by_hand(&self, offset: u64, length: u64) -> Result<(), Error> {
        let zeros = Aligned::new(1 << 20);
        let mut at = offset;
        while at < offset + length {
            let part = usize::try_from(offset + length - at).unwrap_or(zeros.len()).min(zeros.len());
            self.write(at, zeros.get(..part).unwrap_or_default())?;
            at += part as u64;
        }
        Ok(())
    }

    /// Waits until all that was written would survive a power cut.
    pub fn sync(&self) -> Result<(), Error> {
        self.plain.sync_data().map_err(self.failed("syncing"))
    }

    /// Lets others, the mount call among them, use the disk's partitions.
    pub fn share(&mut self) {
        self.exclusive = None;
    }

    /// Tells the kernel of one partition, without a table on the disk. Its number must be free.
    pub fn add_partition(&self, number: u32, start: u64, length: u64) -> Result<(), Error> {
        let _ = self.partition_call(BLKPG_DEL_PARTITION, number, 0, 0);
        self.partition_call(BLKPG_ADD_PARTITION, number, start, length)
            .map_err(|error| self.failed("adding a partition to")(error.into()))
    }

    /// Takes a partition from the kernel's view again.
    pub fn remove_partition(&self, number: u32) -> Result<(), Error> {
        self.partition_call(BLKPG_DEL_PARTITION, number, 0, 0)
            .map_err(|error| self.failed("removing a partition from the kernel's view of")(error.into()))
    }

    fn partition_call(
        &self,
        op: nix::libc::c_int,
        number: u32,
        start: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let fits = |value: u64| i64::try_from(value).map_err(|_| Errno::EINVAL);
        let number = nix::libc::c_int::try_from(number).map_err(|_| Errno::EINVAL)?;
        let range = PartitionRange { start: fits(start)?, length: fits(length)?, number, names: [0; 128] };
        let data_length = nix::libc::c_int::try_from(size_of::<PartitionRange>()).unwrap_or(0);
        let call = PartitionCall { op, flags: 0, data_length, data: &raw const range };
        #[expect(unsafe_code, reason = "BLKPG reads both structures, which live until it returns")]
        unsafe { ioctl::blkpg(self.plain.as_raw_fd(), &raw const call) }.map(drop)
    }

    /// Makes the kernel read the partition table; true when it did.
    pub fn reread_table(&self) -> bool {
        // Whoever holds the disk exclusively must ask by the descriptor that holds it.
        let file = self.exclusive.as_ref().unwrap_or(&self.plain);
        #[expect(unsafe_code, reason = "BLKRRPART has no argument")]
        let call = || unsafe { ioctl::blkrrpart(file.as_raw_fd()) };
        // Whoever watches disks (udev) may hold a partition for a moment.
        for _ in 0..20 {
            match call() {
                Ok(_) => return true,
                Err(Errno::EBUSY) => std::thread::sleep(std::time::Duration::from_millis(100)),
                Err(_) => return false,
            }
        }
        false
    }

    /// The device file of partition `number`: `/dev/sda3`, `/dev/nvme0n1p3`.
    pub fn partition_path(&self, number: u32) -> PathBuf {
        let path = self.path.to_string_lossy();
        let separator = if path.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        PathBuf::from(format!("{path}{separator}{number}"))
    }

    fn failed(&self, what: &str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io(format!("{what} {}", self.path.display()))
    }
}

fn sector_size(file: &File) -> Result<u32, Errno> {
    let mut size = 0;
    #[expect(unsafe_code, reason = "BLKSSZGET writes one int")]
    unsafe { ioctl::blksszget(file.as_raw_fd(), &raw mut size) }?;
    u32::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two() && (512..=65536).contains(size))
        .ok_or(Errno::EINVAL)
}
