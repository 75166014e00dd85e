//! The way in: what the agent calls.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};

use super::attempt::{Purpose, attempt, give_up, recover};
use super::desired::{Applied, ApplyResult, Desired, Outcome};
use super::error::{Error, Failure, Result};
use super::hooks;
use super::host::Host;
use super::log::{Lines, Log};
use super::mask::Mask;
use super::observe::{Seen, drift, generation, unhealthy};
use super::packages::{Packages, find};
use super::process::Place;
use super::root::Root;
use super::store::Store;
use super::units::{Supervisor, Systemd, Units};

/// Puts bundles on one host. Every call blocks: use a thread of its own.
pub struct Applier {
    host: Host,
    busy: Mutex<()>,
    seen: Seen,
    _lock: Flock<File>,
}

/// What programs, packages and units of a host are handled by.
pub struct Machine {
    /// Where programs run.
    pub place: Place,
    /// The package manager, if there is one.
    pub packages: Option<Box<dyn Packages>>,
    /// Units; none: systemd where it runs, else the supervisor.
    pub units: Option<Box<dyn Units>>,
}

/// What became of [`Applier::remove_all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// How it went.
    pub outcome: Outcome,
    /// What is still there although it should not be: one line each, with why where that is known.
    pub left_over: Vec<String>,
}

impl Applier {
    /// For the host whose files are below `root` (`/` for this one); keeps what it must remember in `state`.
    pub fn new(root: &Path, state: &Path) -> Result<Self> {
        let place = Place::within(root);
        let packages = find(&Root::open(root)?, &place)?;
        Self::with(root, state, Machine { place, packages, units: None })
    }

    /// As [`Self::new`], with parts of the host given.
    pub fn with(root: &Path, state: &Path, machine: Machine) -> Result<Self> {
        let root = Root::open(root)?;
        let store = Store::open(state)?;
        let lock = lock(&store.path("lock"))?;
        let units = match machine.units {
            Some(units) => units,
            None if root.is_own() && Systemd::runs() => Box::new(Systemd::new(machine.place.clone())),
            None => Box::new(Supervisor::new(root.clone(), machine.place.clone(), &store.path("units"))?),
        };
        let host = Host { root, place: machine.place, store, packages: machine.packages, units };
        Ok(Self { host, busy: Mutex::new(()), seen: Seen::default(), _lock: lock })
    }

    /// To be called once at the start, before anything else: finishes or rolls back what a crash left, and starts what
    /// starts with the system where nobody else does. The outcome is of what was interrupted, if anything was.
    pub fn recover(&self, log: &mut dyn Log) -> Result<Option<Outcome>> {
        let _busy = self.busy();
        let outcome = recover(&self.host, log)?;
        if let Some(outcome) = &outcome {
            self.host.store.set_last(outcome)?;
        }
        self.host.units.boot()?;
        Ok(outcome)
    }

    /// Makes `desired` the generation of this host, or leaves it with the one it had. `digest` is the appliance's name for it.
    pub fn apply(&self, desired: &Desired, digest: &str, log: &mut dyn Log) -> Outcome {
        let _busy = self.busy();
        self.attempt(desired, digest, Purpose::Apply, log)
    }

    /// What the host has now, and how the last attempt went; drift and health are not looked at.
    pub fn applied(&self) -> Result<Applied> {
        generation(&self.host).map(|(_, applied)| applied)
    }

    /// What the host has now. While something is being applied, drift and health are not looked at.
    pub fn observed(&self) -> Result<Applied> {
        self.look()?.map_or_else(|| self.applied(), Ok)
    }

    /// What the host has now, drift and health included: takes as long as its checks do. None while something is being applied.
    pub fn look(&self) -> Result<Option<Applied>> {
        let (current, mut applied) = generation(&self.host)?;
        let busy = match self.busy.try_lock() {
            Ok(busy) => busy,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        applied.drift = drift(&self.host, &current, &self.seen);
        drop(busy);
        applied.unhealthy = unhealthy(&self.host, &current);
        Ok(Some(applied))
    }

    /// Puts right what was changed by hand, and restarts what depends on it.
    pub fn repair(&self, log: &mut dyn Log) -> Result<Outcome> {
        let _busy = self.busy();
        let current = self.host.store.current()?;
        Ok(self.attempt(&current.desired, &current.digest, Purpose::Repair, log))
    }

    /// Runs the `drain` hooks, those first that need others; ends at the first that fails.
    pub fn drain_hooks(&self, log: &mut dyn Log) -> Result<(), Failure> {
        let _busy = self.busy();
        let current = self.host.store.current()?;
        let checked = self.host.former(&current)?;
        let mut lines = Lines::new(log, Mask::of([&checked]));
        for bundle in current.desired.bundles.iter().rev() {
            let done = hooks::run(&self.host, &mut lines, &bundle.bundle, "drain", &bundle.hooks.drain);
            done.map_err(|error| Failure {
                bundle: Some(bundle.bundle.clone()),
                text: lines.clean(&error.to_string()),
            })?;
        }
        Ok(())
    }

    /// Runs the `drain` and `leave` hooks (one that fails is told among the changes and holds nothing up) and takes away everything that bundles ever brought, then looks whether it is gone.
    pub fn remove_all(&self, log: &mut dyn Log) -> Result<Removed> {
        self.remove(Purpose::Remove, log)
    }

    /// As [`Self::remove_all`], but a hook that fails brings everything back: others still count on this host.
    pub fn leave_all(&self, log: &mut dyn Log) -> Result<Removed> {
        self.remove(Purpose::Leave, log)
    }

    fn remove(&self, purpose: Purpose, log: &mut dyn Log) -> Result<Removed> {
        let _busy = self.busy();
        let outcome = self.attempt(&Desired::default(), "", purpose, log);
        let gone = matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged);
        if gone {
            self.host.store.forget()?;
        }
        Ok(Removed { left_over: outcome.left_over.clone(), outcome })
    }

    /// The generations that are kept, newest first: number and what it was.
    pub fn generations(&self) -> Result<Vec<(u64, Desired)>> {
        let store = &self.host.store;
        let numbers = store.generations()?.into_iter();
        numbers
            .filter_map(|number| store.generation(number).transpose())
            .map(|one| one.map(|one| (one.number, one.desired)))
            .collect()
    }

    fn attempt(&self, desired: &Desired, digest: &str, purpose: Purpose, log: &mut dyn Log) -> Outcome {
        let started = Instant::now();
        let mut outcome = match self.cleared(log) {
            Ok(()) => attempt(&self.host, desired, digest, purpose, log),
            Err(error) => Outcome {
                generation: digest.to_owned(),
                result: ApplyResult::Broken,
                reason: format!("what was interrupted before could not be cleared: {error}"),
                bundle: None,
                changes: Vec::new(),
                left_over: Vec::new(),
                elapsed_ms: 0,
            },
        };
        outcome.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if outcome.result != ApplyResult::Unchanged
            && let Err(error) = self.host.store.set_last(&outcome)
        {
            tracing::warn!(%error, "the outcome could not be kept");
        }
        outcome
    }

    /// Clears what a crash left. Where the way back fails again, a new generation may mend what the old one can't.
    fn cleared(&self, log: &mut dyn Log) -> Result<()> {
        match recover(&self.host, log)? {
            Some(left) if left.result == ApplyResult::Broken => {
                log.line(
                    "",
                    "roll-back",
                    "the former generation can't be brought back; goes on from what is there",
                );
                give_up(&self.host)
            }
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    fn busy(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two agents on one host would undo each other's work.
fn lock(path: &Path) -> Result<Flock<File>> {
    let said = path.display().to_string();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(Error::file(&said, "open it"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::place(said, "another firstlight agent is at work on this host; stop it first"))
}
