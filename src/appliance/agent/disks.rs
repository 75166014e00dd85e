//! What an agent did to the disks of its machine: an image is on one, or all are erased.

use crate::model::{Change, EventKind, Installed, Order, Signal};

use super::super::transition::transition;
use super::super::{AppError, Appliance, now};
use super::{Caller, InstallReport, text};

impl Appliance {
    /// An image is on a node's disk, and was read back there.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nothing was being installed.
    pub async fn installed(&self, caller: Caller, report: InstallReport) -> Result<(), AppError> {
        let at = now();
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can speak for an installed disk".into()));
        }
        let InstallReport { image, disk, bytes, elapsed_ms } = report;
        let disk = text(&disk);
        self.store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                transition(tx, &mut node, &Signal::Installed, at, None)?;
                let kind =
                    EventKind::Installed { image: image.clone(), disk: disk.clone(), bytes, elapsed_ms };
                tx.append(at, Some(&node), None, kind);
                node.installed = Some(Installed { image, disk, at });
                // The disk was written anew: nothing of bundles is on it.
                node.observed.bundles = None;
                node.installing_on = None;
                node.order = node.order.filter(|order| *order != Order::Install);
                node.next_boot = None;
                tx.put(Change::put_node(node));
                Ok(())
            })
            .await
    }

    /// A node's disks are erased; `certificates` tell how.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nobody ordered it.
    pub async fn wiped(&self, caller: Caller, certificates: Vec<serde_json::Value>) -> Result<(), AppError> {
        let at = now();
        let id = self
            .store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                if node.order != Some(Order::Wipe) {
                    return Err(AppError::Refused("nobody ordered a wipe".into()));
                }
                for certificate in certificates.into_iter().take(64) {
                    tx.append(at, Some(&node), None, EventKind::Erased { certificate });
                }
                node.order = None;
                (node.installed, node.installing_on, node.observed.bundles) = (None, None, None);
                node.observed.bundles = None;
                transition(tx, &mut node, &Signal::Wiped, at, None)?;
                let id = node.id;
                tx.put(Change::put_node(node));
                Ok::<_, AppError>(id)
            })
            .await?;
        self.presence.forget(id);
        Ok(())
    }
}
