//! What an administrator does with nodes.

use crate::model::{Change, EventKind, GroupName, ImageRef, Node, NodeName, Selector, Signal, Timestamp};
use crate::store::Tx;

use super::transition::transition;
use super::views::{NodeView, node_view};
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
}

impl Appliance {
    /// All nodes, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        let world = self.view();
        let mut nodes: Vec<NodeView> = world.nodes().map(|node| node_view(&world, node)).collect();
        nodes.sort_by(|a, b| a.node.name.cmp(&b.node.name));
        nodes
    }

    /// One node.
    ///
    /// # Errors
    /// When no node, or more than one, is named so.
    pub fn node(&self, selector: &Selector) -> Result<NodeView, AppError> {
        let world = self.view();
        Ok(node_view(&world, selector.find(&world)?))
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

    /// Renames a node, or moves it into or out of a group.
    ///
    /// # Errors
    /// When the node or the group is not known, or the name is taken.
    pub async fn set_node(
        &self,
        selector: Selector,
        change: NodeChange,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        self.change(selector, move |tx, node, at| {
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
            Ok(())
        })
        .await
    }

    /// Changes one node in one transaction.
    async fn change(
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
                    tx.put(Change::PutNode(node.clone()));
                }
                Ok(node_view(tx.world(), &node))
            })
            .await
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
