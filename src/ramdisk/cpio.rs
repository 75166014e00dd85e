//! The archive that a kernel unpacks as its first root: cpio "newc", the same bytes for the same content.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux. Entries are sorted, of
//! root, of 1970; inodes count up from 1.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::RamdiskError;
use super::source::LARGEST_FILE;
use crate::modules::packed;

/// Bytes of a path.
const LONGEST_PATH: usize = 1_024;

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// From here.
    Bytes(Vec<u8>),
    /// From a file, as it is.
    File(PathBuf),
    /// From a file, decompressed when it is compressed.
    Unpacked(PathBuf),
}

impl Content {
    /// Reads it.
    fn read(&self) -> Result<Vec<u8>, RamdiskError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => read(path),
            Self::Unpacked(path) => File::open(path)
                .and_then(|file| packed::read(file, LARGEST_FILE))
                .map_err(RamdiskError::io(path)),
        }
    }
}

/// A file as it is, when it is not too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, RamdiskError> {
    use io::Read;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(RamdiskError::io(path))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(RamdiskError::io(path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
        let what = format!("it has more than {LARGEST_FILE} bytes");
        return Err(RamdiskError::TooLarge { path: path.to_owned(), what });
    }
    Ok(bytes)
}

#[derive(Debug)]
enum Entry {
    Folder(u32),
    File(u32, Content),
    Link(String),
    Device { mode: u32, major: u32, minor: u32 },
}

/// An archive to be written.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a folder and those above it, with the permissions `mode`.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<(), RamdiskError> {
        self.add(path, Entry::Folder(mode & 0o7777))
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: Content) -> Result<(), RamdiskError> {
        self.add(path, Entry::File(mode & 0o7777, content))
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), RamdiskError> {
        self.add(path, Entry::Link(target.to_owned()))
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> Result<(), RamdiskError> {
        self.add(path, Entry::Device { mode: mode & 0o7777, major, minor })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<(), RamdiskError> {
        let refuse = |reason| RamdiskError::Place { path: path.to_owned(), reason };
        let path = path.trim_start_matches('/');
        if path.len() > LONGEST_PATH {
            return Err(refuse("it is too long"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains(char::is_control) {
            return Err(refuse("it is not a plain path"));
        }
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default().to_owned();
            let above = self.entries.entry(above).or_insert(Entry::Folder(0o755));
            if !matches!(above, Entry::Folder(_)) {
                return Err(refuse("a file or a link is above it"));
            }
        }
        match (self.entries.get(path), &entry) {
            (Some(Entry::Folder(_)), Entry::Folder(_)) | (None, _) => {}
            (Some(_), _) => return Err(refuse("it is taken already")),
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Writes it; `written` is told the number of each entry.
    pub fn write(
        &self,
        to: &mut impl Write,
        to_path: &Path,
        written: &mut dyn FnMut(usize),
    ) -> Result<(), RamdiskError> {
        let mut inode = 0;
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            inode += 1;
            let (kind, links, device, content) = match entry {
                Entry::Folder(mode) => (0o040_000 | mode, 2, (0, 0), Vec::new()),
                Entry::File(mode, content) => (0o100_000 | mode, 1, (0, 0), content.read()?),
                Entry::Link(target) => (0o120_777, 1, (0, 0), target.clone().into_bytes()),
                Entry::Device { mode, major, minor } => (0o020_000 | mode, 1, (*major, *minor), Vec::new()),
            };
            put(to, path, inode, (kind, links, device), &content).map_err(RamdiskError::io(to_path))?;
            written(number + 1);
        }
        put(to, "TRAILER!!!", 0, (0, 1, (0, 0)), &[]).map_err(RamdiskError::io(to_path))
    }
}

/// One entry: header, path, content; path and content are padded to four bytes.
fn put(
    to: &mut impl Write,
    path: &str,
    inode: u32,
    (mode, links, (major, minor)): (u32, u32, (u32, u32)),
    content: &[u8],
) -> io::Result<()> {
    let large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let size = u32::try_from(content.len()).map_err(large)?;
    let name = u32::try_from(path.len() + 1).map_err(large)?;
    write!(to, "070701")?;
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0] {
        write!(to, "{field:08X}")?;
    }
    let pad = |length: usize| vec![0; length.next_multiple_of(4) - length];
    to.write_all(path.as_bytes())?;
    to.write_all(&[0])?;
    to.write_all(&pad(110 + path.len() + 1))?;
    to.write_all(content)?;
    to.write_all(&pad(content.len()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.file("init", 0o755, Content::Bytes(b"#!/bin/sh\n".to_vec())).unwrap();
        archive.device("/dev/console", 0o600, 5, 1).unwrap();
        archive.folder("tmp", 0o1777).unwrap();
        archive.link("bin/sh", "busybox").unwrap();
        archive.file("a/b/c", 0o644, Content::Bytes(Vec::new())).unwrap();
        archive
    }

    fn bytes(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes, Path::new("x"), &mut |_| {}).unwrap();
        bytes
    }

    #[test]
    fn cpio_lists_what_was_written() {
        let mut cpio = Command::new("cpio")
            .args(["-tv", "--numeric-uid-gid", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is installed");
        cpio.stdin.take().unwrap().write_all(&bytes(&archive())).unwrap();
        let told = cpio.wait_with_output().unwrap();
        assert!(told.status.success());
        let text = String::from_utf8(told.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<(&str, &str)> = lines.iter().map(|words| (words[0], *words.last().unwrap())).collect();
        assert_eq!(
            rows,
            [
                ("drwxr-xr-x", "a"),
                ("drwxr-xr-x", "a/b"),
                ("-rw-r--r--", "a/b/c"),
                ("drwxr-xr-x", "bin"),
                ("lrwxrwxrwx", "busybox"),
                ("drwxr-xr-x", "dev"),
                ("crw-------", "dev/console"),
                ("-rwxr-xr-x", "init"),
                ("drwxrwxrwt", "tmp"),
            ]
        );
        assert!(text.contains("5,   1"), "{text}");
        assert!(
            lines.iter().all(|words| words[2] == "0" && words[3] == "0" && text.contains("1970")),
            "{text}"
        );
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let (mut one, mut other) = (Archive::default(), Archive::default());
        for path in ["b", "a/x"] {
            one.file(path, 0o644, Content::Bytes(path.into())).unwrap();
        }
        for path in ["a/x", "b"] {
            other.file(path, 0o644, Content::Bytes(path.into())).unwrap();
        }
        assert_eq!(bytes(&one), bytes(&other));
    }

    #[test]
    fn a_path_that_is_no_place_is_refused() {
        for (path, reason) in [
            ("", "plain"),
            ("../x", "plain"),
            ("a//b", "plain"),
            ("a/./b", "plain"),
            ("a\nb", "plain"),
            ("init", "taken"),
            ("init/x", "above"),
            ("bin", "taken"),
            (&"x".repeat(2_000), "long"),
        ] {
            let told = archive().file(path, 0o644, Content::Bytes(Vec::new())).expect_err(path).to_string();
            assert!(told.contains(reason), "{path}: {told}");
        }
        archive().folder("bin", 0o755).expect("a folder may be named twice");
    }
}
