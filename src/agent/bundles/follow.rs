//! The way to the generation that the appliance named: it is fetched, and applied as a job.

use std::sync::Arc;
use std::time::Duration;

use super::super::AgentError;
use super::super::apply::Applier;
use super::super::client::Client;
use super::FOLDER;
use super::run::Run;
use crate::appliance::APPLY;
use crate::bundle::desired::{ApplyResult, Desired, Outcome};

/// Tries to get a generation, and the pause between two.
const FETCHES: (u32, Duration) = (3, Duration::from_secs(3));

/// Goes there; none when nothing was begun.
pub async fn follow(client: Client, applier: Option<Arc<Applier>>, generation: String) -> Option<Outcome> {
    let run = |names| Run::new(client.clone(), APPLY, generation.clone(), names);
    let (cause, names) = match (fetch(&client, &generation).await, applier) {
        (Ok(desired), Some(applier)) => {
            tracing::info!(generation, bundles = desired.bundles.len(), "puts bundles in place");
            let (run, generation) = (run(desired.names()), generation.clone());
            return run.go(move |lines| Some(applier.apply(&desired, &generation, lines))).await;
        }
        // The appliance wants something else by now, and says so with the next answer.
        (Err(error @ AgentError::Refused { .. }), _) => {
            tracing::warn!(%error, "cannot go to the generation that the appliance named");
            return None;
        }
        (Ok(desired), None) => {
            (format!("{FOLDER} cannot be used; the agent's log says why"), desired.names())
        }
        (Err(error), _) => (error.to_string(), Vec::new()),
    };
    let outcome = Outcome {
        generation: generation.clone(),
        result: ApplyResult::RolledBack,
        reason: format!("the host was not touched: {cause}"),
        bundle: None,
        changes: Vec::new(),
        left_over: Vec::new(),
        elapsed_ms: 0,
    };
    run(names).go(move |_| Some(outcome)).await
}

/// A generation, after some tries: what comes may be too long, or break off.
async fn fetch(client: &Client, generation: &str) -> Result<Desired, AgentError> {
    let asked = serde_json::json!({ "generation": generation });
    let mut tries = 1;
    loop {
        match client.ask_large("/agent/v2/desired", &asked).await {
            Err(AgentError::Unreachable { .. }) if tries < FETCHES.0 => tries += 1,
            fetched => return fetched,
        }
        tokio::time::sleep(FETCHES.1).await;
    }
}
