//! Runs services where systemd does not (containers, minimal hosts): from the same unit files, simple but real.
//!
//! What it keeps to: `Type=` simple, exec, notify, forking (without `PIDFile=`, it is active until it is stopped) and oneshot; `ExecStart=` and its kin,
//! `Environment=`, `EnvironmentFile=`, `User=`, `Group=`, `WorkingDirectory=`, `Restart=`, `RuntimeDirectory=`,
//! `StateDirectory=`. Processes outlive this program and are found again by the mark in their environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::error::{Error, Result};
use super::super::fault::step;
use super::super::process::Place;
use super::super::root::Root;
use super::super::store::{read_json, write_json};
use super::{UnitState, Units, file, process};

/// How often services are looked after, and the pause before one is started again.
const ROUND: Duration = Duration::from_millis(500);

/// The supervisor of one host.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: Root,
    pub(super) place: Place,
    folder: PathBuf,
    boot: String,
    children: Mutex<BTreeMap<String, Child>>,
    over: AtomicBool,
}

/// What is kept of a unit, in `NAME.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) enabled: bool,
    /// Whether it is meant to run now.
    pub(super) wanted: bool,
    /// A oneshot that ran and counts as active.
    pub(super) remains: bool,
    pub(super) pid: Option<i32>,
    pub(super) started: Option<u64>,
    /// The boot that all this is of (random(4), `boot_id`); another one's says nothing.
    pub(super) boot: String,
}

impl Supervisor {
    /// Keeps what it knows in `folder`.
    pub fn new(root: Root, place: Place, folder: &Path) -> Result<Self> {
        let said = folder.display().to_string();
        std::fs::create_dir_all(folder).map_err(Error::file(&said, "make the folder"))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (children, over) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { root, place, folder: folder.to_owned(), boot, children, over });
        let looked_after = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !looked_after.over.load(Ordering::Relaxed) {
                std::thread::sleep(ROUND);
                looked_after.round();
            }
        });
        Ok(Self { shared })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, unit: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{unit}.{end}"))
    }

    pub(super) fn mark(&self, unit: &str) -> String {
        self.folder.join(unit).display().to_string()
    }

    pub(super) fn record(&self, unit: &str) -> Record {
        let record: Record = read_json(&self.path(unit, "json")).ok().flatten().unwrap_or_default();
        if record.boot == self.boot {
            return record;
        }
        Record { enabled: record.enabled, boot: self.boot.clone(), ..Record::default() }
    }

    pub(super) fn keep(&self, unit: &str, record: &Record) -> Result<()> {
        write_json(&self.path(unit, "json"), record)
    }

    fn active(&self, unit: &str, record: &Record) -> bool {
        let alive =
            record.pid.is_some_and(|pid| record.started.is_some() && process::started(pid) == record.started);
        alive
            || record.remains
            || (record.wanted && record.pid.is_none() && !process::marked(&self.mark(unit)).is_empty())
    }

    /// Reaps what ended, and starts again what should run.
    fn round(&self) {
        let mut children = self.children();
        children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
        for unit in self.units() {
            let record = self.record(&unit);
            if record.wanted && !self.active(&unit, &record) && !self.over.load(Ordering::Relaxed) {
                let again = file::read(&self.root, &unit).ok().flatten().filter(|service| service.restart);
                if let Some(service) = again {
                    tracing::warn!(unit, "it ended; it is started again");
                    if let Err(error) = self.launch(&unit, &service, &mut children) {
                        tracing::warn!(unit, %error, "it could not be started again");
                    }
                }
            }
        }
    }

    fn units(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
    }

    fn stop(&self, unit: &str, children: &mut BTreeMap<String, Child>) -> Result<()> {
        let mut record = self.record(unit);
        if !record.wanted && record.pid.is_none() && !record.remains {
            return Ok(());
        }
        record.wanted = false;
        self.keep(unit, &record)?;
        if self.active(unit, &record)
            && let Ok(Some(service)) = file::read(&self.root, unit)
        {
            let environment = self.with_main(&service, &record);
            for line in &service.stop {
                if let Err(error) = self.through(unit, &service, line, &environment, None) {
                    tracing::warn!(unit, %error, "its own way to stop failed");
                }
            }
        }
        process::end(&self.mark(unit), children.get_mut(unit))?;
        children.remove(unit);
        step();
        self.keep(unit, &Record { enabled: record.enabled, boot: self.boot.clone(), ..Record::default() })
    }
}

impl Units for Supervisor {
    fn read_again(&self) -> Result<()> {
        Ok(())
    }

    fn state(&self, unit: &str) -> Result<UnitState> {
        let record = self.shared.record(unit);
        let known = file::find(&self.shared.root, unit)?.is_some();
        Ok(UnitState { known, enabled: Some(record.enabled), active: self.shared.active(unit, &record) })
    }

    fn enable(&self, unit: &str, enabled: bool) -> Result<()> {
        let _held = self.shared.children();
        let record = self.shared.record(unit);
        if record.enabled == enabled {
            return Ok(());
        }
        step();
        self.shared.keep(unit, &Record { enabled, ..record })
    }

    fn start(&self, unit: &str) -> Result<()> {
        let mut children = self.shared.children();
        let record = self.shared.record(unit);
        if self.shared.active(unit, &record) && record.pid.is_some() {
            return Ok(());
        }
        self.shared.stop(unit, &mut children)?;
        let started = self.shared.launch(unit, &self.shared.service(unit)?, &mut children);
        if started.is_err() {
            let _stopped = self.shared.stop(unit, &mut children);
        }
        started
    }

    fn stop(&self, unit: &str) -> Result<()> {
        self.shared.stop(unit, &mut self.shared.children())
    }

    fn restart(&self, unit: &str) -> Result<()> {
        self.stop(unit)?;
        self.start(unit)
    }

    fn reload(&self, unit: &str) -> Result<()> {
        let service = self.shared.service(unit)?;
        let record = self.shared.record(unit);
        if service.reload.is_empty() || !self.shared.active(unit, &record) {
            return self.restart(unit);
        }
        let environment = self.shared.with_main(&service, &record);
        service
            .reload
            .iter()
            .try_for_each(|line| self.shared.through(unit, &service, line, &environment, None))
    }

    fn boot(&self) -> Result<()> {
        for unit in self.shared.units() {
            let record = self.shared.record(&unit);
            if record.enabled
                && !self.shared.active(&unit, &record)
                && let Err(error) = self.start(&unit)
            {
                tracing::warn!(unit, %error, "it starts with the system, but did not");
            }
        }
        Ok(())
    }

    fn running(&self) -> Vec<String> {
        self.shared
            .units()
            .into_iter()
            .filter(|unit| self.shared.active(unit, &self.shared.record(unit)))
            .collect()
    }

    fn last_lines(&self, unit: &str) -> Vec<String> {
        process::tail(&self.shared.path(unit, "log"))
    }
}
