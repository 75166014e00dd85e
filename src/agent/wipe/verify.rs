//! Reading back: is it clean, and is what was there before gone?

use sha2::{Digest, Sha256};

use super::certificate::{Content, Coverage, Method, Verification};
use super::disk::Disk;
use super::error::WipeError;
use super::overwrite::{Buffer, CHUNK, read_all};

/// Bytes of a witness.
const WITNESS: u64 = 4096;
/// Places at which witnesses are sought.
const WITNESSES: usize = 512;

/// How much is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Disks up to this size in bytes are read as a whole.
    pub full_up_to: u64,
    /// Of larger ones, this many bytes at each end, in whole MiB,
    pub end_bytes: u64,
    /// and so many random places between, of 1 MiB each.
    pub samples: u32,
}

impl Default for Extent {
    fn default() -> Self {
        Self { full_up_to: 64 << 30, end_bytes: 1 << 30, samples: 1024 }
    }
}

/// Bytes of a sample.
const SAMPLE: u64 = 1 << 20;

/// A block whose content is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    offset: u64,
    sha256: [u8; 32],
}

/// Remembers what stands at places where something always stands, and at random ones, before a disk is
/// erased. Blocks of one byte only tell nothing and are left out, as are those that cannot be read.
pub fn witnesses(disk: &Disk, seed: u64) -> Vec<Witness> {
    let last = disk.size_bytes.saturating_sub(WITNESS);
    let mut random = Random(seed);
    let places = [0, 4096, 64 << 10, 1 << 20, last].into_iter();
    let mut offsets: Vec<u64> = places
        .chain((0..WITNESSES).map(|_| random.below(disk.size_bytes / WITNESS) * WITNESS))
        .filter(|offset| *offset <= last && disk.size_bytes >= WITNESS)
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    let mut buffer = Buffer::new();
    let mut found = Vec::new();
    for offset in offsets {
        let bytes = buffer.bytes(WITNESS);
        if read_all(&disk.file, bytes, offset).is_ok() && uniform(bytes).is_none() {
            found.push(Witness { offset, sha256: Sha256::digest(bytes).into() });
        }
    }
    found
}

/// Reads back what `method` left. Zeros are expected; of `NVMe` commands `FFh` too, and after a cryptographic
/// erase anything that is neither a known structure nor what a witness saw.
pub fn verify(
    disk: &Disk,
    method: Method,
    witnesses: &[Witness],
    extent: &Extent,
    seed: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verification, WipeError> {
    let not_clean = |found, offset| WipeError::NotClean { method, found, offset };
    let io = |source| WipeError::Io { what: "reading the erased disk", source };
    let (coverage, spans) = spans(disk.size_bytes, extent, seed);
    let total: u64 = spans.iter().map(|(_, length)| length).sum();
    let (mut buffer, mut hash, mut verified_bytes) = (Buffer::new(), Sha256::new(), 0);
    let mut content = None;
    for (start, length) in &spans {
        let mut at = *start;
        while at < start + length {
            let bytes = buffer.bytes((start + length - at).min(CHUNK as u64));
            read_all(&disk.file, bytes, at).map_err(io)?;
            let this = match uniform(bytes) {
                Some(0x00) => Content::Zeros,
                Some(0xff) => Content::Ones,
                _ => Content::Unintelligible,
            };
            let so_far = *content.get_or_insert(this);
            let fits = match this {
                Content::Zeros => true,
                Content::Ones => method.is_nvme(),
                Content::Unintelligible => method.is_crypto(),
            };
            if !fits || (so_far != this && !method.is_crypto()) {
                let first = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
                return Err(not_clean("something other than zeros", at + first as u64));
            }
            if so_far != this {
                content = Some(Content::Unintelligible);
            }
            hash.update(&*bytes);
            at += bytes.len() as u64;
            verified_bytes += bytes.len() as u64;
            progress(verified_bytes, total);
        }
    }
    if let Some((name, offset)) = signature(disk, &mut buffer).map_err(io)? {
        return Err(not_clean(name, offset));
    }
    for witness in witnesses {
        let bytes = buffer.bytes(WITNESS);
        read_all(&disk.file, bytes, witness.offset).map_err(io)?;
        if witness.sha256[..] == Sha256::digest(bytes)[..] {
            return Err(not_clean("what was there before", witness.offset));
        }
    }
    Ok(Verification {
        content: content.unwrap_or(Content::Zeros),
        coverage,
        verified_bytes,
        samples: u32::try_from(spans.len().saturating_sub(2)).unwrap_or(u32::MAX),
        seed,
        sha256: hex::encode(hash.finalize()),
        witnesses: u32::try_from(witnesses.len()).unwrap_or(u32::MAX),
    })
}

/// The only byte there is in `bytes`.
fn uniform(bytes: &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    (bytes.get(..rest.len()) == Some(rest)).then_some(*first)
}

/// What is read, as offset and length, in order.
fn spans(size: u64, extent: &Extent, seed: u64) -> (Coverage, Vec<(u64, u64)>) {
    let end = extent.end_bytes.max(SAMPLE).next_multiple_of(SAMPLE);
    let middle = size.saturating_sub(2 * end) / SAMPLE;
    if size <= extent.full_up_to || middle == 0 {
        return (Coverage::Full, vec![(0, size)]);
    }
    let mut random = Random(seed);
    let mut places: Vec<u64> = (0..extent.samples).map(|_| end + random.below(middle) * SAMPLE).collect();
    places.sort_unstable();
    places.dedup();
    let samples = places.into_iter().map(|at| (at, SAMPLE));
    let spans = [(0, end)].into_iter().chain(samples).chain([(size - end, end)]);
    (Coverage::Sampled, spans.collect())
}

/// Structures by which disks, volumes and file systems are known: from the start, in bytes.
const FROM_START: &[(u64, &[u8], &str)] = &[
    (512, b"EFI PART", "a GUID partition table"),
    (4096, b"EFI PART", "a GUID partition table"),
    (0x438, &[0x53, 0xef, 0x00, 0x00], "an ext file system"),
    (0x438, &[0x53, 0xef, 0x01, 0x00], "an ext file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (512, b"LABELONE", "an LVM volume"),
    (0, b"hsqs", "a SquashFS"),
    (3, b"NTFS    ", "an NTFS file system"),
    (4086, b"SWAPSPACE2", "swap"),
    (0, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
];

/// The same from the end, the offset counted backwards.
const FROM_END: &[(u64, &[u8], &str)] = &[
    (512, b"EFI PART", "a GUID partition table"),
    (4096, b"EFI PART", "a GUID partition table"),
    (8192, b"\xfc\x4e\x2b\xa9", "a RAID member"),
];

/// The first known structure and its place.
fn signature(disk: &Disk, buffer: &mut Buffer) -> std::io::Result<Option<(&'static str, u64)>> {
    let size = disk.size_bytes;
    let length = size.min(128 << 10);
    let head = buffer.bytes(length);
    read_all(&disk.file, head, 0)?;
    for (offset, magic, name) in FROM_START {
        let at = usize::try_from(*offset).unwrap_or(usize::MAX);
        if head.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            return Ok(Some((name, *offset)));
        }
    }
    let tail = buffer.bytes(length);
    read_all(&disk.file, tail, size - length)?;
    for (back, magic, name) in FROM_END {
        let at = length.checked_sub(*back).and_then(|at| usize::try_from(at).ok());
        if at.and_then(|at| tail.get(at..)).is_some_and(|rest| rest.starts_with(magic)) {
            return Ok(Some((name, size - back)));
        }
    }
    Ok(None)
}

/// `SplitMix64`: places that nobody can foresee come from a seed that nobody can.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_within_the_disk_in_order_and_apart() {
        let extent = Extent::default();
        for size in [512, 1 << 20, 64 << 30, (64 << 30) + 512, 3_840_755_982_336, 20_000_588_955_648] {
            let (coverage, spans) = spans(size, &extent, 7);
            assert_eq!(coverage == Coverage::Full, size <= 64 << 30, "{size}");
            let mut behind = 0;
            for (at, length) in &spans {
                assert!(*at >= behind && at % 512 == 0 && *length > 0, "{size}: {at}");
                behind = at + length;
            }
            assert_eq!(behind, size, "the last byte is read");
        }
        let (_, few) = spans(100 << 30, &Extent { samples: 0, ..extent }, 7);
        assert_eq!(few, [(0, 1 << 30), (99 << 30, 1 << 30)]);
        let (coverage, all) = spans(1 << 30, &Extent { full_up_to: 0, ..extent }, 7);
        assert_eq!((coverage, all), (Coverage::Full, vec![(0, 1 << 30)]), "the ends meet");
    }

    #[test]
    fn uniform_means_each_byte() {
        assert_eq!(uniform(&[0; 9]), Some(0));
        assert_eq!(uniform(&[0xff]), Some(0xff));
        assert_eq!(uniform(&[0, 0, 1]), None);
        assert_eq!(uniform(&[]), None);
    }
}
