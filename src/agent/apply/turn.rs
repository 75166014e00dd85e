//! One bundle after the other: its `prepare` hook and playbooks, its units, its checks, its `after` hook.

use std::collections::BTreeSet;

use super::check::{CheckedFile, name_of};
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

impl Due {
    fn add(&mut self, files: &[&CheckedFile]) {
        let (restart, reload) = touched_units(files);
        self.restart.extend(restart);
        self.reload.extend(reload);
    }

    /// All but those.
    fn others(&self, than: &BTreeSet<&str>) -> BTreeSet<String> {
        self.restart.union(&self.reload).filter(|unit| !than.contains(unit.as_str())).cloned().collect()
    }
}

/// Takes all bundles through, in the order they need each other.
pub(super) fn all(transaction: &mut Transaction<'_, '_>) -> Result<(), Failure> {
    let changed_packages = !transaction.plan.install.is_empty();
    let files = transaction.plan.put.iter().chain(&transaction.plan.dropped);
    let unit_files = files.into_iter().any(|file| is_unit_file(&file.path));
    if unit_files || changed_packages {
        transaction.host.units.read_again()?;
    }
    transaction.opened.journal.turned = true;
    transaction.opened.keep()?;
    let mut due = Due::default();
    let new = transaction.new;
    // Files of bundles that go; those of the others are their own turn.
    let gone = |file: &&CheckedFile| new.bundle(name_of(&file.bundle)).is_none();
    due.add(&transaction.plan.dropped.iter().copied().filter(gone).collect::<Vec<_>>());
    for (index, bundle) in new.desired.bundles.iter().enumerate() {
        let later = new.desired.bundles.iter().skip(index + 1).flat_map(|later| &later.units);
        let later: BTreeSet<&str> = later.map(|unit| unit.name.as_str()).collect();
        one(transaction, bundle, &later, &mut due).map_err(|error| error.of(&bundle.bundle))?;
    }
    // What goes with its bundle was stopped, and stands then as it did before any bundle.
    let gone: Vec<String> = transaction.plan.gone_units.clone();
    beside(transaction, "", &gone.iter().map(String::as_str).collect(), &mut due)?;
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
    let put = transaction.plan.put.iter().filter(|file| file.bundle == name);
    let dropped = transaction.plan.dropped.iter().filter(|file| name_of(&file.bundle) == name_of(name));
    due.add(&put.chain(dropped).copied().collect::<Vec<_>>());
    if transaction.plan.install.iter().any(|wanted| wanted.bundle == name) {
        due.restart.extend(bundle.units.iter().map(|unit| unit.name.clone()));
    }
    for unit in &bundle.units {
        stand(transaction, name, unit, due)?;
    }
    beside(transaction, name, later, due)?;
    for check in &bundle.health {
        health::hold(host, check)?;
        transaction.lines.say(name, "health", &format!("check `{}` holds", check.name));
    }
    if changed {
        hooks::run(host, transaction.lines, name, "after", &bundle.hooks.after)?;
    }
    Ok(())
}

/// Units that others own, or the host itself: only when they run.
fn beside(
    transaction: &mut Transaction<'_, '_>,
    bundle: &str,
    not: &BTreeSet<&str>,
    due: &mut Due,
) -> Result<()> {
    for unit in due.others(not) {
        let (restart, reload) = (due.restart.remove(&unit), due.reload.remove(&unit));
        if (restart || reload) && transaction.host.units.state(&unit)?.active {
            act(transaction, bundle, if restart { "restart" } else { "reload" }, &unit)?;
        }
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
    if matches!(verb, "stop" | "restart") {
        let new = transaction.new;
        let owner = new.desired.bundles.iter().find(|one| one.units.iter().any(|own| own.name == unit));
        owner.map_or(Ok(()), |owner| transaction.stop_hook(owner))?;
    }
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
