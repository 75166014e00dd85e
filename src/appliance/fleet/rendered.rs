//! The plans of one look: what each node should have, and how clusters see it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::bundle::render::{Offer, Secrets};
use crate::cluster::{self, NodeView};
use crate::model::{Node, World};

use super::super::guard::refresh;
use super::super::views::address_of;
use super::super::{Appliance, now};
use super::{Plan, Plans, change_of};

impl Appliance {
    /// What each node should have, rendered anew where something that it depends on has changed.
    pub(super) fn planned_all(&self, world: &Arc<World>) -> Plans {
        let mut plans = Plans::default();
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let common = self.common(world);
        for node in memo.concerned.of(world).into_iter().filter_map(|id| world.node(id)) {
            let key = self.rendering_key(world, node, &common);
            let plan = match memo.plans.remove(&node.id) {
                Some((old, plan)) if old == key => plan,
                _ => self.planned(world, node),
            };
            kept.insert(node.id, (key, plan.clone()));
            plans.views.insert(node.id.0, self.node_seen(world, node, &plan));
            plans.nodes.insert(node.id, plan);
        }
        memo.plans = kept;
        plans
    }

    fn planned(&self, world: &World, node: &Node) -> Plan {
        match self.desired(world, node, Secrets::Opened(&self.secrets)) {
            Ok((desired, services)) => {
                let applied = node.observed.bundles.as_ref();
                let never = applied.is_none_or(|applied| applied.generation.is_empty());
                let nothing = desired.bundles.is_empty() && never;
                let generation = if nothing { String::new() } else { desired.digest(&self.secrets) };
                Plan { generation, change: change_of(&desired.names()), services, ..Plan::default() }
            }
            Err(errors) => Plan { errors, ..Plan::default() },
        }
    }

    /// A node as clusters see it.
    fn node_seen(&self, world: &World, node: &Node, plan: &Plan) -> NodeView {
        let heard = self.presence.of(node.id);
        let last_seen = heard.map_or(0, |heard| heard.at.0);
        let silence = now().0.saturating_sub(last_seen);
        let mut view = NodeView {
            id: node.id.0,
            address: address_of(world, node).map(|ip| ip.to_string()).unwrap_or_default(),
            reachable: u128::from(silence) < self.config.deadlines.heartbeat.as_millis()
                && !self.gossip.is_gone(world, node, silence, now()),
            last_seen,
            wanted: plan.generation.clone(),
            change: plan.change.clone(),
            offers: plan.services.iter().map(offer).collect(),
            ..NodeView::default()
        };
        refresh(&mut view, world, node, self.told.just(node.id, now().0));
        view
    }
}

fn offer(offer: &Offer) -> cluster::Offer {
    let protocol = if offer.protocol == "udp" { cluster::Protocol::Udp } else { cluster::Protocol::Tcp };
    cluster::Offer { name: offer.name.clone(), protocol, port: offer.port }
}
