//! What an administrator does with clusters. How members leave is told in [`super::leaving`]; who
//! is in and whose turn it is, the look at the fleet decides ([`super::fleet`]).

use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Member, MemberState, RoleRule, give_role, join, services, sight::sight};
use crate::model::{Change, ClusterName, EventKind, Node, NodeId, NodeName, RoleName, Selector, World};

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
pub(super) fn refused(error: impl ToString) -> AppError {
    AppError::Refused(error.to_string())
}

pub(super) fn no_cluster(name: &ClusterName) -> AppError {
    AppError::NotFound(format!("there is no cluster '{name}'; make it with `firstlight cluster init {name}`"))
}
