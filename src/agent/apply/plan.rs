//! What differs between a host and what it should be.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Checked, CheckedFile, name_of};
use super::error::{Error, Result};
use super::host::{Host, unit_of};
use super::packages::{Wanted, satisfies};
use super::store::Current;
use super::units::UnitState;

/// What a transaction has to do.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Files that are not as they should be.
    pub(super) put: Vec<&'a CheckedFile>,
    /// Paths that no bundle has any more.
    pub(super) take: Vec<String>,
    /// The files that were there by a bundle.
    pub(super) dropped: Vec<&'a CheckedFile>,
    /// Packages that are not there, or not in the version asked for.
    pub(super) install: Vec<Wanted>,
    /// What is installed now; empty when packages are none of its business.
    pub(super) installed: BTreeMap<String, String>,
    /// Names of packages that bundles asked for so far.
    pub(super) asked: BTreeSet<String>,
    /// Packages that bundles brought and none asks for by name any more.
    pub(super) loose: BTreeSet<String>,
    /// Bundles (`name@version`) of which something changes.
    pub(super) changed: BTreeSet<String>,
    /// Bundles (`name@version`) that go.
    pub(super) gone: Vec<String>,
    /// How each unit stands that may be touched.
    pub(super) units: BTreeMap<String, UnitState>,
    /// Units that the former generation named and the new one does not.
    pub(super) gone_units: Vec<String>,
}

impl Plan<'_> {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty()
            && self.take.is_empty()
            && self.install.is_empty()
            && self.changed.is_empty()
            && self.gone.is_empty()
            && self.gone_units.is_empty()
    }
}

/// Compares the host with `new`; changes nothing.
pub(super) fn plan<'a>(
    host: &Host,
    current: &Current,
    former: &'a Checked,
    new: &'a Checked,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    let before = former.by_path();
    for file in &new.files {
        // What was put then says something only of the same content.
        let same = before.get(file.path.as_str()).is_some_and(|before| before.sha256 == file.sha256);
        if !host.as_wanted(file, current.facts.get(&file.path).filter(|_| same))? {
            plan.put.push(file);
            plan.changed.insert(file.bundle.clone());
        }
    }
    plan.changed.remove("");
    let kept = new.by_path();
    plan.dropped = former.files.iter().filter(|file| !kept.contains_key(file.path.as_str())).collect();
    plan.take = plan.dropped.iter().map(|file| file.path.clone()).collect();
    for bundle in &new.desired.bundles {
        if former.bundle(name_of(&bundle.bundle)) != Some(bundle) {
            plan.changed.insert(bundle.bundle.clone());
        }
    }
    let gone = former.desired.bundles.iter().filter(|bundle| new.bundle(name_of(&bundle.bundle)).is_none());
    plan.gone = gone.map(|bundle| bundle.bundle.clone()).rev().collect();
    packages(host, current, former, new, &mut plan)?;
    units(host, former, new, &mut plan)?;
    Ok(plan)
}

fn packages(
    host: &Host,
    current: &Current,
    former: &Checked,
    new: &Checked,
    plan: &mut Plan<'_>,
) -> Result<()> {
    let Some(manager) = &host.packages else {
        let asks = new.desired.bundles.iter().find(|bundle| !bundle.packages.is_empty());
        return asks.map_or(Ok(()), |bundle| {
            let what = format!("bundle {}", bundle.bundle);
            Err(Error::refused(what, "brings packages, and this host has neither apt nor dnf"))
        });
    };
    let wanted = host.wanted(&new.desired.bundles)?;
    let before = host.wanted(&former.desired.bundles)?;
    if wanted.is_empty() && current.brought.is_empty() {
        return Ok(());
    }
    plan.installed = manager.installed()?;
    let names: BTreeSet<_> = wanted.iter().map(|one| one.name.clone()).collect();
    plan.asked = before.iter().map(|one| one.name.clone()).collect();
    if !plan.asked.is_subset(&names) {
        plan.loose = current.brought.difference(&names).cloned().collect();
    }
    let there = |one: &Wanted| {
        let installed = plan.installed.get(&one.name);
        let right = |have: &String| {
            one.version.as_deref().is_none_or(|want| satisfies(manager.manager(), have, want))
        };
        installed.is_some_and(right)
    };
    plan.install = wanted.into_iter().filter(|one| !there(one)).collect();
    plan.changed.extend(plan.install.iter().map(|one| one.bundle.clone()));
    Ok(())
}

fn units(host: &Host, former: &Checked, new: &Checked, plan: &mut Plan<'_>) -> Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let named = |checked: &Checked| -> BTreeSet<String> {
        checked
            .desired
            .bundles
            .iter()
            .flat_map(|bundle| bundle.units.iter().map(|unit| unit.name.clone()))
            .collect()
    };
    let (before, now) = (named(former), named(new));
    let backwards = former.desired.bundles.iter().rev().flat_map(|bundle| bundle.units.iter().rev());
    plan.gone_units = backwards.map(|unit| unit.name.clone()).filter(|name| !now.contains(name)).collect();
    let files: Vec<&CheckedFile> = plan.put.iter().chain(&plan.dropped).copied().collect();
    let (restart, reload) = touched_units(&files);
    let all: BTreeSet<String> = before.into_iter().chain(now).chain(restart).chain(reload).collect();
    for unit in all {
        let state = host.units.state(&unit)?;
        plan.units.insert(unit, state);
    }
    Ok(())
}

/// Which units are restarted, and which are reloaded, when these files change or go.
pub(super) fn touched_units(files: &[&CheckedFile]) -> (BTreeSet<String>, BTreeSet<String>) {
    let own = files.iter().filter_map(|file| unit_of(&file.path).map(str::to_owned));
    let restart = files.iter().flat_map(|file| file.restart.iter().cloned()).chain(own).collect();
    let reload = files.iter().flat_map(|file| file.reload.iter().cloned()).collect();
    (restart, reload)
}
