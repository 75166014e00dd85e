//! Long runs on nodes: [`logs`] has their output, [`ended`] says how those end that nobody tells the end of, [`kept`] which are kept.

mod ended;
mod kept;
mod logs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bundle::desired::{ApplyResult, Outcome};
use crate::model::{Change, EventKind, Job, Node, NodeId, Timestamp, World};
use crate::store::Tx;

use super::agent::{reason, text};
use super::{AppError, Appliance, Caller, now};

pub(super) use ended::{cut_off, end_running};
pub(super) use kept::{Last, forgive, last, retries};
pub(super) use logs::Logs;

/// A generation is put in place.
pub const APPLY: &str = "apply";
/// What was changed by hand is put right.
pub const REPAIR: &str = "repair";
/// All that bundles brought is taken away.
pub const REMOVE: &str = "remove";
/// Most bundles of a node.
pub(super) const BUNDLES: usize = 128;

/// What a node tells of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JobReport {
    /// Of what kind: [`APPLY`], [`REPAIR`] or [`REMOVE`].
    pub kind: String,
    /// To what: the digest of a generation.
    pub subject: String,
    /// Which run it is, at random: what is told twice is one job.
    #[serde(default)]
    pub run: String,
    /// New lines of output.
    #[serde(default)]
    pub lines: Vec<String>,
    /// How it ended, once it has.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// What the job is to bring: `name@version` of each bundle.
    #[serde(default)]
    pub bundles: Vec<String>,
}

/// A piece of a job's output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobLog {
    /// The job.
    pub job: Job,
    /// The text from the offset that was asked for.
    pub text: String,
    /// Where the next piece begins.
    pub next: u64,
}

impl Appliance {
    /// Jobs, newest first.
    pub fn jobs(&self, node: Option<NodeId>, limit: usize) -> Vec<Job> {
        let world = self.view();
        match node {
            Some(node) => world.jobs_of(node).rev().take(limit).cloned().collect(),
            None => world.jobs().rev().take(limit).cloned().collect(),
        }
    }

    /// A job and its output from `offset` on. All of it is there once the job has ended.
    ///
    /// # Errors
    /// When there is no such job, or its output cannot be read.
    pub fn job_log(&self, id: u64, offset: u64) -> Result<JobLog, AppError> {
        let job = self.view().job(id).cloned();
        let job = job
            .ok_or_else(|| AppError::NotFound(format!("there is no job {id}; see `firstlight job list`")))?;
        let read = self.logs.read(id, offset);
        let (text, next) =
            read.map_err(|error| AppError::Internal(format!("cannot read the output of job {id}: {error}")))?;
        Ok(JobLog { job, text, next })
    }

    /// Takes what a node tells of a job; the job's number.
    ///
    /// # Errors
    /// When the caller speaks for no node with a certificate.
    pub async fn job_report(&self, caller: Caller, report: JobReport) -> Result<u64, AppError> {
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can speak of jobs".into()));
        }
        let JobReport { kind, subject, run, lines, outcome, bundles } = report;
        let report = JobReport {
            kind: text(&kind),
            subject: text(&subject),
            run: text(&run),
            bundles: bundles.iter().take(BUNDLES).map(|name| text(name)).collect(),
            ..JobReport::default()
        };
        let report = self.named(caller, report)?;
        let job = self.job_of(caller, report).await?;
        if job.ended.is_some() {
            // It was told before, and only the answer was lost.
            return Ok(job.id);
        }
        // First: whoever sees that it has ended finds all of it.
        self.append(job.id, lines).await;
        if let Some(outcome) = outcome {
            let (id, at) = (job.id, now());
            self.store
                .transact(move |tx| {
                    let node = caller.node(tx.world())?.clone();
                    if let Some(job) = tx.world().job(id).filter(|job| job.ended.is_none()).cloned() {
                        let outcome = End::of(&outcome);
                        end(tx, &node, job, outcome, at);
                    }
                    Ok::<_, AppError>(())
                })
                .await?;
        }
        self.wake.notify_one();
        Ok(job.id)
    }

    /// What could not be fetched has no names; the plan does.
    fn named(&self, caller: Caller, mut report: JobReport) -> Result<JobReport, AppError> {
        if report.bundles.is_empty() {
            let world = self.view();
            report.bundles = self.planned_bundles(caller.node(&world)?.id, &report.subject);
        }
        Ok(report)
    }

    /// The job that a report is of; a new one when it is of none that is known.
    async fn job_of(&self, caller: Caller, report: JobReport) -> Result<Job, AppError> {
        {
            let world = self.view();
            if let Some(job) = known(&world, caller.node(&world)?.id, &report) {
                return Ok(job.clone());
            }
        }
        let at = now();
        let (job, gone) = self
            .store
            .transact(move |tx| {
                let node = caller.node(tx.world())?.clone();
                if let Some(job) = known(tx.world(), node.id, &report) {
                    return Ok((job.clone(), Vec::new()));
                }
                // A node does one thing at a time: what it does not speak of any more, it was cut off from.
                end_running(tx, &node, "the node was cut off in the middle of it", at);
                let last = tx.world().jobs().next_back().map_or(0, |job| job.id);
                let JobReport { kind, subject, run, bundles, .. } = report;
                let job = Job {
                    id: last.saturating_add(1),
                    node: node.id,
                    name: node.name.clone(),
                    kind,
                    subject,
                    bundles,
                    run,
                    started: at,
                    ended: None,
                    result: String::new(),
                    reason: String::new(),
                    cut_off: false,
                    forgiven: None,
                };
                tx.put(Change::PutJob(job.clone()));
                let mut gone = kept::outdated(tx.world(), node.id);
                for id in &gone {
                    tx.put(Change::DeleteJob(*id));
                }
                // A number that comes round again begins with nothing.
                gone.push(job.id);
                Ok::<_, AppError>((job, gone))
            })
            .await?;
        for id in gone {
            self.logs.remove(id);
        }
        Ok(job)
    }

    async fn append(&self, job: u64, lines: Vec<String>) {
        if lines.is_empty() {
            return;
        }
        let logs = Arc::clone(&self.logs);
        let written = tokio::task::spawn_blocking(move || logs.append(job, &lines)).await;
        let written =
            written.map_err(|error| error.to_string()).and_then(|done| done.map_err(|e| e.to_string()));
        if let Err(error) = written {
            tracing::warn!(job, error, "output of a job is lost");
        }
    }
}

/// The job that a report is of.
fn known<'w>(world: &'w World, node: NodeId, report: &JobReport) -> Option<&'w Job> {
    world.jobs_of(node).rev().find(|job| {
        let unnamed = report.run.is_empty() && job.ended.is_none();
        job.kind == report.kind
            && job.subject == report.subject
            && job.run == report.run
            && (unnamed || !report.run.is_empty())
    })
}

/// How a job ended.
pub(super) struct End {
    result: &'static str,
    reason: String,
    /// How long it took, milliseconds; since it began unless the node told.
    elapsed_ms: Option<u64>,
    cut_off: bool,
}

impl End {
    /// As the node told.
    fn of(outcome: &Outcome) -> Self {
        let result = match outcome.result {
            ApplyResult::Applied => "applied",
            ApplyResult::Unchanged => "unchanged",
            ApplyResult::RolledBack => "rolled-back",
            ApplyResult::Broken => "broken",
        };
        let elapsed_ms = Some(outcome.elapsed_ms);
        Self { result, reason: reason(&outcome.reason), elapsed_ms, cut_off: false }
    }
}

/// Ends a job, with its event.
pub(super) fn end(tx: &mut Tx, node: &Node, job: Job, end: End, at: Timestamp) {
    let job =
        Job { ended: Some(at), result: end.result.into(), reason: end.reason, cut_off: end.cut_off, ..job };
    let since = u64::try_from(at.since(job.started).as_millis()).unwrap_or(u64::MAX);
    let kind = EventKind::Configured {
        result: job.result.clone(),
        reason: job.reason_line(),
        bundles: job.bundles.clone(),
        job: job.id,
        elapsed_ms: end.elapsed_ms.unwrap_or(since),
    };
    tx.append(at, Some(node), None, kind);
    tx.put(Change::PutJob(job));
}
