//! The way back: from whatever a transaction left to the generation before it. May be repeated as often as it is cut off.

use std::collections::BTreeSet;

use super::check::{Checked, CheckedFile};
use super::error::{Error, Result};
use super::host::{Host, is_unit_file};
use super::journal::Opened;
use super::log::Lines;
use super::packages::{Packages, Wanted};
use super::plan::touched_units;
use super::quiet::{loud, quiet};
use super::{health, hooks};

/// Brings the former generation back; what could not be done is told, all else is done nevertheless.
///
/// The second list has what does not hold although everything is back: failing checks of the former generation.
pub(super) fn back(
    host: &Host,
    lines: &mut Lines<'_>,
    former: &Checked,
    opened: &mut Opened,
) -> (Vec<String>, Vec<String>) {
    lines.say("", "roll-back", "brings the former generation back");
    let mut way = Way { host, lines, former, opened, troubles: Vec::new() };
    way.stop_new();
    way.packages();
    way.files(false);
    way.folders();
    let sick = way.units();
    (way.troubles, sick)
}

struct Way<'a, 'log> {
    host: &'a Host,
    lines: &'a mut Lines<'log>,
    former: &'a Checked,
    opened: &'a mut Opened,
    troubles: Vec<String>,
}

impl Way<'_, '_> {
    /// Notes what went wrong, and goes on.
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            let text = self.lines.clean(&error.to_string());
            self.lines.say("", "roll-back", &text);
            self.troubles.push(text);
        }
    }

    /// Stops what did not run before, while its unit files are still there.
    fn stop_new(&mut self) {
        for (unit, before) in self.opened.journal.units.clone() {
            let done = (|| {
                let now = self.host.units.state(&unit)?;
                if now.active && !before.active {
                    self.host.units.stop(&unit)?;
                }
                if now.enabled == Some(true) && before.enabled != Some(true) {
                    self.host.units.enable(&unit, false)?;
                }
                Ok(())
            })();
            self.note(done);
        }
    }

    fn files(&mut self, early: bool) {
        let Opened { journal, .. } = &*self.opened;
        let steps: Vec<_> = journal.files.iter().filter(|step| step.early || !early).rev().cloned().collect();
        for step in steps {
            let done = step.former.restore(&self.host.root, &step.path, self.opened.folder());
            self.note(done);
        }
    }

    fn packages(&mut self) {
        let (Some(manager), Some(_)) = (&self.host.packages, &self.opened.journal.packages) else { return };
        // The former versions may come from the sources of either generation: first those that are there now.
        let done =
            quiet(self.host, self.opened, self.former).and_then(|()| self.versions(manager.as_ref(), false));
        self.files(true);
        if done.is_err() {
            let done = self.versions(manager.as_ref(), true);
            self.note(done);
        }
        let done = loud(self.host, self.opened);
        self.note(done);
    }

    /// Everything that was touched gets the version it had, or goes.
    fn versions(&mut self, manager: &dyn Packages, refresh: bool) -> Result<()> {
        let step = self.opened.journal.packages.clone().unwrap_or_default();
        let lines = &mut *self.lines;
        let mut told = |line: &str| lines.say("", "package", line);
        // What can't be finished may be just what goes.
        let _half_done = manager.settle(&mut told);
        let now = manager.present()?;
        let touched = |name: &str| step.touched.as_ref().is_none_or(|touched| touched.contains(name));
        let fresh: BTreeSet<String> =
            now.keys().filter(|name| touched(name) && !step.before.contains_key(*name)).cloned().collect();
        let installed = manager.installed()?;
        let other = step
            .before
            .iter()
            .filter(|(name, version)| touched(name) && installed.get(*name) != Some(*version));
        let versions: Vec<Wanted> = other
            .map(|(name, version)| Wanted {
                name: name.clone(),
                version: Some(version.clone()),
                bundle: String::new(),
            })
            .collect();
        if refresh && !versions.is_empty() {
            manager.refresh(&self.former.desired.sources, &mut told)?;
        }
        if !versions.is_empty() || !fresh.is_empty() {
            manager.back(&versions, &fresh, &mut told)?;
        }
        manager.settle(&mut told)
    }

    fn folders(&mut self) {
        for folder in self.opened.journal.folders.clone().into_iter().rev() {
            let done = self.host.root.remove_folder(&folder).map(drop);
            self.note(done);
        }
    }

    /// Brings the units of the former generation back, and looks whether it is healthy; tells which checks do not hold.
    fn units(&mut self) -> Vec<String> {
        let journal = self.opened.journal.clone();
        let paths: BTreeSet<&str> = journal.files.iter().map(|step| step.path.as_str()).collect();
        if journal.packages.is_some() || paths.iter().any(|path| is_unit_file(path)) {
            let done = self.host.units.read_again();
            self.note(done);
        }
        let changed: Vec<&CheckedFile> =
            self.former.files.iter().filter(|file| paths.contains(file.path.as_str())).collect();
        let (mut restart, reload) = touched_units(&changed);
        restart.extend(reload);
        // Units of the host that only the new generation would restart have read its files, too.
        let named: BTreeSet<&str> = self
            .former
            .desired
            .bundles
            .iter()
            .flat_map(|bundle| bundle.units.iter().map(|unit| unit.name.as_str()))
            .collect();
        restart.extend(journal.units.keys().filter(|unit| !named.contains(unit.as_str())).cloned());
        let mut sick = Vec::new();
        for bundle in &self.former.desired.bundles {
            if journal.left.contains(&bundle.bundle) {
                let done =
                    hooks::run(self.host, self.lines, &bundle.bundle, "prepare", &bundle.hooks.prepare);
                self.note(done);
            }
            for unit in &bundle.units {
                let again = journal.packages.is_some() || restart.remove(&unit.name);
                let done = self.unit(&unit.name, journal.turned && again);
                self.note(done);
            }
            for check in &bundle.health {
                if let Err(error) = health::hold(self.host, check) {
                    let text = self.lines.clean(&error.to_string());
                    self.lines.say(&bundle.bundle, "health", &text);
                    sick.push(format!("{}: {text}", bundle.bundle));
                }
            }
        }
        for unit in journal.units.keys().filter(|unit| !named.contains(unit.as_str())) {
            let done = self.unit(unit, journal.turned && restart.contains(unit));
            self.note(done);
        }
        sick
    }

    fn unit(&mut self, unit: &str, again: bool) -> Result<()> {
        let Some(before) = self.opened.journal.units.get(unit).copied().filter(|before| before.known) else {
            return Ok(());
        };
        let units = &self.host.units;
        let now = units.state(unit)?;
        if !now.known {
            return Err(Error::Plain(format!("unit {unit} was there before and is not any more")));
        }
        if let Some(enabled) = before.enabled.filter(|enabled| now.enabled != Some(*enabled)) {
            units.enable(unit, enabled)?;
        }
        match (before.active, now.active) {
            (true, true) if again => {
                self.lines.say("", "unit", &format!("restart {unit}"));
                units.restart(unit)
            }
            (true, false) => {
                self.lines.say("", "unit", &format!("start {unit}"));
                units.start(unit)
            }
            _ => Ok(()),
        }
    }
}
