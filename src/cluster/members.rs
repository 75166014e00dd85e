//! What a cluster is: its members, their indexes, its seed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::node::Nodes;

/// The role of those whose majority the cluster lives by.
pub const CONTROL: &str = "control";
/// The role of everybody else, by the usual rules.
pub const WORKER: &str = "worker";
/// Most members of one cluster.
pub const MEMBERS: usize = 4096;

/// Nodes that work together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name: a DNS label.
    pub name: String,
    /// The node that forms it, and that others join at first; none while it has no member that could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Its members, by index.
    #[serde(default)]
    pub members: Vec<Member>,
    /// Who gets which role; the first that fits.
    #[serde(default)]
    pub rules: Vec<RoleRule>,
    /// Whether the seed has brought it up once. From then on nobody ever bootstraps again.
    #[serde(default)]
    pub formed: bool,
}

/// A node in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's id.
    pub node: u64,
    /// Its role; none until one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its number in the cluster: the lowest that was free when it came, its own until it is gone.
    pub index: u32,
    /// How far in it is.
    pub state: MemberState,
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// The role it gets once it has left its present one: set while its role changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_role: Option<String>,
    /// Whether an operator said that it goes whatever stands against it: one try at an orderly way out is enough then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// How far in a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It is to come in, and was not yet seen healthy as a member.
    Joining,
    /// It is in.
    Member,
    /// It is on its way out, or out of its role.
    Leaving,
}

/// Gives a role to nodes as they become ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    /// The role.
    pub role: String,
    /// To how many at most; none: to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Of which group; none: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Why somebody can't become a member, or is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MemberError {
    /// No such cluster.
    #[error("there is no cluster {0}; make it first: firstlight cluster init {0}")]
    NoCluster(String),
    /// In another one.
    #[error(
        "node {node} is a member of cluster {cluster}; take it out there first: firstlight cluster leave {cluster} {node}"
    )]
    Elsewhere {
        /// Who.
        node: u64,
        /// Where it is.
        cluster: String,
    },
    /// Not in this one.
    #[error("node {node} is not a member of cluster {cluster}; see: firstlight cluster show {cluster}")]
    NotMember {
        /// Who.
        node: u64,
        /// Where it is not.
        cluster: String,
    },
    /// On its way out.
    #[error("node {node} is leaving cluster {cluster}; wait until it is gone, then let it join again")]
    Leaving {
        /// Who.
        node: u64,
        /// What it leaves.
        cluster: String,
    },
    /// Full.
    #[error("cluster {0} has {MEMBERS} members, which is the most; make another")]
    Full(String),
    /// A bad name.
    #[error(
        "{0:?} can't name a cluster or a role: 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'"
    )]
    Name(String),
}

/// Checks the name of a cluster or role: a DNS label in lower case (RFC 1123 section 2.1).
pub fn check_name(name: &str) -> Result<(), MemberError> {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good { Ok(()) } else { Err(MemberError::Name(name.chars().take(64).collect())) }
}

/// Makes `node` a member of the cluster `name`, and gives its index. Who is a member already keeps everything.
pub fn join(
    clusters: &mut BTreeMap<String, Cluster>,
    name: &str,
    node: u64,
    now: u64,
) -> Result<u32, MemberError> {
    if let Some(other) = clusters.values().find(|other| other.name != name && other.member(node).is_some()) {
        return Err(MemberError::Elsewhere { node, cluster: other.name.clone() });
    }
    let cluster = clusters.get_mut(name).ok_or_else(|| MemberError::NoCluster(name.to_owned()))?;
    if let Some(member) = cluster.member(node) {
        return match member.state {
            MemberState::Leaving if member.next_role.is_none() => {
                Err(MemberError::Leaving { node, cluster: name.to_owned() })
            }
            _ => Ok(member.index),
        };
    }
    if cluster.members.len() >= MEMBERS {
        return Err(MemberError::Full(name.to_owned()));
    }
    let index = cluster.free_index();
    let state = MemberState::Joining;
    let (role, next_role, forced) = (None, None, false);
    cluster.members.push(Member { node, role, index, state, since: now, next_role, forced });
    cluster.members.sort_by_key(|member| member.index);
    Ok(index)
}

impl Cluster {
    /// The member that `node` is.
    pub fn member(&self, node: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// Likewise, to change it.
    pub fn member_mut(&mut self, node: u64) -> Result<&mut Member, MemberError> {
        let cluster = &self.name;
        let member = self.members.iter_mut().find(|member| member.node == node);
        member.ok_or_else(|| MemberError::NotMember { node, cluster: cluster.clone() })
    }

    /// Members in the role `control`, whatever their state.
    pub fn control(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_control())
    }

    /// Whether `node` is the one that forms the cluster now: templates see this as `cluster.bootstrap`.
    pub fn bootstraps(&self, node: u64) -> bool {
        !self.formed && self.seed == Some(node)
    }

    /// Takes in what the nodes tell: who joined and is healthy is a member; the cluster is formed once its seed is one;
    /// the seed is moved where it must. Gives whether anything changed.
    pub fn observe(&mut self, nodes: &Nodes, now: u64) -> bool {
        let before = self.clone();
        for member in &mut self.members {
            let arrived =
                nodes.get(&member.node).is_some_and(|node| node.trouble().is_none() && node.settled());
            if member.state == MemberState::Joining && member.role.is_some() && arrived {
                member.state = MemberState::Member;
                member.since = now;
            }
        }
        self.seat(nodes);
        if self.seed.and_then(|seed| self.member(seed)).is_some_and(|seed| seed.state == MemberState::Member)
        {
            self.formed = true;
        }
        *self != before
    }

    /// Chooses the seed: it stays who it is while it is a control member that is not leaving (while it is a member,
    /// where nobody has that role). Otherwise the healthy control member of the lowest index; before the cluster has
    /// formed, any control member that is not leaving; of a cluster without control members, any member.
    pub fn seat(&mut self, nodes: &Nodes) {
        let staying = || self.members.iter().filter(|member| member.state != MemberState::Leaving);
        let has_control = staying().any(Member::is_control);
        // A cluster whose rules give the role waits for its first control member rather than be formed by a worker.
        let wants_control = has_control || self.rules.iter().any(|rule| rule.role == CONTROL);
        let fits = |member: &Member| member.is_control() || !wants_control;
        if staying().any(|member| Some(member.node) == self.seed && fits(member)) {
            return;
        }
        let healthy = |member: &&Member| nodes.get(&member.node).is_some_and(|node| node.trouble().is_none());
        let inside = |member: &&Member| !self.formed || member.state == MemberState::Member;
        let best = staying().filter(|member| fits(member)).filter(inside).find(healthy);
        let any =
            staying().find(|member| fits(member) && (!self.formed || member.state == MemberState::Member));
        self.seed = best.or(any).map(|member| member.node);
    }

    fn free_index(&self) -> u32 {
        let taken: BTreeSet<u32> = self.members.iter().map(|member| member.index).collect();
        (0..=u32::MAX).find(|index| !taken.contains(index)).unwrap_or(u32::MAX)
    }
}

impl Member {
    /// Whether it has the role `control`.
    pub fn is_control(&self) -> bool {
        self.role.as_deref() == Some(CONTROL)
    }
}
