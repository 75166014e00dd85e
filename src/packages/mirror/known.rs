//! Digests of packages, learnt from the indexes that pass: `Packages` of apt and `primary.xml` of dnf.
//!
//! Nothing here is trusted for more than to notice a broken or mixed-up download early: clients verify signatures and
//! digests themselves.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use super::super::compress::Compression;
use crate::model::Sha256Digest;

/// Packages whose digests are remembered, of all mirrors; each takes some 150 bytes.
const PACKAGES: usize = 400_000;
/// Bytes of an unpacked index that are read.
const INDEX: u64 = 1 << 30;
/// Longest line, or text up to a `>`, that is looked at, bytes.
const PIECE: usize = 64 << 10;

/// What an index says of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes, when the index tells.
    pub size: Option<u64>,
    /// Digest.
    pub sha256: Sha256Digest,
}

/// Digests by path below the mirror's root.
#[derive(Debug, Default)]
pub struct Digests(HashMap<String, Known>);

impl Digests {
    /// What is known of a path.
    pub fn get(&self, path: &str) -> Option<Known> {
        self.0.get(path).copied()
    }

    /// Adds what an index told.
    pub fn extend(&mut self, learnt: Vec<(String, Known)>) {
        for (path, known) in learnt {
            if self.0.len() < PACKAGES || self.0.contains_key(&path) {
                self.0.insert(path, known);
            }
        }
    }
}

/// Whether the file at this path is an index.
pub fn is_index(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let packages = matches!(name, "Packages" | "Packages.gz" | "Packages.xz" | "Packages.zst");
    let by_hash = folder.contains("/binary-") && folder.ends_with("/by-hash/SHA256");
    packages || by_hash || primary(folder, name)
}

fn primary(folder: &str, name: &str) -> bool {
    let name = name.rsplit_once('-').map_or(name, |(_, name)| name);
    (folder == "repodata" || folder.ends_with("/repodata")) && name.starts_with("primary.xml")
}

/// Reads the index at `path` of a mirror.
///
/// # Errors
/// When it is broken; clients will say so too.
pub fn learn(path: &str, mut file: File) -> io::Result<Vec<(String, Known)>> {
    let mut magic = [0; 6];
    let read = file.read(&mut magic)?;
    io::Seek::rewind(&mut file)?;
    let compression = Compression::of_magic(magic.get(..read).unwrap_or_default());
    let reader = BufReader::new(compression.reader(BufReader::new(file))?.take(INDEX));
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if primary(folder, name) {
        let root = folder.strip_suffix("repodata").unwrap_or_default();
        of_primary(reader, root)
    } else {
        let root = path.find("dists/").and_then(|at| path.get(..at)).unwrap_or_default();
        of_packages(reader, root)
    }
}

/// The next piece up to `end`; one that is too long is given as an empty one. `None` at the end.
fn piece(reader: &mut impl BufRead, end: u8) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(PIECE as u64).read_until(end, &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if read == PIECE && bytes.last() != Some(&end) {
        reader.skip_until(end)?;
        bytes.clear();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn of_packages(mut reader: impl BufRead, root: &str) -> io::Result<Vec<(String, Known)>> {
    let mut learnt = Vec::new();
    let (mut name, mut size, mut digest) = (None, None, None);
    loop {
        let line = piece(&mut reader, b'\n')?;
        let text = line.as_deref().map_or("", str::trim_end);
        if text.is_empty() {
            if let (Some(name), Some(sha256)) = (name.take(), digest.take()) {
                learnt.push((format!("{root}{name}"), Known { size, sha256 }));
            }
            size = None;
        } else if let Some(value) = text.strip_prefix("Filename:") {
            let value = value.trim();
            name = Some(value.strip_prefix("./").unwrap_or(value).to_owned());
        } else if let Some(value) = text.strip_prefix("Size:") {
            size = value.trim().parse().ok();
        } else if let Some(value) = text.strip_prefix("SHA256:") {
            digest = value.trim().parse().ok();
        }
        if line.is_none() || learnt.len() >= PACKAGES {
            return Ok(learnt);
        }
    }
}

fn of_primary(mut reader: impl BufRead, root: &str) -> io::Result<Vec<(String, Known)>> {
    let mut learnt = Vec::new();
    let (mut name, mut size, mut digest, mut checksum) = (None, None, None, false);
    while let Some(text) = piece(&mut reader, b'>')? {
        let (content, tag) = text.rsplit_once('<').unwrap_or(("", ""));
        let (element, attributes) = tag.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((tag, ""));
        match element.trim_end_matches(['>', '/']) {
            "checksum" => checksum = attribute(attributes, "type") == Some("sha256"),
            "location" => name = attribute(attributes, "href").map(unescaped),
            "size" => size = attribute(attributes, "package").and_then(|size| size.parse().ok()),
            _ if element == "/checksum>" && checksum => digest = content.trim().parse().ok(),
            _ if element == "/package>" => {
                if let (Some(name), Some(sha256)) = (name.take(), digest.take()) {
                    learnt.push((format!("{root}{name}"), Known { size, sha256 }));
                }
                size = None;
            }
            _ => {}
        }
        if learnt.len() >= PACKAGES {
            break;
        }
    }
    Ok(learnt)
}

fn attribute<'t>(attributes: &'t str, name: &str) -> Option<&'t str> {
    let mut rest = attributes;
    while let Some((key, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, behind) = after.get(1..)?.split_once(quote)?;
        if key.trim() == name {
            return Some(value);
        }
        rest = behind;
    }
    None
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        let known = |size, digest: &str| Known { size, sha256: digest.parse().unwrap() };
        let text = format!(
            "Package: a\nFilename: pool/a.deb\nSize: 5\nSHA256: {a}\n\nPackage: b\nFilename: ./b.deb\nSHA256: {b}\n"
        );
        let expected = vec![
            ("debian/pool/a.deb".to_owned(), known(Some(5), &a)),
            ("debian/b.deb".to_owned(), known(None, &b)),
        ];
        assert_eq!(of_packages(text.as_bytes(), "debian/").unwrap(), expected);
        let xml = format!(
            "<metadata><package type=\"rpm\"><checksum type=\"sha256\" pkgid=\"YES\">{a}</checksum><description>x &gt; {}</description><size package=\"7\" installed=\"9\"/>\n<location xml:base='x' href=\"P/a&amp;b.rpm\"/></package><package><checksum type=\"sha\">1</checksum><location href=\"c\"/></package></metadata>",
            "y".repeat(PIECE * 2)
        );
        let learnt = of_primary(xml.as_bytes(), "9/").unwrap();
        assert_eq!(learnt, [("9/P/a&b.rpm".to_owned(), known(Some(7), &a))]);
    }

    #[test]
    fn names_of_indexes() {
        for (path, expected) in [
            ("dists/a/main/binary-amd64/Packages.xz", true),
            ("dists/a/main/binary-amd64/by-hash/SHA256/abc", true),
            ("dists/a/main/source/by-hash/SHA256/abc", false),
            ("repodata/abc-primary.xml.gz", true),
            ("9/repodata/primary.xml.zst", true),
            ("9/repodata/abc-filelists.xml.gz", false),
            ("dists/a/InRelease", false),
        ] {
            assert_eq!(is_index(path), expected, "{path}");
        }
    }
}
