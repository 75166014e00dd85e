//! What a .deb says of itself (deb(5)): an `ar` archive of `debian-binary`, `control.tar*` and `data.tar*`.
//!
//! Only the control file is unpacked, and everything on the way to it is bounded. The archive's headers are read
//! here and not by a library, because dpkg allows only the plainest form and a library allots what a header claims.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use super::compress::{Compression, read_bounded};
use super::control::{ControlError, Paragraph, package_name, package_version};
use super::names::Name;

/// Bytes of control.tar, compressed and unpacked.
const CONTROL_TAR: u64 = 4 << 20;
/// Bytes of the control file.
const CONTROL: u64 = 256 << 10;
/// Members of the archive that are looked at.
const MEMBERS: usize = 16;
/// Entries of control.tar that are looked at.
const ENTRIES: usize = 256;

/// Why a file is not a usable .deb.
#[derive(Debug, Error)]
pub enum DebError {
    /// Not an ar archive.
    #[error("the file is not a .deb: it does not begin with `!<arch>`; give a file that dpkg-deb built")]
    Magic,
    /// A broken member header.
    #[error("the .deb is broken at byte {0}; fetch or build it again")]
    Member(u64),
    /// A format that came later.
    #[error("the .deb has format {0:?}; only 2.x is known")]
    Format(String),
    /// A member is missing.
    #[error("the .deb has no {0}; build it again with dpkg-deb")]
    Missing(&'static str),
    /// Compressed in another way.
    #[error("{0} is compressed in a way that is not known; use gzip, xz or zstd (`dpkg-deb -Z`)")]
    Compression(String),
    /// Too large.
    #[error("the .deb's {what} has more than {limit} bytes; that is no sensible package")]
    Large {
        /// Which part.
        what: &'static str,
        /// The bound, bytes.
        limit: u64,
    },
    /// The control file is broken.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The control file is not text.
    #[error("the control file is not UTF-8; build the package again")]
    Encoding,
    /// A field is missing or has no sensible value.
    #[error("the control file's field {field} is {value:?}; {want}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value, empty when missing.
        value: String,
        /// What it should be.
        want: &'static str,
    },
    /// The file or a compressed stream cannot be read.
    #[error("the .deb cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a .deb says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deb {
    /// Name of the package.
    pub name: String,
    /// Version with epoch and revision.
    pub version: String,
    /// Architecture, or `all`.
    pub architecture: Name,
    /// All fields of the control file.
    pub control: Paragraph,
}

/// A member of the archive: where its bytes lie.
struct Member {
    name: String,
    start: u64,
    size: u64,
}

/// Reads a .deb. The position of `file` before and after has no meaning.
pub fn read(file: &mut (impl Read + Seek)) -> Result<Deb, DebError> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    if length < 8 || file.read_exact(&mut magic).is_err() || &magic != b"!<arch>\n" {
        return Err(DebError::Magic);
    }
    let mut members = Vec::new();
    let mut offset = 8;
    while offset < length && members.len() < MEMBERS {
        let member = member(file, offset, length)?;
        offset = member.start.saturating_add(member.size).saturating_add(member.size & 1);
        members.push(member);
    }
    // Members whose names begin with `_` may stand between (deb(5)).
    let mut members = members.into_iter().filter(|member| !member.name.starts_with('_'));
    let first = members.next().filter(|member| member.name == "debian-binary");
    let first = first.ok_or(DebError::Missing("debian-binary"))?;
    let format = read_bounded(part(file, &first)?, 64)?;
    let format = format.ok_or(DebError::Large { what: "debian-binary", limit: 64 })?;
    if !format.starts_with(b"2.") {
        return Err(DebError::Format(String::from_utf8_lossy(&format).chars().take(16).collect()));
    }
    let control = members.next().filter(|member| member.name.starts_with("control.tar"));
    let control = control.ok_or(DebError::Missing("control.tar"))?;
    let data = members.next().filter(|member| member.name.starts_with("data.tar"));
    data.ok_or(DebError::Missing("data.tar"))?;

    let limit = DebError::Large { what: "control.tar", limit: CONTROL_TAR };
    if control.size > CONTROL_TAR {
        return Err(limit);
    }
    let compression = match control.name.as_str() {
        "control.tar" => Compression::None,
        "control.tar.gz" => Compression::Gzip,
        "control.tar.xz" => Compression::Xz,
        "control.tar.zst" => Compression::Zstd,
        _ => return Err(DebError::Compression(control.name)),
    };
    let reader = compression.reader(io::BufReader::new(part(file, &control)?))?;
    let archive = read_bounded(reader, CONTROL_TAR)?.ok_or(limit)?;
    checked(Paragraph::parse(&control_file(&archive)?)?)
}

/// Reads the header at `offset`: name (16), time (12), owner (6), group (6), mode (8), size (10), end (2).
fn member(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Member, DebError> {
    let broken = || DebError::Member(offset);
    file.seek(SeekFrom::Start(offset))?;
    let mut header = [0_u8; 60];
    file.read_exact(&mut header).map_err(|_| broken())?;
    let [name @ .., _, _] = &header;
    let text = |range: std::ops::Range<usize>| {
        name.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim_end)
    };
    if !header.ends_with(b"`\n") {
        return Err(broken());
    }
    let name = text(0..16).ok_or_else(broken)?;
    let digits = text(48..58).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()));
    let size: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(broken)?;
    let start = offset.saturating_add(60);
    if start.checked_add(size).is_none_or(|end| end > length) {
        return Err(broken());
    }
    Ok(Member { name: name.strip_suffix('/').unwrap_or(name).to_owned(), start, size })
}

fn part<'f, F: Read + Seek>(file: &'f mut F, member: &Member) -> io::Result<io::Take<&'f mut F>> {
    file.seek(SeekFrom::Start(member.start))?;
    Ok(file.take(member.size))
}

/// The text of `control` within an unpacked control.tar.
fn control_file(archive: &[u8]) -> Result<String, DebError> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()?.take(ENTRIES) {
        let entry = entry?;
        let path = entry.path_bytes();
        if path.strip_prefix(b"./").unwrap_or(&path) != b"control" || !entry.header().entry_type().is_file() {
            continue;
        }
        let bytes = read_bounded(entry, CONTROL)?;
        let bytes = bytes.ok_or(DebError::Large { what: "control file", limit: CONTROL })?;
        return String::from_utf8(bytes).map_err(|_| DebError::Encoding);
    }
    Err(DebError::Missing("control file"))
}

/// Checks the fields that become names of files.
fn checked(control: Paragraph) -> Result<Deb, DebError> {
    let field = |field: &'static str, fits: fn(&str) -> bool, want| {
        let value = control.get(field).unwrap_or("");
        let shown = || value.chars().take(80).collect();
        if fits(value) { Ok(value.to_owned()) } else { Err(DebError::Field { field, value: shown(), want }) }
    };
    let name =
        field("Package", package_name, "a package name has 2 to 128 letters, digits, '+', '-' and '.'")?;
    let version = field("Version", package_version, "see deb-version(7)")?;
    let architecture = field("Architecture", |text| text.parse::<Name>().is_ok(), "such as amd64 or all")?;
    let value = architecture.clone();
    let architecture = architecture.parse().map_err(|_| DebError::Field {
        field: "Architecture",
        value,
        want: "such as amd64",
    })?;
    Ok(Deb { name, version, architecture, control })
}

#[cfg(test)]
#[path = "deb_tests.rs"]
mod tests;
