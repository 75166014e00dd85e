//! Compression with the same bytes for the same input, and decompression with a bound on memory.

use std::io::{self, Read, Write};

/// Memory that an xz or zstd stream may ask for, bytes.
const DECODER_MEMORY: u64 = 128 << 20;
/// The same as a power of two, for zstd's window.
const WINDOW_LOG: u32 = 27;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// The .xz format.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// By the end of a name: `.gz`, `.xz`, `.zst`; another end means not compressed.
    pub fn of_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("gz") => Self::Gzip,
            Some("xz") => Self::Xz,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }

    /// By the first bytes.
    pub fn of_magic(bytes: &[u8]) -> Self {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if bytes.starts_with(b"\xfd7zXZ\0") {
            Self::Xz
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// Reads decompressed bytes. The caller bounds their number.
    ///
    /// # Errors
    /// When the decoder cannot be made; reading fails when the stream is broken or asks for too much memory.
    pub fn reader<'r>(self, reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    DECODER_MEMORY,
                    liblzma::stream::CONCATENATED,
                )?;
                Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Compresses with gzip, without name and time.
///
/// # Errors
/// Never for memory; the type says so of any writer.
pub fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Compresses with xz.
///
/// # Errors
/// When the encoder has no memory.
pub fn xz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Reads at most `limit` bytes; `None` when there are more.
///
/// # Errors
/// Those of the reader.
pub fn read_bounded(reader: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit { None } else { Some(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "Package: a\n".repeat(1000);
        for (bytes, kind) in [
            (gzip(text.as_bytes()).unwrap(), Compression::Gzip),
            (xz(text.as_bytes()).unwrap(), Compression::Xz),
            (zstd::encode_all(text.as_bytes(), 3).unwrap(), Compression::Zstd),
            (text.clone().into_bytes(), Compression::None),
        ] {
            assert_eq!(Compression::of_magic(&bytes), kind);
            let open = || kind.reader(bytes.as_slice()).unwrap();
            assert_eq!(read_bounded(open(), 11_000).unwrap().unwrap(), text.as_bytes());
            assert_eq!(read_bounded(open(), 10_999).unwrap(), None);
        }
    }
}
