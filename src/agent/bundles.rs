//! Bundles on an installed host: asks for the generation that the appliance names, puts it in place beside the signs of life, and
//! tells how that goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::AgentError;
use super::apply::{Applier, Log, Removed, Traced};
use super::client::Client;
use crate::appliance::JobReport;
use crate::bundle::desired::{Applied, ApplyResult, Desired, DriftPolicy, Outcome};

/// What the host must remember of its bundles.
pub const FOLDER: &str = "/var/lib/firstlight/bundles";
/// How long lines are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);
/// Lines that wait to be sent; more are dropped rather than have the work wait for the appliance.
const WAITING: usize = 10_000;
/// Tries to tell how it ended, and the longest pause between them.
const PATIENCE: (u32, Duration) = (20, Duration::from_secs(30));

/// The bundles of this host.
pub struct Bundles {
    folder: PathBuf,
    applier: Option<Arc<Applier>>,
    running: Option<JoinHandle<()>>,
    /// What was seen last, while the applier is at work.
    last: Arc<Mutex<Option<Applied>>>,
}

impl Bundles {
    /// Goes on where the host was cut off. A host that never had bundles has nothing of this.
    pub async fn open(folder: &Path) -> Self {
        let last = Arc::default();
        let mut bundles = Self { folder: folder.to_owned(), applier: None, running: None, last };
        if folder.exists()
            && let Err(error) = bundles.applier().await
        {
            tracing::error!(%error, "the bundles of this host cannot be looked at");
        }
        bundles
    }

    async fn applier(&mut self) -> Result<Arc<Applier>, AgentError> {
        if let Some(applier) = &self.applier {
            return Ok(Arc::clone(applier));
        }
        let folder = self.folder.clone();
        let applier = blocking(move || {
            let applier = Applier::new(Path::new("/"), &folder)?;
            if let Some(outcome) = applier.recover(&mut Traced)? {
                tracing::warn!(
                    reason = outcome.reason,
                    "what a crash had left of a generation was put right"
                );
            }
            Ok(applier)
        })
        .await?;
        let applier = Arc::new(applier);
        self.applier = Some(Arc::clone(&applier));
        Ok(applier)
    }

    /// Whether a generation is being put in place.
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// What the host has; none when it never had bundles.
    pub async fn observed(&self) -> Option<Applied> {
        let applier = Arc::clone(self.applier.as_ref()?);
        let seen = tokio::task::spawn_blocking(move || applier.observed()).await;
        match seen {
            Ok(Ok(seen)) => {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
                Some(seen)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot look at the bundles");
                self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
            Err(_) => None,
        }
    }

    /// Goes to the generation that the appliance named, beside everything else.
    ///
    /// # Errors
    /// When the appliance does not give it, or the host's folder cannot be used.
    pub async fn follow(&mut self, client: &Client, generation: String) -> Result<(), AgentError> {
        if self.is_busy() {
            return Ok(());
        }
        let desired: Desired =
            client.ask("/agent/v2/desired", &serde_json::json!({ "generation": generation })).await?;
        let applier = self.applier().await?;
        tracing::info!(generation, bundles = desired.bundles.len(), "puts bundles in place");
        let bundles = desired.bundles.iter().map(|bundle| bundle.bundle.clone()).collect();
        let about =
            JobReport { kind: "apply".into(), subject: generation.clone(), bundles, ..JobReport::default() };
        let work = move |lines: &mut Lines| applier.apply(&desired, &generation, lines);
        let client = client.clone();
        self.running = Some(tokio::spawn(async move { run(&client, about, work).await }));
        Ok(())
    }

    /// Puts right what was changed by hand, where the bundles say so.
    pub async fn repair(&mut self, seen: &Applied) {
        if seen.drift.is_empty() || self.is_busy() {
            return;
        }
        let Some(applier) = self.applier.clone() else { return };
        let repaired = blocking(move || {
            let newest = applier.generations()?.into_iter().next();
            let wanted = newest.is_some_and(|(_, now)| now.drift == DriftPolicy::Repair);
            if wanted { applier.repair(&mut Traced).map(Some) } else { Ok(None) }
        });
        match repaired.await {
            Ok(Some(outcome)) => {
                tracing::info!(changes = ?outcome.changes, "put right what was changed by hand");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot put right what was changed by hand"),
        }
    }

    /// Runs the drain hooks; one that fails does not keep the host: the operator's order stands.
    pub async fn drain(&mut self) {
        self.rest().await;
        let Some(applier) = self.applier.clone() else { return };
        let drained = blocking(move || Ok(applier.drain_hooks(&mut Traced)));
        match drained.await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "a drain hook failed; the order stands"),
            Err(error) => tracing::warn!(%error, "the bundles could not give up their work"),
        }
    }

    /// Takes away all that bundles brought, after their last hooks, and tells that as a job; whether all took their leave.
    /// Where one does not, everything stays, unless `force` says that it goes all the same.
    pub async fn leave(&mut self, client: &Client, force: bool) -> bool {
        self.rest().await;
        if self.applier.is_none() && !self.folder.exists() {
            return true;
        }
        let about = JobReport { kind: "remove".into(), ..JobReport::default() };
        let applier = match self.applier().await {
            Ok(applier) => applier,
            Err(error) => {
                tracing::error!(%error, "what bundles brought cannot be taken away");
                run(client, about, move |_| broken(error.to_string())).await;
                return false;
            }
        };
        let seen = self.observed().await.unwrap_or_default();
        if seen.generation.is_empty() && seen.bundles.is_empty() {
            return true;
        }
        let about = JobReport { subject: seen.generation, bundles: seen.bundles, ..about };
        let left = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&left);
        run(client, about, move |lines| {
            let outcome = taken_away(applier.leave_all(lines));
            if matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged) {
                told.store(true, Ordering::Relaxed);
                return outcome;
            }
            if force { taken_away(applier.remove_all(lines)) } else { outcome }
        })
        .await;
        left.load(Ordering::Relaxed)
    }

    /// Waits for what is under way; it ends by itself: its hooks and checks have limits.
    async fn rest(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
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
        Err(error) => broken(error.to_string()),
    }
}

fn broken(reason: String) -> Outcome {
    Outcome {
        generation: String::new(),
        result: ApplyResult::Broken,
        reason,
        bundle: None,
        changes: Vec::new(),
        elapsed_ms: 0,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> super::apply::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    let worked = tokio::task::spawn_blocking(work).await;
    let failed = |error: &dyn std::fmt::Display| AgentError::machine("look after its bundles", error);
    worked.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Hands on lines of output.
struct Lines(mpsc::Sender<String>);

impl Log for Lines {
    fn line(&mut self, bundle: &str, step: &str, text: &str) {
        let line =
            if bundle.is_empty() { format!("{step}: {text}") } else { format!("{bundle}: {step}: {text}") };
        // A line too many is lost; the work goes on.
        let _ = self.0.try_send(line);
    }
}

/// Does `work` as the job that `about` names: tells that it began, what it says, and how it ended.
async fn run(client: &Client, about: JobReport, work: impl FnOnce(&mut Lines) -> Outcome + Send + 'static) {
    let (sender, mut lines) = mpsc::channel(WAITING);
    let work = tokio::task::spawn_blocking(move || work(&mut Lines(sender)));
    let report = |lines: Vec<String>, outcome| JobReport { lines, outcome, ..about.clone() };
    if let Err(error) = client.tell("/agent/v2/job", &report(Vec::new(), None)).await {
        tracing::debug!(%error, "that it began is told with the first lines");
    }
    let mut gathered = Vec::new();
    loop {
        let more = lines.recv_many(&mut gathered, 500).await;
        if more == 0 {
            break;
        }
        tokio::time::sleep(GATHER).await;
        let told = client.tell("/agent/v2/job", &report(gathered.clone(), None)).await;
        if told.is_ok() || gathered.len() > WAITING {
            gathered.clear();
        }
    }
    let Ok(outcome) = work.await else {
        tracing::error!(kind = about.kind, "the work on bundles ended in a panic");
        return;
    };
    tracing::info!(kind = about.kind, result = ?outcome.result, reason = outcome.reason, elapsed_ms = outcome.elapsed_ms, "bundles");
    let (tries, longest) = PATIENCE;
    let mut pause = Duration::from_secs(1);
    for _ in 0..tries {
        match client
            .tell("/agent/v2/job", &report(std::mem::take(&mut gathered), Some(outcome.clone())))
            .await
        {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "how it went could not be told"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}
