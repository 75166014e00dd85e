//! What every node should have of bundles, and whose turn it is. Looked at anew whenever something changed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::bundle::render::{Offer, Secrets};
use crate::cluster::{
    self, Cluster, Decision, Fleet, Limits, MemberState, NodeView, Nodes, Step, Tried, Turn, turns,
};
use crate::model::{Change, EventKind, Job, Node, NodeId, State, World};

use super::agent::{Caller, CheckIn, Eviction};
use super::bundles::told;
use super::views::address_of;
use super::{AppError, Appliance, now};
use crate::bundle::desired::Desired;

/// Between two looks at everything, at least and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// What a node should have.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The digest of it; empty when nothing is wanted.
    generation: String,
    /// Its bundles, as one text.
    change: String,
    /// Why it cannot be rendered.
    errors: Vec<String>,
    /// What it offers to others.
    services: Vec<Offer>,
    /// Whether it may go there; none: it is there.
    decision: Option<Decision>,
}

/// All plans, and the nodes as clusters see them.
#[derive(Debug, Default)]
pub struct Plans {
    nodes: HashMap<NodeId, Plan>,
    /// The nodes, as far as clusters care.
    pub views: Nodes,
    /// The dead whom a node is to take off the lists of members.
    evictions: HashMap<NodeId, Vec<Eviction>>,
}

/// What was rendered before, and of what.
pub type Memo = HashMap<NodeId, (u64, Plan)>;

/// Where a node stands with its bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It should have none, and has none.
    Nothing,
    /// Its bundles cannot be rendered.
    Broken(Vec<String>),
    /// It should go to this generation, or is there.
    Planned {
        /// The digest.
        generation: String,
        /// Whether it may; none: it is there.
        decision: Option<Decision>,
    },
}

impl Standing {
    /// A word, and why.
    pub fn told(&self) -> (&'static str, String) {
        match self {
            Self::Nothing => ("none", String::new()),
            Self::Broken(errors) => ("broken", errors.join("; ")),
            Self::Planned { decision, .. } => match decision {
                None => ("current", String::new()),
                Some(Decision::Go | Decision::Applying) => ("applying", String::new()),
                Some(Decision::Wait(why) | Decision::Skip(why)) => ("waiting", why.clone()),
                Some(Decision::Stopped(why)) => ("stopped", why.clone()),
            },
        }
    }
}

/// What a set of bundles is called when it is tried.
pub fn change_of(bundles: &[String]) -> String {
    let mut names = bundles.to_vec();
    names.sort();
    names.join(" ")
}

impl Appliance {
    /// Looks after bundles and clusters until the appliance stops.
    pub async fn look_after_fleet(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut feed = self.store.subscribe();
        loop {
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.look()).await {
                Ok(changes) if !changes.is_empty() => {
                    if let Err(error) = self.put_clusters(changes).await {
                        tracing::warn!(%error, "what clusters look like now could not be written");
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the look at the nodes failed"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKS.0) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            tokio::select! {
                _ = feed.recv() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOKS.1) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn put_clusters(&self, changes: Vec<(Cluster, Cluster)>) -> Result<(), AppError> {
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

    /// One look: renders, and gives turns. Returns clusters that became others, with what they were.
    fn look(&self) -> Vec<(Cluster, Cluster)> {
        let world = self.view();
        let mut plans = self.planned_all(&world);
        let mut clusters: Vec<Cluster> = world.clusters().cloned().collect();
        let changes = clusters.iter_mut().filter_map(|cluster| develop(cluster, &plans)).collect();
        let retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limits = Limits::default();
        let fleet = Fleet { clusters: &clusters, nodes: &plans.views, retries: &retries, limits };
        for Turn { node, decision } in turns(&fleet, now().0) {
            let mut places = clusters.iter().filter_map(|cluster| cluster.member(node));
            // Who leaves goes at once: the guard was asked when it was told to.
            let leaving = places.any(|member| member.state == MemberState::Leaving);
            let free =
                plans.views.get(&node).is_some_and(|view| view.reachable && view.applying_since.is_none());
            let decision = if leaving && free { Decision::Go } else { decision };
            if let Some(plan) = plans.nodes.get_mut(&NodeId(node)) {
                plan.decision = Some(decision);
            }
        }
        plans.evictions = evictions(&clusters, &plans.views);
        self.plans.store(Arc::new(plans));
        changes
    }

    /// What each node should have, rendered anew where something that it depends on has changed.
    fn planned_all(&self, world: &World) -> Plans {
        let mut plans = Plans::default();
        let (mut running, mut ended) = (HashMap::new(), HashMap::new());
        for job in world.jobs() {
            let of = if job.ended.is_none() { &mut running } else { &mut ended };
            of.insert(job.node, job);
        }
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Memo::new();
        let common = self.common(world);
        for node in world.nodes() {
            let touched = !world.bundles_of(node).is_empty()
                || node.observed.bundles.is_some()
                || world.cluster_of(node.id).is_some();
            if !touched {
                continue;
            }
            let key = self.rendering_key(world, node, &common);
            let plan = match memo.remove(&node.id) {
                Some((old, plan)) if old == key => plan,
                _ => self.planned(world, node),
            };
            kept.insert(node.id, (key, plan.clone()));
            let jobs = (running.get(&node.id).copied(), ended.get(&node.id).copied());
            plans.views.insert(node.id.0, self.node_seen(world, node, &plan, jobs));
            plans.nodes.insert(node.id, plan);
        }
        *memo = kept;
        plans
    }

    fn planned(&self, world: &World, node: &Node) -> Plan {
        match self.desired(world, node, Secrets::Opened(&self.secrets)) {
            Ok((desired, services)) => {
                let applied = node.observed.bundles.as_ref();
                let never = applied.is_none_or(|applied| applied.generation.is_empty());
                let nothing = desired.bundles.is_empty() && never;
                let generation = if nothing { String::new() } else { desired.digest() };
                Plan { generation, change: change_of(&desired.names()), services, ..Plan::default() }
            }
            Err(errors) => Plan { errors, ..Plan::default() },
        }
    }

    /// A node as clusters see it.
    fn node_seen(
        &self,
        world: &World,
        node: &Node,
        plan: &Plan,
        (running, ended): (Option<&Job>, Option<&Job>),
    ) -> NodeView {
        let applied = node.observed.bundles.clone().unwrap_or_default();
        let heard = self.presence.of(node.id);
        let last_seen = heard.map_or(0, |heard| heard.at.0);
        let silence = now().0.saturating_sub(last_seen);
        let busy = matches!(node.state, State::Draining | State::Reloading | State::Retiring);
        NodeView {
            id: node.id.0,
            name: node.name.to_string(),
            address: address_of(world, node).map(|ip| ip.to_string()).unwrap_or_default(),
            group: node.group.as_ref().map(ToString::to_string).unwrap_or_default(),
            ready: matches!(node.state, State::Ready | State::Configuring),
            ready_since: node.observed.ready_at.unwrap_or(node.state_since).0,
            reachable: u128::from(silence) < self.config.deadlines.heartbeat.as_millis()
                && !self.gossip.is_gone(world, node, silence, now()),
            last_seen,
            healthy: applied.unhealthy.is_empty(),
            busy: busy.then(|| node.state.name().to_owned()),
            applying_since: running.map(|job| job.started.0),
            wanted: plan.generation.clone(),
            current: applied.generation.clone(),
            change: plan.change.clone(),
            current_change: change_of(&applied.bundles),
            last: ended.map(|job| Tried {
                generation: job.subject.clone(),
                change: change_of(&job.bundles),
                failed: matches!(job.result.as_str(), "rolled-back" | "broken" | "lost"),
                reason: format!("{}: {}", job.result, job.reason),
                at: job.ended.unwrap_or(job.started).0,
            }),
            offers: plan.services.iter().map(offer).collect(),
        }
    }

    /// Where a node stands with its bundles, by the last look.
    pub(super) fn standing(&self, world: &World, node: &Node) -> Standing {
        match self.plans.load().nodes.get(&node.id) {
            Some(plan) if !plan.errors.is_empty() => Standing::Broken(plan.errors.clone()),
            Some(plan) if plan.generation.is_empty() => Standing::Nothing,
            Some(plan) => {
                let (generation, decision) = (plan.generation.clone(), plan.decision.clone());
                Standing::Planned { generation, decision }
            }
            None if world.bundles_of(node).is_empty() => Standing::Nothing,
            None => Standing::Planned {
                generation: String::new(),
                decision: Some(Decision::Wait("was not looked at yet".into())),
            },
        }
    }

    /// The generation that a node is to go to now.
    pub(super) fn generation_for(&self, node: &Node, check_in: &CheckIn) -> Option<String> {
        let plans = self.plans.load();
        let plan = plans.nodes.get(&node.id)?;
        let has = check_in.bundles.as_ref().map_or("", |applied| applied.generation.as_str());
        let goes =
            plan.decision == Some(Decision::Go) && has != plan.generation && !plan.generation.is_empty();
        goes.then(|| plan.generation.clone())
    }

    /// Whether a node waits for its turn with other bundles than it has, or is at it.
    pub(super) fn is_pending(&self, node: &Node) -> bool {
        let plans = self.plans.load();
        let decision = plans.nodes.get(&node.id).and_then(|plan| plan.decision.as_ref());
        matches!(decision, Some(Decision::Go | Decision::Applying | Decision::Wait(_)))
            || plans.evictions.contains_key(&node.id)
    }

    /// The dead members that a node is to take off the lists.
    pub(super) fn evictions_by(&self, node: NodeId) -> Vec<Eviction> {
        self.plans.load().evictions.get(&node).cloned().unwrap_or_default()
    }

    /// A generation, for the node itself.
    ///
    /// # Errors
    /// When the caller has no certificate, or the node should have another generation by now.
    pub fn desired_of(&self, caller: Caller, generation: &str) -> Result<Desired, AppError> {
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate opens secrets".into()));
        }
        let world = self.view();
        let node = caller.node(&world)?;
        let desired = self.desired(&world, node, Secrets::Opened(&self.secrets));
        let (desired, _) = desired.map_err(|errors| told(node, &errors))?;
        if desired.digest() == generation {
            Ok(desired)
        } else {
            Err(AppError::Refused("it should have another generation by now; ask again".into()))
        }
    }
}

/// Whether a node that says it is ready still waits for its first bundles.
pub(super) fn awaits_bundles(world: &World, node: &Node, check_in: &CheckIn) -> bool {
    let has = check_in.bundles.as_ref().is_some_and(|applied| !applied.generation.is_empty());
    !has && !world.bundles_of(node).is_empty()
}

/// Brings a cluster up to date with its nodes; what it was before, and is now, if it became another.
fn develop(cluster: &mut Cluster, plans: &Plans) -> Option<(Cluster, Cluster)> {
    let (before, at) = (cluster.clone(), now().0);
    let given = cluster::assign(cluster, &plans.views);
    for given in &given {
        // The member was just found without a role.
        let _ = cluster::give_role(cluster, given.node, &given.role, at);
    }
    let out = |member: &&cluster::Member| {
        let settled =
            plans.views.get(&member.node).is_some_and(|view| view.settled() || view.wanted.is_empty());
        let fine = plans.nodes.get(&NodeId(member.node)).is_some_and(|plan| plan.errors.is_empty());
        member.state == MemberState::Leaving && settled && fine
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

/// Who is to take whom off the lists: members on their way out that are dead cannot do that themselves.
fn evictions(clusters: &[Cluster], nodes: &Nodes) -> HashMap<NodeId, Vec<Eviction>> {
    let mut found: HashMap<NodeId, Vec<Eviction>> = HashMap::new();
    for cluster in clusters {
        for member in cluster.members.iter().filter(|member| member.state == MemberState::Leaving) {
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

fn offer(offer: &Offer) -> cluster::Offer {
    let protocol = if offer.protocol == "udp" { cluster::Protocol::Udp } else { cluster::Protocol::Tcp };
    cluster::Offer { name: offer.name.clone(), protocol, port: offer.port }
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
