//! What an administrator has nodes do: reload, upgrade, wipe, retire, and one boot for something else.

use serde::{Deserialize, Serialize};

use crate::boot::{FirmwareTable, Tool};
use crate::cluster::Disruption;
use crate::model::{EventKind, NextBoot, Node, Order, Selector, Signal, State, Timestamp};
use crate::store::Tx;

use super::leaving::{FORCED, Way};
use super::transition::transition;
use super::views::NodeView;
use super::wanted::is_leaving;
use super::{Actor, AppError, Appliance};

/// The body of `node boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootOnce {
    /// What for; `None` takes it back.
    pub what: Option<NextBoot>,
}

impl Appliance {
    /// Orders a node to restart, to install its pinned image, or to erase its disks. A host that runs gives up its work
    /// first; one that is to be erased leaves its cluster. `force`: whatever stands against it.
    ///
    /// # Errors
    /// When the node is not known, nobody approved it, it has no agent that could be told, or the majority of its cluster would
    /// be at risk.
    pub async fn order(
        &self,
        selector: Selector,
        order: Order,
        force: bool,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        let guard = self.guard();
        let changed = self.change(selector, move |tx, node, at| {
            let returns = |disruption| {
                if force { Ok(()) } else { guard.check(tx.world(), node, disruption, at.0) }
            };
            match order {
                Order::Reload => returns(Disruption::Reload)?,
                Order::Install => returns(Disruption::Upgrade)?,
                Order::Wipe => {
                    let way = Way { next: None, disruption: Disruption::Wipe, force };
                    guard.send_away(tx, node, way, at, &actor)?;
                }
            }
            if order == Order::Install && tx.world().pin_of(node).is_none() {
                let name = &node.name;
                return Err(AppError::Refused(format!(
                    "{name} is pinned to no image; pin one with: firstlight node pin {name} NAME@VERSION"
                )));
            }
            give(tx, node, order, force, at, &actor)
        });
        let changed = changed.await?;
        self.wake.notify_one();
        Ok(changed)
    }

    /// Takes a node out of service, and out of its cluster. Its disks are erased first, unless `wipe` is false or there is
    /// nothing on them; where they stay, a host that runs takes away what bundles brought. `force`: whatever stands against it,
    /// and without waiting for what does not go.
    ///
    /// # Errors
    /// When the node is not known, is retired already, or the majority of its cluster would be at risk.
    pub async fn retire(
        &self,
        selector: Selector,
        wipe: bool,
        force: bool,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        let guard = self.guard();
        let runs = {
            let world = self.view();
            self.runs(selector.find(&world)?)
        };
        let changed = self.change(selector, move |tx, node, at| {
            let way = Way { next: None, disruption: Disruption::Retire, force };
            guard.send_away(tx, node, way, at, &actor)?;
            transition(tx, node, &Signal::Retire, at, Some(&actor.0))?;
            let cleans_up = runs && !force && !node.certificates.is_empty();
            if node.state == State::Retiring && !wipe && !cleans_up {
                transition(tx, node, &Signal::Wiped, at, Some(&actor.0))?;
            }
            if node.state == State::Retired {
                node.order = None;
                node.installed = None;
            } else if wipe {
                note(tx, node, Order::Wipe, force, at, &actor);
            } else {
                node.order = None;
                let order = "retire, and keep its disks".into();
                tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order });
            }
            node.forced = force;
            node.next_boot = None;
            Ok(())
        });
        let changed = changed.await?;
        if changed.node.state == State::Retired {
            self.presence.forget(changed.node.id);
        }
        self.wake.notify_one();
        Ok(changed)
    }

    /// Says what a node's next boot is for, once.
    ///
    /// # Errors
    /// When the node is not known, or nobody approved it.
    pub async fn boot_once(
        &self,
        selector: Selector,
        once: BootOnce,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        let firmware = std::sync::Arc::clone(&self.firmware);
        self.change(selector, move |tx, node, at| {
            if !node.state.is_trusted() {
                return Err(not_approved(node));
            }
            if once.what == Some(NextBoot::Memtest) {
                has_memtest(&firmware, node)?;
            }
            if once.what.is_none()
                && let Some(order) = node.order.take()
            {
                if matches!(
                    node.state,
                    State::Draining | State::Reloading | State::Installing | State::Retiring
                ) {
                    return Err(AppError::Refused(format!("{} is on it already: {order}", node.name)));
                }
                let still = match tx.world().cluster_of(node.id).filter(|_| is_leaving(tx.world(), node)) {
                    // Others may have taken it off their lists already: it is no member again by a word.
                    Some(cluster) if order == Order::Wipe => format!(
                        "; it leaves cluster {0} all the same, to join again: firstlight cluster join {0} {1}",
                        cluster.name, node.name
                    ),
                    _ => String::new(),
                };
                let order = format!("no {order} any more{still}");
                tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order });
            }
            if node.next_boot != once.what {
                node.next_boot = once.what;
                let order = match once.what {
                    Some(what) => format!("boot {what}, once"),
                    None => "boot as usual".into(),
                };
                tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order });
            }
            Ok(())
        })
        .await
    }
}

/// Whether there is a memory test for this node; what the node did not tell yet counts for nothing.
fn has_memtest(table: &FirmwareTable, node: &Node) -> Result<(), AppError> {
    let fits = |tool: &&Tool| {
        tool.name == "memtest"
            && node.arch.is_none_or(|arch| arch == tool.arch)
            && node.firmware.is_none_or(|firmware| firmware == tool.firmware)
    };
    let mut tools = table.tools().iter().filter(fits).peekable();
    let Some(first) = tools.peek() else {
        return Err(AppError::Refused("there is no memory test for this architecture".into()));
    };
    let (package, path) = (first.package.clone(), first.path.clone());
    if tools.any(|tool| tool.path.exists()) {
        return Ok(());
    }
    Err(AppError::Refused(format!(
        "the memory test {} is missing; install the package '{package}' on the appliance",
        path.display()
    )))
}

fn not_approved(node: &Node) -> AppError {
    let name = &node.name;
    AppError::Refused(format!(
        "{name} is {}; approve it first with: firstlight node approve {name}",
        node.state
    ))
}

fn note(tx: &mut Tx, node: &mut Node, order: Order, force: bool, at: Timestamp, actor: &Actor) {
    if node.order != Some(order) || (force && !node.forced) {
        node.order = Some(order);
        let order = format!("{order}{}", if force { FORCED } else { "" });
        tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order });
    }
    node.forced = force;
}

fn give(
    tx: &mut Tx,
    node: &mut Node,
    order: Order,
    force: bool,
    at: Timestamp,
    actor: &Actor,
) -> Result<(), AppError> {
    if !node.state.is_trusted() {
        return Err(not_approved(node));
    }
    if let Some(other) = node.order.filter(|other| *other != order) {
        return Err(AppError::Refused(format!(
            "{} was ordered to {other} and is not done; take that back with: firstlight node boot usual {}",
            node.name, node.name
        )));
    }
    if order == Order::Reload && node.certificates.is_empty() {
        return Err(AppError::Refused(format!(
            "{} has no agent that could be told to; restart it by its power button or `firstlight power cycle`",
            node.name
        )));
    }
    note(tx, node, order, force, at, actor);
    // Who is on the way to something else gets the order with its next boot, or from its next sign of life.
    if matches!(node.state, State::Ready | State::Configuring | State::Failed { .. }) {
        transition(tx, node, &Signal::Drain, at, Some(&actor.0))?;
    }
    Ok(())
}
