//! What is packed: raw and qcow2 disks, plain or in zstd, gzip or xz, told apart by their first bytes.

use std::fs::File;
use std::io::{BufReader, Chain, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};

use super::qcow2::{self, Qcow2};
use super::{CHUNK_SIZE, Error, MAX_RAW_SIZE, is_zero};

/// What a compressed qcow2 may unpack to on this machine: 1 TiB.
const MAX_UNPACKED: u64 = 1 << 40;

type Stream = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// An opened image.
pub enum Source {
    /// One that any part can be read of.
    Random(Random),
    /// One that can only be read from its begin to its end.
    Sequential(Sequential),
}

/// A raw or qcow2 file.
pub enum Random {
    /// A raw disk and its size in bytes.
    Raw(File, u64),
    /// A qcow2 disk.
    Qcow2(Qcow2),
}

/// A compressed raw disk.
pub struct Sequential {
    stream: Stream,
    read: Arc<AtomicU64>,
    length: u64,
}

impl Source {
    /// Opens `path`. A compressed qcow2 is unpacked to a file without a name in `scratch` first.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(format!("opening {}", path.display())))?;
        let refuse = |why: String| Error::Source { path: path.to_owned(), why };
        let metadata = file.metadata().map_err(Error::io(format!("looking at {}", path.display())))?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return Err(refuse("it is neither a file nor a disk".into()));
        }
        let mut begin = [0; 6];
        let length = read_full(&mut &file, &mut begin).map_err(Error::io("reading the image"))?;
        let begin = begin.get(..length).unwrap_or_default();
        (&file).seek(SeekFrom::Start(0)).map_err(Error::io("reading the image"))?;
        if begin.is_empty() {
            return Err(refuse("it is empty".into()));
        }
        let read = Arc::new(AtomicU64::new(0));
        let counted =
            BufReader::with_capacity(1 << 20, Counted { file: clone(&file)?, read: Arc::clone(&read) });
        let stream: Box<dyn Read + Send> = if begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(zstd::stream::read::Decoder::with_buffer(counted).map_err(Error::io("starting zstd"))?)
        } else if begin.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::bufread::MultiGzDecoder::new(counted))
        } else if begin == [0xfd, b'7', b'z', b'X', b'Z', 0] {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(counted))
        } else {
            return Random::open(file, path).map(Self::Random);
        };
        let mut stream = stream;
        let mut inner = vec![0; 4];
        let length = read_full(&mut stream, &mut inner).map_err(Error::io("unpacking the image"))?;
        inner.truncate(length);
        let is_qcow2 = inner == qcow2::MAGIC;
        let mut stream = Cursor::new(inner).chain(stream);
        if is_qcow2 {
            let file = unpack(&mut stream, scratch)?;
            return Qcow2::open(file).map(|image| Self::Random(Random::Qcow2(image)));
        }
        Ok(Self::Sequential(Sequential { stream, read, length: metadata.len() }))
    }
}

impl Random {
    fn open(file: File, path: &Path) -> Result<Self, Error> {
        let mut begin = [0; 4];
        if file.read_exact_at(&mut begin, 0).is_ok() && begin == qcow2::MAGIC {
            return Qcow2::open(file).map(Self::Qcow2);
        }
        let refuse = |why: &str| Err(Error::Source { path: path.to_owned(), why: why.into() });
        match &begin {
            b"KDMV" => return refuse("it is a VMDK; convert it: qemu-img convert -O qcow2 IMAGE OUT"),
            b"vhdx" | b"cone" => {
                return refuse("it is a VHD; convert it: qemu-img convert -O qcow2 IMAGE OUT");
            }
            _ => {}
        }
        let size = (&file).seek(SeekFrom::End(0)).map_err(Error::io("looking for the image's end"))?;
        if size > MAX_RAW_SIZE {
            return refuse("it is larger than 64 TiB");
        }
        Ok(Self::Raw(file, size))
    }

    /// The disk's size in bytes, rounded up to whole sectors of 512 bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Raw(_, size) => *size,
            Self::Qcow2(image) => image.size(),
        }
        .next_multiple_of(512)
    }

    /// Where data may lie at or behind `from`; `None` when there is only a hole up to the end.
    pub fn next_data(&self, from: u64) -> Option<u64> {
        let Self::Raw(file, _) = self else { return Some(from) };
        match lseek64(file, i64::try_from(from).ok()?, Whence::SeekData) {
            Ok(offset) => u64::try_from(offset).ok(),
            Err(Errno::ENXIO) => None,
            // A file system that knows no holes.
            Err(_) => Some(from),
        }
    }

    /// The `length` bytes at `offset`, zeros behind the end; `None` when nothing is stored there.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = vec![0; length];
        let stored = match self {
            Self::Qcow2(image) => image.read_at(offset, &mut bytes)?,
            Self::Raw(file, size) => {
                let inside = usize::try_from(size.saturating_sub(offset)).unwrap_or(length).min(length);
                let target = bytes.get_mut(..inside).unwrap_or_default();
                file.read_exact_at(target, offset).map_err(Error::io("reading the image"))?;
                true
            }
        };
        Ok(stored.then_some(bytes))
    }
}

impl Sequential {
    /// The next chunk, filled up with zeros to whole sectors; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = vec![0; CHUNK_SIZE as usize];
        let length = read_full(&mut self.stream, &mut bytes).map_err(Error::io("unpacking the image"))?;
        bytes.truncate(length.next_multiple_of(512));
        Ok((length > 0).then_some(bytes))
    }

    /// How many bytes of the compressed file were read, and its length.
    pub fn progress(&self) -> (Arc<AtomicU64>, u64) {
        (Arc::clone(&self.read), self.length)
    }
}

/// Reads until `target` is full or the stream ends.
pub(super) fn read_full(from: &mut impl Read, target: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = target.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn unpack(stream: &mut Stream, scratch: &Path) -> Result<File, Error> {
    let what = || format!("unpacking the qcow2 image to {}", scratch.display());
    let file = tempfile::tempfile_in(scratch).map_err(Error::io(what()))?;
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0_u64;
    loop {
        let length = read_full(stream, &mut bytes).map_err(Error::io(what()))?;
        let part = bytes.get(..length).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        if at >= MAX_UNPACKED {
            return Err(Error::Qcow2("it unpacks to more than 1 TiB".into()));
        }
        if !is_zero(part) {
            file.write_all_at(part, at).map_err(Error::io(what()))?;
        }
        at += length as u64;
    }
    file.set_len(at).map_err(Error::io(what()))?;
    Ok(file)
}

fn clone(file: &File) -> Result<File, Error> {
    file.try_clone().map_err(Error::io("opening the image"))
}

struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(target)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
