//! The metadata of a suite's component for dnf: `primary.xml`, `filelists.xml`, `other.xml` and `repomd.xml`.
//!
//! The format is that of createrepo (rpm-metadata); file names begin with digests, so that one that fetched the
//! `repomd.xml` of before still gets what belongs to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use thiserror::Error;

use super::compress;
use super::rpm::{Evr, FileKind, Relation, Rpm};
use super::sign::{SignError, SigningKey};
use crate::model::Sha256Digest;

/// Why metadata cannot be written.
#[derive(Debug, Error)]
pub enum DnfError {
    /// The signature failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The compression failed.
    #[error("an index cannot be compressed: {0}")]
    Compress(#[from] io::Error),
}

/// A package in a component.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it says of itself.
    pub rpm: &'a Rpm,
    /// Bytes.
    pub size: u64,
    /// When it came, seconds since 1970.
    pub pushed: u64,
    /// Digest.
    pub sha256: Sha256Digest,
}

/// Where a package lies below the component's root.
pub fn package_path(rpm: &Rpm) -> String {
    let first: String = rpm.name.chars().take(1).flat_map(char::to_lowercase).collect();
    let release = rpm.version.release.as_deref().unwrap_or("0");
    format!("Packages/{first}/{}-{}-{release}.{}.rpm", rpm.name, rpm.version.version, rpm.architecture)
}

/// Writes all files of a component; their paths are below its root. `time` is in seconds since 1970.
pub fn build(
    entries: &[Entry<'_>],
    time: u64,
    key: &SigningKey,
) -> Result<BTreeMap<String, Bytes>, DnfError> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| (&entry.rpm.name, &entry.rpm.version.version, entry.sha256));
    let mut files = BTreeMap::new();
    let mut repomd = format!(
        "{HEAD}<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  <revision>{time}</revision>\n"
    );
    for (kind, xml) in
        [("primary", primary(&entries)), ("filelists", filelists(&entries)), ("other", other(&entries))]
    {
        let packed = compress::gzip(xml.as_bytes())?;
        let (digest, open) = (Sha256Digest::of(&packed), Sha256Digest::of(xml.as_bytes()));
        let path = format!("repodata/{digest}-{kind}.xml.gz");
        let _ = write!(
            repomd,
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    <open-checksum type=\"sha256\">{open}</open-checksum>\n    <location href=\"{path}\"/>\n    <timestamp>{time}</timestamp>\n    <size>{}</size>\n    <open-size>{}</open-size>\n  </data>\n",
            packed.len(),
            xml.len(),
        );
        files.insert(path, Bytes::from(packed));
    }
    repomd.push_str("</repomd>\n");
    files.insert("repodata/repomd.xml.asc".to_owned(), key.detached(repomd.as_bytes(), time)?.into());
    files.insert("repodata/repomd.xml".to_owned(), repomd.into());
    Ok(files)
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Text within an element or attribute (XML 1.0 sections 2.2 and 2.4): marks are written as entities, and characters
/// that XML does not know are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(c),
            '\r' => out.push_str("&#13;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if u32::from(c) < 0x20 => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `epoch="…" ver="…" rel="…"`.
fn version(evr: &Evr) -> String {
    let mut out = format!("epoch=\"{}\" ver=\"{}\"", escaped(&evr.epoch), escaped(&evr.version));
    if let Some(release) = &evr.release {
        let _ = write!(out, " rel=\"{}\"", escaped(release));
    }
    out
}

fn primary(entries: &[Entry<'_>]) -> String {
    let mut xml = format!(
        "{HEAD}<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n",
        entries.len()
    );
    for entry in entries {
        let rpm = entry.rpm;
        // Writing to a text cannot fail, here and below.
        let _ = write!(
            xml,
            "<package type=\"rpm\">\n  <name>{name}</name>\n  <arch>{arch}</arch>\n  <version {version}/>\n  <checksum type=\"sha256\" pkgid=\"YES\">{sha256}</checksum>\n  <summary>{summary}</summary>\n  <description>{description}</description>\n  <packager>{packager}</packager>\n  <url>{url}</url>\n  <time file=\"{pushed}\" build=\"{built}\"/>\n  <size package=\"{size}\" installed=\"{installed}\" archive=\"{archive}\"/>\n  <location href=\"{path}\"/>\n  <format>\n    <rpm:license>{license}</rpm:license>\n    <rpm:vendor>{vendor}</rpm:vendor>\n    <rpm:group>{group}</rpm:group>\n    <rpm:buildhost>{host}</rpm:buildhost>\n    <rpm:sourcerpm>{source}</rpm:sourcerpm>\n    <rpm:header-range start=\"{start}\" end=\"{end}\"/>\n",
            name = escaped(&rpm.name),
            arch = rpm.architecture,
            version = version(&rpm.version),
            sha256 = entry.sha256,
            summary = escaped(&rpm.summary),
            description = escaped(&rpm.description),
            packager = escaped(&rpm.packager),
            url = escaped(&rpm.url),
            pushed = entry.pushed,
            built = rpm.build_time,
            size = entry.size,
            installed = rpm.installed_size,
            archive = rpm.archive_size,
            path = escaped(&package_path(rpm)),
            license = escaped(&rpm.license),
            vendor = escaped(&rpm.vendor),
            group = escaped(&rpm.group),
            host = escaped(&rpm.build_host),
            source = escaped(&rpm.source),
            start = rpm.header_start,
            end = rpm.header_end,
        );
        for (kind, relations) in &rpm.relations {
            relation_list(&mut xml, kind, relations);
        }
        for (kind, path) in rpm.files.iter().filter(|(_, path)| is_primary(path)) {
            file(&mut xml, *kind, path);
        }
        xml.push_str("  </format>\n</package>\n");
    }
    xml.push_str("</metadata>\n");
    xml
}

fn relation_list(xml: &mut String, kind: &str, relations: &[Relation]) {
    if relations.is_empty() {
        return;
    }
    let _ = writeln!(xml, "    <rpm:{kind}>");
    for relation in relations {
        let _ = write!(xml, "      <rpm:entry name=\"{}\"", escaped(&relation.name));
        if let Some(flags) = relation.flags {
            let _ = write!(xml, " flags=\"{flags}\" {}", version(&relation.version));
        }
        xml.push_str(if relation.pre { " pre=\"1\"/>\n" } else { "/>\n" });
    }
    let _ = writeln!(xml, "    </rpm:{kind}>");
}

/// Files that packages require by path are in the primary index too; which, is a convention of createrepo.
fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path == "/usr/lib/sendmail" || path.contains("bin/")
}

fn file(xml: &mut String, kind: FileKind, path: &str) {
    let kind = match kind {
        FileKind::File => "",
        FileKind::Folder => " type=\"dir\"",
        FileKind::Ghost => " type=\"ghost\"",
    };
    let _ = writeln!(xml, "    <file{kind}>{}</file>", escaped(path));
}

/// The opening tag of a package in `filelists.xml` and `other.xml`.
fn package(xml: &mut String, entry: &Entry<'_>) {
    let _ = writeln!(
        xml,
        "<package pkgid=\"{}\" name=\"{}\" arch=\"{}\">\n  <version {}/>",
        entry.sha256,
        escaped(&entry.rpm.name),
        entry.rpm.architecture,
        version(&entry.rpm.version),
    );
}

fn filelists(entries: &[Entry<'_>]) -> String {
    let mut xml = format!(
        "{HEAD}<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"{}\">\n",
        entries.len()
    );
    for entry in entries {
        package(&mut xml, entry);
        for (kind, path) in &entry.rpm.files {
            file(&mut xml, *kind, path);
        }
        xml.push_str("</package>\n");
    }
    xml.push_str("</filelists>\n");
    xml
}

fn other(entries: &[Entry<'_>]) -> String {
    let mut xml = format!(
        "{HEAD}<otherdata xmlns=\"http://linux.duke.edu/metadata/other\" packages=\"{}\">\n",
        entries.len()
    );
    for entry in entries {
        package(&mut xml, entry);
        for change in &entry.rpm.changes {
            let (author, text) = (escaped(&change.author), escaped(&change.text));
            let time = change.time;
            let _ = writeln!(xml, "  <changelog author=\"{author}\" date=\"{time}\">{text}</changelog>");
        }
        xml.push_str("</package>\n");
    }
    xml.push_str("</otherdata>\n");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        for (text, expected) in [
            ("a & b", "a &amp; b"),
            ("</summary><x y=\"'\">", "&lt;/summary&gt;&lt;x y=&quot;&apos;&quot;&gt;"),
            ("line\nline\ttab\r", "line\nline\ttab&#13;"),
            ("\u{0}\u{1b}[2J\u{ffff}", "\u{fffd}\u{fffd}[2J\u{fffd}"),
            ("ä€😀", "ä€😀"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
