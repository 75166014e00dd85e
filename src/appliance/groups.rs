//! What an administrator does with groups.

use crate::model::{Change, EventKind, Group, GroupName, ImageRef};

use super::nodes::{known_image, no_group};
use super::views::{GroupView, group_view};
use super::{Actor, AppError, Appliance, now};

impl Appliance {
    /// All groups, by name.
    pub fn groups(&self) -> Vec<GroupView> {
        let world = self.view();
        world.groups().map(|group| group_view(&world, group)).collect()
    }

    /// One group.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn group(&self, name: &GroupName) -> Result<GroupView, AppError> {
        let world = self.view();
        world.group(name).map(|group| group_view(&world, group)).ok_or_else(|| no_group(name))
    }

    /// Makes a group.
    ///
    /// # Errors
    /// When there is one of this name.
    pub async fn create_group(&self, name: GroupName, actor: Actor) -> Result<GroupView, AppError> {
        let created = now();
        self.store
            .transact(move |tx| {
                if tx.world().group(&name).is_some() {
                    return Err(AppError::Refused(format!("there is a group '{name}' already")));
                }
                let group = Group { name: name.clone(), pin: None, bundles: Vec::new(), created };
                tx.put(Change::PutGroup(group.clone()));
                tx.append(created, None, Some(&actor.0), EventKind::GroupCreated { group: name });
                Ok(group_view(tx.world(), &group))
            })
            .await
    }

    /// Removes a group that has no nodes.
    ///
    /// # Errors
    /// When there is none of this name, or nodes belong to it.
    pub async fn delete_group(&self, name: GroupName, actor: Actor) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let group = tx.world().group(&name).ok_or_else(|| no_group(&name))?;
                let members = group_view(tx.world(), group).nodes;
                if !members.is_empty() {
                    let names: Vec<&str> = members.iter().take(8).map(crate::model::NodeName::as_str).collect();
                    return Err(AppError::Refused(format!(
                        "group '{name}' has {} nodes ({}); move them first: firstlight node set NODE --no-group",
                        members.len(),
                        names.join(", ")
                    )));
                }
                tx.put(Change::DeleteGroup(name.clone()));
                tx.append(at, None, Some(&actor.0), EventKind::GroupDeleted { group: name });
                Ok(())
            })
            .await
    }

    /// Pins a group to an image, or removes its pin.
    ///
    /// # Errors
    /// When the group or the image is not known.
    pub async fn pin_group(
        &self,
        name: GroupName,
        image: Option<ImageRef>,
        actor: Actor,
    ) -> Result<GroupView, AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                known_image(tx, image.as_ref())?;
                let mut group = tx.world().group(&name).ok_or_else(|| no_group(&name))?.clone();
                if group.pin != image {
                    group.pin.clone_from(&image);
                    tx.put(Change::PutGroup(group.clone()));
                    tx.append(at, None, Some(&actor.0), EventKind::GroupPinned { group: name, image });
                }
                Ok(group_view(tx.world(), &group))
            })
            .await
    }
}
