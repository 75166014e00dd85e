//! Zeros over every block, and what could not be overwritten; and discards.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use super::error::WipeError;
use super::ioctl;

/// Bytes written or read at once.
pub const CHUNK: usize = 4 << 20;
/// Bytes discarded at once, so that there is progress to tell.
const DISCARDED: u64 = 1 << 30;
/// Bad blocks that are listed; with more, the rest of the disk is not tried.
pub const LISTED: usize = 1024;
/// What direct reads and writes ask of memory.
const ALIGNMENT: usize = 4096;
/// The least that is written on its own, in bytes.
const SMALL: u64 = 4096;

/// Memory of at most [`CHUNK`] bytes that a disk can read from and write to directly.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// All zeros.
    pub fn new() -> Self {
        let memory = vec![0; CHUNK + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }

    /// The first `length` bytes, no more than [`CHUNK`].
    pub fn bytes(&mut self, length: u64) -> &mut [u8] {
        let length = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
        self.memory.get_mut(self.start..self.start + length).unwrap_or_default()
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes zeros from the first byte to `size`; `progress` gets the bytes that are behind it.
pub fn zeros(
    disk: &File,
    size: u64,
    block_bytes: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<(), WipeError> {
    let small = SMALL.max(u64::from(block_bytes));
    let mut buffer = Buffer::new();
    let mut offsets = Vec::new();
    let mut at = 0;
    while at < size {
        let length = (size - at).min(CHUNK as u64);
        if write_all(disk, buffer.bytes(length), at).is_err() {
            // Block by block, to know which.
            let mut block = at;
            while block < at + length {
                let small = small.min(at + length - block);
                if let Err(error) = write_all(disk, buffer.bytes(small), block) {
                    tracing::warn!(offset = block, %error, "a block cannot be overwritten");
                    if offsets.len() == LISTED {
                        return Err(bad(offsets, small, true));
                    }
                    offsets.push(block);
                }
                block += small;
            }
        }
        at += length;
        progress(at);
    }
    if !offsets.is_empty() {
        return Err(bad(offsets, small, false));
    }
    disk.sync_all().map_err(|source| WipeError::Io { what: "flushing the disk's cache", source })
}

fn bad(offsets: Vec<u64>, block_bytes: u64, given_up: bool) -> WipeError {
    WipeError::BadBlocks { count: offsets.len() as u64, block_bytes, offsets, given_up }
}

fn write_all(disk: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(bytes, at) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `bytes` from `at`.
pub fn read_all(disk: &File, mut bytes: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match disk.read_at(bytes, at) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                at += read as u64;
                bytes = bytes.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Discards everything; `progress` gets the bytes that are behind it.
pub fn discard(disk: &File, size: u64, secure: bool, progress: &mut dyn FnMut(u64)) -> Result<(), Errno> {
    let mut at = 0;
    while at < size {
        let length = (size - at).min(DISCARDED);
        ioctl::discard(disk, at, length, secure)?;
        at += length;
        progress(at);
    }
    Ok(())
}
