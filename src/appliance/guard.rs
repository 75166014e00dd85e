//! The quorum guard within a transaction: it looks at nodes as they are there, not as the last look at the fleet saw them, so that
//! two orders which come at once, or an order and a turn, cannot both pass it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::{
    Cluster, Disruption, MemberState, NodeView, Nodes, Tried, control_may_go, may_take_down,
};
use crate::model::{Node, NodeId, State, World};

use super::fleet::{Plans, change_of};
use super::jobs::{self, Last};
use super::{AppError, Appliance};

/// A node that was told to go to a generation is at it for so long, milliseconds, until a job of its own says so.
const TOLD_MS: u64 = 30_000;

/// Who was told to go to another generation, and when. In memory only: an appliance that has just started waits until it has
/// heard of everybody.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<NodeId, u64>>);

impl Told {
    fn tell(&self, node: NodeId, at: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, told| at.saturating_sub(*told) < TOLD_MS);
        all.insert(node, at);
    }

    /// When a node was told, if that was just now.
    pub fn just(&self, node: NodeId, now: u64) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&node).copied().filter(|told| now.saturating_sub(*told) < TOLD_MS)
    }
}

/// Characters of a reason within a sentence.
const SHORT: usize = 512;

/// Brings a node, as clusters see it, up to date with the state. `told`: when it was told to go to another generation.
pub fn refresh(view: &mut NodeView, world: &World, node: &Node, told: Option<u64>) {
    // What a retired node failed at stops nobody.
    let last = if node.state == State::Retired { Last::default() } else { jobs::last(world, node.id) };
    let began = world.jobs_of(node.id).next_back().map_or(0, |job| job.started.0);
    let applied = node.observed.bundles.as_ref();
    let busy = matches!(node.state, State::Draining | State::Reloading | State::Retiring);
    view.name = node.name.to_string();
    view.group = node.group.as_ref().map(ToString::to_string).unwrap_or_default();
    view.ready = matches!(node.state, State::Ready | State::Configuring);
    view.ready_since = node.observed.ready_at.unwrap_or(node.state_since).0;
    view.healthy = applied.is_none_or(|applied| applied.unhealthy.is_empty());
    view.busy = busy.then(|| node.state.name().to_owned());
    let running = last.running.map(|job| job.started.0);
    view.applying_since = running.or(told.filter(|told| began < *told));
    view.current = applied.map(|applied| applied.generation.clone()).unwrap_or_default();
    view.current_change = applied.map(|applied| change_of(&applied.bundles)).unwrap_or_default();
    view.last = last.ended.map(|job| Tried {
        generation: job.subject.clone(),
        change: change_of(&job.bundles),
        failed: last.failed(),
        reason: format!("{}: {}", job.result, short(&job.reason_line())),
        at: job.ended.unwrap_or(job.started).0,
    });
}

fn short(reason: &str) -> String {
    match reason.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
        None => reason.to_owned(),
    }
}

/// What a transaction needs to ask the guard.
pub(super) struct Guard {
    plans: Arc<Plans>,
    told: Arc<Told>,
}

impl Appliance {
    /// The guard, for a transaction that begins now.
    pub(super) fn guard(&self) -> Guard {
        Guard { plans: self.plans.load_full(), told: Arc::clone(&self.told) }
    }
}

impl Guard {
    /// The members of a cluster as they are now.
    pub fn members(&self, world: &World, cluster: &Cluster, now: u64) -> Nodes {
        let seen = |member: &crate::cluster::Member| {
            let node = world.node(NodeId(member.node))?;
            let mut view = self.plans.views.get(&member.node)?.clone();
            refresh(&mut view, world, node, self.told.just(node.id, now));
            Some((member.node, view))
        };
        cluster.members.iter().filter_map(seen).collect()
    }

    /// Refuses what would take a second control member down.
    pub fn check(
        &self,
        world: &World,
        node: &Node,
        disruption: Disruption,
        now: u64,
    ) -> Result<(), AppError> {
        let Some(cluster) = world.cluster_of(node.id) else { return Ok(()) };
        may_take_down(cluster, &self.members(world, cluster, now), node.id.0, disruption, now)
            .map_err(|refusal| AppError::Refused(refusal.to_string()))
    }

    /// Whether a node that has its turn by the last look still has it; from then on it is at it.
    pub fn goes(&self, world: &World, node: &Node, now: u64) -> bool {
        if matches!(node.state, State::Draining | State::Reloading | State::Retiring) {
            return false;
        }
        let member = world.cluster_of(node.id).and_then(|one| Some((one, one.member(node.id.0)?)));
        let may = match member {
            // Who leaves was let go when it was told to.
            Some((cluster, member)) if member.is_control() && member.state != MemberState::Leaving => {
                control_may_go(cluster, &self.members(world, cluster, now), member, now).is_ok()
            }
            _ => true,
        };
        if may {
            self.told.tell(node.id, now);
        }
        may
    }
}
