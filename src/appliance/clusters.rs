//! What an administrator does with clusters. Who is in and whose turn it is, the look at the fleet decides ([`super::fleet`]).

use serde::{Deserialize, Serialize};

use crate::cluster::{
    Cluster, Disruption, Member, MemberState, RoleRule, Step, change_role, give_role, join, leave,
    may_take_down, services, sight::sight,
};
use crate::model::{
    Change, ClusterName, EventKind, Node, NodeId, NodeName, RoleName, Selector, Timestamp, World,
};

use super::agent::{Caller, Evicted, text};
use super::views::address_of;
use super::{Actor, AppError, Appliance, now};

/// A new cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitCluster {
    /// Its name.
    pub name: ClusterName,
    /// The node that forms it; the first control member unless given.
    #[serde(default)]
    pub seed: Option<String>,
    /// Who gets which role by itself.
    #[serde(default)]
    pub rules: Vec<RoleRule>,
}

/// Nodes that join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinCluster {
    /// The nodes.
    pub nodes: Vec<String>,
    /// Their role; by the cluster's rules unless given.
    #[serde(default)]
    pub role: Option<RoleName>,
}

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

/// A cluster and its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Whether it has come up once.
    pub formed: bool,
    /// The node that others join at first.
    pub seed: Option<NodeName>,
    /// Who gets which role by itself.
    pub rules: Vec<RoleRule>,
    /// Its members, by number.
    pub members: Vec<MemberView>,
    /// What heartbeats and serf's lists tell of members that does not fit together, a sentence each.
    #[serde(default)]
    pub contradictions: Vec<String>,
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// The node.
    pub node: NodeName,
    /// Its address.
    pub address: String,
    /// Its number.
    pub index: u32,
    /// Its role.
    pub role: Option<String>,
    /// How far in it is.
    pub state: MemberState,
    /// The role that it changes to.
    pub next_role: Option<String>,
    /// What ails it, or what it waits for; empty when all is well.
    pub trouble: String,
    /// By how many other members serf sees it alive, of how many that tell; none where no serf runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<(usize, usize)>,
}

/// A service of a cluster, on one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where it listens.
    pub port: u16,
    /// The node.
    pub node: NodeName,
    /// Its address.
    pub address: String,
    /// The member's role.
    pub role: Option<String>,
    /// The name of its SRV record (RFC 2782); empty when there is no domain.
    pub srv: String,
}

impl Appliance {
    /// All clusters, by name.
    pub fn clusters(&self) -> Vec<ClusterView> {
        let world = self.view();
        world.clusters().map(|cluster| self.cluster_view(&world, cluster)).collect()
    }

    /// One cluster.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn cluster(&self, name: &ClusterName) -> Result<ClusterView, AppError> {
        let world = self.view();
        let cluster = world.cluster(name.as_str()).ok_or_else(|| no_cluster(name))?;
        Ok(self.cluster_view(&world, cluster))
    }

    /// The services of a cluster's members that are ready and healthy.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn cluster_services(&self, name: &ClusterName) -> Result<Vec<ServiceView>, AppError> {
        let world = self.view();
        let cluster = world.cluster(name.as_str()).ok_or_else(|| no_cluster(name))?;
        let plans = self.plans.load();
        let found = services(cluster, &plans.views).into_iter().filter_map(|service| {
            let node = world.node(NodeId(service.node))?.name.clone();
            let domain = self.config.domain.as_deref();
            let srv = domain.map(|domain| service.owner(&cluster.name, domain)).unwrap_or_default();
            let protocol = serde_json::to_value(service.protocol).ok()?.as_str()?.to_owned();
            let crate::cluster::Service { name, port, address, role, .. } = service;
            Some(ServiceView { name, protocol, port, node, address, role, srv })
        });
        Ok(found.collect())
    }

    /// Makes a cluster.
    ///
    /// # Errors
    /// When there is one of this name, or its seed is unknown or a member of another.
    pub async fn init_cluster(&self, init: InitCluster, actor: Actor) -> Result<ClusterView, AppError> {
        let at = now();
        let name = init.name.clone();
        self.store
            .transact(move |tx| {
                if tx.world().cluster(init.name.as_str()).is_some() {
                    return Err(AppError::Refused(format!("there is a cluster '{}' already", init.name)));
                }
                for rule in &init.rules {
                    rule.role.parse::<RoleName>()?;
                }
                let mut cluster =
                    Cluster { name: init.name.to_string(), rules: init.rules, ..Cluster::default() };
                if let Some(seed) = init.seed {
                    let seed = Selector::new(seed).find(tx.world())?.clone();
                    enter(tx.world(), &mut cluster, &seed, at.0)?;
                    give_role(&mut cluster, seed.id.0, crate::cluster::CONTROL, at.0).map_err(refused)?;
                    cluster.seed = Some(seed.id.0);
                }
                tx.put(Change::PutCluster(cluster));
                let kind = EventKind::Cluster { cluster: init.name, what: "made".into() };
                tx.append(at, None, Some(&actor.0), kind);
                Ok(())
            })
            .await?;
        self.wake.notify_one();
        self.cluster(&name)
    }

    /// Has nodes join a cluster.
    ///
    /// # Errors
    /// When the cluster or a node is unknown, or a node is a member of another one.
    pub async fn join_cluster(
        &self,
        name: ClusterName,
        joining: JoinCluster,
        actor: Actor,
    ) -> Result<ClusterView, AppError> {
        let at = now();
        let cluster_name = name.clone();
        self.store
            .transact(move |tx| {
                let mut cluster = tx.world().cluster(name.as_str()).ok_or_else(|| no_cluster(&name))?.clone();
                for node in joining.nodes {
                    let node = Selector::new(node).find(tx.world())?.clone();
                    enter(tx.world(), &mut cluster, &node, at.0)?;
                    if let Some(role) = &joining.role {
                        give_role(&mut cluster, node.id.0, role.as_str(), at.0).map_err(refused)?;
                    }
                    let role = joining.role.as_ref().map_or_else(String::new, |role| format!(" as {role}"));
                    let what = format!("{} is to join{role}", node.name);
                    let kind = EventKind::Cluster { cluster: name.clone(), what };
                    tx.append(at, Some(&node), Some(&actor.0), kind);
                }
                tx.put(Change::PutCluster(cluster));
                Ok::<_, AppError>(())
            })
            .await?;
        self.wake.notify_one();
        self.cluster(&cluster_name)
    }

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
        let at = now();
        let plans = self.plans.load_full();
        let cluster_name = name.clone();
        self.store
            .transact(move |tx| {
                let mut cluster = tx.world().cluster(name.as_str()).ok_or_else(|| no_cluster(&name))?.clone();
                let node = Selector::new(leaving.node).find(tx.world())?.clone();
                let (id, force) = (node.id.0, leaving.force);
                let next = leaving.role.as_ref().map(RoleName::as_str);
                let member = cluster.member(id).cloned();
                let what = match next {
                    Some(role) if member.as_ref().is_some_and(|member| member.role.is_none()) => {
                        give_role(&mut cluster, id, role, at.0).map_err(refused)?;
                        format!("{} is to be {role}", node.name)
                    }
                    Some(role) => {
                        change_role(&cluster, &plans.views, id, role, force, at.0).map_err(refused)?;
                        cluster.begin_leave(id, Some(role), at.0).map_err(refused)?;
                        format!("{} is to be {role}", node.name)
                    }
                    None => {
                        let steps = leave(&cluster, &plans.views, id, force, at.0).map_err(refused)?;
                        cluster.begin_leave(id, None, at.0).map_err(refused)?;
                        if steps.contains(&Step::Abandon) {
                            // It is dead, nobody is left to speak for it, and an operator says that nobody waits for it.
                            cluster.finish_leave(id, &plans.views, at.0).map_err(refused)?;
                        }
                        format!("{} is to leave", node.name)
                    }
                };
                tx.put(Change::PutCluster(cluster));
                tx.append(at, Some(&node), Some(&actor.0), EventKind::Cluster { cluster: name, what });
                Ok::<_, AppError>(())
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
        let plans = self.plans.load_full();
        self.store
            .transact(move |tx| {
                let by = caller.node(tx.world())?.clone();
                let Some(mut cluster) = tx.world().cluster_of(by.id).cloned() else { return Ok(()) };
                for Evicted { name, error } in evicted.into_iter().take(64) {
                    let nodes =
                        cluster.members.iter().filter_map(|member| tx.world().node(NodeId(member.node)));
                    let Some(gone) = nodes.into_iter().find(|node| node.name.as_str() == name).cloned()
                    else {
                        continue;
                    };
                    let what = if error.is_empty() {
                        // It may be back, and no longer on its way out: then it stays.
                        cluster.finish_leave(gone.id.0, &plans.views, at.0).map_err(refused)?;
                        format!("{} took {name} off the lists", by.name)
                    } else {
                        format!("{} cannot take {name} off the lists: {}", by.name, text(&error))
                    };
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

    /// Forgets a cluster that has no members.
    ///
    /// # Errors
    /// When there is none of this name, or it has members.
    pub async fn remove_cluster(&self, name: ClusterName, actor: Actor) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let cluster = tx.world().cluster(name.as_str()).ok_or_else(|| no_cluster(&name))?;
                if !cluster.members.is_empty() {
                    return Err(AppError::Refused(format!(
                        "cluster '{name}' has {} members; take them out first: firstlight cluster leave {name} NODE",
                        cluster.members.len()
                    )));
                }
                tx.put(Change::DeleteCluster(name.to_string()));
                let kind = EventKind::Cluster { cluster: name, what: "removed".into() };
                tx.append(at, None, Some(&actor.0), kind);
                Ok(())
            })
            .await
    }

    /// Refuses what would take a second control member down.
    pub(super) fn guard(&self, world: &World, node: &Node, disruption: Disruption) -> Result<(), AppError> {
        let Some(cluster) = world.cluster_of(node.id) else { return Ok(()) };
        let plans = self.plans.load();
        may_take_down(cluster, &plans.views, node.id.0, disruption, now().0)
            .map_err(|refusal| AppError::Refused(refusal.to_string()))
    }

    fn cluster_view(&self, world: &World, cluster: &Cluster) -> ClusterView {
        let plans = self.plans.load();
        let name = |id: u64| world.node(NodeId(id)).map(|node| node.name.clone());
        let sight = self.gossip.with(|reports| sight(cluster, &plans.views, reports, now().0));
        let looks = |node: u64| {
            let seen = sight.seen.iter().find(|seen| seen.node == node)?;
            let (alive, missed) = (seen.alive_to.len(), seen.missed_by.len());
            (alive + missed > 0).then_some((alive, alive + missed))
        };
        let shown = |member: &Member| {
            let node = world.node(NodeId(member.node))?;
            let seen = plans.views.get(&member.node);
            let ails = seen.and_then(crate::cluster::NodeView::trouble).map(|trouble| trouble.told(now().0));
            let (standing, why) = self.standing(world, node).told();
            let waits = (!matches!(standing, "current" | "none")).then(|| format!("{standing} {why}"));
            Some(MemberView {
                node: node.name.clone(),
                address: address_of(world, node).map(|ip| ip.to_string()).unwrap_or_default(),
                index: member.index,
                role: member.role.clone(),
                state: member.state,
                next_role: member.next_role.clone(),
                trouble: waits.or(ails).unwrap_or_default().trim().to_owned(),
                seen_by: looks(member.node),
            })
        };
        ClusterView {
            name: cluster.name.clone(),
            formed: cluster.formed,
            seed: cluster.seed.and_then(name),
            rules: cluster.rules.clone(),
            members: cluster.members.iter().filter_map(shown).collect(),
            contradictions: sight.contradictions,
        }
    }
}

fn enter(world: &World, cluster: &mut Cluster, node: &Node, at: u64) -> Result<(), AppError> {
    if !node.state.is_trusted() {
        let name = &node.name;
        return Err(AppError::Refused(format!(
            "{name} is {}; approve it first with: firstlight node approve {name}",
            node.state
        )));
    }
    let others = world.clusters().filter(|other| other.name != cluster.name);
    let mut all =
        others.map(|other| (other.name.clone(), other.clone())).collect::<std::collections::BTreeMap<_, _>>();
    all.insert(cluster.name.clone(), cluster.clone());
    join(&mut all, &cluster.name, node.id.0, at).map_err(refused)?;
    if let Some(joined) = all.remove(&cluster.name) {
        *cluster = joined;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: impl ToString) -> AppError {
    AppError::Refused(error.to_string())
}

fn no_cluster(name: &ClusterName) -> AppError {
    AppError::NotFound(format!("there is no cluster '{name}'; make it with `firstlight cluster init {name}`"))
}
