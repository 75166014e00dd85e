//! What an unfinished install leaves on its disk, so that it can go on after a power cut.
//!
//! One sector-aligned block of 4 KiB, 4 KiB behind the disk's begin: inside the range that no image is given until
//! everything else is written and checked. As long as it is there, the disk has no partition table and can't boot.

use sha2::{Digest, Sha256};

use super::Error;
use super::disk::{Aligned, Disk};
use super::gpt::Entry;

/// Where the marker lies, in bytes.
pub const AT: u64 = 4096;
const LENGTH: usize = 4096;
const MAGIC: &[u8; 16] = b"firstlight-inst\x01";
/// Magic, index digest, number of chunks, flag, slot, entry.
const USED: usize = 16 + 32 + 8 + 4 + 4 + 128;

/// A kept partition: its slot in the table, from 1, and its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub number: u32,
    /// Its entry, as it was.
    pub entry: Entry,
}

/// How far an install is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// SHA-256 of the index that is being installed.
    pub index_sha256: [u8; 32],
    /// The first so many chunks are written and synced.
    pub synced_chunks: u64,
    /// The data partition that must come back into the table.
    pub kept: Option<Kept>,
}

impl Marker {
    /// The marker on `disk`; `None` when there is none, or a damaged one.
    pub fn read(disk: &Disk) -> Result<Option<Self>, Error> {
        if disk.size() < AT + LENGTH as u64 {
            return Ok(None);
        }
        let mut block = Aligned::new(LENGTH);
        disk.read(AT, &mut block)?;
        Ok(Self::parse(&block))
    }

    /// Writes it and waits until it is on the disk.
    pub fn write(&self, disk: &Disk) -> Result<(), Error> {
        let mut block = Aligned::new(LENGTH);
        let bytes = self.encode();
        if let Some(target) = block.get_mut(..bytes.len()) {
            target.copy_from_slice(&bytes);
        }
        disk.write(AT, &block)?;
        disk.sync()
    }

    /// Parses a block.
    pub fn parse(block: &[u8]) -> Option<Self> {
        let (body, rest) = block.split_at_checked(USED)?;
        if !body.starts_with(MAGIC) || rest.first_chunk::<32>()? != Sha256::digest(body).as_slice() {
            return None;
        }
        let rest = body.get(MAGIC.len()..)?;
        let (index_sha256, rest) = rest.split_first_chunk::<32>()?;
        let (synced, rest) = rest.split_first_chunk::<8>()?;
        let (kept, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let entry = Entry(*rest.first_chunk::<128>()?);
        Some(Self {
            index_sha256: *index_sha256,
            synced_chunks: u64::from_le_bytes(*synced),
            kept: (*kept == [1, 0, 0, 0]).then(|| Kept { number: u32::from_le_bytes(*number), entry }),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USED + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.index_sha256);
        bytes.extend_from_slice(&self.synced_chunks.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.kept.is_some()).to_le_bytes());
        bytes.extend_from_slice(&self.kept.as_ref().map_or(0, |kept| kept.number).to_le_bytes());
        bytes.extend_from_slice(self.kept.as_ref().map_or(&[0; 128], |kept| &kept.entry.0));
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }
}
