//! The order of an install, and why a power cut at any point is safe.
//!
//! The disk's head (boot code and partition table, see [`head`](super::head)) is taken away first and put back last.
//! In between the disk can't boot, and a marker in the head's place says what is being installed and how far it is.
//! A data partition that is kept stands in the marker, so it is not lost with the old table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Aligned, Disk};
use super::efi::{self, EspPartition, Position};
use super::gpt::{Entry, Plan, Table};
use super::grow::{FileSystem, Mounted};
use super::head::Head;
use super::identity::{self, Identity};
use super::marker::{AT as MARKER_AT, Kept, Marker};
use super::pipeline::{self, Fetch, Retry};
use super::{Error, resume, writer};
use crate::diskimage::Index;
use crate::model::disk_rule::{Candidate, Rule};

/// What an install is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading back what an earlier try left; in chunks.
    Resuming,
    /// Making unused parts zero; in bytes.
    Zeroing,
    /// Writing the image; in bytes of the disk.
    Writing,
    /// Reading everything back; in chunks.
    Verifying,
    /// Growing the root file system.
    Growing,
    /// Writing name, address, keys and agent.
    Identifying,
    /// Writing the partition table, the last step on the disk.
    Finishing,
    /// Setting the firmware's boot entry.
    BootEntry,
}

/// How far an install is. `total` is 0 for phases that are one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How much of it is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// The boot entry that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Where the firmware's variables are; [`efi::EFIVARS`].
    pub efivars: PathBuf,
    /// The entry's name; entries of this name are ours.
    pub description: String,
    /// Its place.
    pub position: Position,
    /// The loader; found on the EFI system partition when not given.
    pub loader: Option<String>,
}

/// What to install.
pub struct Order<'a> {
    /// The image's index.
    pub index: &'a Index,
    /// SHA-256 of the index: what an install that was cut off is known by.
    pub index_sha256: [u8; 32],
    /// Where the data comes from.
    pub fetch: &'a dyn Fetch,
    /// How patient to be.
    pub retry: Retry,
    /// What becomes of the partition table.
    pub plan: Plan,
    /// Who the node is; nothing is written into the image without.
    pub identity: Option<&'a Identity>,
    /// The firmware's boot entry.
    pub boot: Option<&'a Boot>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// The disk.
    pub disk: PathBuf,
    /// Bytes of the disk that were fetched and written; less than the image after a resume.
    pub written_bytes: u64,
    /// The root partition.
    pub root: Option<PathBuf>,
    /// The data partition.
    pub data: Option<PathBuf>,
    /// Whether the data partition was there before.
    pub data_kept: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Chooses a disk by `rule` and installs on it.
pub fn install(
    rule: &Rule,
    disks: &[Candidate],
    allow_wipe: bool,
    order: &Order<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Installed, Error> {
    let disk = rule.choose(disks, order.index.raw_size(), allow_wipe)?;
    install_on(&Path::new("/dev").join(&disk.name), order, progress)
}

/// Installs on the disk at `path`, whatever it holds. "Installed" is said only after all was read back and was right.
pub fn install_on(
    path: &Path,
    order: &Order<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Installed, Error> {
    let mut disk = Disk::open(path)?;
    let index = order.index;
    if disk.size() < index.raw_size() {
        return Err(Error::TooSmall { size: disk.size(), image: index.raw_size() });
    }
    let step = |phase| move |done, total| Progress { phase, done, total };
    let head = Head::new(fetch_first(order)?);
    head.check_sector(disk.sector())?;
    let marker = Marker::read(&disk)?;
    let kept = find_kept(&disk, marker.as_ref(), &order.plan)?;
    let mut table = head.table().cloned();
    match &mut table {
        Some(table) => {
            let kept = kept.as_ref().map(|kept| (kept.number, kept.entry));
            table.fit(disk.size(), index.raw_size(), &order.plan, kept)?;
        }
        None if order.plan.data.is_some() => {
            return Err(Error::Table("a data partition needs an image with a GPT".into()));
        }
        None => {}
    }
    let mut marker = begin(&disk, &head, marker, kept.clone(), order)?;
    disk.reread_table();

    let say = step(Phase::Zeroing);
    writer::zero_holes(&disk, index, &head, &mut |done, total| progress(say(done, total)))?;
    let say = step(Phase::Resuming);
    let wanted = resume::missing(&disk, index, &head, marker.synced_chunks, &mut |d, t| progress(say(d, t)))?;
    let lengths = wanted.iter().filter_map(|number| index.chunks().get(*number));
    let total = lengths.map(|chunk| u64::from(chunk.raw_length)).sum();
    let say = step(Phase::Writing);
    let written = pipeline::run(index, &wanted, order.fetch, order.retry, |extents| {
        writer::write(&disk, &head, &mut marker, extents, &mut |done| progress(say(done, total)))
    })?;
    let say = step(Phase::Verifying);
    resume::verify(&disk, index, &head, &mut |done, total| progress(say(done, total)))?;
    marker.synced_chunks = index.chunks().len() as u64;
    marker.write(&disk)?;

    let mut installed = Installed { disk: path.into(), written_bytes: written, ..Installed::default() };
    let root = table.as_ref().and_then(|table| Some((table, table.root(&order.plan)?)));
    match root {
        Some((table, number)) if disk.is_block() => {
            disk.share();
            personalise(&disk, table, number, order, &mut installed, progress)?;
            installed.root = Some(disk.partition_path(number));
        }
        _ if order.identity.is_some() => {
            return Err(Error::Identity(
                "it needs a disk (no file), and an image with a GPT and a root partition".into(),
            ));
        }
        _ => installed.notes.push("nothing was grown: the image has no GPT".into()),
    }
    progress(Progress { phase: Phase::Finishing, done: 0, total: 0 });
    finish(&disk, &head, table.as_ref())?;
    if let (Some(table), Some(data)) = (&table, &order.plan.data) {
        installed.data = table.labelled(&data.label).map(|(number, _)| disk.partition_path(number));
        installed.data_kept = kept.is_some();
    }
    if disk.is_block() {
        show_partitions(&disk, table.as_ref(), &mut installed);
    }
    if let Some(boot) = order.boot {
        progress(Progress { phase: Phase::BootEntry, done: 0, total: 0 });
        set_boot_entry(&disk, table.as_ref(), boot, &mut installed)?;
    }
    Ok(installed)
}

/// The image's first chunk, verified; zeros when it is not stored.
fn fetch_first(order: &Order<'_>) -> Result<Vec<u8>, Error> {
    let index = order.index;
    let length = u64::from(index.chunk_size()).min(index.raw_size());
    if index.chunks().first().is_none_or(|chunk| chunk.raw_offset != 0) {
        return Ok(vec![0; usize::try_from(length).unwrap_or(0)]);
    }
    pipeline::run(index, &[0], order.fetch, order.retry, |extents| {
        Ok(extents.next()?.map(|extent| extent.data.to_vec()).unwrap_or_default())
    })
}

/// The data partition that is on the disk: in the marker, else in the table, else in its backup.
fn find_kept(disk: &Disk, marker: Option<&Marker>, plan: &Plan) -> Result<Option<Kept>, Error> {
    let Some(data) = &plan.data else { return Ok(None) };
    if let Some(marker) = marker {
        return Ok(marker.kept.clone().filter(|kept| kept.entry.label() == data.label));
    }
    let kept =
        |table: &Table| table.labelled(&data.label).map(|(number, entry)| Kept { number, entry: *entry });
    let edge = usize::try_from(disk.size().min(1 << 20)).unwrap_or(0);
    let mut begin = Aligned::new(edge);
    disk.read(0, &mut begin)?;
    if let Some(table) = Table::parse(&begin).filter(|table| table.sector() == u64::from(disk.sector())) {
        return Ok(kept(&table));
    }
    let sector = u64::from(disk.sector());
    let from = disk.size() - edge as u64;
    let mut end = Aligned::new(edge);
    disk.read(from, &mut end)?;
    let table = Table::parse_at(
        &end,
        (edge as u64).saturating_sub(sector),
        disk.size() / sector - 1,
        sector,
        |at, length| {
            let at = usize::try_from(at.checked_sub(from)?).ok()?;
            end.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
        },
    );
    Ok(table.as_ref().and_then(kept))
}

/// Takes the old head away, with the marker standing before anything is lost.
fn begin(
    disk: &Disk,
    head: &Head,
    marker: Option<Marker>,
    kept: Option<Kept>,
    order: &Order<'_>,
) -> Result<Marker, Error> {
    let same = marker.filter(|marker| marker.index_sha256 == order.index_sha256 && marker.kept == kept);
    let marker = same.unwrap_or(Marker { index_sha256: order.index_sha256, synced_chunks: 0, kept });
    marker.write(disk)?;
    // The backup table, and whatever RAID or ZFS wrote at the end; but nothing of a kept partition.
    let sector = u64::from(disk.sector());
    let kept_end =
        marker.kept.as_ref().map_or(0, |kept| (kept.entry.last().saturating_add(1)).saturating_mul(sector));
    let image_end = order.index.raw_size();
    let end = disk.size().saturating_sub(1 << 20).max(kept_end).max(image_end).min(disk.size());
    if end < disk.size() {
        disk.zero(end, disk.size() - end)?;
    }
    let after = MARKER_AT + 4096;
    disk.zero(0, MARKER_AT)?;
    disk.zero(after, (head.length() as u64).saturating_sub(after))?;
    disk.sync()?;
    Ok(marker)
}

/// Grows the root file system and writes the identity into it, before the disk has a table.
fn personalise(
    disk: &Disk,
    table: &Table,
    number: u32,
    order: &Order<'_>,
    installed: &mut Installed,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let Some(entry) = table.partition(number) else { return Ok(()) };
    let path = add_partition(disk, table.sector(), number, entry)?;
    let result = (|| {
        let Some(file_system) = FileSystem::detect(&path)? else {
            if order.identity.is_some() {
                return Err(Error::Identity(format!(
                    "partition {number} has no ext4, XFS or btrfs; name the root's number"
                )));
            }
            installed.notes.push(format!("partition {number} was not grown: no ext4, XFS or btrfs"));
            return Ok(());
        };
        let mounted = Mounted::new(&path, file_system)?;
        progress(Progress { phase: Phase::Growing, done: 0, total: 0 });
        // A system that is smaller than its partition runs; some file systems can't be grown while mounted.
        if let Err(error) = mounted.grow((entry.last() + 1 - entry.first()) * table.sector()) {
            installed.notes.push(format!("the root file system keeps the image's size: {error}"));
        }
        if let Some(identity) = order.identity {
            progress(Progress { phase: Phase::Identifying, done: 0, total: 0 });
            installed.notes.extend(identity::write(&mounted.root(), identity)?);
        }
        mounted.close()
    })();
    let removed = disk.remove_partition(number);
    result.and(removed)?;
    disk.sync()
}

fn add_partition(disk: &Disk, sector: u64, number: u32, entry: &Entry) -> Result<PathBuf, Error> {
    let sectors = entry.last() + 1 - entry.first();
    disk.add_partition(number, entry.first() * sector, sectors * sector)?;
    let path = disk.partition_path(number);
    // devtmpfs is at once; a device manager may need a moment.
    for _ in 0..50 {
        if path.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(path)
}

/// The backup table, then the head but its first sectors, then these: with them the disk boots.
fn finish(disk: &Disk, head: &Head, table: Option<&Table>) -> Result<(), Error> {
    let mut bytes = Aligned::new(head.length());
    bytes.copy_from_slice(head.bytes());
    if let Some(table) = table {
        let (backup_at, backup) = table.encode(&mut bytes)?;
        disk.write(backup_at, &backup)?;
    }
    disk.sync()?;
    let (boot, rest) = bytes.split_at_checked(8192).unwrap_or((&bytes, &[]));
    disk.write(boot.len() as u64, rest)?;
    disk.sync()?;
    disk.write(0, boot)?;
    disk.sync()?;
    let mut back = Aligned::new(head.length());
    disk.read(0, &mut back)?;
    if *back != *bytes {
        return Err(Error::Corrupt { chunk: 0, what: "its head read back from the disk" });
    }
    Ok(())
}

/// Makes the kernel see the new table. One that can't read it (no `CONFIG_EFI_PARTITION`) is told each partition.
fn show_partitions(disk: &Disk, table: Option<&Table>, installed: &mut Installed) {
    let mut seen = disk.reread_table();
    for (number, entry) in table.into_iter().flat_map(Table::partitions) {
        if seen && !disk.partition_path(number).exists() {
            seen = add_partition(disk, table.map_or(512, Table::sector), number, entry).is_ok();
        }
    }
    if !seen {
        installed
            .notes
            .push("the kernel does not see the new partitions; it will after the next boot".into());
    }
}

fn set_boot_entry(
    disk: &Disk,
    table: Option<&Table>,
    boot: &Boot,
    installed: &mut Installed,
) -> Result<(), Error> {
    let esp = table.and_then(|table| table.partitions().find(|(_, entry)| entry.is_esp()));
    let Some((number, entry)) = esp else {
        installed.notes.push("no boot entry was set: the image has no EFI system partition".into());
        return Ok(());
    };
    let architecture = if cfg!(target_arch = "aarch64") { "aa64" } else { "x64" };
    let found = || {
        let mounted = Mounted::esp(&disk.partition_path(number)).ok()?;
        let loader = efi::find_loader(mounted.path(), architecture);
        let _ = mounted.close();
        loader
    };
    let loader = boot.loader.clone().or_else(found);
    let loader = loader.unwrap_or_else(|| format!("\\EFI\\BOOT\\BOOT{}.EFI", architecture.to_uppercase()));
    let (first, sectors) = (entry.first(), entry.last() + 1 - entry.first());
    let esp = EspPartition { number, first, sectors, guid: entry.guid() };
    let option =
        efi::entry(&boot.description, &esp, &loader).ok_or_else(|| Error::Efi("it is too long".into()))?;
    let number = efi::set_entry(&boot.efivars, &option, boot.position)?;
    installed.notes.push(format!("the firmware boots it by Boot{number:04X} ({loader})"));
    Ok(())
}
