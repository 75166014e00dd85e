//! What an RPM says of itself: what `primary.xml`, `filelists.xml` and `other.xml` tell of it.

use std::io::{self, Read};

use thiserror::Error;

use super::names::Name;
use super::rpm_header::{self, Header, HeaderError};

/// Files of one package.
const FILES: usize = 500_000;
/// Changelog entries that are passed on, as createrepo does.
const CHANGES: usize = 10;

/// Why a file is not a usable RPM.
#[derive(Debug, Error)]
pub enum RpmError {
    /// The header is broken.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Name, version, release or architecture cannot be part of a file name.
    #[error(
        "the RPM's {field} is {value:?}; use letters, digits and `._+~^-`, beginning with a letter or digit"
    )]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// Lists that belong together have different lengths, or are too long.
    #[error("the RPM's list of {0} is broken; fetch or build the package again")]
    List(&'static str),
    /// A source package.
    #[error("this is a source RPM; only binary packages are served to nodes")]
    Source,
}

/// Something provided, required and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Name of a package, file or capability.
    pub name: String,
    /// `EQ`, `LT`, `LE`, `GT` or `GE`; `None` when every version will do.
    pub flags: Option<&'static str>,
    /// Epoch, version and release; empty without flags.
    pub version: Evr,
    /// Needed by the scripts before or after installation already.
    pub pre: bool,
}

/// Epoch, version and release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evr {
    /// Epoch; `0` when the version names none.
    pub epoch: String,
    /// Version.
    pub version: String,
    /// Release; may be missing in relations.
    pub release: Option<String>,
}

/// What a file of a package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file, link or device.
    File,
    /// A folder.
    Folder,
    /// Owned, but not in the payload.
    Ghost,
}

/// An entry of the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who, and often the version.
    pub author: String,
    /// When, seconds since 1970.
    pub time: u64,
    /// What.
    pub text: String,
}

/// What an RPM says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpm {
    /// Name.
    pub name: String,
    /// Epoch, version and release.
    pub version: Evr,
    /// Architecture, or `noarch`.
    pub architecture: Name,
    /// One line.
    pub summary: String,
    /// Many lines.
    pub description: String,
    /// Texts of lesser importance; empty when missing.
    pub packager: String,
    /// Home page.
    pub url: String,
    /// License.
    pub license: String,
    /// Vendor.
    pub vendor: String,
    /// Group.
    pub group: String,
    /// Where it was built.
    pub build_host: String,
    /// Name of its source RPM.
    pub source: String,
    /// When it was built, seconds since 1970.
    pub build_time: u64,
    /// Bytes when installed.
    pub installed_size: u64,
    /// Bytes of the payload, unpacked.
    pub archive_size: u64,
    /// First byte of the main header.
    pub header_start: u64,
    /// Byte behind the main header.
    pub header_end: u64,
    /// By kind, in the order of `primary.xml`.
    pub relations: Vec<(&'static str, Vec<Relation>)>,
    /// All its files, with full paths.
    pub files: Vec<(FileKind, String)>,
    /// The newest changes, oldest first.
    pub changes: Vec<Change>,
}

/// Element names of relations with the tags of names, flags and versions.
const RELATIONS: [(&str, u32, u32, u32); 8] = [
    ("provides", 1047, 1112, 1113),
    ("requires", 1049, 1048, 1050),
    ("conflicts", 1054, 1053, 1055),
    ("obsoletes", 1090, 1114, 1115),
    ("suggests", 5049, 5051, 5050),
    ("enhances", 5055, 5057, 5056),
    ("recommends", 5046, 5048, 5047),
    ("supplements", 5052, 5054, 5053),
];

/// Reads an RPM from its first byte up to its payload.
pub fn read(reader: &mut impl Read) -> Result<Rpm, RpmError> {
    let mut reader = io::BufReader::new(reader);
    let (signature, header) = rpm_header::read(&mut reader)?;
    // SOURCERPM is only in binary packages; SOURCEPACKAGE (1106) only in source packages.
    if header.has(1106) || !header.has(1044) {
        return Err(RpmError::Source);
    }
    let needed =
        |tag, name| header.text(tag)?.ok_or(HeaderError::Missing { tag, name }).map_err(RpmError::from);
    let text = |tag| Ok::<_, HeaderError>(header.text(tag)?.unwrap_or_default());
    let number = |of: &Header, tag| Ok::<_, HeaderError>(of.number(tag)?.unwrap_or(0));
    let architecture = needed(1022, "architecture")?;
    let version = Evr {
        epoch: number(&header, 1003)?.to_string(),
        version: part("version", needed(1001, "version")?)?,
        release: Some(part("release", needed(1002, "release")?)?),
    };
    let mut relations = Vec::new();
    for (kind, names, flags, versions) in RELATIONS {
        relations.push((kind, related(&header, kind, names, flags, versions)?));
    }
    Ok(Rpm {
        name: part("name", needed(1000, "name")?)?,
        version,
        architecture: architecture
            .parse()
            .map_err(|_| RpmError::Field { field: "architecture", value: short(&architecture) })?,
        summary: text(1004)?,
        description: text(1005)?,
        packager: text(1015)?,
        url: text(1020)?,
        license: text(1014)?,
        vendor: text(1011)?,
        group: text(1016)?,
        build_host: text(1007)?,
        source: text(1044)?,
        build_time: number(&header, 1006)?,
        installed_size: header.number(5009)?.map_or_else(|| number(&header, 1009), Ok)?,
        // In the signature as LONGARCHIVESIZE (271) or PAYLOADSIZE (1007), or in the main header (1046).
        archive_size: match (signature.number(271)?, signature.number(1007)?) {
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => number(&header, 1046)?,
        },
        header_start: header.start,
        header_end: header.end,
        relations,
        files: files(&header)?,
        changes: changes(&header)?,
    })
}

/// A part of the file name.
fn part(field: &'static str, value: String) -> Result<String, RpmError> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"._+~^-".contains(&c);
    let fits = (1..=200).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && value.bytes().all(inner);
    if fits { Ok(value) } else { Err(RpmError::Field { field, value: short(&value) }) }
}

fn short(value: &str) -> String {
    value.chars().take(80).collect()
}

fn related(
    header: &Header,
    kind: &'static str,
    names: u32,
    flags: u32,
    versions: u32,
) -> Result<Vec<Relation>, RpmError> {
    let (names, flags, versions) = (header.texts(names)?, header.numbers(flags)?, header.texts(versions)?);
    // Very old packages name provisions without versions.
    let plain = flags.is_empty() && versions.is_empty();
    if !plain && (names.len() != flags.len() || names.len() != versions.len()) {
        return Err(RpmError::List(kind));
    }
    let mut related: Vec<Relation> = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let bits = flags.get(index).copied().unwrap_or(0);
        // RPMSENSE_RPMLIB: features of rpm itself, no packages; createrepo leaves them out too.
        if kind == "requires" && (bits & (1 << 24) != 0 || name.starts_with("rpmlib(")) {
            continue;
        }
        let flags = match bits & 0b1110 {
            2 => Some("LT"),
            4 => Some("GT"),
            8 => Some("EQ"),
            10 => Some("LE"),
            12 => Some("GE"),
            _ => None,
        };
        let version = versions.get(index).map_or("", String::as_str);
        let flags = flags.filter(|_| !version.is_empty());
        let version = if flags.is_some() { evr(version) } else { Evr::default() };
        // RPMSENSE_PREREQ, SCRIPT_PRE and SCRIPT_POST.
        let pre = kind == "requires" && bits & (1 << 6 | 1 << 9 | 1 << 10) != 0;
        related.push(Relation { name, flags, version, pre });
    }
    Ok(related)
}

/// `epoch:version-release`, of which epoch and release may be missing.
fn evr(text: &str) -> Evr {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    let (version, release) = match rest.rsplit_once('-') {
        Some((version, release)) => (version, Some(release.to_owned())),
        None => (rest, None),
    };
    let epoch = if epoch.is_empty() { "0" } else { epoch };
    Evr { epoch: epoch.to_owned(), version: version.to_owned(), release }
}

fn files(header: &Header) -> Result<Vec<(FileKind, String)>, RpmError> {
    let broken = || RpmError::List("files");
    let (bases, folders) = (header.texts(1117)?, header.texts(1118)?);
    let (indexes, modes, flags) = (header.numbers(1116)?, header.numbers(1030)?, header.numbers(1037)?);
    if bases.len() > FILES || bases.len() != indexes.len() || bases.len() != modes.len() {
        return Err(broken());
    }
    let mut bytes = 0_usize;
    let mut files = Vec::with_capacity(bases.len());
    for (position, ((base, index), mode)) in bases.iter().zip(indexes).zip(modes).enumerate() {
        let folder = usize::try_from(index).ok().and_then(|index| folders.get(index)).ok_or_else(broken)?;
        // A long folder named by each of many files would grow beyond what the header has.
        bytes = bytes.saturating_add(folder.len() + base.len());
        if bytes > 256 << 20 {
            return Err(broken());
        }
        let ghost = flags.get(position).is_some_and(|flags| flags & (1 << 6) != 0);
        let kind = match (mode & 0o170_000, ghost) {
            (0o040_000, _) => FileKind::Folder,
            (_, true) => FileKind::Ghost,
            _ => FileKind::File,
        };
        files.push((kind, format!("{folder}{base}")));
    }
    Ok(files)
}

fn changes(header: &Header) -> Result<Vec<Change>, RpmError> {
    let (times, authors, texts) = (header.numbers(1080)?, header.texts(1081)?, header.texts(1082)?);
    if times.len() != authors.len() || times.len() != texts.len() {
        return Err(RpmError::List("changes"));
    }
    // Newest first in the header.
    let all = times.into_iter().zip(authors).zip(texts).take(CHANGES);
    let mut changes: Vec<_> = all.map(|((time, author), text)| Change { author, time, text }).collect();
    changes.reverse();
    Ok(changes)
}

#[cfg(test)]
#[path = "rpm_tests.rs"]
mod tests;
