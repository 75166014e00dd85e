//! The quorum guard: never a second control member down.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::duration::listed;
use super::members::{Cluster, Member, MemberState};
use super::node::{NodeView, Nodes, Trouble};

/// What is to be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disruption {
    /// Another generation of its bundles.
    Apply,
    /// A restart of its system.
    Reload,
    /// Another image, its data kept.
    Upgrade,
    /// Its disks are erased.
    Wipe,
    /// It goes for good.
    Retire,
    /// It leaves its cluster.
    Leave,
    /// It leaves its role for another.
    Role,
}

impl Disruption {
    /// Whether the node comes back with what it knew.
    pub fn returns(self) -> bool {
        matches!(self, Self::Apply | Self::Reload | Self::Upgrade)
    }

    fn told(self) -> &'static str {
        match self {
            Self::Apply => "change",
            Self::Reload => "restart",
            Self::Upgrade => "upgrade",
            Self::Wipe => "wipe",
            Self::Retire => "retire",
            Self::Leave => "take out",
            Self::Role => "give another role to",
        }
    }
}

/// Why a node may not be disturbed now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("can't {what} {node}: {why}; {hint}, or say --force to do it all the same")]
pub struct Refusal {
    /// What was to be done, a verb.
    pub what: String,
    /// The node's name.
    pub node: String,
    /// What stands against it.
    pub why: String,
    /// What to do.
    pub hint: String,
    /// Control members that are down, by id.
    pub down: Vec<u64>,
}

/// Those whose majority counts: control members that the others were told of. Who is to join and has not begun in its
/// role does not count; who has begun does, as it may stand in their lists already; who leaves does, until it is gone.
pub fn counted<'a>(cluster: &'a Cluster, nodes: &'a Nodes) -> impl Iterator<Item = &'a Member> {
    cluster.control().filter(|member| {
        let begun = |node: &NodeView| {
            node.applying_since.is_some_and(|since| since >= member.since)
                || node.last.as_ref().is_some_and(|last| last.at >= member.since)
        };
        member.state != MemberState::Joining || nodes.get(&member.node).is_some_and(begun)
    })
}

/// Why a control member does not count as up; none when it does. Who is on its way out, or half in, does not.
pub fn down(member: &Member, nodes: &Nodes) -> Option<Trouble> {
    let Some(node) = nodes.get(&member.node) else { return Some(Trouble::Unreachable(0)) };
    node.trouble().or_else(|| match member.state {
        MemberState::Leaving => Some(Trouble::Busy("leaving".to_owned())),
        // What it applied did not work out: it may be in the others' lists and yet not run.
        MemberState::Joining if !node.settled() => Some(Trouble::HalfIn),
        MemberState::Joining | MemberState::Member => None,
    })
}

/// Whether `node` may be disturbed now without risk to the cluster's majority.
///
/// What it comes back from is allowed one control member at a time while all others are up. A set of one or two has no
/// majority to spare: there too, one at a time. A member that is down itself may be worked on, since nothing is lost
/// by that, unless others are down in a way that its own ailing service may still make up for.
/// What it does not come back from needs, besides, a majority of the others that knows everything.
pub fn may_take_down(
    cluster: &Cluster,
    nodes: &Nodes,
    node: u64,
    disruption: Disruption,
    now: u64,
) -> Result<(), Refusal> {
    let set: Vec<&Member> = counted(cluster, nodes).collect();
    let Some(target) = set.iter().find(|member| member.node == node) else { return Ok(()) };
    let others: Vec<(&Member, Option<Trouble>)> = set
        .iter()
        .filter(|member| member.node != node)
        .map(|member| (*member, down(member, nodes)))
        .collect();
    let up = others.iter().filter(|(_, trouble)| trouble.is_none()).count();
    let fine = if disruption.returns() {
        comes_back(own_trouble(target, nodes).as_ref(), &others)
    } else {
        let majority = set.len() / 2 + 1;
        match set.len() {
            1 => false,
            2 => up == 1 && own_trouble(target, nodes).is_none(),
            _ => up >= majority && (up == others.len() || own_trouble(target, nodes).is_some()),
        }
    };
    if fine { Ok(()) } else { Err(refuse(nodes, target, &others, disruption, now)) }
}

/// What ails the node itself, its leaving left out: that is what may be going on just now.
fn own_trouble(member: &Member, nodes: &Nodes) -> Option<Trouble> {
    nodes.get(&member.node).map_or(Some(Trouble::Unreachable(0)), NodeView::trouble)
}

fn comes_back(own: Option<&Trouble>, others: &[(&Member, Option<Trouble>)]) -> bool {
    let on_purpose = |trouble: &Trouble| matches!(trouble, Trouble::Busy(_) | Trouble::Applying(_));
    let troubles = || others.iter().filter_map(|(_, trouble)| trouble.as_ref());
    if troubles().next().is_none() {
        return true;
    }
    if troubles().any(on_purpose) {
        return false;
    }
    match own {
        // Never heard of since the appliance started: it may well do its work.
        Some(Trouble::Unreachable(last_heard)) => *last_heard > 0,
        Some(Trouble::NotReady) => true,
        // It may still answer in part, and be the last vote when others are gone; not when they ail as it does.
        Some(_) => troubles().all(|trouble| matches!(trouble, Trouble::Unhealthy)),
        None => false,
    }
}

fn refuse(
    nodes: &Nodes,
    target: &Member,
    others: &[(&Member, Option<Trouble>)],
    disruption: Disruption,
    now: u64,
) -> Refusal {
    let name = |id: u64| nodes.get(&id).map_or_else(|| format!("node {id}"), |node| node.name.clone());
    let ailing: Vec<(u64, &Trouble)> =
        others.iter().filter_map(|(member, trouble)| Some((member.node, trouble.as_ref()?))).collect();
    let told: Vec<String> =
        ailing.iter().map(|(id, trouble)| format!("{} {}", name(*id), trouble.told(now))).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let total = others.len() + 1;
    let (why, hint) = if others.is_empty() {
        (
            "it is the only control member, and what the cluster knows goes with it".to_owned(),
            "make another node a control member first".to_owned(),
        )
    } else if ailing.is_empty() {
        (
            format!("it is down itself, and of {total} control members no majority is left to vote it out"),
            format!("bring {} back first", name(target.node)),
        )
    } else {
        let names: Vec<String> = ailing.iter().map(|(id, _)| name(*id)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let them = listed(&names);
        let dead = ailing.iter().any(|(_, trouble)| matches!(trouble, Trouble::Unreachable(_)));
        let hint = if dead {
            format!("bring {them} back, or take the dead out of the cluster")
        } else {
            format!("wait until {them} is well again")
        };
        (
            format!("it would be one more of {total} control members that is down, where {}", listed(&told)),
            hint,
        )
    };
    Refusal {
        what: disruption.told().to_owned(),
        node: name(target.node),
        why,
        hint,
        down: ailing.iter().map(|(id, _)| *id).collect(),
    }
}
