//! Long runs on nodes, with their output.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::desired::{ApplyResult, Outcome};
use crate::model::{Change, EventKind, Job, NodeId};
use crate::store::Tx;

use super::{AppError, Appliance, Caller, now};

/// Jobs that are kept; the oldest go first.
const KEPT: usize = 2_000;
/// Longest output of one job, bytes.
const LOG_BYTES: u64 = 8 << 20;
/// Longest line, characters.
const LINE: usize = 2_000;
/// Lines that are taken at once.
const LINES: usize = 2_000;
/// Bytes of output that one answer holds.
const PIECE: u64 = 1 << 20;

/// What a node tells of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JobReport {
    /// Of what kind: `apply`.
    pub kind: String,
    /// To what: the digest of a generation.
    pub subject: String,
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
        let fits = |job: &&Job| node.is_none_or(|node| job.node == node);
        world.jobs().rev().filter(fits).take(limit).cloned().collect()
    }

    /// A job and its output from `offset` on.
    ///
    /// # Errors
    /// When there is no such job, or its output cannot be read.
    pub fn job_log(&self, id: u64, offset: u64) -> Result<JobLog, AppError> {
        let job = self.view().job(id).cloned();
        let job = job
            .ok_or_else(|| AppError::NotFound(format!("there is no job {id}; see `firstlight job list`")))?;
        let path = self.log_path(id);
        let unreadable =
            |error: std::io::Error| AppError::Internal(format!("cannot read {}: {error}", path.display()));
        let mut bytes = Vec::new();
        match std::fs::File::open(&path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
                file.take(PIECE).read_to_end(&mut bytes).map_err(unreadable)?;
            }
            // It said nothing so far.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(error)),
        }
        // Not in the middle of a line, so not in the middle of a character.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        let next = offset + bytes.len() as u64;
        Ok(JobLog { job, text: String::from_utf8_lossy(&bytes).into_owned(), next })
    }

    fn log_path(&self, id: u64) -> PathBuf {
        self.config.state_dir.join("jobs").join(format!("{id}.log"))
    }

    /// Takes what a node tells of a job; the job's number.
    ///
    /// # Errors
    /// When the caller speaks for no node with a certificate.
    pub async fn job_report(&self, caller: Caller, report: JobReport) -> Result<u64, AppError> {
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can speak of jobs".into()));
        }
        let at = now();
        let (kind, subject) = (super::agent::text(&report.kind), super::agent::text(&report.subject));
        let (outcome, bundles) = (report.outcome, report.bundles);
        let ends = outcome.clone();
        let (job, gone) = self
            .store
            .transact(move |tx| {
                let node = caller.node(tx.world())?.clone();
                let running = tx.world().jobs().rev().take(KEPT).find(|job| {
                    job.node == node.id && job.ended.is_none() && job.kind == kind && job.subject == subject
                });
                let mut job = if let Some(job) = running {
                    job.clone()
                } else {
                    lose_others(tx, node.id, at);
                    let last = tx.world().jobs().next_back().map_or(0, |job| job.id);
                    let name = node.name.clone();
                    Job {
                        id: last + 1,
                        node: node.id,
                        name,
                        kind,
                        subject,
                        bundles: bundles.iter().take(64).map(|text| super::agent::text(text)).collect(),
                        started: at,
                        ended: None,
                        result: String::new(),
                        reason: String::new(),
                    }
                };
                if let Some(outcome) = ends {
                    job.ended = Some(at);
                    job.result = result(outcome.result).into();
                    job.reason = super::agent::text(&outcome.reason);
                    let kind = EventKind::Configured {
                        result: job.result.clone(),
                        reason: job.reason.clone(),
                        bundles: bundles.iter().take(64).map(|text| super::agent::text(text)).collect(),
                        job: job.id,
                        elapsed_ms: outcome.elapsed_ms,
                    };
                    tx.append(at, Some(&node), None, kind);
                }
                if tx.world().job(job.id) != Some(&job) {
                    tx.put(Change::PutJob(job.clone()));
                }
                let count = tx.world().jobs().count().saturating_sub(KEPT);
                let gone: Vec<u64> = tx.world().jobs().take(count).map(|job| job.id).collect();
                for id in &gone {
                    tx.put(Change::DeleteJob(*id));
                }
                Ok::<_, AppError>((job.id, gone))
            })
            .await?;
        for id in gone {
            // One that stays costs a file, until the number comes round again.
            let _ = std::fs::remove_file(self.log_path(id));
        }
        self.wake.notify_one();
        let lines = report.lines;
        if !lines.is_empty() {
            let path = self.log_path(job);
            let written = tokio::task::spawn_blocking(move || append(&path, &lines)).await;
            let written =
                written.map_err(|error| error.to_string()).and_then(|done| done.map_err(|e| e.to_string()));
            if let Err(error) = written {
                tracing::warn!(job, error, "output of a job is lost");
            }
        }
        Ok(job)
    }
}

/// A node does one thing at a time: what it does not speak of any more, it was cut off from.
fn lose_others(tx: &mut Tx, node: NodeId, at: crate::model::Timestamp) {
    let lost: Vec<Job> =
        tx.world().jobs().filter(|job| job.node == node && job.ended.is_none()).cloned().collect();
    for job in lost {
        let reason = "the node was cut off in the middle of it".into();
        tx.put(Change::PutJob(Job { ended: Some(at), result: "lost".into(), reason, ..job }));
    }
}

fn result(result: ApplyResult) -> &'static str {
    match result {
        ApplyResult::Applied => "applied",
        ApplyResult::Unchanged => "unchanged",
        ApplyResult::RolledBack => "rolled-back",
        ApplyResult::Broken => "broken",
    }
}

fn append(path: &std::path::Path, lines: &[String]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    let mut room = LOG_BYTES.saturating_sub(file.metadata()?.len());
    let mut text = String::new();
    for line in lines.iter().take(LINES) {
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LINE).collect();
        let length = line.len() as u64 + 1;
        if length > room {
            break;
        }
        room -= length;
        text.push_str(&line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}
