//! A reader of qcow2 images (QEMU's `docs/interop/qcow2.txt`), bounded, of one file and no other.
//!
//! Versions 2 and 3, zlib and zstd clusters. Refused: backing files and external data files (they name files of this
//! machine), encryption, extended L2 entries, images marked corrupt. Internal snapshots are not looked at.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{Error, MAX_RAW_SIZE};

/// The first bytes of a qcow2 file.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// QEMU's own bound: an L1 table of 32 MiB.
const MAX_L1_ENTRIES: u64 = (32 << 20) / 8;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZERO: u64 = 1;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

/// An opened image.
pub struct Qcow2 {
    file: File,
    size: u64,
    cluster_bits: u32,
    has_zero_flag: bool,
    zstd: bool,
    l1: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Cluster {
    Zero,
    Plain(u64),
    Compressed { offset: u64, length: usize },
}

impl Qcow2 {
    /// Reads header and L1 table.
    pub fn open(file: File) -> Result<Self, Error> {
        let mut header = [0; 112];
        let length = read_at_most(&file, 0, &mut header)?;
        let u32_at = |at: usize| number::<4>(&header, at).map(u32::from_be_bytes);
        let u64_at = |at: usize| number::<8>(&header, at).map(u64::from_be_bytes);
        if length < 72 || !header.starts_with(&MAGIC) {
            return refuse("its header is cut off");
        }
        let version = u32_at(4)?;
        if !(2..=3).contains(&version) {
            return refuse(format!("it has version {version}, 2 and 3 are known"));
        }
        if u64_at(8)? != 0 || u32_at(16)? != 0 {
            return refuse("it needs a backing file; flatten it: qemu-img convert -O qcow2 IMAGE FLAT");
        }
        let cluster_bits = u32_at(20)?;
        let size = u64_at(24)?;
        if u32_at(32)? != 0 {
            return refuse("it is encrypted; decrypt it first with qemu-img convert");
        }
        if !(9..=21).contains(&cluster_bits) {
            return refuse(format!("clusters of 2^{cluster_bits} bytes"));
        }
        if size == 0 || size > MAX_RAW_SIZE {
            return refuse(format!("a disk of {size} bytes"));
        }
        let mut zstd = false;
        if version == 3 {
            let incompatible = u64_at(72)?;
            if incompatible & INCOMPATIBLE_CORRUPT != 0 {
                return refuse("it is marked corrupt; repair it: qemu-img check -r all IMAGE");
            }
            if incompatible & INCOMPATIBLE_DATA_FILE != 0 {
                return refuse(
                    "its data is in another file; flatten it: qemu-img convert -O qcow2 IMAGE FLAT",
                );
            }
            if incompatible & INCOMPATIBLE_EXTENDED_L2 != 0 || incompatible >= 1 << 5 {
                return refuse(format!(
                    "it uses features not known here ({incompatible:#x}); convert it: qemu-img convert -O raw IMAGE RAW"
                ));
            }
            if incompatible & INCOMPATIBLE_COMPRESSION != 0 {
                zstd = match (u32_at(100)? > 104, header.get(104)) {
                    (true, Some(0)) | (false, _) => false,
                    (true, Some(1)) => true,
                    (true, other) => return refuse(format!("compression type {other:?}")),
                };
            }
        }
        let per_l1 = 1_u64 << (cluster_bits * 2 - 3);
        let needed = size.div_ceil(per_l1);
        if u64::from(u32_at(36)?) < needed || needed > MAX_L1_ENTRIES {
            return refuse("its L1 table does not fit its size");
        }
        let mut table = vec![0; usize::try_from(needed * 8).unwrap_or(0)];
        file.read_exact_at(&mut table, u64_at(40)?).map_err(Error::io("reading the L1 table"))?;
        let l1 = table.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry) & OFFSET).collect();
        Ok(Self { file, size, cluster_bits, has_zero_flag: version == 3, zstd, l1 })
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `target`, which is zero, from `offset` on, both multiples of the cluster size or up to the disk's end.
    /// False when nothing is allocated there, and `target` was left alone.
    pub fn read_at(&self, offset: u64, target: &mut [u8]) -> Result<bool, Error> {
        let cluster_size = 1_usize << self.cluster_bits;
        let mut any = false;
        let mut at = offset;
        let mut left = target;
        while !left.is_empty() && at < self.size {
            let entries = self.l2_entries(at, left.len())?;
            for entry in entries {
                let part = left.split_off_mut(..cluster_size.min(left.len())).unwrap_or_default();
                any |= self.read_cluster(self.cluster(entry)?, part)?;
                at += cluster_size as u64;
            }
        }
        Ok(any)
    }

    /// The L2 entries from `at` on, up to the table's end or `length` bytes.
    fn l2_entries(&self, at: u64, length: usize) -> Result<Vec<u64>, Error> {
        let per_table = 1_u64 << (self.cluster_bits - 3);
        let cluster = at >> self.cluster_bits;
        let first = cluster % per_table;
        let wanted = (length as u64).div_ceil(1 << self.cluster_bits).min(per_table - first);
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let table = usize::try_from(cluster / per_table).ok().and_then(|number| self.l1.get(number)).copied();
        let Some(table) = table.filter(|table| *table != 0) else { return Ok(vec![0; wanted]) };
        let mut bytes = vec![0; wanted * 8];
        let from =
            table.checked_add(first * 8).ok_or_else(|| Error::Qcow2("an L2 table lies nowhere".into()))?;
        self.file.read_exact_at(&mut bytes, from).map_err(Error::io("reading an L2 table"))?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    fn cluster(&self, entry: u64) -> Result<Cluster, Error> {
        if entry & COMPRESSED != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << bits) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> bits;
            let length = (sectors + 1) * 512 - (offset & 511);
            let length = usize::try_from(length).ok().filter(|length| *length <= 2 << self.cluster_bits);
            let length = length.ok_or_else(|| Error::Qcow2("a compressed cluster is too long".into()))?;
            return Ok(Cluster::Compressed { offset, length });
        }
        let offset = entry & OFFSET;
        if offset == 0 || (self.has_zero_flag && entry & ALL_ZERO != 0) {
            return Ok(Cluster::Zero);
        }
        Ok(Cluster::Plain(offset))
    }

    fn read_cluster(&self, cluster: Cluster, target: &mut [u8]) -> Result<bool, Error> {
        match cluster {
            Cluster::Zero => return Ok(false),
            // The last cluster may be shorter than a cluster; one that is not there at all was lost on the way here.
            Cluster::Plain(offset) => {
                if read_at_most(&self.file, offset, target)? == 0 {
                    return refuse("the file ends before its data does: it was cut off, copy it again");
                }
            }
            Cluster::Compressed { offset, length } => {
                let mut packed = vec![0; length];
                let length = read_at_most(&self.file, offset, &mut packed)?;
                packed.truncate(length);
                let mut whole = vec![0; 1 << self.cluster_bits];
                if self.zstd {
                    unpack_zstd(&packed, &mut whole)?;
                } else {
                    unpack_zlib(&packed, &mut whole)?;
                }
                let length = target.len();
                target.copy_from_slice(whole.get(..length).unwrap_or_default());
            }
        }
        Ok(true)
    }
}

fn unpack_zlib(packed: &[u8], whole: &mut [u8]) -> Result<(), Error> {
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress(packed, whole, FlushDecompress::Finish);
    let full = inflate.total_out() == whole.len() as u64;
    match status {
        Ok(Status::StreamEnd | Status::Ok | Status::BufError) if full => Ok(()),
        _ => refuse("a compressed cluster is damaged"),
    }
}

fn unpack_zstd(packed: &[u8], whole: &mut [u8]) -> Result<(), Error> {
    zstd::stream::read::Decoder::new(packed)
        .and_then(|decoder| decoder.single_frame().read_exact(whole))
        .map_err(|error| Error::Qcow2(format!("a compressed cluster is damaged: {error}")))
}

fn read_at_most(file: &File, offset: u64, target: &mut [u8]) -> Result<usize, Error> {
    let mut done = 0;
    while let Some(rest) = target.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading the image")(error)),
        }
    }
    Ok(done)
}

fn number<const N: usize>(header: &[u8], at: usize) -> Result<[u8; N], Error> {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or_else(|| Error::Qcow2("its header is cut off".into()))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Qcow2(why.into()))
}
