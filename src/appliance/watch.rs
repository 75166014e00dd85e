//! Sees nodes that do not come further, and agents that fall silent.

use std::time::Duration;

use crate::boot::explain;
use crate::config::Deadlines;
use crate::model::{Change, EventKind, Node, NodeId, Signal, State, Timestamp};
use crate::store::EventQuery;

use super::transition::transition;
use super::{AppError, Appliance, EXPLAINED_EVENTS, now};

impl Appliance {
    /// Looks at every node once; to be called every few seconds.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub async fn watch(&self) -> Result<(), AppError> {
        let at = now();
        self.miss_agents(at).await?;
        for (id, limit) in self.stalled(at) {
            self.fail_stalled(id, limit, at).await?;
        }
        Ok(())
    }

    /// Nodes whose state has lasted too long, and for how long it may.
    fn stalled(&self, at: Timestamp) -> Vec<(NodeId, Duration)> {
        let world = self.view();
        let late = |node: &Node| {
            let limit = deadline(&self.config.deadlines, &node.state)?;
            (at.since(self.last_moved(node)) > limit).then_some((node.id, limit))
        };
        world.nodes().filter_map(late).collect()
    }

    /// When a node last came further, as far as can be told without reading its timeline.
    fn last_moved(&self, node: &Node) -> Timestamp {
        let moved = self.presence.of(node.id).map_or(Timestamp(0), |heard| heard.moved);
        let started = node.boot.as_ref().map_or(Timestamp(0), |boot| boot.started);
        node.state_since.max(moved).max(started)
    }

    async fn fail_stalled(&self, id: NodeId, limit: Duration, at: Timestamp) -> Result<(), AppError> {
        let events =
            self.store.events(&EventQuery { node: Some(id), after: None, limit: EXPLAINED_EVENTS })?;
        // A transfer that is under way, or DHCP in a firmware's loop, is on the timeline only.
        if events.last().is_some_and(|event| at.since(event.at) <= limit) {
            return Ok(());
        }
        let deadlines = self.config.deadlines;
        self.store
            .transact(move |tx| {
                let Some(mut node) = tx.world().node(id).cloned() else { return Ok(()) };
                if deadline(&deadlines, &node.state).is_none_or(|limit| at.since(node.state_since) <= limit) {
                    return Ok(());
                }
                let about = explain(&node, &events);
                let reason = format!(
                    "{} for {} without anything new; last: {}; {}; {}",
                    node.state,
                    humantime::format_duration(Duration::from_secs(at.since(node.state_since).as_secs())),
                    about.reached,
                    about.meaning,
                    about.hint
                );
                transition(tx, &mut node, &Signal::Fail(reason), at, None)?;
                tx.put(Change::put_node(node));
                Ok(())
            })
            .await
    }

    async fn miss_agents(&self, at: Timestamp) -> Result<(), AppError> {
        let silence = u64::try_from(self.config.deadlines.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let missed = self.presence.miss(Timestamp(at.0.saturating_sub(silence)));
        if missed.is_empty() {
            return Ok(());
        }
        self.store
            .transact(move |tx| {
                for id in missed {
                    // Silence of a machine that restarts is no news.
                    let node = tx.world().node(id).cloned();
                    if let Some(node) = node.filter(|node| node.state == State::Ready) {
                        tx.append(at, Some(&node), None, EventKind::Reachable { reachable: false });
                    }
                }
                Ok(())
            })
            .await
    }
}

/// How long a state may last; `None` for those that wait for somebody, or are an end.
fn deadline(deadlines: &Deadlines, state: &State) -> Option<Duration> {
    match state {
        State::Installing => Some(deadlines.installing),
        State::Booting => Some(deadlines.booting),
        State::Configuring => Some(deadlines.configuring),
        State::Draining => Some(deadlines.draining),
        State::Reloading => Some(deadlines.reloading),
        State::Retiring => Some(deadlines.retiring),
        State::Discovered
        | State::Enrolled
        | State::Ready
        | State::Retired
        | State::Failed { .. }
        | State::Quarantined { .. } => None,
    }
}
