//! Puts verified pieces on the disk, syncs now and then, and remembers how far it came.

use super::Error;
use super::disk::Disk;
use super::head::{self, Head};
use super::marker::Marker;
use super::pipeline::Extents;
use crate::diskimage::Index;

/// So much may have to be fetched again after a power cut.
pub const SYNC_EVERY: u64 = 256 << 20;

/// Makes everything zero that the index has no chunk for, but the head. What was there before is never trusted.
pub fn zero_holes(
    disk: &Disk,
    index: &Index,
    head: &Head,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let holes = head::holes(index, head);
    let total = holes.iter().map(|(_, length)| length).sum();
    let mut done = 0;
    for (offset, length) in holes {
        disk.zero(offset, length)?;
        done += length;
        progress(done, total);
    }
    Ok(())
}

/// Writes all of `extents`, but not the head. `progress` gets the bytes written. Returns them.
pub fn write(
    disk: &Disk,
    head: &Head,
    marker: &mut Marker,
    extents: &mut dyn Extents,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let (mut done, mut unsynced) = (0, 0);
    while let Some(extent) = extents.next()? {
        let skip = if head.is_in(extent.offset) { head.length() } else { 0 };
        let data = extent.data.get(skip..).unwrap_or_default();
        disk.write(extent.offset + skip as u64, data)?;
        let length = extent.data.len() as u64;
        done += length;
        unsynced += length;
        if unsynced >= SYNC_EVERY {
            disk.sync()?;
            marker.synced_chunks = marker.synced_chunks.max(extent.chunk as u64 + 1);
            marker.write(disk)?;
            unsynced = 0;
        }
        progress(done);
    }
    disk.sync()?;
    Ok(done)
}
