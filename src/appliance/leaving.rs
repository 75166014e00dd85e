//! The way out of a cluster, or of a role there: by an operator's word, or because the node is wiped or retired.

use serde::{Deserialize, Serialize};

use crate::cluster::{
    Cluster, Disruption, MemberState, change_role, give_role, leave, may_take_down, takes_time,
};
use crate::model::{
    Change, ClusterName, EventKind, Node, NodeId, Order, RoleName, Selector, State, Timestamp, World,
};
use crate::store::Tx;

use super::agent::{Caller, Evicted, text};
use super::clusters::{ClusterView, no_cluster, refused};
use super::guard::Guard;
use super::{Actor, AppError, Appliance, now};

/// Behind what an operator ordered with `--force`.
pub const FORCED: &str = ", whatever stands against it";

/// A node that leaves, or changes its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveCluster {
    /// The node.
    pub node: String,
    /// Its next role; it leaves for good unless given.
    #[serde(default)]
    pub role: Option<RoleName>,
    /// Whatever stands against it.
    #[serde(default)]
    pub force: bool,
}

/// How a member goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    /// To which role; none: for good.
    pub next: Option<&'a RoleName>,
    /// What is done to the node.
    pub disruption: Disruption,
    /// Whatever stands against it.
    pub force: bool,
}

/// Whether a node is about to lose all that it has, so that nobody may count on it any more.
pub(super) fn goes_for_good(node: &Node) -> bool {
    matches!(node.state, State::Retiring | State::Retired) || node.order == Some(Order::Wipe)
}

/// The cluster that has nothing more to expect of a node: it is to go for good, and its bundles have taken their leave.
pub(super) fn has_left<'w>(world: &'w World, node: &Node, left: bool) -> Option<&'w Cluster> {
    let cluster = world.cluster_of(node.id).filter(|_| left && goes_for_good(node))?;
    let member = cluster.member(node.id.0)?;
    (member.state == MemberState::Leaving && member.next_role.is_none()).then_some(cluster)
}

impl Appliance {
    /// Takes a node out of a cluster, or gives it another role there, by the same safe steps: its services leave first.
    ///
    /// # Errors
    /// When it is no member, or the majority would be at risk.
    pub async fn leave_cluster(
        &self,
        name: ClusterName,
        leaving: LeaveCluster,
        actor: Actor,
    ) -> Result<ClusterView, AppError> {
        let (at, guard, cluster_name) = (now(), self.guard(), name.clone());
        self.store
            .transact(move |tx| {
                let cluster = tx.world().cluster(name.as_str()).ok_or_else(|| no_cluster(&name))?.clone();
                let node = Selector::new(leaving.node).find(tx.world())?.clone();
                let disruption = if leaving.role.is_some() { Disruption::Role } else { Disruption::Leave };
                let way = Way { next: leaving.role.as_ref(), disruption, force: leaving.force };
                guard.send_out(tx, cluster, &node, way, at, &actor)
            })
            .await?;
        self.wake.notify_one();
        self.cluster(&cluster_name)
    }

    /// Takes note of what became of dead members that `caller` was to take off the lists.
    pub(super) async fn evicted(
        &self,
        caller: Caller,
        evicted: Vec<Evicted>,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let guard = self.guard();
        self.store
            .transact(move |tx| {
                let by = caller.node(tx.world())?.clone();
                let Some(mut cluster) = tx.world().cluster_of(by.id).cloned() else { return Ok(()) };
                let views = guard.members(tx.world(), &cluster, at.0);
                for Evicted { name, error } in evicted.into_iter().take(64) {
                    let nodes =
                        cluster.members.iter().filter_map(|member| tx.world().node(NodeId(member.node)));
                    let Some(gone) = nodes.into_iter().find(|node| node.name.as_str() == name).cloned()
                    else {
                        continue;
                    };
                    let forced = cluster.member(gone.id.0).is_some_and(|member| member.forced);
                    let mut what = if error.is_empty() {
                        format!("{} took {name} off the lists", by.name)
                    } else {
                        format!("{} cannot take {name} off the lists: {}", by.name, text(&error))
                    };
                    if error.is_empty() || forced {
                        // It may be back, and no longer on its way out: then it stays.
                        cluster.finish_leave(gone.id.0, &views, at.0).map_err(refused)?;
                    }
                    if forced && !error.is_empty() {
                        what.push_str("; it is forgotten all the same, as an operator said");
                    }
                    let kind = EventKind::Cluster { cluster: cluster.name.parse()?, what };
                    tx.append(at, Some(&gone), None, kind);
                }
                tx.put(Change::PutCluster(cluster));
                Ok::<_, AppError>(())
            })
            .await?;
        self.wake.notify_one();
        Ok(())
    }
}

impl Guard {
    /// Has a member leave its cluster, or its role, once the guard lets it go.
    pub(super) fn send_out(
        &self,
        tx: &mut Tx,
        mut cluster: Cluster,
        node: &Node,
        way: Way<'_>,
        at: Timestamp,
        actor: &Actor,
    ) -> Result<(), AppError> {
        let views = self.members(tx.world(), &cluster, at.0);
        let (id, force, next) = (node.id.0, way.force, way.next.map(RoleName::as_str));
        let new = cluster.member(id).is_some_and(|member| member.role.is_none());
        let steps = match next {
            Some(role) if new => {
                give_role(&mut cluster, id, role, at.0).map_err(refused)?;
                None
            }
            Some(role) => Some(change_role(&cluster, &views, id, role, force, at.0).map_err(refused)?),
            None => {
                if !force {
                    may_take_down(&cluster, &views, id, way.disruption, at.0).map_err(refused)?;
                }
                Some(leave(&cluster, &views, id, force, at.0).map_err(refused)?)
            }
        };
        if let Some(steps) = steps {
            cluster.begin_leave(id, next, at.0).map_err(refused)?;
            cluster.member_mut(id).map_err(refused)?.forced = force;
            if !takes_time(&steps) {
                // It never began; or it is dead, nobody is left to speak for it, and an operator says that nobody waits for it.
                cluster.finish_leave(id, &views, at.0).map_err(refused)?;
            }
        }
        let what = match (next, way.disruption) {
            (Some(role), _) => format!("is to be {role}"),
            (None, Disruption::Wipe) => "is to leave, since it is to be wiped".into(),
            (None, Disruption::Retire) => "is to leave, since it is retired".into(),
            (None, _) => "is to leave".into(),
        };
        let what = format!("{} {what}{}", node.name, if force { FORCED } else { "" });
        let kind = EventKind::Cluster { cluster: cluster.name.parse()?, what };
        tx.put(Change::PutCluster(cluster));
        tx.append(at, Some(node), Some(&actor.0), kind);
        Ok(())
    }

    /// Has the cluster of a node, if it is in one, let go of it for good before it is wiped or retired.
    pub(super) fn send_away(
        &self,
        tx: &mut Tx,
        node: &Node,
        way: Way<'_>,
        at: Timestamp,
        actor: &Actor,
    ) -> Result<(), AppError> {
        match tx.world().cluster_of(node.id).cloned() {
            Some(cluster) => self.send_out(tx, cluster, node, way, at, actor),
            None => Ok(()),
        }
    }

    /// A node has given up its work. If it goes for good and its bundles took their leave, its cluster lets go of it; else
    /// another member takes it off the lists.
    pub(super) fn let_go(&self, tx: &mut Tx, node: &Node, left: bool, at: Timestamp) -> Result<(), AppError> {
        let Some(mut cluster) = has_left(tx.world(), node, left).cloned() else { return Ok(()) };
        let views = self.members(tx.world(), &cluster, at.0);
        cluster.finish_leave(node.id.0, &views, at.0).map_err(refused)?;
        let what = format!("{} has left", node.name);
        let kind = EventKind::Cluster { cluster: cluster.name.parse()?, what };
        tx.put(Change::PutCluster(cluster));
        tx.append(at, Some(node), None, kind);
        Ok(())
    }
}
