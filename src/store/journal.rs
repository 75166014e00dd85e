//! The journal: what was committed and does not lie in the database yet.
//!
//! A commit costs sled a few hundred microseconds, however small it is: it wakes its seven threads, writes pages of which little
//! changed, and we look for its new files. So a commit is one record at the end of a file that is as long as it will ever be, and one
//! `fdatasync`; the database takes over many of them at once ([`super::checkpoint`]). There are two such files, which take turns.
//!
//! Each record begins at a block of its own, so that no byte of a durable one is ever written again, and carries a checksum and the
//! name of this use of the file: what is left of an earlier use is not taken for a record of this one. All numbers are little-endian.
//! A record is written only once the one before it is durable. So behind one that is not whole, which nobody was told of, there can be
//! none: where there is, the disk has lost what was acknowledged, and that is said.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::codec::{self, Write};
use super::database::io_error;

/// Bytes of a file.
pub const SIZE: u64 = if cfg!(test) { 128 << 10 } else { 8 << 20 };
/// Where records begin, and how much a disk writes at once.
const BLOCK: usize = 4096;
const MAGIC: [u8; 8] = *b"fl-jrnl1";
/// Magic, checksum, name, order, number, length.
const HEADER: usize = 8 + 32 + 16 + 8 + 8 + 8;
/// What the checksum covers begins behind it.
const SUMMED: usize = 8 + 32;

/// One of the files, in one use of it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    name: [u8; 16],
    /// Uses are counted over both files: what stands in the one with the smaller number is older.
    order: u64,
    /// Of the next record.
    number: u64,
    /// Where it begins.
    at: u64,
    size: u64,
}

/// A record as it was read.
struct Record<'b> {
    name: [u8; 16],
    order: u64,
    number: u64,
    payload: &'b [u8],
}

impl Journal {
    /// Opens the file, or makes one of `size` bytes, and reads what stands in it, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read or made, or what was durable in it is damaged.
    pub fn open(path: &Path, size: u64) -> Result<(Self, Vec<Vec<Write>>), StoreError> {
        let failed = |action| move |error: io::Error| io_error(action, path, &error);
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed("read"))?,
        };
        let made = bytes.len() >= 2 * BLOCK && bytes.len().is_multiple_of(BLOCK);
        // The first record says which use of the file this is. Where it is not whole, the file was just made, or about to be used
        // again: then the database has what stood in it.
        let Some(first) = Record::read(&bytes).filter(|first| made && first.number == 0) else {
            return Ok((Self::make(path, size).map_err(failed("make"))?, Vec::new()));
        };
        let file = File::options().write(true).open(path).map_err(failed("open"))?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut journal = Self {
            file,
            path: path.to_owned(),
            name: first.name,
            order: first.order,
            number: 1,
            at: blocks(0),
            size,
        };
        let commits = journal.read(&bytes)?;
        Ok((journal, commits))
    }

    fn make(path: &Path, size: u64) -> io::Result<Self> {
        let size = size.next_multiple_of(BLOCK as u64).max(4 * BLOCK as u64);
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        // Every block is written once, so that writing it later changes nothing but its bytes.
        let zeros = vec![0; BLOCK];
        for at in (0..size).step_by(BLOCK) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let mut journal =
            Self { file, path: path.to_owned(), name: [0; 16], order: 0, number: 0, at: 0, size };
        journal.begin_with(0)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()?;
        Ok(journal)
    }

    /// What stands in it behind the first record.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<Vec<Write>>, StoreError> {
        let from = |at: u64| usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let own = |record: &Record<'_>| record.name == self.name && record.order == self.order;
        let mut commits = Vec::new();
        let (mut at, mut number) = (self.at, self.number);
        while let Some(record) = Record::read(from(at)).filter(|one| own(one) && one.number == number) {
            let commit = decode(record.payload).ok_or_else(|| self.damaged(at, "it does not read back"))?;
            commits.push(commit);
            at += blocks(record.payload.len());
            number += 1;
        }
        let later = (at..self.size).step_by(BLOCK).skip(1).find_map(|at| Record::read(from(at)).filter(own));
        if later.is_some_and(|later| later.number >= number) {
            return Err(self.damaged(at, "a later record is whole"));
        }
        (self.at, self.number) = (at, number);
        Ok(commits)
    }

    fn damaged(&self, at: u64, how: &str) -> StoreError {
        StoreError::Corrupt { key: format!("at byte {at} of {}", self.path.display()), cause: how.into() }
    }

    /// How many uses of the files there were before.
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.number <= 1
    }

    /// Whether a record with so many bytes fits behind those that are there.
    pub fn has_room(&self, payload: usize) -> bool {
        self.at.saturating_add(blocks(payload)) <= self.size
    }

    /// Whether it would fit if there were no other.
    pub fn could_hold(&self, payload: usize) -> bool {
        blocks(0).saturating_add(blocks(payload)) <= self.size
    }

    /// Writes a record and makes it durable: [`Self::has_room`] was asked before.
    ///
    /// # Errors
    /// When the system fails; then nobody knows what stands in the file.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        self.write(payload).map_err(|error| io_error("write", &self.path, &error))
    }

    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = usize::try_from(blocks(payload.len())).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(MAGIC);
        bytes.extend([0; 32]);
        bytes.extend(self.name);
        for number in [self.order, self.number, payload.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        let sum = blake3::hash(&bytes[SUMMED..]);
        bytes[MAGIC.len()..SUMMED].copy_from_slice(sum.as_bytes());
        bytes.resize(length, 0);
        self.file.write_all_at(&bytes, self.at)?;
        self.file.sync_data()?;
        self.at += length as u64;
        self.number += 1;
        Ok(())
    }

    /// Begins the file anew, as the `order`th use of both: the database has what stood in it.
    ///
    /// # Errors
    /// When the system fails.
    pub fn begin(&mut self, order: u64) -> Result<(), StoreError> {
        self.begin_with(order).map_err(|error| io_error("write", &self.path, &error))
    }

    fn begin_with(&mut self, order: u64) -> io::Result<()> {
        getrandom::fill(&mut self.name).map_err(io::Error::other)?;
        (self.order, self.number, self.at) = (order, 0, 0);
        self.write(&[])
    }
}

/// Bytes that a record with so many bytes takes up.
fn blocks(payload: usize) -> u64 {
    (HEADER + payload).next_multiple_of(BLOCK) as u64
}

impl<'b> Record<'b> {
    /// The record at the beginning of `bytes`, if there is a whole one.
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (sum, rest) = rest.split_first_chunk::<32>()?;
        let (name, rest) = rest.split_first_chunk::<16>()?;
        let (order, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let payload = rest.get(..length)?;
        let summed = bytes.get(SUMMED..HEADER + length)?;
        (blake3::hash(summed).as_bytes() == sum).then(|| Self {
            name: *name,
            order: u64::from_le_bytes(*order),
            number: u64::from_le_bytes(*number),
            payload,
        })
    }
}

/// The writes of a commit as a record's payload.
pub fn encode(writes: &[Write]) -> Vec<u8> {
    codec::pack(writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))
}

/// The same read back.
fn decode(payload: &[u8]) -> Option<Vec<Write>> {
    let writes = codec::unpack(payload)?.into_iter();
    Some(writes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect())
}
