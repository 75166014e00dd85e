//! Reads chunks back from the disk: to see what an install that was cut off left, and at the end to see that all is
//! right.

use super::Error;
use super::disk::{Aligned, Disk};
use super::head::Head;
use crate::diskimage::{Chunk, Index, parallel};

/// The chunks that are not on the disk yet, by number. The first `synced` were written once; behind them it is read
/// on until the first wrong one. An unreadable chunk is a wrong one.
pub fn missing(
    disk: &Disk,
    index: &Index,
    head: &Head,
    synced: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<usize>, Error> {
    let synced = usize::try_from(synced).unwrap_or(usize::MAX).min(index.chunks().len());
    let mut missing = Vec::new();
    let mut first_unread = 0;
    check(disk, index, head, |number, right| {
        if !matches!(right, Ok(true)) {
            missing.push(number);
        }
        first_unread = number + 1;
        progress(first_unread as u64, index.chunks().len() as u64);
        Ok(number < synced || matches!(right, Ok(true)))
    })?;
    missing.extend(first_unread..index.chunks().len());
    Ok(missing)
}

/// Reads all chunks back, past the page cache, and fails at the first wrong one.
pub fn verify(
    disk: &Disk,
    index: &Index,
    head: &Head,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let mut done = 0;
    check(disk, index, head, |number, right| {
        if !right? {
            return Err(Error::Corrupt { chunk: number, what: "read back from the disk" });
        }
        done += 1;
        progress(done, index.chunks().len() as u64);
        Ok(true)
    })
}

/// Calls `each` for the chunks in order, until it says false.
fn check(
    disk: &Disk,
    index: &Index,
    head: &Head,
    mut each: impl FnMut(usize, Result<bool, Error>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let length = usize::try_from(index.chunk_size()).unwrap_or(0);
    parallel::run(
        parallel::workers().min(4),
        |send| {
            let _ = index.chunks().iter().enumerate().all(&mut *send);
            Ok(())
        },
        || {
            let mut memory = Aligned::new(length);
            move |(number, chunk): (usize, &Chunk)| Ok((number, is_right(disk, chunk, head, &mut memory)))
        },
        |ordered| {
            while let Some((number, right)) = ordered.next()? {
                if !each(number, right)? {
                    break;
                }
            }
            Ok(())
        },
    )
}

fn is_right(disk: &Disk, chunk: &Chunk, head: &Head, memory: &mut Aligned) -> Result<bool, Error> {
    let length = usize::try_from(chunk.raw_length).unwrap_or(0);
    let target = memory.get_mut(..length).unwrap_or_default();
    disk.read(chunk.raw_offset, target)?;
    // The head is not on the disk yet; what will be written there is known.
    if head.is_in(chunk.raw_offset)
        && let Some(target) = target.get_mut(..head.length())
    {
        target.copy_from_slice(head.bytes());
    }
    Ok(*blake3::hash(target).as_bytes() == chunk.raw_blake3)
}
