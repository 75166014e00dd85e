//! Packages within a transaction: those that bundles want come first, those that nothing needs any more go last.

use std::collections::BTreeSet;

use super::error::{Error, Failure, Result};
use super::journal::PackageStep;
use super::quiet::{loud, quiet};
use super::transaction::Transaction;

impl Transaction<'_, '_> {
    /// Brings what bundles want and is not there; it starts no services.
    pub(super) fn install(&mut self) -> Result<(), Failure> {
        let Some(manager) = self.host.packages.as_ref().filter(|_| !self.plan.install.is_empty()) else {
            return Ok(());
        };
        let wanted = self.plan.install.clone();
        let bundles: BTreeSet<_> = wanted.iter().map(|one| one.bundle.as_str()).collect();
        let blame = bundles.first().filter(|_| bundles.len() == 1).copied().unwrap_or_default().to_owned();
        let at_fault = |error: Error| error.of(&blame);
        let sources = &self.new.desired.sources;
        let lines = &mut *self.lines;
        let mut told = |line: &str| lines.say(&blame, "package", line);
        // Without sources of the appliance, what the host knows already may do.
        let known = if sources.is_empty() { manager.plan(&wanted).ok() } else { None };
        let planned = if let Some(planned) = known {
            planned
        } else {
            manager.refresh(sources, &mut told).map_err(at_fault)?;
            manager.plan(&wanted).map_err(at_fault)?
        };
        let before = self.plan.installed.clone();
        if let Some(planned) = &planned {
            let replaced = before.iter().filter(|(name, _)| planned.contains(*name));
            manager
                .keep(&replaced.map(|(name, version)| (name.clone(), version.clone())).collect(), &mut told);
        }
        self.opened.journal.packages = Some(PackageStep { before: before.clone(), touched: planned.clone() });
        quiet(self.host, &mut self.opened, self.new)?;
        manager.install(&wanted, &mut told).map_err(at_fault)?;
        loud(self.host, &self.opened)?;
        let after = manager.installed()?;
        let lost = before.keys().filter(|name| !after.contains_key(*name));
        for name in lost.filter(|name| planned.as_ref().is_none_or(|planned| planned.contains(*name))) {
            let line = format!("package {name} gave way");
            self.lines.say(&blame, "package", &line);
            self.changes.push(line);
        }
        for (name, version) in &after {
            let ours = planned.as_ref().is_none_or(|planned| planned.contains(name));
            match before.get(name) {
                None if ours => {
                    self.next.brought.insert(name.clone());
                }
                Some(other) if ours && other != version => {}
                _ => continue,
            }
            let line = format!("package {name} {version}");
            self.lines.say(&blame, "package", &line);
            self.changes.push(line);
        }
        Ok(())
    }

    /// Takes packages away that came with bundles and that nothing needs any more.
    pub(super) fn remove_packages(&mut self) -> Result<()> {
        let Some(manager) = self.host.packages.as_ref().filter(|_| !self.plan.loose.is_empty()) else {
            return Ok(());
        };
        let names = manager.unneeded(&self.plan.loose, &self.plan.asked)?;
        if names.is_empty() {
            return Ok(());
        }
        let before = self.plan.installed.clone();
        let packages = self
            .opened
            .journal
            .packages
            .get_or_insert_with(|| PackageStep { before, touched: Some(BTreeSet::new()) });
        if let Some(touched) = &mut packages.touched {
            touched.extend(names.iter().cloned());
        }
        let versions = packages.before.iter().filter(|(name, _)| names.contains(*name));
        let versions = versions.map(|(name, version)| (name.clone(), version.clone())).collect();
        self.opened.keep()?;
        let lines = &mut *self.lines;
        let mut told = |line: &str| lines.say("", "package", line);
        manager.keep(&versions, &mut told);
        manager.remove(&names, &mut told)?;
        for name in names {
            self.next.brought.remove(&name);
            self.changed("", "package", format!("package {name} taken away"));
        }
        Ok(())
    }
}
