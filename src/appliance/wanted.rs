//! What one node should have of bundles: its pins, its variables, its cluster and the appliance put together.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::bundle::desired::{Desired, DriftPolicy};
use crate::bundle::facts::{ApplianceFacts, ClusterFacts};
use crate::bundle::render::{Offer, Secrets};
use crate::bundle::{About, Bundle, Layer, Member, Merged, NodeFacts, Rendered, merge, render};
use crate::cluster::{self, Cluster, MemberState};
use crate::model::{Node, NodeId, Scope, Variables, World};
use crate::packages::suites;

use super::Appliance;
use super::views::address_of;

/// The variable that says what is done about drift: `report` or `repair`.
const DRIFT: &str = "firstlight_drift";

impl Appliance {
    /// What a node should have, and what it offers then.
    pub(super) fn desired(
        &self,
        world: &World,
        node: &Node,
        secrets: Secrets<'_>,
    ) -> Result<(Desired, Vec<Offer>), Vec<String>> {
        let bundles = self.loaded_of(world, node).map_err(|error| vec![error.to_string()])?;
        let Rendered { mut bundles, mut services } = self.render_as(world, node, &bundles, secrets)?;
        if is_leaving(world, node) {
            // What has to be left is taken away, its leave hooks first; the rest stays as it is.
            bundles.retain(|bundle| bundle.hooks.leave.is_empty());
            services.clear();
        }
        let drift = layers(world, node).iter().rev().find_map(|(_, values)| values.get(DRIFT)?.as_str());
        let drift = if drift == Some("repair") { DriftPolicy::Repair } else { DriftPolicy::Report };
        let packages = bundles.iter().any(|bundle| !bundle.packages.is_empty());
        let sources = if packages { self.package_sources(world, node) } else { Vec::new() };
        Ok((Desired { bundles, drift, sources }, services))
    }

    /// Renders bundles as a node's.
    pub(super) fn render_as(
        &self,
        world: &World,
        node: &Node,
        bundles: &[Arc<Bundle>],
        secrets: Secrets<'_>,
    ) -> Result<Rendered, Vec<String>> {
        let values = merged(world, node, bundles);
        render(bundles, &values, &self.about(world, node), secrets)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn about(&self, world: &World, node: &Node) -> About {
        let cluster = world.membership(node.id).map(|(cluster, member)| facts(world, cluster, member));
        About { cluster, ..self.about_alone(world, node) }
    }

    /// The same without its cluster, which is as large as it has members.
    pub(super) fn about_alone(&self, world: &World, node: &Node) -> About {
        let ip = address_of(world, node);
        let member = world.membership(node.id).map(|(_, member)| member);
        let address = self.address_near(ip);
        About {
            node: NodeFacts {
                name: node.name.to_string(),
                address: ip.map(|ip| ip.to_string()).unwrap_or_default(),
                mac: node.macs.first().map(ToString::to_string).unwrap_or_default(),
                serial: node.identity.serial.clone(),
                group: node.group.as_ref().map(ToString::to_string),
                arch: node.arch.map(|arch| arch.to_string()).unwrap_or_default(),
                index: member.map_or(0, |member| member.index),
            },
            role: role_of(world, node),
            appliance: ApplianceFacts {
                url: format!("http://{address}:{}", self.config.http_port),
                address,
                domain: self.config.domain.clone().unwrap_or_default(),
            },
            cluster: None,
        }
    }

    /// Our address on the network of `ip`.
    pub(super) fn address_near(&self, ip: Option<Ipv4Addr>) -> String {
        let Some(addresses) = self.addresses.get() else { return String::new() };
        let found = addresses.iter().find(|(_, subnet)| ip.is_some_and(|ip| subnet.contains(ip)));
        found.or_else(|| addresses.first()).map(|(address, _)| address.to_string()).unwrap_or_default()
    }
}

/// The variables of a node's bundles.
pub(super) fn merged(world: &World, node: &Node, bundles: &[Arc<Bundle>]) -> Merged {
    let manifests: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    let layers = layers(world, node);
    let layers: Vec<Layer<'_>> = layers
        .iter()
        .map(|(scope, values)| {
            let origin = match scope {
                Scope::Appliance => "appliance".to_owned(),
                Scope::Group(group) => format!("group {group}"),
                Scope::Role(role) => format!("role {role}"),
                Scope::Node(_) => format!("node {}", node.name),
            };
            Layer { origin, values }
        })
        .collect();
    let mut merged = merge(&manifests, &layers);
    // These two are ours.
    merged
        .unknown
        .retain(|line| ![DRIFT, suites::VARIABLE].iter().any(|name| line.starts_with(&format!("'{name}'"))));
    merged
}

/// Whether a node is on its way out of its cluster, or of its role there.
pub(super) fn is_leaving(world: &World, node: &Node) -> bool {
    world.membership(node.id).is_some_and(|(_, member)| member.state == MemberState::Leaving)
}

/// What a node is: in its cluster, else as an operator said.
pub(super) fn role_of(world: &World, node: &Node) -> Option<String> {
    match world.membership(node.id) {
        Some((_, member)) => member.role.clone(),
        None => node.role.as_ref().map(ToString::to_string),
    }
}

/// The variables of a node, the farthest first.
pub(super) fn layers<'w>(world: &'w World, node: &Node) -> Vec<(Scope, &'w Variables)> {
    let role = role_of(world, node).and_then(|role| role.parse().ok());
    [
        Some(Scope::Appliance),
        node.group.clone().map(Scope::Group),
        role.map(Scope::Role),
        Some(Scope::Node(node.id)),
    ]
    .into_iter()
    .flatten()
    .filter_map(|scope| world.variables(&scope).map(|variables| (scope, variables)))
    .collect()
}

/// A member, as templates see it; none while it has no address.
pub(super) fn shown(world: &World, member: &cluster::Member) -> Option<Member> {
    let node = world.node(NodeId(member.node))?;
    let address = address_of(world, node)?.to_string();
    Some(Member { name: node.name.to_string(), address, role: member.role.clone(), index: member.index })
}

/// A cluster, as the templates of one of its members see it. Who is not in yet, or leaves, is nobody's peer: nobody could reach it.
fn facts(world: &World, cluster: &Cluster, own: &cluster::Member) -> ClusterFacts {
    let shown = |member: &cluster::Member| shown(world, member);
    let present = |member: &&cluster::Member| {
        member.state == MemberState::Member || (member.node == own.node && member.role.is_some())
    };
    let members: Vec<Member> = cluster.members.iter().filter(present).filter_map(shown).collect();
    let mut roles: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for member in &members {
        if let Some(role) = &member.role {
            roles.entry(role.clone()).or_default().push(member.clone());
        }
    }
    let seed = cluster.seed.and_then(|seed| cluster.member(seed)).and_then(shown);
    ClusterFacts {
        name: cluster.name.clone(),
        seed: seed.unwrap_or_default(),
        index: own.index,
        bootstrap: cluster.bootstraps(own.node),
        roles,
        peers: members.iter().filter(|member| member.index != own.index).cloned().collect(),
        members,
    }
}
