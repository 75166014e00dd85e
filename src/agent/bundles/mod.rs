//! Bundles on an installed host: what it has, which generation it goes to, and what is put right. All of it happens beside the
//! signs of life, which wait for nothing here: [`follow`] gets a generation, [`run`] tells of what is done, [`repairs`] says when one is tried again.

mod follow;
mod repairs;
mod run;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::AgentError;
use super::apply::{Applier, Removed, Traced};
use super::client::Client;
use crate::appliance::{REMOVE, REPAIR};
use crate::bundle::desired::{Applied, ApplyResult, DriftPolicy, Outcome};
use follow::follow;
use repairs::Repairs;
use run::Run;

/// What the host must remember of its bundles.
pub const FOLDER: &str = "/var/lib/firstlight/bundles";
/// How long a sign of life waits for a look at the host; one that takes longer is told with a later one.
const LOOK: Duration = Duration::from_secs(3);
/// Most paths, or checks, that a sign of life tells.
const TOLD: usize = 64;

/// The bundles of this host.
pub struct Bundles {
    folder: PathBuf,
    applier: Option<Arc<Applier>>,
    /// Puts right what a crash left.
    opening: Option<JoinHandle<Result<Arc<Applier>, AgentError>>>,
    /// A job, until its end is told.
    running: Option<JoinHandle<Option<Outcome>>>,
    looking: Option<JoinHandle<Option<Applied>>>,
    /// What was seen last, drift and health included.
    seen: Option<Applied>,
    repairs: Repairs,
}

impl Bundles {
    /// Goes on where the host was cut off. A host that never had bundles has nothing of this.
    pub fn open(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            applier: None,
            opening: folder.exists().then(|| tokio::spawn(open(folder.to_owned()))),
            running: None,
            looking: None,
            seen: None,
            repairs: Repairs::default(),
        }
    }

    /// Whether something is being put in place, or its end was not told yet.
    pub fn is_busy(&self) -> bool {
        self.opening.is_some() || self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Takes note of what has ended since.
    async fn settle(&mut self) {
        if self.applier.is_none() && self.opening.is_none() && self.folder.exists() {
            self.opening = Some(tokio::spawn(open(self.folder.clone())));
        }
        if let Some(opening) = &mut self.opening
            && let Ok(opened) = timeout(LOOK, opening).await
        {
            self.opening = None;
            match opened {
                Ok(Ok(applier)) => self.applier = Some(applier),
                Ok(Err(error)) => tracing::error!(%error, "the bundles of this host cannot be looked at"),
                Err(error) => tracing::error!(%error, "the look at the bundles of this host failed"),
            }
        }
        if let Some(running) = self.running.take_if(|running| running.is_finished())
            && let Ok(Some(outcome)) = running.await
            && matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged)
        {
            // All files were put, and all checks held.
            self.seen = Some(Applied { generation: outcome.generation, ..Applied::default() });
        }
    }

    /// Whether it is at a job, and what the host has; none while that cannot be told.
    pub async fn observed(&mut self) -> (bool, Option<Applied>) {
        self.settle().await;
        // First: whoever is not busy any more has all of its work in what follows.
        let busy = self.is_busy();
        (busy, self.applied(busy).await.map(brief))
    }

    async fn applied(&mut self, busy: bool) -> Option<Applied> {
        let Some(applier) = self.applier.clone() else {
            // Without the folder there never were any; with it, nobody knows yet.
            return (!busy && !self.folder.exists()).then(Applied::default);
        };
        let now = match blocking(move || applier.applied()).await {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "cannot look at the bundles");
                return None;
            }
        };
        if now.generation.is_empty() {
            return Some(now);
        }
        if !busy {
            self.look().await;
        }
        match self.seen.as_ref().filter(|seen| seen.generation == now.generation) {
            Some(seen) => {
                let (drift, unhealthy) = (seen.drift.clone(), seen.unhealthy.clone());
                Some(Applied { drift, unhealthy, ..now })
            }
            None => busy.then_some(now),
        }
    }

    /// Looks at drift and health; a look that takes long goes on beside the signs of life.
    async fn look(&mut self) {
        if self.looking.is_none()
            && let Some(applier) = self.applier.clone()
        {
            self.looking = Some(tokio::spawn(async move {
                let seen = blocking(move || applier.look()).await;
                seen.unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot look at the bundles");
                    None
                })
            }));
        }
        if let Some(looking) = &mut self.looking
            && let Ok(seen) = timeout(LOOK, looking).await
        {
            self.looking = None;
            self.seen = seen.ok().flatten().or(self.seen.take());
        }
    }

    /// Goes to the generation that the appliance named, beside everything else. One that cannot be had is a job that failed.
    pub async fn follow(&mut self, client: &Client, generation: String) {
        if self.is_busy() {
            return;
        }
        if self.applier.is_none() {
            match open(self.folder.clone()).await {
                Ok(applier) => self.applier = Some(applier),
                Err(error) => tracing::error!(%error, "the bundles of this host cannot be looked after"),
            }
        }
        self.running = Some(tokio::spawn(follow(client.clone(), self.applier.clone(), generation)));
    }

    /// Puts right what was changed by hand, where the bundles say so, beside everything else.
    pub fn repair(&mut self, client: &Client, seen: &Applied) {
        if self.is_busy() || !self.repairs.is_due(seen, Instant::now()) {
            return;
        }
        let Some(applier) = self.applier.clone() else { return };
        let run = Run::new(client.clone(), REPAIR, seen.generation.clone(), seen.bundles.clone());
        self.running = Some(tokio::spawn(async move {
            let asked = Arc::clone(&applier);
            let policy = blocking(move || Ok(asked.generations()?.into_iter().next())).await;
            if !policy.is_ok_and(|newest| newest.is_some_and(|(_, now)| now.drift == DriftPolicy::Repair)) {
                return None;
            }
            tracing::info!("puts right what was changed by hand");
            run.go(move |lines| applier.repair(lines).ok()).await
        }));
    }

    /// Runs the drain hooks; one that fails does not keep the host: the operator's order stands.
    pub async fn drain(&mut self) {
        self.rest().await;
        let Some(applier) = self.applier.clone() else { return };
        match blocking(move || Ok(applier.drain_hooks(&mut Traced))).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "a drain hook failed; the order stands"),
            Err(error) => tracing::warn!(%error, "the bundles could not give up their work"),
        }
    }

    /// Takes away all that bundles brought, after their last hooks, and tells that as a job; whether all took their leave.
    /// Where one does not, everything stays, unless `force` says that it goes all the same.
    pub async fn leave(&mut self, client: &Client, force: bool) -> bool {
        self.rest().await;
        if self.applier.is_none() {
            if !self.folder.exists() {
                return true;
            }
            match open(self.folder.clone()).await {
                Ok(applier) => self.applier = Some(applier),
                Err(error) => tracing::error!(%error, "what bundles brought cannot be taken away"),
            }
        }
        let Some(applier) = self.applier.clone() else {
            let run = Run::new(client.clone(), REMOVE, String::new(), Vec::new());
            let cause = format!("{FOLDER} cannot be used; the agent's log says why");
            run.go(move |_| Some(run::broken(String::new(), &cause))).await;
            return false;
        };
        let asked = Arc::clone(&applier);
        let has = match blocking(move || asked.applied()).await {
            Ok(has) if has.generation.is_empty() && has.bundles.is_empty() => return true,
            Ok(has) => has,
            Err(error) => {
                tracing::error!(%error, "cannot look at the bundles");
                Applied::default()
            }
        };
        let run = Run::new(client.clone(), REMOVE, has.generation, has.bundles);
        let left = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&left);
        run.go(move |lines| {
            let outcome = taken_away(applier.leave_all(lines));
            if matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged) {
                told.store(true, Ordering::Relaxed);
                return Some(outcome);
            }
            Some(if force { taken_away(applier.remove_all(lines)) } else { outcome })
        })
        .await;
        left.load(Ordering::Relaxed)
    }

    /// Waits for what is under way; it ends by itself: its hooks and checks have limits.
    async fn rest(&mut self) {
        if let Some(Ok(Ok(applier))) = wait(self.opening.take()).await {
            self.applier = Some(applier);
        }
        wait(self.running.take()).await;
    }
}

/// How a removal went; what is still there is its reason.
fn taken_away(removed: super::apply::Result<Removed>) -> Outcome {
    match removed {
        Ok(Removed { mut outcome, left_over }) => {
            if !left_over.is_empty() {
                outcome.reason = format!("still there: {}", left_over.join("; "));
            }
            outcome
        }
        Err(error) => run::broken(String::new(), &error.to_string()),
    }
}

async fn wait<T>(task: Option<JoinHandle<T>>) -> Option<Result<T, tokio::task::JoinError>> {
    Some(task?.await)
}

/// Finishes or takes back what a crash left.
async fn open(folder: PathBuf) -> Result<Arc<Applier>, AgentError> {
    let applier = blocking(move || {
        let applier = Applier::new(Path::new("/"), &folder)?;
        if let Some(outcome) = applier.recover(&mut Traced)? {
            tracing::warn!(reason = outcome.reason, "what a crash had left of a generation was put right");
        }
        Ok(applier)
    });
    Ok(Arc::new(applier.await?))
}

/// As much of it as a sign of life tells.
fn brief(mut applied: Applied) -> Applied {
    applied.drift.truncate(TOLD);
    applied.unhealthy.truncate(TOLD);
    applied.last = applied.last.map(run::brief);
    applied
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> super::apply::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    let worked = tokio::task::spawn_blocking(work).await;
    let failed = |error: &dyn std::fmt::Display| AgentError::machine("look after its bundles", error);
    worked.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}
