//! Compressed files: told by their first bytes, opened as a stream or as a whole, with a limit.

use std::io::{self, Cursor, Read};

use liblzma::stream::{CONCATENATED, Stream};

/// Memory the xz decoder may take, in bytes; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Packing {
    /// Told from a file's first six bytes or more.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Reads `source` and decompresses it when its first bytes say that it is compressed.
pub fn open<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(6);
    source.by_ref().take(6).read_to_end(&mut start)?;
    let packing = Packing::of(&start);
    let whole = Cursor::new(start).chain(source);
    Ok(match packing {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(whole, stream))
        }
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    })
}

/// All of `source`, decompressed, when that is at most `limit` bytes.
pub fn read(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(source)?.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_packing_is_told_and_opened() {
        let text = b"the same content in every packing".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        for (name, packed, packing) in [
            ("plain", text.clone(), Packing::Plain),
            ("gzip", gzip.finish().unwrap(), Packing::Gzip),
            ("xz", xz.finish().unwrap(), Packing::Xz),
            ("zstd", zstd::encode_all(&text[..], 1).unwrap(), Packing::Zstd),
            ("empty", Vec::new(), Packing::Plain),
            ("short", vec![0x1f], Packing::Plain),
        ] {
            assert_eq!(Packing::of(&packed), packing, "{name}");
            let expected: &[u8] = if packed.len() > 1 { &text } else { &packed };
            assert_eq!(read(&packed[..], 1 << 20).unwrap(), expected, "{name}");
            if packed.len() > 1 {
                assert!(read(&packed[..], 100).is_err(), "{name}: larger than the limit");
            }
            if packing != Packing::Plain {
                assert!(read(&packed[..packed.len() / 2], 1 << 20).is_err(), "{name}: cut off");
            }
        }
    }
}
