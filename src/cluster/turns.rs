//! Who may go to its wanted generation now, and why the others must wait.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::members::{Cluster, Member, MemberState};
use super::node::{NodeView, Nodes};
use super::quorum::{Disruption, counted, down, may_take_down};
use super::stops::Stops;
use crowd::Crowd;

mod crowd;

/// Everything that the rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// All clusters.
    pub clusters: &'a [Cluster],
    /// All nodes; also those in no cluster.
    pub nodes: &'a Nodes,
    /// When an operator last said "retry" of a change (milliseconds since 1970).
    pub retries: &'a BTreeMap<String, u64>,
    /// How many at once.
    pub limits: Limits,
}

/// How many nodes of a group that are not control members change at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// At most so many.
    pub at_once: u32,
    /// Of those that have work already, at most so many percent of the group; always at least one.
    pub percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 10, percent: 25 }
    }
}

/// What a node whose generation is not the wanted one may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The node.
    pub node: u64,
    /// What it may do.
    pub decision: Decision,
}

/// See [`Turn`]. Each reason is a sentence's end, behind the node's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "decision", content = "reason")]
pub enum Decision {
    /// It goes now.
    Go,
    /// It is at it.
    Applying,
    /// Others come first.
    Wait(String),
    /// It can't take part now, and nobody waits for it.
    Skip(String),
    /// It failed here or elsewhere; nobody goes on by itself.
    Stopped(String),
}

/// A turn for each node that should have another generation than it has, in the order of their ids.
///
/// The seed forms its cluster before anybody else joins it. In each group one tries a change first; then control members
/// go one at a time, each healthy before the next, and of everybody else as many as [`Limits`] allow. A change that
/// failed on one node is stopped on all that have not got it yet.
pub fn turns(fleet: &Fleet, now: u64) -> Vec<Turn> {
    let mut at = Table::new(fleet, now);
    let mut waiting = Vec::new();
    for node in fleet.nodes.values().filter(|node| node.pending() || node.applying_since.is_some()) {
        match at.alone(node) {
            Some(decision) => at.decide(node, decision),
            None => waiting.push(node),
        }
    }
    // Who does no work anyway goes first: that costs nobody anything.
    waiting.sort_by_key(|node| (node.healthy, node.id));
    let (control, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|node| at.is_control(node));
    for cluster in fleet.clusters {
        at.control(cluster, &control);
    }
    for node in others {
        let decision = at.other(node);
        at.decide(node, decision);
    }
    at.turns.into_iter().map(|(node, decision)| Turn { node, decision }).collect()
}

/// What is known while turns are given.
struct Table<'a> {
    fleet: &'a Fleet<'a>,
    now: u64,
    places: BTreeMap<u64, (&'a Cluster, &'a Member)>,
    stops: Stops,
    crowd: Crowd<'a>,
    turns: BTreeMap<u64, Decision>,
}

impl<'a> Table<'a> {
    fn new(fleet: &'a Fleet<'a>, now: u64) -> Self {
        let places: BTreeMap<u64, (&Cluster, &Member)> = fleet
            .clusters
            .iter()
            .flat_map(|cluster| cluster.members.iter().map(move |member| (member.node, (cluster, member))))
            .collect();
        let control: BTreeSet<u64> = places
            .values()
            .filter(|(_, member)| member.is_control())
            .map(|(_, member)| member.node)
            .collect();
        let crowd = Crowd::new(fleet.nodes.values(), |node| control.contains(&node.id), fleet.limits);
        let stops = Stops::read(fleet.nodes, fleet.retries, now);
        Self { fleet, now, places, stops, crowd, turns: BTreeMap::new() }
    }

    fn decide(&mut self, node: &'a NodeView, decision: Decision) {
        if decision == Decision::Go {
            self.crowd.goes(node, self.is_control(node));
        }
        self.turns.insert(node.id, decision);
    }

    fn is_control(&self, node: &NodeView) -> bool {
        self.places.get(&node.id).is_some_and(|(_, member)| member.is_control())
    }

    fn name(&self, id: u64) -> String {
        self.fleet.nodes.get(&id).map_or_else(|| format!("node {id}"), |node| node.name.clone())
    }

    /// What is clear without a look at who else wants to go.
    fn alone(&self, node: &NodeView) -> Option<Decision> {
        let place = self.places.get(&node.id);
        if !node.reachable {
            return Some(Decision::Skip("is not reachable; it gets its turn when it is back".to_owned()));
        }
        if node.applying_since.is_some() {
            return Some(Decision::Applying);
        }
        if let Some(busy) = &node.busy {
            return Some(Decision::Skip(format!("is busy with: {busy}; it gets its turn afterwards")));
        }
        if !node.ready {
            return Some(Decision::Skip("is not ready; it gets its turn when it is".to_owned()));
        }
        if let Some((cluster, member)) = place
            && member.state == MemberState::Leaving
        {
            return Some(Decision::Skip(match &member.next_role {
                Some(role) => format!("leaves its role in cluster {} to be {role}", cluster.name),
                None => format!("is leaving cluster {}", cluster.name),
            }));
        }
        let own = node.last.as_ref().filter(|last| last.failed && last.change == node.change);
        let failures = self.stops.failures(&node.change);
        // One failure does not stop who only follows its surroundings.
        let stopped =
            if follows(node) { failures > 1 || (failures > 0 && own.is_some()) } else { failures > 0 };
        if stopped {
            return self.stops.told(&node.change).map(Decision::Stopped);
        }
        place.and_then(|(cluster, member)| self.unformed(cluster, member)).map(Decision::Wait)
    }

    /// Whom a member waits for that is to join a cluster which is not there yet.
    fn unformed(&self, cluster: &Cluster, member: &Member) -> Option<String> {
        if cluster.formed || member.state != MemberState::Joining || cluster.seed == Some(member.node) {
            return None;
        }
        let Some(seed) = cluster.seed else {
            return Some(format!("waits for cluster {} to get its first control member", cluster.name));
        };
        let trouble = self.fleet.nodes.get(&seed).and_then(NodeView::trouble);
        let trouble = trouble.map_or(String::new(), |trouble| format!(", which {}", trouble.told(self.now)));
        Some(format!(
            "waits for the seed of cluster {}, {}{trouble}, to form it",
            cluster.name,
            self.name(seed)
        ))
    }

    /// Gives the control members of a cluster their turns: to one at most.
    fn control(&mut self, cluster: &'a Cluster, candidates: &[&'a NodeView]) {
        let mut goes: Option<&NodeView> = None;
        for node in candidates {
            let Some(member) = cluster.member(node.id) else { continue };
            let decision = match goes {
                Some(first) => {
                    Decision::Wait(format!("waits for {}: control members go one at a time", first.name))
                }
                None => match control_may_go(cluster, self.fleet.nodes, member, self.now)
                    .and_then(|()| self.crowd.control_may_go(node, follows(node)))
                {
                    Ok(()) => {
                        goes = Some(node);
                        Decision::Go
                    }
                    Err(why) => Decision::Wait(why),
                },
            };
            self.decide(node, decision);
        }
    }

    /// The turn of a node that is no control member.
    fn other(&self, node: &NodeView) -> Decision {
        let follows = follows(node);
        let careful = follows && self.stops.failures(&node.change) > 0;
        match self.crowd.may_go(node, follows, careful) {
            Ok(()) => Decision::Go,
            Err(why) => Decision::Wait(why),
        }
    }
}

/// Whether a node has the change already, and only follows a change of its surroundings.
fn follows(node: &NodeView) -> bool {
    node.current_change == node.change && !node.first_time()
}

/// Whether a control member may go to another generation now; why not, as a sentence's end.
pub fn control_may_go(cluster: &Cluster, nodes: &Nodes, member: &Member, now: u64) -> Result<(), String> {
    if counted(cluster, nodes).any(|other| other.node == member.node) {
        let may = may_take_down(cluster, nodes, member.node, Disruption::Apply, now);
        return may.map_err(|refusal| format!("waits: {}; {}", refusal.why, refusal.hint));
    }
    // One that joins raises the number that a majority needs: everybody must be there for that.
    let ailing = counted(cluster, nodes).find_map(|other| Some((other.node, down(other, nodes)?)));
    ailing.map_or(Ok(()), |(other, trouble)| {
        let name = nodes.get(&other).map_or_else(|| format!("node {other}"), |node| node.name.clone());
        Err(format!(
            "waits to join until all control members are up: {name} {}; bring it back or take it out",
            trouble.told(now)
        ))
    })
}
