//! The host as the rooms of this folder see it.

use super::check::{Checked, CheckedFile, decoded_all};
use crate::bundle::rules;

use super::desired::DesiredBundle;
use super::error::Result;
use super::mask;
use super::names;
use super::packages::{Packages, Wanted, wanted};
use super::process::Place;
use super::root::{Facts, Kind, Root};
use super::store::{Current, Store};
use super::units::Units;

/// Everything of a host that bundles change, and the state kept of it.
pub(super) struct Host {
    pub(super) root: Root,
    pub(super) place: Place,
    pub(super) store: Store,
    pub(super) packages: Option<Box<dyn Packages>>,
    pub(super) units: Box<dyn Units>,
}

impl Host {
    /// `apt`, `dnf`, or none.
    pub(super) fn manager(&self) -> Option<&'static str> {
        self.packages.as_ref().map(|packages| packages.manager())
    }

    /// The generation a host has, with the secrets of its files.
    pub(super) fn former(&self, current: &Current) -> Result<Checked> {
        let mut former = decoded_all(&current.desired, self.manager())?;
        former.masks = mask::at(&current.masks, &former);
        Ok(former)
    }

    /// The packages of these bundles.
    pub(super) fn wanted(&self, bundles: &[DesiredBundle]) -> Result<Vec<Wanted>> {
        let Some(manager) = self.manager() else { return Ok(Vec::new()) };
        wanted(bundles.iter().map(|one| (one.bundle.as_str(), one.packages.as_slice())), manager)
    }

    /// Whether a file is as it should be; `known` are its facts when it last was.
    pub(super) fn as_wanted(&self, file: &CheckedFile, known: Option<&Facts>) -> Result<bool> {
        let Some(facts) = self.root.look(&file.path)? else { return Ok(false) };
        if facts.kind != Kind::File || facts.mode != file.mode {
            return Ok(false);
        }
        let owner = names::numbers(&self.root, &self.place, &file.path, &file.owner, &file.group);
        if owner.is_ok_and(|owner| owner != (facts.uid, facts.gid)) {
            return Ok(false);
        }
        if known == Some(&facts) {
            return Ok(true);
        }
        let length = u64::try_from(file.content.len()).unwrap_or(u64::MAX);
        if u64::try_from(facts.size) != Ok(length) {
            return Ok(false);
        }
        Ok(self.root.read(&file.path, length)?.is_some_and(|content| content == file.content))
    }
}

/// The unit whose own file or drop-in this path is (systemd.unit(5)).
pub(super) fn unit_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/etc/systemd/system/")?;
    let name = match rest.split_once('/') {
        None => Some(rest),
        Some((folder, _)) => folder.strip_suffix(".d"),
    };
    name.filter(|name| rules::is_unit(name))
}

/// Whether systemd reads this path.
pub(super) fn is_unit_file(path: &str) -> bool {
    ["/etc/systemd/", "/usr/lib/systemd/", "/lib/systemd/"].iter().any(|folder| path.starts_with(folder))
}
