//! Where one node stands by the last look: what it is to go to, when, and whom it is to take off the lists.

use crate::boot::Place;
use crate::bundle::desired::Desired;
use crate::bundle::render::Secrets;
use crate::cluster::Decision;
use crate::model::{Node, NodeId, Timestamp, World};

use super::super::agent::{Caller, CheckIn, Eviction};
use super::super::bundles::told;
use super::super::presence::Heard;
use super::super::{AppError, Appliance, now};
use super::Plan;

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

impl Appliance {
    /// Whether the agent of an installed host was heard just now.
    pub(in crate::appliance) fn runs(&self, node: &Node) -> bool {
        let since = |heard: &Heard| u128::from(now().0.saturating_sub(heard.at.0));
        let heard = self.presence.of(node.id).filter(|heard| heard.place == Place::Host);
        heard.is_some_and(|heard| since(&heard) < self.config.deadlines.heartbeat.as_millis())
    }

    /// Where a node stands with its bundles, by the last look.
    pub(in crate::appliance) fn standing(&self, world: &World, node: &Node) -> Standing {
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

    /// The bundles of the generation that a node is to go to; none when that is another one.
    pub(in crate::appliance) fn planned_bundles(&self, node: NodeId, generation: &str) -> Vec<String> {
        let plans = self.plans.load();
        let plan = plans.nodes.get(&node).filter(|plan| plan.generation == generation);
        plan.map_or_else(Vec::new, |plan| plan.change.split_whitespace().map(str::to_owned).collect())
    }

    /// The generation that a node is to go to now. It is asked within the state's own order: what was ordered in the meantime
    /// may stand against it.
    ///
    /// # Errors
    /// When the caller speaks for no node.
    pub(in crate::appliance) async fn generation_for(
        &self,
        caller: Caller,
        check_in: &CheckIn,
        at: Timestamp,
    ) -> Result<Option<String>, AppError> {
        let planned = {
            let (world, plans) = (self.view(), self.plans.load());
            let plan = plans.nodes.get(&caller.node(&world)?.id);
            let has = check_in.bundles.as_ref().map_or("", |applied| applied.generation.as_str());
            let goes = |plan: &&Plan| {
                let news = has != plan.generation && !plan.generation.is_empty();
                plan.decision == Some(Decision::Go) && news
            };
            plan.filter(goes).map(|plan| plan.generation.clone())
        };
        let Some(generation) = planned.filter(|_| check_in.place == Place::Host) else { return Ok(None) };
        let guard = self.guard();
        self.store
            .transact(move |tx| {
                let goes = guard.goes(tx.world(), caller.node(tx.world())?, at.0);
                Ok(goes.then_some(generation))
            })
            .await
    }

    /// Whether a node waits for its turn with other bundles than it has, or is at it.
    pub(in crate::appliance) fn is_pending(&self, node: &Node) -> bool {
        let plans = self.plans.load();
        let decision = plans.nodes.get(&node.id).and_then(|plan| plan.decision.as_ref());
        matches!(decision, Some(Decision::Go | Decision::Applying | Decision::Wait(_)))
            || plans.evictions.contains_key(&node.id)
    }

    /// The dead members that a node is to take off the lists.
    pub(in crate::appliance) fn evictions_by(&self, node: NodeId) -> Vec<Eviction> {
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
        if desired.digest(&self.secrets) == generation {
            Ok(desired)
        } else {
            Err(AppError::Refused("it should have another generation by now; ask again".into()))
        }
    }
}

/// Whether a node that says it is ready still waits for its first bundles.
pub fn awaits_bundles(world: &World, node: &Node, check_in: &CheckIn) -> bool {
    let has = check_in.bundles.as_ref().is_some_and(|applied| !applied.generation.is_empty());
    !has && !world.bundles_of(node).is_empty()
}
