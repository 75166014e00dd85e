//! Does `firstlight job …`.

use std::time::Duration;

use crate::appliance::JobLog;
use crate::model;

use super::super::CliError;
use super::super::args::{Job, Output};
use super::super::client::{Client, segment};
use super::super::show::{ago, answer, block, clean, columns, json_line, or_dash, print};
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
                            job.reason_line().chars().take(60).collect(),
                        ]
                    }),
                )
            })
        }
        Job::Show { job } => {
            let found: JobLog = client.get(&format!("/jobs/{job}")).await?;
            answer(context.output, &found.job, show)
        }
        Job::Log { job, follow } => log(client, job, follow, context.output).await,
    }
}

fn show(job: &model::Job) -> String {
    let mut reason = job.reason.lines();
    let rows = [
        ("job", job.id.to_string()),
        ("node", job.name.to_string()),
        ("kind", job.kind.clone()),
        ("subject", job.subject.clone()),
        ("bundles", job.bundles.join(", ")),
        ("started", job.started.to_string()),
        ("ended", or_dash(job.ended)),
        ("result", result(job).to_owned()),
        ("reason", reason.next().unwrap_or_default().to_owned()),
    ];
    let more = reason.fold(String::new(), |text, line| text + "  " + &clean(line) + "\n");
    block(&rows) + &more
}

/// Prints the output of a job: as text, or in other formats as one document, which is one for each piece while it is followed.
async fn log(client: &Client, job: u64, follow: bool, output: Output) -> Result<(), CliError> {
    let mut whole: Option<JobLog> = None;
    let mut from = 0;
    loop {
        let piece: JobLog = client.get(&format!("/jobs/{job}?from={from}")).await?;
        // Its output was written before its end: with that, an empty piece is the last.
        let (more, ended) = (piece.next > from, piece.job.ended.is_some());
        from = piece.next;
        let last = !more && (ended || !follow);
        match output {
            Output::Table => {
                print(&piece.text.lines().fold(String::new(), |text, line| text + &clean(line) + "\n"))?;
            }
            Output::Json if follow && (more || last) => json_line(&piece)?,
            Output::Yaml if follow && (more || last) => answer(output, &[&piece], |_| String::new())?,
            Output::Json | Output::Yaml => {
                let before = whole.take().map_or_else(String::new, |whole| whole.text);
                whole = Some(JobLog { text: before + &piece.text, ..piece.clone() });
            }
        }
        if last {
            if let Some(whole) = whole.filter(|_| !follow) {
                answer(output, &whole, |_| String::new())?;
            }
            return if follow && piece.job.failed() { Err(failed(&piece.job)) } else { Ok(()) };
        }
        if !more {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn failed(job: &model::Job) -> CliError {
    CliError::Local(format!("job {}: {}: {}", job.id, job.result, job.reason_line()))
}

fn result(job: &model::Job) -> &str {
    if job.ended.is_none() { "running" } else { &job.result }
}
