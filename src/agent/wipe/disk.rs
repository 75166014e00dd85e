//! A whole disk that nobody uses, opened so that nobody can begin to.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_DIRECT, O_EXCL};
use nix::sys::stat::{major, minor};

use super::error::WipeError;
use super::ioctl;
use super::plan::Capabilities;

/// A disk that is open for us alone. Reads and writes go past the kernel's cache, in whole blocks.
#[derive(Debug)]
pub struct Disk {
    /// Open for reading and writing, exclusively and directly.
    pub file: File,
    /// As the kernel calls it: `sda`.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its logical block size in bytes.
    pub block_bytes: u32,
    /// Maker's model name.
    pub model: Option<String>,
    /// Maker's serial number.
    pub serial: Option<String>,
    /// World-wide identifier.
    pub wwid: Option<String>,
    sysfs: PathBuf,
}

impl Disk {
    /// Opens the disk at `path`, a device node or a link to one.
    pub fn open(path: &Path) -> Result<Self, WipeError> {
        let open = |source| WipeError::Open { disk: path.to_owned(), source };
        let not_a_disk = |what: &str| WipeError::NotADisk { disk: path.to_owned(), what: what.to_owned() };
        let metadata = fs::metadata(path).map_err(open)?;
        if !metadata.file_type().is_block_device() {
            return Err(not_a_disk("not a block device"));
        }
        let (number, sysfs) = (metadata.rdev(), sysfs_of(metadata.rdev()).map_err(open)?);
        if let Some(what) = kind_refused(&sysfs) {
            return Err(not_a_disk(what));
        }
        let in_use = |by: String| WipeError::InUse { disk: path.to_owned(), by };
        if let Some(by) = user_of(&sysfs) {
            return Err(in_use(by));
        }
        // Without a file system, a volume or swap on it, and none can come while this is open.
        let flags = O_EXCL | O_DIRECT;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(|source| {
                match source.kind() {
                    std::io::ErrorKind::ResourceBusy => {
                        in_use("it or a partition of it is mounted or claimed".into())
                    }
                    _ => open(source),
                }
            })?;
        if file.metadata().map_err(open)?.rdev() != number {
            return Err(in_use("its device node was replaced just now".into()));
        }
        let size_bytes = ioctl::size_bytes(&file).map_err(|errno| open(errno.into()))?;
        let block_bytes = ioctl::logical_block_bytes(&file).map_err(|errno| open(errno.into()))?;
        if size_bytes == 0 || !size_bytes.is_multiple_of(u64::from(block_bytes)) {
            return Err(not_a_disk("without a medium, or of a broken size"));
        }
        let name = sysfs.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let serial = text(&sysfs, &["device/serial", "serial"]).or_else(|| vpd_serial(&sysfs));
        let model = text(&sysfs, &["device/model", "device/name"]);
        let wwid = text(&sysfs, &["wwid", "device/wwid"]);
        Ok(Self { file, name, size_bytes, block_bytes, model, serial, wwid, sysfs })
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        let nvme = self.nsid().and_then(|nsid| {
            super::nvme::capabilities(&self.file, nsid)
                .inspect_err(|error| tracing::warn!(disk = self.name, %error, "NVMe identify"))
                .ok()
        });
        let discard = text(&self.sysfs, &["queue/discard_max_bytes"]).is_some_and(|bytes| bytes != "0");
        Capabilities { nvme, discard }
    }

    /// Its namespace identifier, when it is an `NVMe` namespace.
    pub fn nsid(&self) -> Option<u32> {
        text(&self.sysfs, &["nsid"])?.parse().ok()
    }

    /// How many partitions the kernel shows of it.
    pub fn partitions(&self) -> usize {
        partitions(&self.sysfs).len()
    }
}

fn sysfs_of(device: u64) -> std::io::Result<PathBuf> {
    fs::canonicalize(format!("/sys/dev/block/{}:{}", major(device), minor(device)))
}

/// What it is, when it is no disk to be erased.
fn kind_refused(sysfs: &Path) -> Option<&'static str> {
    let name = sysfs.file_name().unwrap_or_default().to_string_lossy();
    let is =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    if sysfs.join("partition").exists() {
        Some("a partition")
    } else if sysfs.join("dm").exists() {
        Some("a volume of the device mapper")
    } else if sysfs.join("md").exists() {
        Some("a RAID volume")
    } else if is("sr") || is("fd") {
        Some("a drive for removable media")
    } else if is("ram") || is("zram") {
        Some("memory")
    } else if text(sysfs, &["ro"]).is_some_and(|ro| ro != "0") {
        Some("read-only")
    } else {
        None
    }
}

fn partitions(sysfs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(sysfs).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.join("partition").exists()).collect()
}

/// Who uses the disk or a partition of it, as far as that can be told.
fn user_of(sysfs: &Path) -> Option<String> {
    let mut parts = partitions(sysfs);
    parts.push(sysfs.to_owned());
    let numbers: Vec<String> = parts.iter().filter_map(|part| text(part, &["dev"])).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(at) = mounts.lines().find_map(|line| mounted_from(line, &numbers)) {
        return Some(if at == "/" {
            "the running system is on it".into()
        } else {
            format!("mounted at {at}")
        });
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .any(|path| is_one(path, &numbers))
    {
        return Some("it holds swap".into());
    }
    parts.iter().find_map(|part| {
        let holder = fs::read_dir(part.join("holders")).ok()?.flatten().next()?;
        Some(format!("it is a part of {}", holder.file_name().to_string_lossy()))
    })
}

/// The mount point of a line of `mountinfo`, when what is mounted there is one of these devices.
fn mounted_from(line: &str, numbers: &[String]) -> Option<String> {
    let mut fields = line.split(' ');
    let number = fields.nth(2)?;
    let at = fields.nth(1)?;
    // Some file systems (btrfs) have a number of their own; their source tells.
    let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
    let ours = numbers.iter().any(|ours| ours == number) || is_one(source, numbers);
    ours.then(|| at.to_owned())
}

fn is_one(path: &str, numbers: &[String]) -> bool {
    path.starts_with("/dev/")
        && fs::metadata(path).is_ok_and(|metadata| {
            let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
            metadata.file_type().is_block_device() && numbers.contains(&number)
        })
}

/// The first of these files that says something, printable.
fn text(sysfs: &Path, files: &[&str]) -> Option<String> {
    files.iter().find_map(|file| clean(&fs::read(sysfs.join(file)).ok()?))
}

/// The unit serial number page of SCSI and SATA disks: SPC-4 section 7.8.15.
fn vpd_serial(sysfs: &Path) -> Option<String> {
    clean(fs::read(sysfs.join("device/vpd_pg80")).ok()?.get(4..)?)
}

fn clean(bytes: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(128).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_number() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mounted_from(line, &["98:0".into()]).as_deref(), Some("/mnt2"));
        assert_eq!(mounted_from(line, &["98:1".into()]), None);
        assert_eq!(mounted_from("broken", &["98:1".into()]), None);
    }

    #[test]
    fn what_is_no_disk_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("file");
        fs::write(&file, "x").expect("written");
        for (path, want) in [
            (file.as_path(), "not a block device"),
            (Path::new("/dev/null"), "not a block device"),
            (Path::new("/"), "not a block device"),
            (Path::new("/dev/no-such-disk"), "cannot open"),
        ] {
            let error = Disk::open(path).expect_err("refused").to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
