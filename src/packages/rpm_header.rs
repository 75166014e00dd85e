//! The header structure of RPM files: an index of tags over a store of values.
//!
//! See the RPM documentation, "RPM V4 Package format": a lead of 96 bytes, the signature header padded to eight bytes,
//! the main header, and the payload. Every number comes from outside and is checked against what is there.

use std::collections::BTreeMap;
use std::io::{self, Read};

use thiserror::Error;

/// Bytes of the lead.
const LEAD: u64 = 96;
/// Entries of an index; rpm itself allows 65,535.
const ENTRIES: u32 = 65_535;
/// Bytes of a header's store; rpm allows 256 MiB, the largest packages of distributions have some 10 MiB.
const STORE: u32 = 32 << 20;
/// Texts and numbers of all entries together: each text takes 24 bytes of memory, be it empty.
const ITEMS: usize = 4 << 20;

/// Why a file is not a usable RPM.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Not an RPM.
    #[error(
        "the file is not an RPM: it does not begin with the lead's magic; give a file that rpmbuild built"
    )]
    Magic,
    /// A header does not begin as one.
    #[error("the RPM is broken at byte {0}: there is no header; fetch or build it again")]
    NoHeader(u64),
    /// A header is too large.
    #[error(
        "the RPM's header has {entries} entries and {bytes} bytes; at most {ENTRIES} and {STORE} are read"
    )]
    Large {
        /// Entries it claims.
        entries: u32,
        /// Bytes of store it claims.
        bytes: u32,
    },
    /// A tag's value lies outside, or has another type.
    #[error("the RPM's tag {0} is broken; fetch or build the package again")]
    Tag(u32),
    /// A tag is missing.
    #[error("the RPM has no tag {tag} ({name}); build it again with rpmbuild")]
    Missing {
        /// Number of the tag.
        tag: u32,
        /// What it holds.
        name: &'static str,
    },
    /// The file cannot be read, or ends too early.
    #[error("the RPM cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Where a tag's value lies.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u32,
    offset: usize,
    count: usize,
}

/// A header: its tags by number.
#[derive(Debug)]
pub struct Header {
    entries: BTreeMap<u32, Entry>,
    store: Vec<u8>,
    /// Offset within the file of its first byte.
    pub start: u64,
    /// Offset within the file of the byte behind it.
    pub end: u64,
}

/// Reads the signature header and the main header from the beginning of a file.
pub fn read(reader: &mut impl Read) -> Result<(Header, Header), HeaderError> {
    let mut lead = [0; 96];
    reader.read_exact(&mut lead).map_err(|_| HeaderError::Magic)?;
    if !lead.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        return Err(HeaderError::Magic);
    }
    let signature = header(reader, LEAD)?;
    // The signature is padded so that the main header begins at a multiple of eight.
    let padding = (8 - signature.end % 8) % 8;
    io::copy(&mut reader.take(padding), &mut io::sink())?;
    let main = header(reader, signature.end.saturating_add(padding))?;
    Ok((signature, main))
}

fn header(reader: &mut impl Read, start: u64) -> Result<Header, HeaderError> {
    let mut intro = [0; 16];
    reader.read_exact(&mut intro)?;
    let [0x8e, 0xad, 0xe8, 1, _, _, _, _, n0, n1, n2, n3, s0, s1, s2, s3] = intro else {
        return Err(HeaderError::NoHeader(start));
    };
    let (count, size) = (u32::from_be_bytes([n0, n1, n2, n3]), u32::from_be_bytes([s0, s1, s2, s3]));
    if count > ENTRIES || size > STORE {
        return Err(HeaderError::Large { entries: count, bytes: size });
    }
    let index = exactly(reader, u64::from(count) * 16)?;
    let store = exactly(reader, u64::from(size))?;
    let mut entries = BTreeMap::new();
    let mut items = 0_usize;
    for entry in index.chunks_exact(16) {
        let number = |at: usize| {
            entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
        };
        let tag = number(0);
        let bad = |_| HeaderError::Tag(tag);
        let offset = usize::try_from(number(8)).map_err(bad)?;
        let count = usize::try_from(number(12)).map_err(bad)?;
        if matches!(number(4), kind::INT16..=kind::INT64 | kind::STRING_ARRAY | kind::I18N_STRING) {
            items = items.saturating_add(count);
        }
        if offset > store.len() || (count > store.len() - offset && number(4) != 0) {
            return Err(HeaderError::Tag(tag));
        }
        entries.entry(tag).or_insert(Entry { kind: number(4), offset, count });
    }
    if items > ITEMS {
        return Err(HeaderError::Large { entries: count, bytes: size });
    }
    let end = start + 16 + u64::from(count) * 16 + u64::from(size);
    Ok(Header { entries, store, start, end })
}

/// Reads so many bytes, without allotting them before they have come.
fn exactly(reader: &mut impl Read, size: u64) -> Result<Vec<u8>, HeaderError> {
    let mut bytes = Vec::new();
    let read = reader.take(size).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read == size) {
        Ok(bytes)
    } else {
        Err(HeaderError::Io(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Types of values.
mod kind {
    pub const INT16: u32 = 3;
    pub const INT32: u32 = 4;
    pub const INT64: u32 = 5;
    pub const STRING: u32 = 6;
    pub const STRING_ARRAY: u32 = 8;
    pub const I18N_STRING: u32 = 9;
}

impl Header {
    /// The texts of a tag; empty when it is not there. Bytes that are no UTF-8 are replaced, and so are characters
    /// that XML 1.0 does not know.
    pub fn texts(&self, tag: u32) -> Result<Vec<String>, HeaderError> {
        let Some(entry) = self.entries.get(&tag) else { return Ok(Vec::new()) };
        let count = match entry.kind {
            kind::STRING => 1,
            kind::STRING_ARRAY | kind::I18N_STRING => entry.count,
            _ => return Err(HeaderError::Tag(tag)),
        };
        let mut rest = self.store.get(entry.offset..).ok_or(HeaderError::Tag(tag))?;
        let mut texts = Vec::with_capacity(count.min(rest.len()));
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(HeaderError::Tag(tag))?;
            let (text, behind) = rest.split_at(end);
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = behind.get(1..).unwrap_or_default();
        }
        Ok(texts)
    }

    /// The first text of a tag.
    pub fn text(&self, tag: u32) -> Result<Option<String>, HeaderError> {
        Ok(self.texts(tag)?.into_iter().next())
    }

    /// The numbers of a tag, of 16, 32 or 64 bits; empty when it is not there.
    pub fn numbers(&self, tag: u32) -> Result<Vec<u64>, HeaderError> {
        let Some(entry) = self.entries.get(&tag) else { return Ok(Vec::new()) };
        let width = match entry.kind {
            kind::INT16 => 2,
            kind::INT32 => 4,
            kind::INT64 => 8,
            _ => return Err(HeaderError::Tag(tag)),
        };
        let end = entry.count.checked_mul(width).and_then(|size| size.checked_add(entry.offset));
        let bytes = end.and_then(|end| self.store.get(entry.offset..end)).ok_or(HeaderError::Tag(tag))?;
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Ok(bytes.chunks_exact(width).map(number).collect())
    }

    /// The first number of a tag.
    pub fn number(&self, tag: u32) -> Result<Option<u64>, HeaderError> {
        Ok(self.numbers(tag)?.into_iter().next())
    }

    /// Whether the tag is there.
    pub fn has(&self, tag: u32) -> bool {
        self.entries.contains_key(&tag)
    }
}
