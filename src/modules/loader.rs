//! Loads the modules that the devices of this machine need, until nothing new turns up.
//!
//! Devices turn up step by step: a PCI bus brings a USB host, that brings a disk, that brings its
//! own driver. So the loader looks again and again, and a few threads load what is new: a driver
//! that takes half a minute to start its adapter, or never comes back, does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::index::{Index, Module};

pub use super::insert::{Inserted, Kernel, Linux};

/// Modules loaded at once.
const THREADS: usize = 4;
/// How long a module waits for another that it needs and that is being loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// Modules worth loading before there is a device for them: what serves disks and keyboards that may
/// turn up late, and what no device asks for. Names that are not in the ramdisk are left out.
pub const FOUNDATION: &[&str] = &[
    "sd_mod",
    "sr_mod",
    "nvme",
    "usb_storage",
    "uas",
    "mmc_block",
    "usbhid",
    "hid_generic",
    "atkbd",
    "i8042",
    "evdev",
    "af_packet",
    "efivarfs",
    "ipmi_devintf",
    "virtio_pci",
    "hv_vmbus",
];

/// How long to go on looking for devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Ends after this time in any case.
    pub limit: Duration,
    /// Ends when for this long no device turned up and no module was loaded.
    pub quiet: Duration,
    /// Time between two looks.
    pub between: Duration,
}

impl Default for Pace {
    /// At most two minutes, one second and a half of quiet, ten looks a second.
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(120),
            quiet: Duration::from_millis(1_500),
            between: Duration::from_millis(100),
        }
    }
}

/// What became of the modules since the loader began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Loaded, by name.
    pub loaded: Vec<String>,
    /// Were in the kernel before, by name.
    pub before: Vec<String>,
    /// Not loaded: name and reason. "No device" is common and harmless.
    pub failed: Vec<(String, String)>,
    /// Still being loaded when the time was up.
    pub unfinished: Vec<String>,
    /// Names asked for that are neither in the ramdisk nor part of the kernel.
    pub unknown: Vec<String>,
    /// Different modaliases seen.
    pub devices: usize,
    /// Whether the limit ended it, and not quiet.
    pub timed_out: bool,
}

/// Where a module stands.
#[derive(Debug, Clone)]
enum Stage {
    Loading,
    Loaded,
    Before,
    Failed(String),
}

#[derive(Default)]
struct State {
    stages: BTreeMap<String, Stage>,
    jobs: usize,
}

struct Shared {
    kernel: Box<dyn Kernel>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Name and file of modules, in load order.
type Job = Vec<(String, String)>;

/// Loads modules. Its threads end with it, unless a driver holds one up.
pub struct Loader {
    index: Index,
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    seen: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Loader {
    /// A loader of the modules in `index`. Fails when there are no threads to be had.
    pub fn new(index: Index, kernel: impl Kernel) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { kernel: Box::new(kernel), state: Mutex::default(), changed: Condvar::new() });
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (shared, queue) = (Arc::clone(&shared), Arc::clone(&queue));
            std::thread::Builder::new().name("modules".into()).spawn(move || shared.work(&queue))?;
        }
        Ok(Self { index, shared, jobs, seen: BTreeSet::new(), unknown: BTreeSet::new() })
    }

    /// The modules it can load.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Loads what the devices need, and what the devices need that turn up by that. May be called
    /// again later: only what is new is loaded then.
    pub fn load_for_devices(&mut self, pace: &Pace) -> Report {
        let begun = Instant::now();
        let mut last_news = begun;
        let mut loaded = self.shared.lock().stages.len();
        loop {
            let look = Instant::now();
            for modalias in self.shared.kernel.modaliases() {
                if !self.seen.contains(&modalias) {
                    self.submit(&self.index.for_modalias(&modalias));
                    self.seen.insert(modalias);
                    last_news = Instant::now();
                }
            }
            // A slow machine is not kept busy with looking alone.
            let rest = pace.between.max(look.elapsed());
            let state = self.shared.lock();
            if state.jobs > 0 || state.stages.len() != loaded {
                last_news = Instant::now();
            }
            loaded = state.stages.len();
            drop(state);
            if last_news.elapsed() >= pace.quiet {
                return self.report(false);
            }
            if begun.elapsed() >= pace.limit {
                return self.report(true);
            }
            std::thread::sleep(rest.min(pace.limit.saturating_sub(begun.elapsed())));
        }
    }

    /// Loads modules by name or alias (`ext4`, `fs-ext4`), with what they need, within `limit`.
    pub fn load(&mut self, names: &[&str], limit: Duration) -> Report {
        for name in names {
            match self.index.for_name(name) {
                Some(modules) => self.submit(&modules),
                None => drop(self.unknown.insert((*name).to_owned())),
            }
        }
        let waited =
            self.shared.changed.wait_timeout_while(self.shared.lock(), limit, |state| state.jobs > 0);
        let timed_out = waited.map_or_else(|poisoned| poisoned.into_inner().1, |(_, result)| result);
        self.report(timed_out.timed_out())
    }

    /// How it stands.
    pub fn report(&self, timed_out: bool) -> Report {
        let unknown = self.unknown.iter().cloned().collect();
        let mut report = Report { timed_out, unknown, devices: self.seen.len(), ..Report::default() };
        for (name, stage) in &self.shared.lock().stages {
            match stage {
                Stage::Loading => report.unfinished.push(name.clone()),
                Stage::Loaded => report.loaded.push(name.clone()),
                Stage::Before => report.before.push(name.clone()),
                Stage::Failed(reason) => report.failed.push((name.clone(), reason.clone())),
            }
        }
        report
    }

    fn submit(&self, modules: &[&Module]) {
        let mut state = self.shared.lock();
        let job: Job = modules
            .iter()
            .filter(|module| {
                !matches!(
                    state.stages.get(&module.name),
                    Some(Stage::Loaded | Stage::Before | Stage::Failed(_))
                )
            })
            .map(|module| (module.name.clone(), module.path.clone()))
            .collect();
        if !job.is_empty() && self.jobs.send(job).is_ok() {
            state.jobs += 1;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            for (name, path) in job {
                if self.claim(&name) {
                    let stage = match self.kernel.insert(&path) {
                        Ok(Inserted::Now) => Stage::Loaded,
                        Ok(Inserted::Before) => Stage::Before,
                        Err(reason) => Stage::Failed(reason),
                    };
                    self.lock().stages.insert(name, stage);
                    self.changed.notify_all();
                }
            }
            let mut state = self.lock();
            state.jobs = state.jobs.saturating_sub(1);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Whether the module is the caller's to load. Waits when another thread is loading it; nobody
    /// holds a module while waiting for another, so this cannot lock up.
    fn claim(&self, name: &str) -> bool {
        let is_loading = |state: &mut State| matches!(state.stages.get(name), Some(Stage::Loading));
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, is_loading);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stages.contains_key(name) {
            return false;
        }
        state.stages.insert(name.to_owned(), Stage::Loading);
        true
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
