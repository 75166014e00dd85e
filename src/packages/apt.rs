//! The metadata of a suite for apt: `Packages`, `Release`, `InRelease`, `Release.gpg`.
//!
//! The format is the Debian wiki's "DebianRepository/Format"; apt fetches indexes by their digests
//! (`Acquire-By-Hash`), so that one that fetched the `Release` of before still gets what belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use thiserror::Error;

use super::compress;
use super::deb::Deb;
use super::names::Name;
use super::sign::{SignError, SigningKey};
use crate::model::Sha256Digest;

/// Why metadata cannot be written.
#[derive(Debug, Error)]
pub enum AptError {
    /// The signature failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The compression failed.
    #[error("an index cannot be compressed: {0}")]
    Compress(#[from] io::Error),
    /// The time is no time.
    #[error("{0} seconds since 1970 is no date that can be written; set the machine's clock")]
    Time(u64),
}

/// A package in a component.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it says of itself.
    pub deb: &'a Deb,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256Digest,
}

/// A suite that is to be written.
#[derive(Debug)]
pub struct Suite<'a> {
    /// Its name.
    pub name: &'a Name,
    /// `Origin` and `Label`: what apt's pins can name.
    pub origin: &'a str,
    /// Architectures that have an index even without a package.
    pub architectures: &'a BTreeSet<Name>,
    /// Packages by component.
    pub components: BTreeMap<&'a Name, Vec<Entry<'a>>>,
    /// Seconds since 1970.
    pub time: u64,
}

/// Fields of an index that are ours to write, whatever the package says.
const OURS: [&str; 11] = [
    "Filename",
    "Size",
    "MD5sum",
    "SHA1",
    "SHA256",
    "SHA512",
    "Status",
    "Config-Version",
    "Conffiles",
    "Description-md5",
    "Package",
];

/// Where a package lies below the repository's root (Debian Policy has no rule; this is what archives do).
pub fn pool_path(component: &Name, deb: &Deb) -> String {
    let first: String = match deb.name.strip_prefix("lib") {
        Some(rest) if !rest.is_empty() => deb.name.chars().take(4).collect(),
        _ => deb.name.chars().take(1).collect(),
    };
    let Deb { name, version, architecture, .. } = deb;
    format!("pool/{component}/{first}/{name}/{name}_{version}_{architecture}.deb")
}

/// The architectures that nodes may have, as Debian calls them.
const NODES: [&str; 2] = ["amd64", "arm64"];

/// Writes all files of a suite; their paths are below the repository's root.
pub fn build(suite: &Suite<'_>, key: &SigningKey) -> Result<BTreeMap<String, Bytes>, AptError> {
    let mut files = BTreeMap::new();
    let mut listed = Vec::new();
    let architectures = architectures(suite);
    let root = format!("dists/{}", suite.name);
    for (component, entries) in &suite.components {
        let mut entries = entries.clone();
        entries.sort_by_key(|entry| (&entry.deb.name, &entry.deb.version, entry.sha256));
        for architecture in &architectures {
            let folder = format!("{component}/binary-{architecture}");
            let text = index(component, architecture, &entries);
            let (gz, xz) = (compress::gzip(text.as_bytes())?, compress::xz(text.as_bytes())?);
            for (name, bytes) in [("Packages", text.into_bytes()), ("Packages.gz", gz), ("Packages.xz", xz)] {
                let (digest, size) = (Sha256Digest::of(&bytes), bytes.len());
                let bytes = Bytes::from(bytes);
                files.insert(format!("{root}/{folder}/{name}"), bytes.clone());
                files.insert(format!("{root}/{folder}/by-hash/SHA256/{digest}"), bytes);
                listed.push((format!("{folder}/{name}"), digest, size));
            }
        }
    }
    let release = release(suite, &architectures, &listed)?;
    files.insert(format!("{root}/InRelease"), key.clear_sign(&release, suite.time)?.into());
    files.insert(format!("{root}/Release.gpg"), key.detached(release.as_bytes(), suite.time)?.into());
    files.insert(format!("{root}/Release"), release.into());
    Ok(files)
}

/// Those that are asked for and those of packages; `all` has no index of its own but is in every other: where nothing else is, in
/// those of all nodes.
fn architectures(suite: &Suite<'_>) -> BTreeSet<Name> {
    let of_packages = suite.components.values().flatten().map(|entry| &entry.deb.architecture);
    let named = suite.architectures.iter().chain(of_packages).filter(|name| name.as_str() != "all");
    let mut found: BTreeSet<Name> = named.cloned().collect();
    if found.is_empty() && suite.components.values().any(|entries| !entries.is_empty()) {
        found.extend(NODES.iter().filter_map(|name| name.parse().ok()));
    }
    found
}

fn index(component: &Name, architecture: &Name, entries: &[Entry<'_>]) -> String {
    let mut text = String::new();
    for entry in entries {
        if entry.deb.architecture != *architecture && entry.deb.architecture.as_str() != "all" {
            continue;
        }
        // Writing to a text cannot fail.
        let _ = writeln!(text, "Package: {}", entry.deb.name);
        for (name, value) in entry.deb.control.iter() {
            if !value.is_empty() && !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
                let _ = writeln!(text, "{name}:{}{value}", if value.starts_with('\n') { "" } else { " " });
            }
        }
        let path = pool_path(component, entry.deb);
        let _ = writeln!(text, "Filename: {path}\nSize: {}\nSHA256: {}\n", entry.size, entry.sha256);
    }
    text
}

fn release(
    suite: &Suite<'_>,
    architectures: &BTreeSet<Name>,
    listed: &[(String, Sha256Digest, usize)],
) -> Result<String, AptError> {
    let seconds = i64::try_from(suite.time).map_err(|_| AptError::Time(suite.time))?;
    let time = jiff::Timestamp::from_second(seconds).map_err(|_| AptError::Time(suite.time))?;
    let date = time.strftime("%a, %d %b %Y %H:%M:%S UTC");
    let join = |names: Vec<&str>| names.join(" ");
    let mut text = format!(
        "Origin: {origin}\nLabel: {origin}\nSuite: {name}\nCodename: {name}\nDate: {date}\nArchitectures: {archs}\nComponents: {components}\nAcquire-By-Hash: yes\nSHA256:\n",
        origin = suite.origin,
        name = suite.name,
        archs = join(architectures.iter().map(Name::as_str).collect()),
        components = join(suite.components.keys().map(|name| name.as_str()).collect()),
    );
    for (path, digest, size) in listed {
        let _ = writeln!(text, " {digest} {size:>10} {path}");
    }
    Ok(text)
}
