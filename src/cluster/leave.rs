//! The way out of a cluster, and from one role to another.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::members::{Cluster, MemberError, MemberState, check_name};
use super::node::{NodeView, Nodes};
use super::quorum::{Disruption, Refusal, may_take_down};

/// A step; each may be done again after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// It is marked as leaving ([`Cluster::begin_leave`]): it gets no more turns, its services are no longer told.
    Mark,
    /// `drain` hooks on the node, of the bundles bound to what it leaves.
    Drain {
        /// Where.
        on: u64,
    },
    /// `leave` hooks on the node.
    Hooks {
        /// Where.
        on: u64,
    },
    /// The node is dead: the `evict` programs of the same bundles, with its name, on another member.
    Evict {
        /// Where.
        on: u64,
        /// The dead node.
        gone: u64,
    },
    /// Nobody is left whom it could be taken out of: what it knew is given up.
    Abandon,
    /// It is taken off the list, or gets its next role ([`Cluster::finish_leave`]); the seed moves where it must.
    Finish,
    /// It gets its turn with the bundles of its new role.
    Turn,
}

/// Why a way out is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeaveError {
    /// It is no member.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The majority would be at risk.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Dead, and nobody to speak for it.
    #[error(
        "{gone} is not reachable, and no other member of cluster {cluster} is healthy to take it out; bring one back, or say --force to forget it"
    )]
    NobodyLeft {
        /// The dead node.
        gone: String,
        /// Its cluster.
        cluster: String,
    },
    /// It has that role.
    #[error("node {0} is {1} already")]
    SameRole(u64, String),
}

/// The steps of leaving for good. `force` leaves out what stands against it.
pub fn leave(
    cluster: &Cluster,
    nodes: &Nodes,
    node: u64,
    force: bool,
    now: u64,
) -> Result<Vec<Step>, LeaveError> {
    let member = cluster.member(node).ok_or_else(|| not_member(cluster, node))?;
    if !force {
        may_take_down(cluster, nodes, node, Disruption::Leave, now)?;
    }
    let mut steps = vec![Step::Mark];
    // Who never began has nothing to leave.
    let began = member.state != MemberState::Joining
        || nodes.get(&node).is_some_and(|view| view.applying_since.is_some() || view.last.is_some());
    if began {
        steps.extend(ways_out(cluster, nodes, node, force)?);
    }
    steps.push(Step::Finish);
    Ok(steps)
}

/// The steps from one role to another: out of the old as when leaving, then in by a turn as when joining.
pub fn change_role(
    cluster: &Cluster,
    nodes: &Nodes,
    node: u64,
    to: &str,
    force: bool,
    now: u64,
) -> Result<Vec<Step>, LeaveError> {
    check_name(to)?;
    let member = cluster.member(node).ok_or_else(|| not_member(cluster, node))?;
    if member.next_role.as_deref() == Some(to)
        || (member.next_role.is_none() && member.role.as_deref() == Some(to))
    {
        return Err(LeaveError::SameRole(node, to.to_owned()));
    }
    if member.role.is_none() {
        return Ok(vec![Step::Finish, Step::Turn]);
    }
    if !force {
        may_take_down(cluster, nodes, node, Disruption::Role, now)?;
    }
    let mut steps = vec![Step::Mark];
    steps.extend(ways_out(cluster, nodes, node, force)?);
    steps.extend([Step::Finish, Step::Turn]);
    Ok(steps)
}

/// Whether somebody has to do something before it is out; else it is as soon as it is marked.
pub fn takes_time(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Drain { .. } | Step::Hooks { .. } | Step::Evict { .. }))
}

/// How a member gets out: by itself when it can, else by another one.
pub fn ways_out(cluster: &Cluster, nodes: &Nodes, node: u64, force: bool) -> Result<Vec<Step>, LeaveError> {
    let reachable = |view: &NodeView| view.reachable && view.ready;
    if nodes.get(&node).is_some_and(reachable) {
        return Ok(vec![Step::Drain { on: node }, Step::Hooks { on: node }]);
    }
    let role = cluster.member(node).and_then(|member| member.role.as_deref());
    let well = |id: u64| nodes.get(&id).is_some_and(|view| view.trouble().is_none());
    let mut others: Vec<_> = cluster
        .members
        .iter()
        .filter(|other| other.node != node && other.state == MemberState::Member && well(other.node))
        .collect();
    // One in the same role has the same bundles; then one who leads; then anybody.
    others.sort_by_key(|other| (other.role.as_deref() != role, !other.is_control(), other.index));
    match others.first() {
        Some(other) => Ok(vec![Step::Evict { on: other.node, gone: node }]),
        None if force => Ok(vec![Step::Abandon]),
        None => {
            let gone = nodes.get(&node).map_or_else(|| format!("node {node}"), |view| view.name.clone());
            Err(LeaveError::NobodyLeft { gone, cluster: cluster.name.clone() })
        }
    }
}

fn not_member(cluster: &Cluster, node: u64) -> LeaveError {
    MemberError::NotMember { node, cluster: cluster.name.clone() }.into()
}

impl Cluster {
    /// [`Step::Mark`]: `next_role` is the role it changes to; none: it leaves for good.
    pub fn begin_leave(&mut self, node: u64, next_role: Option<&str>, now: u64) -> Result<(), MemberError> {
        let member = self.member_mut(node)?;
        if member.state != MemberState::Leaving {
            member.state = MemberState::Leaving;
            member.since = now;
        }
        member.next_role = next_role.map(str::to_owned);
        member.forced = false;
        Ok(())
    }

    /// [`Step::Finish`]: takes it off the list, or makes it join in its next role. The seed moves away from it.
    /// Does nothing to who is not leaving (any more).
    pub fn finish_leave(&mut self, node: u64, nodes: &Nodes, now: u64) -> Result<(), MemberError> {
        let Ok(member) = self.member_mut(node) else { return Ok(()) };
        if member.state != MemberState::Leaving {
            return Ok(());
        }
        match member.next_role.take() {
            Some(role) => {
                member.role = Some(role);
                member.state = MemberState::Joining;
                member.since = now;
                member.forced = false;
            }
            None => self.members.retain(|member| member.node != node),
        }
        // A cluster that everybody left is none any more: the next one forms it anew.
        if self.members.is_empty() {
            self.formed = false;
        }
        self.seat(nodes);
        Ok(())
    }
}
