//! What every node should have of bundles, and whose turn it is. Looked at anew whenever something changed.
//!
//! Here is the look itself, and what it leaves behind; [`concerned`] says who has to do with it, [`rendered`] makes the plans and sees the nodes as clusters do, [`clusters`] says what
//! becomes of clusters, [`standing`] answers what one node wants to know of it all.

mod clusters;
mod concerned;
mod rendered;
mod standing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::bundle::render::Offer;
use crate::cluster::{Cluster, Decision, Fleet, Limits, MemberState, Nodes, Turn, turns};
use crate::model::NodeId;

use super::agent::Eviction;
use super::jobs;
use super::{Appliance, now};

use clusters::{develop, way_out};
use concerned::Concerned;

pub(super) use standing::{Standing, awaits_bundles};

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

/// What a look leaves to the next one.
#[derive(Debug, Default)]
pub struct Memo {
    concerned: Concerned,
    /// What was rendered, and of what.
    plans: HashMap<NodeId, (u64, Plan)>,
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

    /// One look: renders, and gives turns. Returns clusters that became others, with what they were.
    pub(super) fn look(&self) -> Vec<(Cluster, Cluster)> {
        let world = self.view();
        let mut plans = self.planned_all(&world);
        let mut clusters: Vec<Cluster> = world.clusters().cloned().collect();
        let changes = clusters.iter_mut().filter_map(|cluster| develop(cluster, &plans)).collect();
        let retries = jobs::retries(&world);
        let limits = Limits::default();
        let fleet = Fleet { clusters: &clusters, nodes: &plans.views, retries: &retries, limits };
        for Turn { node, decision } in turns(&fleet, now().0) {
            let mut places = clusters.iter().filter_map(|cluster| cluster.member(node));
            let leaving = places.any(|member| member.state == MemberState::Leaving);
            let decision = match plans.views.get(&node).filter(|_| leaving) {
                Some(view) => way_out(view, decision, now().0),
                None => decision,
            };
            if let Some(plan) = plans.nodes.get_mut(&NodeId(node)) {
                plan.decision = Some(decision);
            }
        }
        plans.evictions = self.evictions(&world, &clusters, &plans.views);
        self.plans.store(Arc::new(plans));
        changes
    }
}
