//! Packs a disk image: on all cores, to the same bytes each time, in bounded memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::parallel;
use super::source::{Random, Source};
use super::{CHUNK_SIZE, Chunk, Error, Index, MAX_RAW_SIZE, is_zero};

/// zstd's level. Higher ones cost import time and save little on disks that are mostly programs.
const LEVEL: i32 = 3;

/// What came of packing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The disk's size in bytes.
    pub raw_size: u64,
    /// The length of the data file in bytes.
    pub stored_bytes: u64,
    /// How many chunks are stored.
    pub chunks: u64,
    /// See [`Index::root_digest`].
    pub root_digest: [u8; 32],
    /// SHA-256 of the index.
    pub index_sha256: [u8; 32],
    /// SHA-256 of the data file.
    pub data_sha256: [u8; 32],
}

enum Job {
    At(u64, usize),
    Bytes(u64, Vec<u8>),
}

/// Packs the image at `source` into an index and its data. `progress` gets bytes done and bytes in all; of a
/// compressed source these are bytes of its file.
pub fn pack(
    source: &Path,
    index_out: &mut impl Write,
    data_out: &mut impl Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packed, Error> {
    pack_with(source, &std::env::temp_dir(), index_out, data_out, progress)
}

/// [`pack`] into two files that it makes, both synced to their disk; the first one's folder takes what must be
/// unpacked on the way.
pub fn pack_files(
    source: &Path,
    index: &Path,
    data: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packed, Error> {
    let create = |path: &Path| File::create(path).map_err(Error::io(format!("making {}", path.display())));
    let scratch = index.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (mut index_out, mut data_out) = (create(index)?, BufWriter::new(create(data)?));
    let packed = pack_with(source, scratch, &mut index_out, &mut data_out, progress)?;
    index_out.sync_all().map_err(Error::io(format!("writing {}", index.display())))?;
    data_out.get_ref().sync_all().map_err(Error::io(format!("writing {}", data.display())))?;
    Ok(packed)
}

fn pack_with(
    path: &Path,
    scratch: &Path,
    index_out: &mut impl Write,
    data_out: &mut impl Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packed, Error> {
    let source = Source::open(path, scratch)?;
    let size = AtomicU64::new(0);
    let (random, mut sequential) = match source {
        Source::Random(random) => (Some(random), None),
        Source::Sequential(sequential) => (None, Some(sequential)),
    };
    let compressed = sequential.as_ref().map(super::source::Sequential::progress);
    let raw_size = random.as_ref().map(Random::size);
    let produce = |send: &mut dyn FnMut(Job) -> bool| match (&random, &mut sequential) {
        (Some(random), _) => {
            size.store(random.size(), Ordering::Relaxed);
            produce_random(random, send);
            Ok(())
        }
        (None, Some(sequential)) => {
            let mut at = 0;
            while let Some(bytes) = sequential.next_chunk()? {
                let offset = at;
                at += bytes.len() as u64;
                if at > MAX_RAW_SIZE {
                    return Err(Error::Source {
                        path: path.into(),
                        why: "it unpacks to more than 64 TiB".into(),
                    });
                }
                if !send(Job::Bytes(offset, bytes)) {
                    break;
                }
            }
            size.store(at, Ordering::Relaxed);
            Ok(())
        }
        (None, None) => Ok(()),
    };
    let mut chunks = Vec::new();
    let mut data_end = 0;
    let mut data_hash = Sha256::new();
    parallel::run(
        parallel::workers(),
        produce,
        || worker(random.as_ref()),
        |results| {
            while let Some((offset, packed)) = results.next()? {
                if let Some((mut chunk, frame)) = packed {
                    data_out.write_all(&frame).map_err(Error::io("writing the data file"))?;
                    data_hash.update(&frame);
                    chunk.data_offset = data_end;
                    data_end += frame.len() as u64;
                    chunks.push(chunk);
                }
                match (&compressed, raw_size) {
                    (Some((read, length)), _) => progress(read.load(Ordering::Relaxed), *length),
                    (None, Some(raw)) => progress((offset + u64::from(CHUNK_SIZE)).min(raw), raw),
                    (None, None) => {}
                }
            }
            Ok(())
        },
    )?;
    data_out.flush().map_err(Error::io("writing the data file"))?;
    let index = Index::new(size.into_inner(), chunks)?;
    let bytes = index.encode();
    index_out.write_all(&bytes).and_then(|()| index_out.flush()).map_err(Error::io("writing the index"))?;
    Ok(Packed {
        raw_size: index.raw_size(),
        stored_bytes: index.stored_bytes(),
        chunks: index.chunks().len() as u64,
        root_digest: index.root_digest(),
        index_sha256: Sha256::digest(&bytes).into(),
        data_sha256: data_hash.finalize().into(),
    })
}

fn produce_random(source: &Random, send: &mut dyn FnMut(Job) -> bool) {
    let chunk = u64::from(CHUNK_SIZE);
    let mut at = 0;
    while at < source.size() {
        let Some(data) = source.next_data(at) else { break };
        at = at.max(data / chunk * chunk);
        if at >= source.size() {
            break;
        }
        let length = usize::try_from(chunk.min(source.size() - at)).unwrap_or(CHUNK_SIZE as usize);
        if !send(Job::At(at, length)) {
            break;
        }
        at += chunk;
    }
}

type Stored = Result<(u64, Option<(Chunk, Vec<u8>)>), Error>;

/// Reads, digests and compresses; the data offset is filled in by whoever writes.
fn worker(source: Option<&Random>) -> impl FnMut(Job) -> Stored {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL);
    move |job| {
        let (offset, bytes) = match job {
            Job::Bytes(offset, bytes) => (offset, Some(bytes)),
            Job::At(offset, length) => {
                (offset, source.map_or(Ok(None), |source| source.read_at(offset, length))?)
            }
        };
        let Some(bytes) = bytes.filter(|bytes| !is_zero(bytes)) else { return Ok((offset, None)) };
        let compressor = match &mut compressor {
            Ok(compressor) => compressor,
            Err(error) => return Err(Error::io("starting zstd")(std::io::Error::other(error.to_string()))),
        };
        let frame = compressor.compress(&bytes).map_err(Error::io("compressing"))?;
        let too_long = |_| Error::Index("a chunk is too long".into());
        let chunk = Chunk {
            raw_offset: offset,
            raw_length: u32::try_from(bytes.len()).map_err(too_long)?,
            data_offset: 0,
            data_length: u32::try_from(frame.len()).map_err(too_long)?,
            data_sha256: Sha256::digest(&frame).into(),
            raw_blake3: *blake3::hash(&bytes).as_bytes(),
        };
        Ok((offset, Some((chunk, frame))))
    }
}
