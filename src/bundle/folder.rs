//! A bundle's folder, and the archive that it is packed into: the same folder makes the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::check::{self, MANIFEST};
use super::manifest::Manifest;
use super::problem::{Problem, Problems};
use super::words;

/// Longest file, bytes.
pub(super) const FILE_BYTES: u64 = 1 << 20;
/// All files together, bytes.
const BUNDLE_BYTES: u64 = 8 << 20;
/// Most files.
const FILES: usize = 500;
/// How deep folders go.
const DEPTH: usize = 16;

/// A bundle: its manifest, and its files by their paths within the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: Manifest,
    /// All its files but `bundle.toml`.
    pub sources: BTreeMap<String, Vec<u8>>,
    /// `bundle.toml`.
    pub text: String,
}

/// Why there is no bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// Mistakes in it.
    #[error("{0}")]
    Wrong(#[from] Problems),
    /// An archive that is none of ours.
    #[error("this is no packed bundle: {0}")]
    Archive(String),
}

fn wrong(file: &str, message: String) -> BundleError {
    BundleError::Wrong(Problems(vec![Problem { file: file.into(), line: 0, message }]))
}

impl Bundle {
    /// From the text of `bundle.toml` and the other files.
    ///
    /// # Errors
    /// All mistakes in them: in the manifest, and in the syntax of each template.
    pub fn new(text: String, sources: BTreeMap<String, Vec<u8>>) -> Result<Self, BundleError> {
        for path in sources.keys() {
            words::source(path).map_err(|why| wrong(path, why))?;
            if path == MANIFEST {
                return Err(wrong(path, "it is in it twice".into()));
            }
        }
        let manifest = check::read(&text, &sources)?;
        let bundle = Self { manifest, sources, text };
        let problems = super::template::check(&bundle);
        if problems.is_empty() { Ok(bundle) } else { Err(Problems(problems).into()) }
    }

    /// Reads a folder. Files and folders whose names begin with a dot are not part of it.
    ///
    /// # Errors
    /// When it cannot be read, is too large, holds a symbolic link, or has mistakes.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let mut sources = BTreeMap::new();
        gather(folder, "", 0, &mut 0, &mut sources)?;
        let Some(text) = sources.remove(MANIFEST) else {
            return Err(wrong(MANIFEST, format!("there is none in {}", folder.display())));
        };
        Self::new(utf8(text)?, sources)
    }

    /// `name@version`.
    pub fn reference(&self) -> String {
        self.manifest.reference()
    }

    /// All of it in one archive (ustar), with nothing in it that two computers would differ in.
    ///
    /// # Errors
    /// When a path is longer than the format takes.
    pub fn pack(&self) -> Result<Vec<u8>, BundleError> {
        let failed = |error: io::Error| BundleError::Archive(error.to_string());
        let mut archive = tar::Builder::new(Vec::new());
        let manifest = (MANIFEST, self.text.as_bytes());
        let sources = self.sources.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
        for (path, bytes) in std::iter::once(manifest).chain(sources) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_path(path).map_err(failed)?;
            header.set_cksum();
            archive.append(&header, bytes).map_err(failed)?;
        }
        archive.into_inner().map_err(failed)
    }

    /// Reads what [`Bundle::pack`] wrote; the bytes may be anybody's.
    ///
    /// # Errors
    /// When it is something else, is too large, or has mistakes.
    pub fn unpack(bytes: &[u8]) -> Result<Self, BundleError> {
        let failed = |error: io::Error| BundleError::Archive(error.to_string());
        let (mut sources, mut total) = (BTreeMap::new(), 0);
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let path = entry.path().map_err(failed)?.to_str().map(str::to_owned);
            let path = path.ok_or_else(|| BundleError::Archive("a name is no UTF-8".into()))?;
            words::source(&path)
                .map_err(|why| BundleError::Archive(format!("'{}': {why}", path.escape_debug())))?;
            if entry.header().entry_type() != tar::EntryType::Regular {
                return Err(BundleError::Archive(format!("{path} is no plain file")));
            }
            let mut content = Vec::new();
            (&mut entry).take(FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
            add(&mut sources, &mut total, path, content)?;
        }
        let text =
            sources.remove(MANIFEST).ok_or_else(|| BundleError::Archive(format!("it has no {MANIFEST}")))?;
        let bundle = Self::new(utf8(text)?, sources)?;
        // One content, one digest.
        if bundle.pack()? == bytes {
            Ok(bundle)
        } else {
            Err(BundleError::Archive("it was packed by another program; push the folder".into()))
        }
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, BundleError> {
    String::from_utf8(bytes).map_err(|_| wrong(MANIFEST, "it is not UTF-8".into()))
}

fn add(
    sources: &mut BTreeMap<String, Vec<u8>>,
    total: &mut u64,
    path: String,
    content: Vec<u8>,
) -> Result<(), BundleError> {
    let length = content.len() as u64;
    if length > FILE_BYTES {
        return Err(wrong(&path, format!("it has more than {FILE_BYTES} bytes; make a package of it")));
    }
    *total += length;
    if *total > BUNDLE_BYTES || sources.len() >= FILES {
        let message =
            format!("the bundle has more than {BUNDLE_BYTES} bytes or {FILES} files; make packages of them");
        return Err(wrong(&path, message));
    }
    if sources.contains_key(&path) {
        return Err(BundleError::Archive(format!("{path} is in it twice")));
    }
    sources.insert(path, content);
    Ok(())
}

fn gather(
    folder: &Path,
    prefix: &str,
    depth: usize,
    total: &mut u64,
    sources: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| BundleError::Unreadable { path, cause }
    };
    if depth > DEPTH {
        return Err(wrong(prefix, format!("folders go deeper than {DEPTH}")));
    }
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return Err(wrong(prefix, format!("{} is no UTF-8", entry.file_name().display())));
        };
        if name.starts_with('.') {
            continue;
        }
        let inner = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(unreadable(&path))?;
        if kind.is_dir() {
            gather(&path, &inner, depth + 1, total, sources)?;
        } else if kind.is_file() {
            words::source(&inner).map_err(|why| wrong(&inner, why))?;
            let file = fs::File::open(&path).map_err(unreadable(&path))?;
            let mut content = Vec::new();
            file.take(FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable(&path))?;
            add(sources, total, inner, content)?;
        } else {
            return Err(wrong(&inner, "it is a link or a device; a bundle has plain files only".into()));
        }
    }
    Ok(())
}
