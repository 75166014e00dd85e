//! From a source of bytes to verified pieces of disk: fetch, check, unpack, check, all at once, in bounded memory.
//!
//! A frame is unpacked only after its SHA-256 was right, to at most its chunk's length, and comes out only after the
//! digest of the raw bytes was right. A connection that breaks is opened again where it broke.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Error;
use super::disk::Aligned;
use crate::diskimage::parallel::{self, Ordered};
use crate::diskimage::{Chunk, Index};

/// Where the data file's bytes come from.
pub trait Fetch: Sync {
    /// Opens the data file's bytes from `from` up to, and without, `to`. What is read may end early; it is opened
    /// again then. Implementations set a time limit on their reads.
    fn open(&self, from: u64, to: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How patient a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// So many failures without a byte between them end it.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 30, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(30) }
    }
}

/// A verified piece of the disk.
pub struct Extent {
    /// Which chunk of the index it is.
    pub chunk: usize,
    /// Where it belongs, in bytes.
    pub offset: u64,
    /// Its bytes, in memory that `O_DIRECT` takes.
    pub data: Piece,
}

/// Verified pieces in the order of the disk.
pub trait Extents {
    /// The next one; `None` after the last.
    fn next(&mut self) -> Result<Option<Extent>, Error>;
}

impl Extents for Ordered<'_, Extent, Error> {
    fn next(&mut self) -> Result<Option<Extent>, Error> {
        Ordered::next(self)
    }
}

type Pool = Arc<Mutex<Vec<Aligned>>>;

/// A chunk's bytes; its memory is used again when it is dropped.
pub struct Piece {
    memory: Option<Aligned>,
    length: usize,
    pool: Pool,
}

impl Piece {
    /// Memory for one chunk.
    pub fn new(length: usize, chunk_size: usize, pool: &Pool) -> Self {
        let memory = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = memory.unwrap_or_else(|| Aligned::new(chunk_size.max(length)));
        Self { memory: Some(memory), length, pool: Arc::clone(pool) }
    }
}

impl std::ops::Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.memory.as_deref().and_then(|memory| memory.get(..self.length)).unwrap_or_default()
    }
}

impl std::ops::DerefMut for Piece {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().and_then(|memory| memory.get_mut(..self.length)).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }
}

/// Fetches the chunks `wanted`, numbers in `index` in rising order, and hands them to `consume` as they come.
pub fn run<T>(
    index: &Index,
    wanted: &[usize],
    fetch: &dyn Fetch,
    retry: Retry,
    consume: impl FnOnce(&mut dyn Extents) -> Result<T, Error>,
) -> Result<T, Error> {
    let pool = Pool::default();
    let chunk_size = usize::try_from(index.chunk_size()).unwrap_or(0);
    parallel::run(
        parallel::workers(),
        |send| produce(index, wanted, fetch, retry, send),
        || {
            let mut decompressor = zstd::bulk::Decompressor::new();
            let pool = &pool;
            move |(number, chunk, frame): (usize, &Chunk, Vec<u8>)| {
                if Sha256::digest(&frame) != chunk.data_sha256 {
                    return Err(Error::Corrupt { chunk: number, what: "as it was fetched" });
                }
                let mut data = Piece::new(usize::try_from(chunk.raw_length).unwrap_or(0), chunk_size, pool);
                let decompressor =
                    decompressor.as_mut().map_err(|_| Error::Corrupt { chunk: number, what: "zstd" })?;
                let unpacked = decompressor.decompress_to_buffer(&frame, &mut *data);
                if unpacked.ok() != Some(data.len()) || *blake3::hash(&data).as_bytes() != chunk.raw_blake3 {
                    return Err(Error::Corrupt { chunk: number, what: "unpacked" });
                }
                Ok(Extent { chunk: number, offset: chunk.raw_offset, data })
            }
        },
        |ordered| consume(ordered),
    )
}

fn produce<'a>(
    index: &'a Index,
    wanted: &[usize],
    fetch: &dyn Fetch,
    retry: Retry,
    send: &mut dyn FnMut((usize, &'a Chunk, Vec<u8>)) -> bool,
) -> Result<(), Error> {
    let mut stream = Stream { fetch, retry, open: None, at: 0, end: 0 };
    for (place, number) in wanted.iter().enumerate() {
        let Some(chunk) = index.chunks().get(*number) else { continue };
        if stream.at != chunk.data_offset || stream.at >= stream.end {
            stream.open = None;
            stream.at = chunk.data_offset;
            stream.end = end_of_run(index, wanted.get(place..).unwrap_or_default());
        }
        let mut frame = vec![0; usize::try_from(chunk.data_length).unwrap_or(0)];
        stream.fill(&mut frame)?;
        if !send((*number, chunk, frame)) {
            break;
        }
    }
    Ok(())
}

/// Where the frames end that follow each other without a gap.
fn end_of_run(index: &Index, wanted: &[usize]) -> u64 {
    let follows = |(left, right): (&usize, &usize)| left + 1 == *right;
    let run = wanted.iter().zip(wanted.iter().skip(1)).take_while(|pair| follows(*pair)).count();
    let last = wanted.get(run).and_then(|number| index.chunks().get(*number));
    last.map_or(0, |last| last.data_offset + u64::from(last.data_length))
}

struct Stream<'a> {
    fetch: &'a dyn Fetch,
    retry: Retry,
    open: Option<Box<dyn Read + Send>>,
    at: u64,
    end: u64,
}

impl Stream<'_> {
    fn fill(&mut self, target: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        let mut failures = 0;
        let mut wait = self.retry.first_wait;
        while let Some(rest) = target.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(count) => {
                    done += count;
                    self.at += count as u64;
                    (failures, wait) = (0, self.retry.first_wait);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.open = None;
                    failures += 1;
                    if failures >= self.retry.attempts {
                        return Err(Error::Fetch { at: self.at, attempts: failures, error });
                    }
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(self.retry.longest_wait);
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.open.is_none() {
            self.open = Some(self.fetch.open(self.at, self.end)?);
        }
        let count = self.open.as_mut().map_or(Ok(0), |open| open.read(target))?;
        if count == 0 || count > target.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended early"));
        }
        Ok(count)
    }
}

/// A data file on a disk or in memory of this machine.
pub struct FileFetch(pub std::fs::File);

impl Fetch for FileFetch {
    fn open(&self, from: u64, to: u64) -> io::Result<Box<dyn Read + Send>> {
        struct Part(std::fs::File, u64, u64);
        impl Read for Part {
            fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
                let left = usize::try_from(self.2 - self.1).unwrap_or(usize::MAX).min(target.len());
                let target = target.get_mut(..left).unwrap_or_default();
                let count = std::os::unix::fs::FileExt::read_at(&self.0, target, self.1)?;
                self.1 += count as u64;
                Ok(count)
            }
        }
        Ok(Box::new(Part(self.0.try_clone()?, from, to.max(from))))
    }
}
