//! Who has which role: by hand, or by rule as nodes become ready.

use serde::{Deserialize, Serialize};

use super::members::{Cluster, MemberError, MemberState, RoleRule, check_name};
use super::node::Nodes;

/// A role that a rule gives to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The member's node.
    pub node: u64,
    /// Its role from now on.
    pub role: String,
}

/// The roles that rules give now to members without one, in this order: who was ready first gets the first role that
/// its group is entitled to. Who has a role keeps it, whoever becomes ready; a rule's count takes in everybody who has
/// the role, also by hand.
pub fn assign(cluster: &Cluster, nodes: &Nodes) -> Vec<Given> {
    let mut waiting: Vec<(u64, u32, &str, u64)> = cluster
        .members
        .iter()
        .filter(|member| member.role.is_none() && member.state != MemberState::Leaving)
        .filter_map(|member| {
            let node = nodes.get(&member.node).filter(|node| node.ready && node.reachable)?;
            Some((node.ready_since, member.index, node.group.as_str(), member.node))
        })
        .collect();
    waiting.sort_unstable();
    let mut taken: Vec<u32> = cluster.rules.iter().map(|rule| held(cluster, nodes, rule)).collect();
    let mut given = Vec::new();
    for (_, _, group, node) in waiting {
        let free = |(rule, taken): &(&RoleRule, &mut u32)| {
            rule.group.as_deref().is_none_or(|of| of == group) && rule.count.is_none_or(|most| **taken < most)
        };
        let Some((rule, _)) = cluster.rules.iter().zip(&mut taken).find(free) else { continue };
        given.push(Given { node, role: rule.role.clone() });
        for (other, taken) in cluster.rules.iter().zip(&mut taken) {
            if other.role == rule.role && other.group.as_deref().is_none_or(|of| of == group) {
                *taken = taken.saturating_add(1);
            }
        }
    }
    given
}

/// How many have the role of `rule` among those it is for. Who leaves it does not count, who changes to it does.
fn held(cluster: &Cluster, nodes: &Nodes, rule: &RoleRule) -> u32 {
    let counts = cluster.members.iter().filter(|member| {
        let has = if member.state == MemberState::Leaving { &member.next_role } else { &member.role };
        let group = nodes.get(&member.node).map(|node| node.group.as_str());
        has.as_ref() == Some(&rule.role) && (rule.group.is_none() || rule.group.as_deref() == group)
    });
    u32::try_from(counts.count()).unwrap_or(u32::MAX)
}

/// Gives a member without a role its role, by hand or as [`assign`] says. A member with another role must change it
/// ([`super::leave::change_role`]); with the same one, nothing happens.
pub fn give_role(cluster: &mut Cluster, node: u64, role: &str, now: u64) -> Result<(), RoleError> {
    check_name(role)?;
    let name = cluster.name.clone();
    let member = cluster.member_mut(node)?;
    match &member.role {
        Some(has) if has == role && member.state != MemberState::Leaving => Ok(()),
        Some(has) => {
            Err(RoleError::HasAnother { node, has: has.clone(), role: role.to_owned(), cluster: name })
        }
        None if member.state == MemberState::Leaving => {
            Err(MemberError::Leaving { node, cluster: name }.into())
        }
        None => {
            member.role = Some(role.to_owned());
            member.state = MemberState::Joining;
            member.since = now;
            Ok(())
        }
    }
}

/// Why a role can't be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// It has another.
    #[error(
        "node {node} is {has} in cluster {cluster}; to make it {role}, let it change: firstlight cluster role {cluster} {node} {role}"
    )]
    HasAnother {
        /// Who.
        node: u64,
        /// Its role.
        has: String,
        /// The role it was to get.
        role: String,
        /// Where.
        cluster: String,
    },
    /// It is no member.
    #[error(transparent)]
    Member(#[from] MemberError),
}
