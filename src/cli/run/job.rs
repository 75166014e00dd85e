//! Does `firstlight job …`.

use std::time::Duration;

use crate::appliance::JobLog;
use crate::model;

use super::super::CliError;
use super::super::args::Job;
use super::super::client::{Client, segment};
use super::super::show::{ago, answer, block, clean, columns, or_dash, print};
use super::Context;

/// Between two looks at a job that runs.
const PAUSE: Duration = Duration::from_millis(500);

pub async fn job(client: &Client, command: Job, context: Context) -> Result<(), CliError> {
    match command {
        Job::List { node, limit } => {
            let node = node.map(|node| format!("&node={}", segment(node))).unwrap_or_default();
            let jobs: Vec<model::Job> = client.get(&format!("/jobs?limit={limit}{node}")).await?;
            answer(context.output, &jobs, |jobs| {
                let headers = ["JOB", "NODE", "KIND", "RESULT", "STARTED", "REASON"];
                columns(
                    headers,
                    jobs.iter().map(|job| {
                        [
                            job.id.to_string(),
                            job.name.to_string(),
                            job.kind.clone(),
                            result(job).to_owned(),
                            format!("{} ago", ago(job.started)),
                            job.reason.chars().take(60).collect(),
                        ]
                    }),
                )
            })
        }
        Job::Show { job } => {
            let found: JobLog = client.get(&format!("/jobs/{job}")).await?;
            answer(context.output, &found.job, |job| {
                block(&[
                    ("job", job.id.to_string()),
                    ("node", job.name.to_string()),
                    ("kind", job.kind.clone()),
                    ("subject", job.subject.clone()),
                    ("started", job.started.to_string()),
                    ("ended", or_dash(job.ended)),
                    ("result", result(job).to_owned()),
                    ("reason", job.reason.clone()),
                ])
            })
        }
        Job::Log { job, follow } => {
            let mut from = 0;
            loop {
                let piece: JobLog = client.get(&format!("/jobs/{job}?from={from}")).await?;
                print(&piece.text.lines().fold(String::new(), |text, line| text + &clean(line) + "\n"))?;
                let more = piece.next > from;
                from = piece.next;
                let failed = matches!(piece.job.result.as_str(), "rolled-back" | "broken" | "lost");
                match (more, follow && piece.job.ended.is_none()) {
                    (true, _) => {}
                    (false, true) => tokio::time::sleep(PAUSE).await,
                    (false, false) if follow && failed => {
                        return Err(CliError::Local(format!(
                            "job {job}: {}: {}",
                            piece.job.result, piece.job.reason
                        )));
                    }
                    (false, false) => return Ok(()),
                }
            }
        }
    }
}

fn result(job: &model::Job) -> &str {
    if job.ended.is_none() { "running" } else { &job.result }
}
