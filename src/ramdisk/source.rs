//! Where kernels and firmware come from: Debian packages and folders, seen as one tree of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::RamdiskError;
use crate::modules::packed;

/// Bytes that a package may hold once unpacked.
const LARGEST_PACKAGE: u64 = 8 << 30;
/// Bytes that a file of it may have.
pub(super) const LARGEST_FILE: u64 = 512 << 20;
/// Files that a package or a folder may hold.
const MOST_FILES: usize = 400_000;
/// Links that lead to links.
const LONGEST_CHAIN: usize = 8;

/// Files of packages and folders by their place (`lib/modules/6.1.0/modules.order`). `usr/lib` is
/// `lib`, as both are the same folder where both exist.
#[derive(Debug, Default)]
pub struct Source {
    files: BTreeMap<String, PathBuf>,
    links: BTreeMap<String, String>,
    /// What was unpacked; removed with us.
    unpacked: Vec<TempDir>,
}

impl Source {
    /// Opens packages (files) and folders; of two files in one place the later input's counts.
    /// Packages are unpacked into a folder below `scratch`, which lives as long as this.
    pub fn open(
        inputs: &[PathBuf],
        scratch: &Path,
        opened: &mut dyn FnMut(&Path),
    ) -> Result<Self, RamdiskError> {
        let mut source = Self::default();
        for input in inputs {
            opened(input);
            if fs::metadata(input).map_err(RamdiskError::io(input))?.is_dir() {
                source.add_folder(input)?;
            } else {
                source.add_package(input, scratch)?;
            }
        }
        Ok(source)
    }

    /// The file at `place`, links followed.
    pub fn get(&self, place: &str) -> Option<&Path> {
        let mut place = place.to_owned();
        for _ in 0..LONGEST_CHAIN {
            if let Some(file) = self.files.get(&place) {
                return Some(file);
            }
            place = self.follow(&place)?;
        }
        None
    }

    /// Files below `folder`, which ends in `/`, sorted: what follows the folder, and the file.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Path)> {
        self.files
            .range(folder.to_owned()..)
            .map_while(move |(place, file)| Some((place.strip_prefix(folder)?, file.as_path())))
    }

    /// Places of files and of links, sorted within each kind.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.files.keys().chain(self.links.keys()).map(String::as_str)
    }

    /// Where the link at `place`, or at a folder above it, leads.
    fn follow(&self, place: &str) -> Option<String> {
        let ends = place.match_indices('/').map(|(at, _)| at).chain([place.len()]);
        ends.into_iter().find_map(|end| {
            let (head, tail) = place.split_at_checked(end)?;
            let target = self.links.get(head)?;
            let folder = head.rsplit_once('/').map_or("", |(folder, _)| folder);
            let target = if target.starts_with('/') { target.clone() } else { format!("{folder}/{target}") };
            normal(&format!("{target}{tail}"))
        })
    }

    /// Only what a kernel or firmware folder has in it, so that `/` may be given as well.
    fn add_folder(&mut self, root: &Path) -> Result<(), RamdiskError> {
        let mut folders: Vec<PathBuf> =
            ["boot", "lib/modules", "usr/lib/modules", "lib/firmware", "usr/lib/firmware"]
                .map(|folder| root.join(folder))
                .to_vec();
        for entry in fs::read_dir(root).map_err(RamdiskError::io(root))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.add_found(root, entry.path());
            }
        }
        let mut looked = 0;
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(RamdiskError::Io { path: folder, error }),
            };
            for entry in entries {
                let entry = entry.map_err(RamdiskError::io(&folder))?;
                looked += 1;
                if looked > MOST_FILES {
                    let what = format!("it has more than {MOST_FILES} files");
                    return Err(RamdiskError::TooLarge { path: root.to_owned(), what });
                }
                let kind = entry.file_type().map_err(RamdiskError::io(&folder))?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() || kind.is_symlink() {
                    // Not pipes and devices, which would be waited for.
                    self.add_found(root, entry.path());
                }
            }
        }
        Ok(())
    }

    fn add_found(&mut self, root: &Path, path: PathBuf) {
        let place = path.strip_prefix(root).ok().and_then(Path::to_str).and_then(wanted);
        let Some(place) = place else { return };
        if let Ok(target) = fs::read_link(&path) {
            self.files.remove(&place);
            self.links.extend(target.to_str().map(|target| (place, target.to_owned())));
        } else {
            self.links.remove(&place);
            self.files.insert(place, path);
        }
    }

    /// Files are unpacked under numbers: no name from the package becomes a path of this machine.
    fn add_package(&mut self, package: &Path, scratch: &Path) -> Result<(), RamdiskError> {
        let broken =
            |error: io::Error| RamdiskError::Package { path: package.to_owned(), reason: error.to_string() };
        let scratch = tempfile::Builder::new()
            .prefix(".unpacked-")
            .tempdir_in(scratch)
            .map_err(RamdiskError::io(scratch))?;
        let file = io::BufReader::new(File::open(package).map_err(RamdiskError::io(package))?);
        let mut archive = ar::Archive::new(file);
        while let Some(entry) = archive.next_entry() {
            let entry = entry.map_err(broken)?;
            if entry.header().identifier().starts_with(b"data.tar") {
                let data = packed::open(entry).map_err(broken)?.take(LARGEST_PACKAGE);
                self.add_archive(data, package, &scratch)?;
                self.unpacked.push(scratch);
                return Ok(());
            }
        }
        Err(broken(io::Error::other("no data.tar in it")))
    }

    fn add_archive(
        &mut self,
        data: impl Read,
        package: &Path,
        scratch: &TempDir,
    ) -> Result<(), RamdiskError> {
        let broken =
            |error: io::Error| RamdiskError::Package { path: package.to_owned(), reason: error.to_string() };
        let too_large = |what| RamdiskError::TooLarge { path: package.to_owned(), what };
        let mut archive = tar::Archive::new(data);
        for (number, entry) in archive.entries().map_err(broken)?.enumerate() {
            if number > MOST_FILES {
                return Err(too_large(format!("it has more than {MOST_FILES} files")));
            }
            let entry = entry.map_err(broken)?;
            let Some(place) = str::from_utf8(&entry.path_bytes()).ok().and_then(wanted) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = scratch.path().join(number.to_string());
                let mut file = File::create(&path).map_err(RamdiskError::io(&path))?;
                // Reading and writing fail alike here; a full disk is the common one.
                let size = io::copy(&mut entry.take(LARGEST_FILE + 1), &mut file)
                    .map_err(RamdiskError::io(package))?;
                if size > LARGEST_FILE {
                    return Err(too_large(format!("{place} has more than {LARGEST_FILE} bytes")));
                }
                self.links.remove(&place);
                self.files.insert(place, path);
            } else if let Some(target) = entry.link_name_bytes()
                && let Ok(target) = str::from_utf8(&target)
            {
                // A hard link's target is counted from the root of the package.
                let target = if kind.is_hard_link() { format!("/{target}") } else { target.to_owned() };
                self.files.remove(&place);
                self.links.insert(place, target);
            }
        }
        Ok(())
    }
}

/// `path` without `.`, `..`, leading `/` and `usr/` before `lib/`; `None` when it leads out or holds
/// what no file name should.
fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part if part.contains(char::is_control) => return None,
            part => parts.push(part),
        }
    }
    if parts.starts_with(&["usr", "lib"]) {
        parts.remove(0);
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The place of `path`, when a ramdisk may have a use for it.
fn wanted(path: &str) -> Option<String> {
    let place = normal(path).filter(|_| !path.split('/').any(|part| part == ".."))?;
    let (folder, name) = place.rsplit_once('/').unwrap_or(("", &place));
    let is_kernel = ["vmlinuz", "Image", "config"].iter().any(|start| name.starts_with(start));
    let takes = match folder {
        "" | "boot" => is_kernel,
        _ => place.starts_with("lib/modules/") || place.starts_with("lib/firmware/"),
    };
    takes.then_some(place)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
