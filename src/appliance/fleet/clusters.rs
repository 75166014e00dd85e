//! What becomes of clusters: who is in, who has left, and who takes the dead off the lists.

use std::collections::HashMap;

use crate::cluster::duration::spoken;
use crate::cluster::{self, Cluster, Decision, MemberState, NodeView, Nodes, Step};
use crate::model::{Change, EventKind, Node, NodeId, State, World};

use super::super::agent::Eviction;
use super::super::{AppError, Appliance, now};
use super::Plans;

/// A member that could not leave tries it again after so long, milliseconds.
const LEAVE_AGAIN_MS: u64 = 60_000;

impl Appliance {
    pub(in crate::appliance) async fn put_clusters(
        &self,
        changes: Vec<(Cluster, Cluster)>,
    ) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                for (before, after) in changes {
                    // Another change came first: the next look sees it.
                    if tx.world().cluster(&before.name) != Some(&before) {
                        continue;
                    }
                    for what in differences(tx.world(), &before, &after) {
                        let cluster = after.name.parse()?;
                        tx.append(at, None, None, EventKind::Cluster { cluster, what });
                    }
                    tx.put(Change::PutCluster(after));
                }
                Ok::<_, AppError>(())
            })
            .await
    }

    /// Who is to take whom off the lists: members on their way out that are dead cannot do that themselves.
    pub(super) fn evictions(
        &self,
        world: &World,
        clusters: &[Cluster],
        nodes: &Nodes,
    ) -> HashMap<NodeId, Vec<Eviction>> {
        let mut found: HashMap<NodeId, Vec<Eviction>> = HashMap::new();
        for cluster in clusters {
            for member in cluster.members.iter().filter(|member| member.state == MemberState::Leaving) {
                let gives_up = |node: &&Node| matches!(node.state, State::Draining | State::Retiring);
                let itself = world.node(NodeId(member.node)).filter(gives_up);
                if itself.is_some_and(|node| self.runs(node)) {
                    continue;
                }
                let Ok(steps) = cluster::ways_out(cluster, nodes, member.node, false) else { continue };
                for step in steps {
                    if let Step::Evict { on, gone } = step
                        && let Some(gone) = nodes.get(&gone)
                    {
                        let eviction = Eviction { name: gone.name.clone(), address: gone.address.clone() };
                        found.entry(NodeId(on)).or_default().push(eviction);
                    }
                }
            }
        }
        found
    }
}

/// The turn of a member on its way out: at once, since the guard was asked when it was told to go; after a failure, not again
/// and again.
pub(super) fn way_out(view: &NodeView, decision: Decision, now: u64) -> Decision {
    if !view.reachable || view.busy.is_some() || view.applying_since.is_some() {
        return decision;
    }
    let failed = view.last.as_ref().filter(|last| last.failed && last.generation == view.wanted);
    match failed.map(|last| (last, last.at.saturating_add(LEAVE_AGAIN_MS).saturating_sub(now))) {
        Some((last, rest)) if rest > 0 => Decision::Wait(format!(
            "could not leave, and tries it again in {} (or say: firstlight cluster leave CLUSTER {} --force): {}",
            spoken(rest),
            view.name,
            last.reason
        )),
        _ => Decision::Go,
    }
}

/// Brings a cluster up to date with its nodes; what it was before, and is now, if it became another.
pub(super) fn develop(cluster: &mut Cluster, plans: &Plans) -> Option<(Cluster, Cluster)> {
    let (before, at) = (cluster.clone(), now().0);
    let given = cluster::assign(cluster, &plans.views);
    for given in &given {
        // The member was just found without a role.
        let _ = cluster::give_role(cluster, given.node, &given.role, at);
    }
    // One try was enough: it failed, or there is nobody who could try.
    let gave_up = |member: &cluster::Member| {
        let last = plans.views.get(&member.node).and_then(|view| view.last.as_ref());
        last.is_some_and(|last| last.failed && last.at >= member.since)
            || cluster::ways_out(cluster, &plans.views, member.node, true) == Ok(vec![Step::Abandon])
    };
    let out = |member: &&cluster::Member| {
        let settled =
            plans.views.get(&member.node).is_some_and(|view| view.settled() || view.wanted.is_empty());
        let fine = plans.nodes.get(&NodeId(member.node)).is_some_and(|plan| plan.errors.is_empty());
        member.state == MemberState::Leaving && ((settled && fine) || (member.forced && gave_up(member)))
    };
    let gone: Vec<u64> = cluster.members.iter().filter(out).map(|member| member.node).collect();
    for node in &gone {
        // It is a member: it was just found among them.
        let _ = cluster.finish_leave(*node, &plans.views, at);
    }
    // What they should have was rendered for what they were: who is in, the next look tells.
    if given.is_empty() && gone.is_empty() {
        cluster.observe(&plans.views, at);
    }
    (*cluster != before).then(|| (before, cluster.clone()))
}

/// What became of a cluster, a line each.
fn differences(world: &World, before: &Cluster, after: &Cluster) -> Vec<String> {
    let name =
        |id: u64| world.node(NodeId(id)).map_or_else(|| NodeId(id).to_string(), |node| node.name.to_string());
    let mut lines = Vec::new();
    for member in &after.members {
        let old = before.member(member.node);
        if old.map(|old| (&old.role, old.state)) != Some((&member.role, member.state)) {
            let role = member.role.as_deref().unwrap_or("no role yet");
            let state = match member.state {
                MemberState::Joining => "joining",
                MemberState::Member => "member",
                MemberState::Leaving => "leaving",
            };
            lines.push(format!("{} is {state}, {role}", name(member.node)));
        }
    }
    for member in before.members.iter().filter(|member| after.member(member.node).is_none()) {
        lines.push(format!("{} has left", name(member.node)));
    }
    if let Some(seed) = after.seed.filter(|seed| before.seed != Some(*seed)) {
        lines.push(format!("{} is its seed", name(seed)));
    }
    if after.formed && !before.formed {
        lines.push("has formed".into());
    }
    lines
}
