//! The index of a packed disk: which chunks there are, where they lie, and what they must be.
//!
//! All numbers are little-endian. Header, 72 bytes: magic `FLDISKIX`, version (u32), chunk size (u32), raw size
//! (u64), number of chunks (u64), length of the data file (u64), BLAKE3 root (32 bytes). Then 88 bytes a chunk: raw
//! offset (u64), data offset (u64), raw length (u32), data length (u32), SHA-256 of the stored frame, BLAKE3 of the
//! raw bytes. Whoever parses an index knows its SHA-256 from elsewhere; it carries no checksum of its own.

use super::{CHUNK_SIZE, Error, MAX_RAW_SIZE};

const MAGIC: &[u8; 8] = b"FLDISKIX";
const VERSION: u32 = 1;
const HEADER: usize = 72;
const ENTRY: usize = 88;
/// zstd's bound for a frame of incompressible bytes is far below this.
const MAX_FRAME_OVERHEAD: u32 = 64 << 10;

/// One stored chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it lies on the disk, in bytes; a multiple of the chunk size.
    pub raw_offset: u64,
    /// How long it is on the disk, in bytes; the chunk size, or less for the disk's last.
    pub raw_length: u32,
    /// Where its frame begins in the data file, in bytes.
    pub data_offset: u64,
    /// How long its frame is, in bytes.
    pub data_length: u32,
    /// SHA-256 of the frame.
    pub data_sha256: [u8; 32],
    /// BLAKE3 of the raw bytes.
    pub raw_blake3: [u8; 32],
}

/// A packed disk's index, checked: chunks are sorted, inside the disk, and their frames follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    raw_size: u64,
    chunk_size: u32,
    chunks: Vec<Chunk>,
}

impl Index {
    /// Makes an index of chunks in the order of the disk.
    pub fn new(raw_size: u64, chunks: Vec<Chunk>) -> Result<Self, Error> {
        let index = Self { raw_size, chunk_size: CHUNK_SIZE, chunks };
        index.check()?;
        Ok(index)
    }

    /// The raw disk's size in bytes.
    pub fn raw_size(&self) -> u64 {
        self.raw_size
    }

    /// Bytes in a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The length of the data file in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.chunks.last().map_or(0, |last| last.data_offset + u64::from(last.data_length))
    }

    /// The bytes of the disk that are stored, unpacked.
    pub fn raw_stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.raw_length)).sum()
    }

    /// The chunks in the order of the disk; what lies between them is zero.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// What no chunk covers, as `(offset, length)` in bytes: it must be zero.
    pub fn holes(&self) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut at = 0;
        for chunk in &self.chunks {
            if chunk.raw_offset > at {
                holes.push((at, chunk.raw_offset - at));
            }
            at = chunk.raw_offset + u64::from(chunk.raw_length);
        }
        if self.raw_size > at {
            holes.push((at, self.raw_size - at));
        }
        holes
    }

    /// BLAKE3 over size and chunks: two indexes with the same root describe the same disk.
    pub fn root_digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.raw_size.to_le_bytes());
        hasher.update(&self.chunk_size.to_le_bytes());
        for chunk in &self.chunks {
            hasher.update(&chunk.raw_offset.to_le_bytes());
            hasher.update(&chunk.raw_length.to_le_bytes());
            hasher.update(&chunk.raw_blake3);
        }
        *hasher.finalize().as_bytes()
    }

    /// The index as bytes; the same index always gives the same.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.chunks.len() * ENTRY);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.chunk_size.to_le_bytes());
        bytes.extend_from_slice(&self.raw_size.to_le_bytes());
        bytes.extend_from_slice(&(self.chunks.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.stored_bytes().to_le_bytes());
        bytes.extend_from_slice(&self.root_digest());
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.raw_offset.to_le_bytes());
            bytes.extend_from_slice(&chunk.data_offset.to_le_bytes());
            bytes.extend_from_slice(&chunk.raw_length.to_le_bytes());
            bytes.extend_from_slice(&chunk.data_length.to_le_bytes());
            bytes.extend_from_slice(&chunk.data_sha256);
            bytes.extend_from_slice(&chunk.raw_blake3);
        }
        bytes
    }

    /// Parses and checks an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        if reader.take::<8>()? != *MAGIC {
            return Err(bad("it does not begin with FLDISKIX"));
        }
        let version = reader.u32()?;
        if version != VERSION {
            return Err(bad(format!("it has version {version}, this program reads version {VERSION}")));
        }
        let chunk_size = reader.u32()?;
        let raw_size = reader.u64()?;
        let count = reader.u64()?;
        let stored = reader.u64()?;
        let root = reader.take::<32>()?;
        let body = bytes.len().saturating_sub(HEADER);
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY)) != Some(body) {
            return Err(bad(format!("it names {count} chunks in {body} bytes")));
        }
        let mut chunks = Vec::with_capacity(body / ENTRY);
        for _ in 0..count {
            let raw_offset = reader.u64()?;
            let data_offset = reader.u64()?;
            let raw_length = reader.u32()?;
            let data_length = reader.u32()?;
            let data_sha256 = reader.take()?;
            let raw_blake3 = reader.take()?;
            chunks.push(Chunk { raw_offset, raw_length, data_offset, data_length, data_sha256, raw_blake3 });
        }
        let index = Self { raw_size, chunk_size, chunks };
        index.check()?;
        if index.stored_bytes() != stored || index.root_digest() != root {
            return Err(bad("its header does not fit its chunks"));
        }
        Ok(index)
    }

    fn check(&self) -> Result<(), Error> {
        if self.chunk_size != CHUNK_SIZE {
            return Err(bad(format!("chunks of {} bytes", self.chunk_size)));
        }
        if self.raw_size == 0 || self.raw_size > MAX_RAW_SIZE || !self.raw_size.is_multiple_of(512) {
            return Err(bad(format!("a disk of {} bytes", self.raw_size)));
        }
        let chunk_size = u64::from(self.chunk_size);
        let (mut raw_end, mut data_end) = (0_u64, 0_u64);
        for (number, chunk) in self.chunks.iter().enumerate() {
            let refuse = |why: &str| Err(bad(format!("chunk {number} {why}")));
            if !chunk.raw_offset.is_multiple_of(chunk_size) || chunk.raw_offset >= self.raw_size {
                return refuse("lies at no chunk's place");
            }
            if chunk.raw_offset < raw_end {
                return refuse("is not behind the one before it");
            }
            if u64::from(chunk.raw_length) != chunk_size.min(self.raw_size - chunk.raw_offset) {
                return refuse("has the wrong length");
            }
            if chunk.data_offset != data_end {
                return refuse("has a frame that does not follow the one before it");
            }
            if chunk.data_length == 0 || chunk.data_length > chunk.raw_length + MAX_FRAME_OVERHEAD {
                return refuse("has a frame of an impossible length");
            }
            raw_end = chunk.raw_offset + u64::from(chunk.raw_length);
            data_end += u64::from(chunk.data_length);
        }
        Ok(())
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::Index(why.into())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| bad("it is cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_le_bytes)
    }
}
