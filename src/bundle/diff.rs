//! What differs between two versions of a bundle, and between what a node has and would get; for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diffy::DiffOptions;

use super::check::MANIFEST;
use super::desired::{Desired, DesiredFile};
use super::folder::Bundle;

/// Lines around a change.
const AROUND: usize = 3;

/// What differs between two bundles: a unified diff of each file.
pub fn bundles(old: &Bundle, new: &Bundle) -> String {
    let mut text = String::new();
    let pair = (old.text.as_bytes(), new.text.as_bytes());
    file(&mut text, MANIFEST, Some(pair.0), Some(pair.1));
    let paths: BTreeSet<&String> = old.sources.keys().chain(new.sources.keys()).collect();
    for path in paths {
        let (before, after) = (old.sources.get(path), new.sources.get(path));
        file(&mut text, path, before.map(Vec::as_slice), after.map(Vec::as_slice));
    }
    text
}

fn file(out: &mut String, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) {
    if old == new {
        return;
    }
    // Writing into a string cannot fail.
    let _ = match (old.map(std::str::from_utf8), new.map(std::str::from_utf8)) {
        (Some(Err(_)), _) | (_, Some(Err(_))) => writeln!(out, "{path}: binary, changed"),
        (old, new) => {
            let (before, after) = (old.is_some(), new.is_some());
            let (old, new) = (old.and_then(Result::ok).unwrap_or(""), new.and_then(Result::ok).unwrap_or(""));
            let name = |there: bool| if there { path.to_owned() } else { "/dev/null".to_owned() };
            let mut options = DiffOptions::new();
            options.set_context_len(AROUND);
            options.set_original_filename(name(before)).set_modified_filename(name(after));
            write!(out, "{}", options.create_patch(old, new))
        }
    };
}

/// What differs between two generations of a node. Contents of files with secrets are not shown.
pub fn generations(old: &Desired, new: &Desired) -> String {
    let mut text = String::new();
    let lines = |desired: &Desired| -> BTreeSet<String> {
        let of = |bundle: &super::desired::DesiredBundle| {
            let packages = bundle.packages.iter().map(|package| {
                let name = package.apt.as_deref().or(package.dnf.as_deref()).unwrap_or("?");
                format!("package {name} {}", package.version.as_deref().unwrap_or("(any)"))
            });
            let units = bundle.units.iter().map(|unit| {
                let (enabled, running) = (unit.enabled, unit.running);
                format!("unit {} enabled={enabled} running={running}", unit.name)
            });
            std::iter::once(format!("bundle {}", bundle.bundle))
                .chain(packages)
                .chain(units)
                .collect::<Vec<_>>()
        };
        desired.bundles.iter().flat_map(of).collect()
    };
    let (before, after) = (lines(old), lines(new));
    for line in before.difference(&after) {
        let _ = writeln!(text, "- {line}");
    }
    for line in after.difference(&before) {
        let _ = writeln!(text, "+ {line}");
    }
    let files = |desired: &Desired| -> BTreeMap<String, DesiredFile> {
        let all = desired.bundles.iter().flat_map(|bundle| bundle.files.iter().cloned());
        all.map(|file| (file.path.clone(), file)).collect()
    };
    let (before, after) = (files(old), files(new));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        if [old, new].into_iter().flatten().any(|file| file.secret) {
            let _ = writeln!(text, "{path}: holds a secret, changed");
            continue;
        }
        let rights = |file: &DesiredFile| format!("{} {}:{}", file.mode, file.owner, file.group);
        if let (Some(old), Some(new)) = (old, new)
            && rights(old) != rights(new)
        {
            let _ = writeln!(text, "{path}: {} becomes {}", rights(old), rights(new));
        }
        let bytes = |file: Option<&DesiredFile>| file.and_then(|file| STANDARD.decode(&file.content).ok());
        let (old, new) = (bytes(old), bytes(new));
        self::file(&mut text, path, old.as_deref(), new.as_deref());
    }
    text
}
