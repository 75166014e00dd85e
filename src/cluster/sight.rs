//! Who sees whom: heartbeats and serf's lists put side by side; where they contradict each other, that is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::duration::{listed, spoken};
use super::members::{Cluster, MemberState};
use super::node::{NodeView, Nodes};
use super::serf::{Line, Status};

/// A list older than this is not held against anybody, milliseconds.
pub const STALE: u64 = 120_000;
/// A member is held against the lists only after it has been one for so long, milliseconds: gossip takes its time.
pub const SETTLE: u64 = 60_000;

/// What one node's serf agent said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it came, milliseconds since 1970.
    pub at: u64,
    /// Its list.
    pub lines: Vec<Line>,
}

/// How a member is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its node.
    pub node: u64,
    /// How long ago its last heartbeat came, milliseconds; none: never.
    pub heartbeat: Option<u64>,
    /// Members whose serf sees it alive.
    pub alive_to: Vec<u64>,
    /// Members whose serf does not.
    pub missed_by: Vec<u64>,
}

/// Everybody, and what does not fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Members by index.
    pub seen: Vec<Seen>,
    /// Contradictions, a sentence each.
    pub contradictions: Vec<String>,
}

/// Puts heartbeats and `reports` (by the id of who sent them) side by side. A cluster without serf has no reports.
pub fn sight(cluster: &Cluster, nodes: &Nodes, reports: &BTreeMap<u64, Report>, now: u64) -> Sight {
    let fresh: BTreeMap<u64, BTreeMap<&str, &Line>> = reports
        .iter()
        .filter(|(by, report)| cluster.member(**by).is_some() && now.saturating_sub(report.at) <= STALE)
        .map(|(by, report)| (*by, report.lines.iter().map(|line| (line.name.as_str(), line)).collect()))
        .collect();
    let mut sight = Sight::default();
    for member in &cluster.members {
        let Some(node) = nodes.get(&member.node) else { continue };
        let looks = Looks::at(node, &fresh);
        let heartbeat = (node.last_seen > 0).then(|| now.saturating_sub(node.last_seen));
        let settled = member.state == MemberState::Member && now.saturating_sub(member.since) >= SETTLE;
        if settled {
            let told = looks.contradictions(node, nodes, heartbeat);
            sight.contradictions.extend(told.into_iter().map(|what| format!("{} {what}", node.name)));
        }
        let (alive_to, missed_by) = (looks.alive, looks.missed);
        sight.seen.push(Seen { node: node.id, heartbeat, alive_to, missed_by });
    }
    strangers(cluster, nodes, &fresh, &mut sight.contradictions);
    sight
}

/// Whether all members that tell see `node`, of this name, failed. Who alone tells is not believed where there are more.
pub fn is_gone(cluster: &Cluster, node: u64, name: &str, reports: &BTreeMap<u64, Report>, now: u64) -> bool {
    let others = cluster.members.iter().filter(|member| member.node != node);
    let telling: Vec<&Report> = others
        .clone()
        .filter_map(|member| reports.get(&member.node))
        .filter(|report| now.saturating_sub(report.at) <= STALE)
        .collect();
    let failed =
        |report: &&Report| report.lines.iter().any(|line| line.name == name && line.status == Status::Failed);
    telling.len() >= others.count().min(2) && !telling.is_empty() && telling.iter().all(failed)
}

/// How the others look at one node.
struct Looks<'a> {
    alive: Vec<u64>,
    missed: Vec<u64>,
    left: bool,
    elsewhere: Option<&'a Line>,
}

impl<'a> Looks<'a> {
    fn at(node: &NodeView, fresh: &BTreeMap<u64, BTreeMap<&str, &'a Line>>) -> Self {
        let mut looks = Self { alive: Vec::new(), missed: Vec::new(), left: false, elsewhere: None };
        for (by, lines) in fresh.iter().filter(|(by, _)| **by != node.id) {
            let line = lines.get(node.name.as_str());
            match line.map(|line| line.status) {
                Some(Status::Alive) => looks.alive.push(*by),
                status => {
                    looks.left |= matches!(status, Some(Status::Left | Status::Leaving));
                    looks.missed.push(*by);
                }
            }
            looks.elsewhere = looks.elsewhere.or_else(|| {
                line.copied()
                    .filter(|line| !node.address.is_empty() && line.address.to_string() != node.address)
            });
        }
        looks
    }

    fn contradictions(&self, node: &NodeView, nodes: &Nodes, heartbeat: Option<u64>) -> Vec<String> {
        let names = |ids: &[u64]| {
            let names: Vec<&str> =
                ids.iter().filter_map(|id| nodes.get(id)).map(|node| node.name.as_str()).collect();
            listed(&names)
        };
        let mut told = Vec::new();
        match (node.reachable, self.alive.is_empty(), self.missed.is_empty()) {
            (true, true, false) if self.left => {
                told.push("sends heartbeats, but has left serf: start it again or take it out".to_owned());
            }
            (true, true, false) => told.push(format!(
                "sends heartbeats, but {} can't see it: look at the network between the members",
                names(&self.missed)
            )),
            (false, false, true) => {
                let since = heartbeat.map_or("has sent no heartbeat".to_owned(), |ago| {
                    format!("has sent no heartbeat for {}", spoken(ago))
                });
                told.push(format!(
                    "{since}, but is seen alive by {}: look at its agent, and at the network to the appliance",
                    names(&self.alive)
                ));
            }
            (_, false, false) => told.push(format!(
                "is seen alive by {}, and not by {}: the network between them is split",
                names(&self.alive),
                names(&self.missed)
            )),
            _ => {}
        }
        if let Some(line) = self.elsewhere {
            told.push(format!(
                "has address {}, but serf reaches it at {}: restart its serf, or look for another node of that name",
                node.address, line.address
            ));
        }
        told
    }
}

/// Names that serf sees alive and the cluster does not know.
fn strangers(
    cluster: &Cluster,
    nodes: &Nodes,
    fresh: &BTreeMap<u64, BTreeMap<&str, &Line>>,
    told: &mut Vec<String>,
) {
    let known: Vec<&str> = cluster
        .members
        .iter()
        .filter_map(|member| nodes.get(&member.node))
        .map(|node| node.name.as_str())
        .collect();
    let mut strangers: Vec<&str> = fresh
        .values()
        .flat_map(BTreeMap::values)
        .filter(|line| line.status == Status::Alive && !known.contains(&line.name.as_str()))
        .map(|line| line.name.as_str())
        .collect();
    strangers.sort_unstable();
    strangers.dedup();
    if !strangers.is_empty() {
        told.push(format!(
            "serf sees {} alive, not known as a member of cluster {}: let it join, or stop its serf",
            listed(&strangers),
            cluster.name
        ));
    }
}
