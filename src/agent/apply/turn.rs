//! One bundle after the other: its `prepare` hook and playbooks, its units, its checks, its `after` hook.

use std::collections::BTreeSet;

use super::check::CheckedFile;
use super::desired::{DesiredBundle, DesiredUnit};
use super::error::{Error, Failure, Result};
use super::host::is_unit_file;
use super::plan::touched_units;
use super::transaction::Transaction;
use super::{health, hooks};

/// Units that wait for their turn.
#[derive(Debug, Default)]
struct Due {
    restart: BTreeSet<String>,
    reload: BTreeSet<String>,
}

/// Takes all bundles through, in the order they need each other.
pub(super) fn all(transaction: &mut Transaction<'_, '_>) -> Result<(), Failure> {
    let changed_packages = !transaction.plan.install.is_empty();
    let unit_files = transaction.plan.put.iter().any(|file| is_unit_file(&file.path));
    if unit_files || changed_packages {
        transaction.host.units.read_again()?;
    }
    transaction.opened.journal.turned = true;
    transaction.opened.keep()?;
    let mut due = Due::default();
    let new = transaction.new;
    for (index, bundle) in new.desired.bundles.iter().enumerate() {
        let later = new.desired.bundles.iter().skip(index + 1).flat_map(|later| &later.units);
        let later: BTreeSet<&str> = later.map(|unit| unit.name.as_str()).collect();
        one(transaction, bundle, &later, &mut due).map_err(|error| error.of(&bundle.bundle))?;
    }
    Ok(())
}

fn one(
    transaction: &mut Transaction<'_, '_>,
    bundle: &DesiredBundle,
    later: &BTreeSet<&str>,
    due: &mut Due,
) -> Result<()> {
    let name = bundle.bundle.as_str();
    let changed = transaction.plan.changed.contains(name);
    let host = transaction.host;
    if changed {
        hooks::run(host, transaction.lines, name, "prepare", &bundle.hooks.prepare)?;
        for playbook in &bundle.ansible {
            hooks::play(host, transaction.lines, name, playbook)?;
        }
    }
    let files: Vec<&CheckedFile> =
        transaction.plan.put.iter().copied().filter(|file| file.bundle == name).collect();
    let (restart, reload) = touched_units(&files);
    due.restart.extend(restart);
    due.reload.extend(reload);
    if transaction.plan.install.iter().any(|wanted| wanted.bundle == name) {
        due.restart.extend(bundle.units.iter().map(|unit| unit.name.clone()));
    }
    for unit in &bundle.units {
        stand(transaction, name, unit, due)?;
    }
    // What others own, or the host itself: only when it runs.
    let beside: BTreeSet<String> =
        due.restart.union(&due.reload).filter(|unit| !later.contains(unit.as_str())).cloned().collect();
    for unit in beside {
        let (restart, reload) = (due.restart.remove(&unit), due.reload.remove(&unit));
        if (restart || reload) && host.units.state(&unit)?.active {
            act(transaction, name, if restart { "restart" } else { "reload" }, &unit)?;
        }
    }
    for check in &bundle.health {
        health::hold(host, check)?;
        transaction.lines.say(name, "health", &format!("check `{}` holds", check.name));
    }
    if changed {
        hooks::run(host, transaction.lines, name, "after", &bundle.hooks.after)?;
    }
    Ok(())
}

/// Brings a unit of the bundle into the state it should have.
fn stand(
    transaction: &mut Transaction<'_, '_>,
    bundle: &str,
    unit: &DesiredUnit,
    due: &mut Due,
) -> Result<()> {
    let units = &transaction.host.units;
    let name = unit.name.as_str();
    if let Some(before) = transaction.plan.units.get(name) {
        transaction.next.units.entry(name.to_owned()).or_insert(*before);
    }
    let state = units.state(name)?;
    if !state.known && (unit.running || unit.enabled) {
        let why = "is not on this host; bring its file, or the package that has it";
        return Err(Error::Plain(format!("unit {name} {why}")));
    }
    if state.known && state.enabled.is_some_and(|enabled| enabled != unit.enabled) {
        act(transaction, bundle, if unit.enabled { "enable" } else { "disable" }, name)?;
    }
    let (restart, reload) = (due.restart.remove(name), due.reload.remove(name));
    match (unit.running, state.active) {
        (true, false) => act(transaction, bundle, "start", name),
        (true, true) if restart => act(transaction, bundle, "restart", name),
        (true, true) if reload => act(transaction, bundle, "reload", name),
        (false, true) => act(transaction, bundle, "stop", name),
        _ => Ok(()),
    }
}

fn act(transaction: &mut Transaction<'_, '_>, bundle: &str, verb: &str, unit: &str) -> Result<()> {
    let line = format!("{verb} {unit}");
    transaction.lines.say(bundle, "unit", &line);
    let units = &transaction.host.units;
    match verb {
        "enable" => units.enable(unit, true),
        "disable" => units.enable(unit, false),
        "start" => units.start(unit),
        "stop" => units.stop(unit),
        "reload" => units.reload(unit),
        _ => units.restart(unit),
    }?;
    transaction.changes.push(line);
    Ok(())
}
