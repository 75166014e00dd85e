//! What the appliance sent, looked at before anything of the host is touched.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::desired::{Desired, DesiredBundle, DesiredFile, Masks, PackageSource};
use super::error::{Error, Result};
use crate::bundle::rules;

/// Bytes of one file.
pub(super) const FILE_BYTES: u64 = 32 << 20;
/// Bytes of all files.
const ALL_BYTES: usize = 256 << 20;

/// A [`Desired`] that keeps every rule, its contents decoded.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// As it was sent, without its secrets.
    pub desired: Desired,
    /// The secrets that its files were made of.
    pub masks: Masks,
    /// All files, package sources first, then bundle by bundle.
    pub files: Vec<CheckedFile>,
}

/// One file, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// `name@version`; empty for package sources.
    pub bundle: String,
    /// Absolute path.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// SHA-256 of them, in hex.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// User name.
    pub owner: String,
    /// Group name.
    pub group: String,
    /// Units restarted when it changes.
    pub restart: Vec<String>,
    /// Units reloaded when it changes.
    pub reload: Vec<String>,
    /// Whether its content must not be shown.
    pub secret: bool,
    /// Whether packages need it: it is put into place before them.
    pub early: bool,
}

/// Checks `desired`; sources of another manager than `manager` are left out.
pub fn check(desired: &Desired, manager: Option<&str>) -> Result<Checked> {
    rules::check(&desired.bundles, &desired.sources)
        .map_err(|broken| Error::refused(broken.what, broken.why))?;
    decoded_all(desired, manager)
}

/// As [`check`], of what a host has already: were its rules others when it came, it can still be taken away.
pub(super) fn decoded_all(desired: &Desired, manager: Option<&str>) -> Result<Checked> {
    let mut files = Vec::new();
    for source in &desired.sources {
        if Some(source.manager.as_str()) == manager {
            files.extend(source_files(source));
        }
    }
    for bundle in &desired.bundles {
        for file in &bundle.files {
            files.push(decoded(&bundle.bundle, file)?);
        }
        for (path, content) in bundle.ansible.iter().flat_map(|playbook| &playbook.files) {
            decode(path, content)?;
        }
    }
    if files.iter().map(|file| file.content.len()).sum::<usize>() > ALL_BYTES {
        return Err(Error::refused("all files together", format!("have more than {ALL_BYTES} bytes")));
    }
    let mut desired = desired.clone();
    let masks = std::mem::take(&mut desired.masks);
    Ok(Checked { desired, masks, files })
}

impl Checked {
    /// The bundle of that name, whatever its version.
    pub fn bundle(&self, name: &str) -> Option<&DesiredBundle> {
        self.desired.bundles.iter().find(|bundle| name_of(&bundle.bundle) == name)
    }

    /// Files by their paths.
    pub fn by_path(&self) -> BTreeMap<&str, &CheckedFile> {
        self.files.iter().map(|file| (file.path.as_str(), file)).collect()
    }
}

/// The name in `name@version`.
pub fn name_of(bundle: &str) -> &str {
    bundle.split_once('@').map_or(bundle, |(name, _)| name)
}

fn decoded(bundle: &str, file: &DesiredFile) -> Result<CheckedFile> {
    let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let mode = mode
        .ok_or_else(|| Error::refused(format!("{}: mode `{}`", file.path, file.mode), "is not like 0644"))?;
    let content = decode(&file.path, &file.content)?;
    Ok(CheckedFile {
        bundle: bundle.to_owned(),
        path: file.path.clone(),
        sha256: digest(&content),
        content,
        mode,
        owner: file.owner.clone(),
        group: file.group.clone(),
        restart: file.restart.clone(),
        reload: file.reload.clone(),
        secret: file.secret,
        early: false,
    })
}

fn source_files(source: &PackageSource) -> [CheckedFile; 2] {
    let [key, list] = rules::source_paths(source);
    let file = |path: String, text: &str| CheckedFile {
        bundle: String::new(),
        path,
        content: text.as_bytes().to_vec(),
        sha256: digest(text.as_bytes()),
        mode: 0o644,
        owner: "root".into(),
        group: "root".into(),
        restart: Vec::new(),
        reload: Vec::new(),
        secret: false,
        early: true,
    };
    [file(key, &source.key), file(list, &source.text)]
}

/// SHA-256 in hex.
pub(super) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

pub(super) fn decode(path: &str, content: &str) -> Result<Vec<u8>> {
    let content = STANDARD
        .decode(content)
        .map_err(|_| Error::refused(format!("{path}: its content"), "is not base64"))?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= FILE_BYTES) {
        return Ok(content);
    }
    Err(Error::refused(path, format!("has more than {FILE_BYTES} bytes")))
}
