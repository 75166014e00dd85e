//! A drive with a volatile write cache: what QEMU's `blklogwrites` logged, laid onto the disk as far as the guest
//! had flushed, and of the rest whatever chance allows.
//!
//! The log's format is that of the Linux device-mapper target `log-writes`
//! (Documentation/admin-guide/device-mapper/log-writes.rst): a superblock, then entries of one sector each, followed by
//! their data. All numbers are little-endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Bytes of the disk's sectors, whatever those of the log are.
const SECTOR: u64 = 512;

/// Of them, those that a drive writes at once: 4 KiB.
const PHYSICAL: u64 = 8;

/// What a power cut did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cut {
    /// Writes that the guest had flushed.
    pub durable: usize,
    /// Writes that it had not, in parts of 4 KiB.
    pub volatile: usize,
    /// Of those, the ones that reached the disk all the same.
    pub lucky: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    data: u64,
}

/// Lays the log onto `disk`. `luck` says of each part of a write that was not flushed whether it reached the disk, and in which
/// order they did: `None` for none.
pub fn cut(log: &Path, disk: &Path, mut luck: Option<impl FnMut() -> u64>) -> io::Result<Cut> {
    let log = File::open(log)?;
    let disk = File::options().write(true).open(disk)?;
    let (entries, log_sector) = read(&log)?;
    let last_flush = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
    let mut cut = Cut::default();
    let mut lucky = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if at < last_flush || entry.flags & FUA != 0 {
            cut.durable += 1;
            apply(&log, &disk, entry, log_sector)?;
            continue;
        }
        for part in parts(*entry) {
            cut.volatile += 1;
            if let Some(chance) = luck.as_mut().map(|luck| luck()).filter(|chance| chance & 1 == 1) {
                lucky.push((chance, part));
            }
        }
    }
    // A drive may write what it holds in any order.
    lucky.sort_by_key(|(chance, _)| *chance);
    cut.lucky = lucky.len();
    for (_, entry) in lucky {
        apply(&log, &disk, &entry, log_sector)?;
    }
    disk.sync_all()?;
    Ok(cut)
}

/// A write in parts that a drive writes whole or not at all.
fn parts(entry: Entry) -> impl Iterator<Item = Entry> {
    let step = if entry.flags & DISCARD != 0 { entry.sectors.max(1) } else { PHYSICAL };
    (0..entry.sectors.max(1)).step_by(usize::try_from(step).expect("it fits")).map(move |at| Entry {
        sector: entry.sector + at,
        sectors: step.min(entry.sectors - at.min(entry.sectors)),
        data: entry.data + at * SECTOR,
        ..entry
    })
}

fn read(log: &File) -> io::Result<(Vec<Entry>, u64)> {
    let number = |at: u64| {
        let mut bytes = [0; 8];
        log.read_exact_at(&mut bytes, at).map(|()| u64::from_le_bytes(bytes))
    };
    if number(0)? != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no write log, or no flush was ever logged"));
    }
    // The superblock counts what had been logged at the last flush. What was logged since stands behind it, in a
    // file that was empty before: up to where there is nothing.
    let flushed = number(16)?;
    let log_sector = number(24)? & 0xffff_ffff;
    let length = log.metadata()?.len();
    let (mut entries, mut at) = (Vec::new(), log_sector);
    while at + log_sector <= length {
        let entry = Entry {
            sector: number(at)?,
            sectors: number(at + 8)?,
            flags: number(at + 16)?,
            data: at + log_sector,
        };
        let counted = (entries.len() as u64) < flushed;
        let discards = entry.flags & DISCARD != 0;
        at += log_sector + if discards { 0 } else { entry.sectors.saturating_mul(log_sector) };
        let nothing = entry.sectors == 0 && entry.flags == 0;
        if !counted && (nothing || at > length) {
            break;
        }
        entries.push(entry);
    }
    Ok((entries, log_sector))
}

fn apply(log: &File, disk: &File, entry: &Entry, log_sector: u64) -> io::Result<()> {
    if entry.flags & DISCARD != 0 || entry.sectors == 0 {
        return Ok(());
    }
    // Sectors are counted in the log's unit.
    assert_eq!(log_sector, SECTOR, "the log was asked to count in the disk's sectors");
    let mut data = vec![0; usize::try_from(entry.sectors * SECTOR).expect("a write fits into memory")];
    log.read_exact_at(&mut data, entry.data)?;
    disk.write_all_at(&data, entry.sector * SECTOR)
}
