//! Whether a disk holds data: signatures at the well-known places, or anything at all at its begin and end.

use super::Error;
use super::disk::{Aligned, Disk};
use super::gpt::Table;
use super::marker::Marker;
use crate::diskimage::is_zero;

const EDGE: u64 = 1 << 20;

/// Where a signature lies, what it is, what it stands for. Offsets are from the disk's begin.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"XFSB", "an XFS file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (1080, b"\x53\xef", "an ext2/3/4 file system"),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (536, b"LVM2 001", "an LVM physical volume"),
    (24, b"LVM2 001", "an LVM physical volume"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of a Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a Linux RAID"),
    (4086, b"SWAPSPACE2", "swap space"),
    (0, b"BLUESTOR", "a Ceph OSD"),
    (0, b"bluestore block device", "a Ceph OSD"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (0, b"hsqs", "a squashfs"),
];

/// Backwards from the disk's end.
const END_SIGNATURES: &[(usize, &[u8], &str)] = &[
    (512, b"EFI PART", "a backup partition table (GPT)"),
    (4096, b"EFI PART", "a backup partition table (GPT)"),
    (8192, b"\xfc\x4e\x2b\xa9", "a member of a Linux RAID"),
    (512, b"\xde\x11\xde\x11", "a member of a DDF RAID"),
    (1024, b"Intel Raid ISM Cfg Sig. ", "a member of an Intel RAID"),
];

/// What `disk` holds, in words; `None` when it is empty at both ends, or when all it holds is an install of ours that
/// was cut off.
pub fn holds(disk: &Disk) -> Result<Option<String>, Error> {
    let edge = usize::try_from(EDGE.min(disk.size())).unwrap_or(0);
    let mut begin = Aligned::new(edge);
    disk.read(0, &mut begin)?;
    if let Some(marker) = begin.get(4096..).and_then(Marker::parse) {
        return Ok(marker
            .kept
            .map(|kept| format!("the data partition {:?} of a cut-off install", kept.entry.label())));
    }
    let mut end = Aligned::new(edge);
    disk.read(disk.size() - edge as u64, &mut end)?;
    Ok(look(&begin, &end))
}

/// What a disk with these first and last bytes holds.
pub fn look(begin: &[u8], end: &[u8]) -> Option<String> {
    if let Some(table) = Table::parse(begin) {
        let labels: Vec<String> =
            table.partitions().map(|(number, entry)| format!("{number} {:?}", entry.label())).collect();
        return Some(format!(
            "a partition table (GPT) with {} partitions: {}",
            labels.len(),
            labels.join(", ")
        ));
    }
    let at = |from: &[u8], offset: usize, what: &[u8]| {
        from.get(offset..).is_some_and(|rest| rest.starts_with(what))
    };
    for (offset, signature, name) in SIGNATURES {
        if at(begin, *offset, signature) {
            return Some((*name).into());
        }
    }
    if (0..4).any(|label| zfs(begin, label * 262_144)) || (0..4).any(|label| zfs(end, label * 262_144)) {
        return Some("a member of a ZFS pool".into());
    }
    for (back, signature, name) in END_SIGNATURES {
        if end.len().checked_sub(*back).is_some_and(|offset| at(end, offset, signature)) {
            return Some((*name).into());
        }
    }
    // mdadm's old format: 64 KiB before the last whole 64 KiB.
    if end.len().checked_sub(65536).is_some_and(|last| at(end, last / 65536 * 65536, b"\xfc\x4e\x2b\xa9")) {
        return Some("a member of a Linux RAID".into());
    }
    if at(begin, 510, b"\x55\xaa") {
        let used =
            (0..4).filter(|number| begin.get(446 + number * 16 + 4).is_some_and(|kind| *kind != 0)).count();
        return Some(format!("a partition table (MBR) with {used} partitions"));
    }
    if !is_zero(begin) {
        return Some("something unknown in its first MiB".into());
    }
    (!is_zero(end)).then(|| "something unknown in its last MiB".into())
}

/// A ZFS label is 256 KiB: 128 KiB of names, then a ring of uberblocks that begin with 0x00bab10c.
fn zfs(bytes: &[u8], label: usize) -> bool {
    (0..128).any(|number| {
        let magic = bytes.get(label + 131_072 + number * 1024..).and_then(|rest| rest.first_chunk::<8>());
        magic.is_some_and(|magic| {
            u64::from_le_bytes(*magic) == 0x00ba_b10c || u64::from_be_bytes(*magic) == 0x00ba_b10c
        })
    })
}
