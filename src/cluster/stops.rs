//! Changes that went wrong somewhere, and are therefore stopped everywhere else.

use std::collections::BTreeMap;

use super::duration::{listed, spoken};
use super::node::Nodes;

/// What went wrong with each change, and where.
#[derive(Debug, Default)]
pub struct Stops(BTreeMap<String, Vec<Failure>>);

#[derive(Debug)]
struct Failure {
    node: String,
    reason: String,
}

impl Stops {
    /// Reads it off the nodes: who failed at a change, or was not heard of again once it had begun. An operator's
    /// "retry" (`retries`: change to when, milliseconds since 1970) forgives what was before it.
    pub fn read(nodes: &Nodes, retries: &BTreeMap<String, u64>, now: u64) -> Self {
        let mut stops = Self::default();
        let forgiven = |change: &str, at: u64| retries.get(change).is_some_and(|retried| *retried >= at);
        for node in nodes.values() {
            if let Some(last) =
                node.last.as_ref().filter(|last| last.failed && !forgiven(&last.change, last.at))
            {
                stops.add(&last.change, &node.name, last.reason.clone());
            }
            if let Some(since) = node.applying_since
                && !node.reachable
                && !forgiven(&node.change, since)
            {
                let ago = spoken(now.saturating_sub(node.last_seen));
                stops.add(
                    &node.change,
                    &node.name,
                    format!("was last heard of {ago} ago, while it applied it"),
                );
            }
        }
        stops
    }

    fn add(&mut self, change: &str, node: &str, reason: String) {
        let node = node.to_owned();
        self.0.entry(change.to_owned()).or_default().push(Failure { node, reason });
    }

    /// On how many nodes `change` failed.
    pub fn failures(&self, change: &str) -> usize {
        self.0.get(change).map_or(0, Vec::len)
    }

    /// Why `change` is stopped, as a sentence; none when it is not.
    pub fn told(&self, change: &str) -> Option<String> {
        let failures = self.0.get(change)?;
        let first = failures.first()?;
        let others: Vec<&str> = failures.iter().skip(1).map(|failure| failure.node.as_str()).collect();
        let more =
            if others.is_empty() { String::new() } else { format!(" (and so on {})", listed(&others)) };
        Some(format!(
            "stopped: {} {}{more}; pin other bundles, or, once the cause is gone: firstlight bundle retry NODE",
            first.node, first.reason
        ))
    }
}
