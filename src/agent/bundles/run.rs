//! One job of this host: done in a thread of its own, and told with its output and its end.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::AgentError;
use super::super::apply::Log;
use super::super::client::Client;
use crate::appliance::{JobReport, REASON};
use crate::bundle::desired::{ApplyResult, Outcome};

/// How long lines are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);
/// Lines that wait to be sent; more are dropped rather than have the work wait for the appliance.
const WAITING: usize = 10_000;
/// Longest line, characters.
const LINE: usize = 2_000;
/// Output that is sent at once: bytes and lines.
const PIECE: (usize, usize) = (256 << 10, 1_000);
/// Tries to tell that it begins.
const BEGIN: u32 = 3;
/// Tries to tell how it ended, and the longest pause between them.
const PATIENCE: (u32, Duration) = (20, Duration::from_secs(30));

/// Hands on lines of output.
pub struct Lines(mpsc::Sender<String>);

impl Log for Lines {
    fn line(&mut self, bundle: &str, step: &str, text: &str) {
        let whose = if bundle.is_empty() { String::new() } else { format!("{bundle}: ") };
        let line = format!("{whose}{step}: {text}").chars().take(LINE).collect();
        // A line too many is lost; the work goes on.
        let _ = self.0.try_send(line);
    }
}

/// A job.
pub struct Run {
    client: Client,
    about: JobReport,
}

impl Run {
    /// One that brings `bundles`, or keeps them as they are.
    pub fn new(client: Client, kind: &str, subject: String, bundles: Vec<String>) -> Self {
        let about = JobReport { kind: kind.into(), subject, run: random(), bundles, ..JobReport::default() };
        Self { client, about }
    }

    async fn tell(&self, lines: Vec<String>, outcome: Option<Outcome>) -> Result<(), AgentError> {
        self.client.tell("/agent/v2/job", &JobReport { lines, outcome, ..self.about.clone() }).await
    }

    /// Does the work once the appliance knows that it begins; ends when it knows how it ended, or was away for too long.
    pub async fn go(
        self,
        work: impl FnOnce(&mut Lines) -> Option<Outcome> + Send + 'static,
    ) -> Option<Outcome> {
        if let Err(error) = self.begin().await {
            tracing::warn!(%error, "nothing was touched, as the appliance could not be told");
            return None;
        }
        let (sender, mut lines) = mpsc::channel(WAITING);
        let work = tokio::task::spawn_blocking(move || work(&mut Lines(sender)));
        let mut waiting = Vec::new();
        while lines.recv_many(&mut waiting, WAITING).await > 0 {
            tokio::time::sleep(GATHER).await;
            while waiting.len() < WAITING
                && let Ok(line) = lines.try_recv()
            {
                waiting.push(line);
            }
            waiting.truncate(WAITING);
            self.tell_lines(&mut waiting).await;
        }
        let outcome = work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the work ended in a panic");
            Some(self.broken("the agent's work ended in a panic; its log tells more"))
        });
        let outcome = outcome.unwrap_or_else(|| self.broken("what the host has cannot be read"));
        tracing::info!(kind = self.about.kind, result = ?outcome.result, reason = outcome.reason, elapsed_ms = outcome.elapsed_ms, "bundles");
        self.end(&outcome, waiting).await;
        Some(outcome)
    }

    async fn begin(&self) -> Result<(), AgentError> {
        let mut tries = 1;
        loop {
            match self.tell(Vec::new(), None).await {
                Err(AgentError::Unreachable { .. }) if tries < BEGIN => tries += 1,
                other => return other,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Sends what waits, as far as the appliance takes it.
    async fn tell_lines(&self, waiting: &mut Vec<String>) {
        while !waiting.is_empty() {
            let piece = piece(waiting);
            let lines = waiting.get(..piece).unwrap_or_default().to_vec();
            match self.tell(lines, None).await {
                // What is refused once would be refused again.
                Ok(()) | Err(AgentError::Refused { .. }) => waiting.drain(..piece),
                Err(_) => return,
            };
        }
    }

    async fn end(&self, outcome: &Outcome, mut waiting: Vec<String>) {
        let (tries, longest) = PATIENCE;
        let mut pause = Duration::from_secs(1);
        for _ in 0..tries {
            self.tell_lines(&mut waiting).await;
            match self.tell(Vec::new(), Some(brief(outcome.clone()))).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "how it went could not be told"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    fn broken(&self, reason: &str) -> Outcome {
        broken(self.about.subject.clone(), reason)
    }
}

/// Nothing can be said of what the host has now.
pub fn broken(generation: String, reason: &str) -> Outcome {
    Outcome {
        generation,
        result: ApplyResult::Broken,
        reason: reason.into(),
        bundle: None,
        changes: Vec::new(),
        left_over: Vec::new(),
        elapsed_ms: 0,
    }
}

/// An outcome without its changes, which are in the output, and with a reason of bounded length.
pub fn brief(outcome: Outcome) -> Outcome {
    let reason = outcome.reason.chars().take(REASON).collect();
    Outcome { changes: Vec::new(), left_over: Vec::new(), reason, ..outcome }
}

/// How many of the lines make one piece: at least one.
fn piece(lines: &[String]) -> usize {
    let mut bytes = 0_usize;
    let fits = |line: &&String| {
        bytes = bytes.saturating_add(line.len());
        bytes <= PIECE.0
    };
    lines.iter().take(PIECE.1).take_while(fits).count().max(1)
}

/// A name that no other run has.
fn random() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness a job told twice may become two: no harm to the host.
        return String::new();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_sent_in_pieces_that_are_taken() {
        for (name, lines, expected) in [
            ("a few", vec!["x".to_owned(); 3], 3),
            ("many short ones", vec!["x".to_owned(); 5_000], PIECE.1),
            ("long ones", vec!["x".repeat(LINE * 4); 500], PIECE.0 / (LINE * 4)),
            ("one that is too long alone", vec!["x".repeat(PIECE.0 + 1)], 1),
        ] {
            assert_eq!(piece(&lines), expected, "{name}");
        }
        assert_ne!(random(), random());
    }
}
