//! What the appliance sent, looked at before anything of the host is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::desired::{Desired, DesiredBundle, DesiredFile, Hooks, PackageSource, Playbook, Probe};
use super::error::{Error, Result};
use super::rules::{apart, few, path_allowed, unit_name, word, words};

/// Bundles of one node.
const BUNDLES: usize = 128;
/// Files of one node.
const FILES: usize = 8192;
/// Bytes of one file.
pub(super) const FILE_BYTES: u64 = 32 << 20;
/// Bytes of all files.
const ALL_BYTES: usize = 256 << 20;
/// Packages, units or checks of one bundle.
const ENTRIES: usize = 1024;

/// Longest time that anything may be given, seconds.
const LONGEST: u32 = 3600;

/// A [`Desired`] that keeps every rule, its contents decoded.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// As it was sent.
    pub desired: Desired,
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
    few(desired.bundles.len(), BUNDLES, "bundles")?;
    few(desired.bundles.iter().map(|bundle| bundle.files.len()).sum(), FILES, "files")?;
    let mut files = Vec::new();
    for source in &desired.sources {
        if Some(source.manager.as_str()) == manager {
            files.extend(source_files(source)?);
        }
    }
    let mut names = BTreeSet::new();
    for bundle in &desired.bundles {
        let said = name_of(&bundle.bundle);
        word(said, "bundle", "._-", 63)?;
        if !names.insert(said) {
            return Err(Error::refused(format!("bundle {said}"), "is there twice"));
        }
        check_bundle(bundle)?;
        for file in &bundle.files {
            files.push(decoded(&bundle.bundle, file)?);
        }
    }
    if files.iter().map(|file| file.content.len()).sum::<usize>() > ALL_BYTES {
        return Err(Error::refused("all files together", format!("have more than {ALL_BYTES} bytes")));
    }
    apart(&files)?;
    Ok(Checked { desired: desired.clone(), files })
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

fn check_bundle(bundle: &DesiredBundle) -> Result<()> {
    few(bundle.packages.len(), ENTRIES, "packages")?;
    few(bundle.units.len(), ENTRIES, "units")?;
    few(bundle.health.len(), ENTRIES, "checks")?;
    few(bundle.ansible.len(), 16, "playbooks")?;
    for package in &bundle.packages {
        for name in package.apt.iter().chain(&package.dnf) {
            word(name, "package", "+._-", 200)?;
        }
        if let Some(version) = &package.version {
            word(version, "package version", "+._~:^-", 200)?;
        }
    }
    for unit in &bundle.units {
        unit_name(&unit.name)?;
    }
    for check in &bundle.health {
        let what = || format!("check `{}`", check.name);
        if check.timeout_seconds == 0
            || check.timeout_seconds.max(check.within_seconds).max(check.interval_seconds) > LONGEST
        {
            return Err(Error::refused(
                what(),
                format!("needs a timeout from 1 s on, and no time above {LONGEST} s"),
            ));
        }
        match &check.probe {
            Probe::Command(argv) if argv.is_empty() => {
                return Err(Error::refused(what(), "has an empty command"));
            }
            Probe::Command(argv) => words(argv)?,
            Probe::Tcp(address) if !address.contains(':') => {
                return Err(Error::refused(what(), "needs ADDRESS:PORT"));
            }
            Probe::Http { url, .. } if !url.starts_with("http://") => {
                return Err(Error::refused(what(), "needs an address that starts with http://"));
            }
            Probe::Tcp(_) | Probe::Http { .. } => {}
            Probe::Unit(unit) => unit_name(unit)?,
        }
    }
    let Hooks { prepare, after, drain, leave } = &bundle.hooks;
    [prepare, after, drain, leave].into_iter().try_for_each(|argv| words(argv))?;
    bundle.ansible.iter().try_for_each(check_playbook)
}

fn check_playbook(playbook: &Playbook) -> Result<()> {
    few(playbook.files.len(), FILES, "files of a playbook")?;
    let paths = playbook.files.iter().map(|(path, _)| path).chain([&playbook.playbook]);
    for path in paths {
        let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty()
            || path.len() > 1024
            || !normal
            || path.starts_with('-')
            || path.contains(char::is_control)
        {
            return Err(Error::refused(format!("playbook file `{path}`"), "must be a plain relative path"));
        }
    }
    if !playbook.files.iter().any(|(path, _)| *path == playbook.playbook) {
        return Err(Error::refused(format!("playbook `{}`", playbook.playbook), "is not among its files"));
    }
    for (path, content) in &playbook.files {
        decode(path, content)?;
    }
    Ok(())
}

fn decoded(bundle: &str, file: &DesiredFile) -> Result<CheckedFile> {
    path_allowed(&file.path)?;
    let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let mode = mode
        .ok_or_else(|| Error::refused(format!("{}: mode `{}`", file.path, file.mode), "is not like 0644"))?;
    for name in [&file.owner, &file.group] {
        word(name, "owner", "._-$@\\+", 64)?;
    }
    file.restart.iter().chain(&file.reload).try_for_each(|unit| unit_name(unit))?;
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

fn source_files(source: &PackageSource) -> Result<Vec<CheckedFile>> {
    word(&source.name, "package source", "._-", 100)?;
    let list = match source.manager.as_str() {
        "apt" => format!("/etc/apt/sources.list.d/{}.sources", source.name),
        _ => format!("/etc/yum.repos.d/{}.repo", source.name),
    };
    let key = format!("/etc/firstlight/keys/{}.asc", source.name);
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
    Ok(vec![file(key, &source.key), file(list, &source.text)])
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
