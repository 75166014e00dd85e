//! What an administrator does with nodes.

use crate::cluster::Disruption;
use crate::model::filter::{Field, Filter, Kind, Value};
use crate::model::inventory::{FIELDS, diff};
use crate::model::{
    Change, EventKind, GroupName, ImageRef, InstallRule, Node, NodeName, RoleName, Selector, Signal,
    Timestamp, World,
};
use crate::store::Tx;

use super::images::check_disk_rule;
use super::leaving::Way;
use super::transition::transition;
use super::views::{HardwareView, NodeView, node_view};
use super::{Actor, AppError, Appliance, now};

/// What `node set` changes; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeChange {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// A group to join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Leave the group.
    #[serde(default)]
    pub no_group: bool,
    /// A new role; an empty text for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Which disk its image is installed on; an empty text for what the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Whether a disk that holds data may be overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_wipe: Option<bool>,
    /// Its role changes whatever stands against it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Appliance {
    /// All nodes that `filter` lets through, by name.
    pub fn nodes(&self, filter: Option<&Filter>) -> Vec<NodeView> {
        let world = self.view();
        let fits = |node: &&Node| {
            filter.is_none_or(|filter| filter.matches(&|field| node_field(&world, node, field)))
        };
        let mut nodes: Vec<NodeView> =
            world.nodes().filter(fits).map(|node| self.with_presence(node_view(&world, node))).collect();
        nodes.sort_by(|a, b| a.node.name.cmp(&b.node.name));
        nodes
    }

    /// Adds what the node's agent said last.
    fn with_presence(&self, view: NodeView) -> NodeView {
        NodeView { heard: self.presence.of(view.node.id), ..view }
    }

    /// One node.
    ///
    /// # Errors
    /// When no node, or more than one, is named so.
    pub fn node(&self, selector: &Selector) -> Result<NodeView, AppError> {
        let world = self.view();
        Ok(self.with_presence(node_view(&world, selector.find(&world)?)))
    }

    /// Vouches for a node; its addresses become reservations.
    ///
    /// # Errors
    /// When it is not known or approved already.
    pub async fn approve(&self, selector: Selector, actor: Actor) -> Result<NodeView, AppError> {
        self.change(selector, move |tx, node, at| transition(tx, node, &Signal::Approve, at, Some(&actor.0)))
            .await
    }

    /// Pins a node to an image, or removes its own pin.
    ///
    /// # Errors
    /// When the node or the image is not known.
    pub async fn pin_node(
        &self,
        selector: Selector,
        image: Option<ImageRef>,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        self.change(selector, move |tx, node, at| {
            known_image(tx, image.as_ref())?;
            if node.pin != image {
                node.pin.clone_from(&image);
                tx.append(at, Some(node), Some(&actor.0), EventKind::NodePinned { image });
            }
            Ok(())
        })
        .await
    }

    /// Renames a node, moves it into or out of a group, gives it another role: all of it, or nothing.
    ///
    /// # Errors
    /// When the node or the group is not known, the name is taken, or the majority of its cluster would be at risk.
    pub async fn set_node(
        &self,
        selector: Selector,
        change: NodeChange,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        let guard = self.guard();
        let changed = self.change(selector, move |tx, node, at| {
            if let Some(name) = change.name.filter(|name| *name != node.name) {
                if tx.world().node_named(&name).is_some() {
                    return Err(AppError::Refused(format!("another node is called '{name}' already")));
                }
                let from = std::mem::replace(&mut node.name, name.clone());
                tx.append(at, Some(node), Some(&actor.0), EventKind::Renamed { from, to: name });
            }
            let group = match (change.group, change.no_group) {
                (Some(_), true) => {
                    return Err(AppError::Invalid("a node cannot join and leave a group at once".into()));
                }
                (Some(group), false) => Some(group),
                (None, true) => None,
                (None, false) => node.group.clone(),
            };
            if let Some(name) = group.as_ref().filter(|name| tx.world().group(name).is_none()) {
                return Err(no_group(name));
            }
            if node.group != group {
                node.group.clone_from(&group);
                tx.append(at, Some(node), Some(&actor.0), EventKind::Grouped { group });
            }
            if let Some(role) = change.role {
                let role: Option<RoleName> = if role.is_empty() { None } else { Some(role.parse()?) };
                match (tx.world().cluster_of(node.id).cloned(), &role) {
                    // In a cluster a role is changed by the safe steps.
                    (Some(cluster), Some(next)) => {
                        let way = Way { next: Some(next), disruption: Disruption::Role, force: change.force };
                        guard.send_out(tx, cluster, node, way, at, &actor)?;
                    }
                    _ if node.role != role => {
                        node.role.clone_from(&role);
                        tx.append(at, Some(node), Some(&actor.0), EventKind::RoleSet { role });
                    }
                    _ => {}
                }
            }
            if let Some(rule) = change.disk.as_deref().filter(|rule| !rule.is_empty()) {
                check_disk_rule(rule)?;
            }
            let rule = InstallRule {
                disk: match change.disk {
                    Some(disk) if disk.is_empty() => None,
                    Some(disk) => Some(disk),
                    None => node.install.disk.clone(),
                },
                allow_wipe: change.allow_wipe.unwrap_or(node.install.allow_wipe),
            };
            if node.install != rule {
                node.install = rule.clone();
                let kind = EventKind::InstallRuleSet { disk: rule.disk, allow_wipe: rule.allow_wipe };
                tx.append(at, Some(node), Some(&actor.0), kind);
            }
            Ok(())
        });
        let changed = changed.await?;
        self.wake.notify_one();
        Ok(changed)
    }

    /// What a node is made of, and what is different from the time before.
    ///
    /// # Errors
    /// When the node is not known, has not told, or the database cannot be read.
    pub fn hardware(&self, selector: &Selector) -> Result<HardwareView, AppError> {
        let world = self.view();
        let node = selector.find(&world)?;
        let name = &node.name;
        let Some(inventory) = world.inventory(node.id).cloned() else {
            return Err(AppError::NotFound(format!(
                "{name} has not told what it is made of; it does when it boots the ramdisk"
            )));
        };
        let moments = world.inventory_moments(node.id);
        let told = moments.last().copied().unwrap_or_default();
        let before = moments.iter().rev().nth(1).copied();
        let old = before.map(|at| self.store.inventory(node.id, at)).transpose()?.flatten();
        let changes = old.map(|old| diff(&old, &inventory).iter().map(ToString::to_string).collect());
        Ok(HardwareView { node: name.clone(), told, before, changes: changes.unwrap_or_default(), inventory })
    }

    /// Changes one node in one transaction.
    pub(super) async fn change(
        &self,
        selector: Selector,
        change: impl FnOnce(&mut Tx, &mut Node, Timestamp) -> Result<(), AppError> + Send + 'static,
    ) -> Result<NodeView, AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let before = selector.find(tx.world())?.clone();
                let mut node = before.clone();
                change(tx, &mut node, at)?;
                if node != before {
                    tx.put(Change::put_node(node.clone()));
                }
                Ok(node_view(tx.world(), &node))
            })
            .await
    }
}

/// What `node list --where` can ask for beside what a node is made of.
const NODE_FIELDS: [Field; 6] = [
    Field { name: "name", kind: Kind::Text, help: "its name" },
    Field { name: "state", kind: Kind::Text, help: "where in its life it is" },
    Field { name: "group", kind: Kind::Text, help: "the group it belongs to" },
    Field { name: "image", kind: Kind::Text, help: "the image it should run" },
    Field { name: "arch", kind: Kind::Text, help: "x86_64 or aarch64" },
    Field { name: "mac", kind: Kind::List, help: "its boot interfaces" },
];

/// Everything that `node list --where` can ask for.
pub fn node_fields() -> Vec<Field> {
    NODE_FIELDS.into_iter().chain(FIELDS.iter().copied()).collect()
}

/// A field of a node.
fn node_field(world: &World, node: &Node, field: &str) -> Option<Value> {
    match field {
        "name" => Some(Value::Text(node.name.to_string())),
        "state" => Some(Value::Text(node.state.name().into())),
        "group" => node.group.as_ref().map(|group| Value::Text(group.to_string())),
        "image" => world.pin_of(node).map(|image| Value::Text(image.to_string())),
        "arch" => node.arch.map(|arch| Value::Text(arch.to_string())),
        "mac" => Some(Value::List(node.macs.iter().map(ToString::to_string).collect())),
        other => world.inventory(node.id)?.field(other),
    }
}

/// Refuses a pin to an image that is not there.
pub(super) fn known_image(tx: &Tx, image: Option<&ImageRef>) -> Result<(), AppError> {
    match image.filter(|image| tx.world().image(image).is_none()) {
        Some(image) => Err(AppError::NotFound(format!(
            "image {image} is not imported; `firstlight image list` shows what there is"
        ))),
        None => Ok(()),
    }
}

/// The error for a group that is not there.
pub(super) fn no_group(name: &GroupName) -> AppError {
    AppError::NotFound(format!("there is no group '{name}'; make it with `firstlight group create {name}`"))
}
