//! A disk's first bytes: what makes it bootable, and is written when everything else is in place.

use super::Error;
use super::gpt::Table;
use crate::diskimage::{Index, MAX_RAW_SIZE};

/// Boot code and tables lie here; partitions seldom begin before it.
const LONGEST: u64 = 1 << 20;
/// The marker lies below this.
const SHORTEST: u64 = 8192;

/// The first chunk of an image, and how much of it is held back.
pub struct Head {
    first_chunk: Vec<u8>,
    length: usize,
    table: Option<Table>,
}

impl Head {
    /// Looks at an image's first chunk (zeros when it is not stored).
    pub fn new(first_chunk: Vec<u8>) -> Self {
        let table = Table::parse(&first_chunk);
        let first = match &table {
            Some(table) => {
                let first = table.partitions().map(|(_, entry)| entry.first()).min();
                first.and_then(|first| first.checked_mul(table.sector()))
            }
            None => first_of_mbr(&first_chunk),
        };
        let length = first.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST) / 4096 * 4096;
        let length = usize::try_from(length).unwrap_or(0).min(first_chunk.len());
        Self { first_chunk, length, table }
    }

    /// How many bytes are held back; a multiple of 4096 unless the disk is that small.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes held back, as the image has them.
    pub fn bytes(&self) -> &[u8] {
        self.first_chunk.get(..self.length).unwrap_or_default()
    }

    /// The image's GPT, when it has one.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Whether a chunk is the one whose begin is held back.
    pub fn is_in(&self, offset: u64) -> bool {
        offset == 0
    }

    /// Refuses an image that a disk with sectors of `sector` bytes can't boot.
    pub fn check_sector(&self, sector: u32) -> Result<(), Error> {
        match &self.table {
            Some(table) if table.sector() != u64::from(sector) => {
                Err(Error::Sector { image: table.sector(), disk: sector })
            }
            _ => Ok(()),
        }
    }
}

/// The first byte of the first partition of an MBR.
fn first_of_mbr(begin: &[u8]) -> Option<u64> {
    let starts = (0..4).filter_map(|number| {
        let record = begin.get(446 + number * 16..)?.first_chunk::<16>()?;
        let [_, _, _, _, kind, _, _, _, a, b, c, d, ..] = *record;
        (kind != 0).then(|| u64::from(u32::from_le_bytes([a, b, c, d])) * 512)
    });
    (begin.get(510..512) == Some(&[0x55, 0xaa])).then(|| starts.min()).flatten()
}

/// The holes of an index, without the head.
pub fn holes(index: &Index, head: &Head) -> Vec<(u64, u64)> {
    let head = head.length() as u64;
    let cut = |(offset, length): (u64, u64)| {
        let from = offset.max(head);
        let end = (offset + length).min(MAX_RAW_SIZE);
        (end > from).then(|| (from, end - from))
    };
    index.holes().into_iter().filter_map(cut).collect()
}
