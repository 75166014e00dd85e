//! The way forward: from the generation a host has to the one it should have. Here is the order of its steps, and what is done with files;
//! packages come and go in `installs`, bundles go in `parting`, those that stay have their `turn`.

use std::collections::BTreeSet;

use super::attempt::Purpose;
use super::check::{Checked, CheckedFile, digest, name_of};
use super::desired::DesiredBundle;
use super::error::{Error, Failure, Result};
use super::host::{Host, is_unit_file};
use super::journal::{FileStep, Former, Journal, Opened};
use super::log::Lines;
use super::names;
use super::plan::Plan;
use super::root::New;
use super::store::Current;
use super::{hooks, turn, verify};

/// A transaction on its way.
pub(super) struct Transaction<'a, 'log> {
    pub(super) host: &'a Host,
    pub(super) lines: &'a mut Lines<'log>,
    pub(super) current: &'a Current,
    pub(super) former: &'a Checked,
    pub(super) new: &'a Checked,
    pub(super) purpose: Purpose,
    pub(super) plan: Plan<'a>,
    pub(super) opened: Opened,
    /// What becomes current at its end.
    pub(super) next: Current,
    /// What was changed, for a person.
    pub(super) changes: Vec<String>,
    /// What is still there although it should be gone, for a person.
    pub(super) left_over: Vec<String>,
    /// Names of the bundles whose `stop` hook has run.
    pub(super) stopped: BTreeSet<String>,
}

/// Keeps all that is needed to go back, and makes the journal visible. Nothing of the host is changed yet.
pub(super) fn begin(host: &Host, current: &Current, plan: &Plan<'_>, digest: &str) -> Result<Opened> {
    Opened::begin(&host.store, |folder| {
        let mut journal =
            Journal { serial: current.serial + 1, digest: digest.to_owned(), ..Journal::default() };
        let put = plan.put.iter().map(|file| (&file.path, file.early));
        let mut folders = BTreeSet::new();
        for (index, (path, early)) in put.chain(plan.take.iter().map(|path| (path, false))).enumerate() {
            let former = Former::keep(&host.root, path, folder, &format!("{index}.former"))?;
            folders.extend(host.root.missing_folders(path)?);
            journal.files.push(FileStep { path: path.clone(), former, early });
        }
        journal.folders = folders.into_iter().collect();
        journal.units.clone_from(&plan.units);
        Ok(journal)
    })
}

impl Transaction<'_, '_> {
    /// Does all of it; after an error the host is in between and must be taken back.
    pub(super) fn forward(&mut self) -> Result<(), Failure> {
        self.early_files()?;
        self.install()?;
        self.leave()?;
        self.switch()?;
        turn::all(self)?;
        self.remove_packages()?;
        self.put_again()?;
        self.tidy_up()?;
        self.left_over = verify::left_over(self)?;
        for line in &self.left_over {
            self.lines.say("", "left over", line);
        }
        Ok(())
    }

    /// Runs the `stop` hook of a bundle, one of whose units is about to stop; once.
    pub(super) fn stop_hook(&mut self, bundle: &DesiredBundle) -> Result<()> {
        if bundle.hooks.stop.is_empty() || !self.stopped.insert(name_of(&bundle.bundle).to_owned()) {
            return Ok(());
        }
        hooks::run(self.host, self.lines, &bundle.bundle, "stop", &bundle.hooks.stop)
    }

    fn early_files(&mut self) -> Result<()> {
        for file in self.plan.put.clone().into_iter().filter(|file| file.early) {
            self.original(&file.path)?;
            self.next.folders.extend(self.host.root.missing_folders(&file.path)?);
            self.host.root.put(&file.path, New::File(&file.content, file.mode), 0, 0)?;
            self.changed("", "file", format!("file {}", file.path));
        }
        Ok(())
    }

    pub(super) fn changed(&mut self, bundle: &str, step: &str, line: String) {
        self.lines.say(bundle, step, &line);
        self.changes.push(line);
    }

    /// Keeps what was at a path before any bundle had it.
    fn original(&mut self, path: &str) -> Result<()> {
        if !self.next.originals.contains_key(path) {
            let folder = self.host.store.path("originals");
            let former = Former::keep(&self.host.root, path, &folder, &digest(path.as_bytes()))?;
            self.next.originals.insert(path.to_owned(), former);
        }
        Ok(())
    }

    /// Stages every file beside its place, then puts all into their places, and takes away what goes.
    fn switch(&mut self) -> Result<(), Failure> {
        let late: Vec<&CheckedFile> = self.plan.put.iter().copied().filter(|file| !file.early).collect();
        for file in &late {
            let at_fault = |error: Error| error.of(&file.bundle);
            self.original(&file.path).map_err(at_fault)?;
            self.next.folders.extend(self.host.root.missing_folders(&file.path)?);
            self.stage(file).map_err(at_fault)?;
        }
        for file in late {
            self.host.root.switch(&file.path).map_err(|error| error.of(&file.bundle))?;
            self.changed(&file.bundle, "file", format!("file {}", file.path));
        }
        let originals = self.host.store.path("originals");
        for path in self.plan.take.clone() {
            if let Some(former) = self.next.originals.remove(&path) {
                former.restore(&self.host.root, &path, &originals)?;
            } else {
                self.host.root.remove(&path)?;
            }
            self.changed("", "file", format!("file {path} taken away"));
        }
        Ok(())
    }

    fn stage(&self, file: &CheckedFile) -> Result<()> {
        let Host { root, place, .. } = self.host;
        let (uid, gid) = names::numbers(root, place, &file.path, &file.owner, &file.group)?;
        root.stage(&file.path, New::File(&file.content, file.mode), uid, gid)
    }

    /// A package that went may have taken files along that are still wanted; and facts are taken of all.
    fn put_again(&mut self) -> Result<()> {
        self.next.facts.clear();
        for file in &self.new.files {
            if !self.host.as_wanted(file, None)? {
                self.stage(file)?;
                self.host.root.switch(&file.path)?;
            }
            if let Some(facts) = self.host.root.look(&file.path)? {
                self.next.facts.insert(file.path.clone(), facts);
            }
        }
        Ok(())
    }

    /// Empty folders that were made for files that are gone, and units that were there before any bundle.
    fn tidy_up(&mut self) -> Result<()> {
        let mut folders: Vec<String> = self.next.folders.iter().cloned().collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        for folder in folders {
            let below = format!("{folder}/");
            if !self.new.files.iter().any(|file| file.path.starts_with(&below))
                && self.host.root.remove_folder(&folder)?
            {
                self.next.folders.remove(&folder);
            }
        }
        if self.plan.take.iter().any(|path| is_unit_file(path)) {
            self.host.units.read_again()?;
        }
        for unit in self.plan.gone_units.clone() {
            let Some(original) = self.next.units.remove(&unit).filter(|state| state.known) else { continue };
            let state = self.host.units.state(&unit)?;
            if let Some(enabled) =
                original.enabled.filter(|enabled| state.known && state.enabled != Some(*enabled))
            {
                self.host.units.enable(&unit, enabled)?;
            }
            match (original.active, state.active) {
                (true, true) => self.host.units.restart(&unit)?,
                (true, false) if state.known => self.host.units.start(&unit)?,
                _ => {}
            }
        }
        Ok(())
    }
}
