//! What an administrator has nodes do: reload, upgrade, wipe, retire, and one boot for something else.

use serde::{Deserialize, Serialize};

use crate::boot::{FirmwareTable, Tool};
use crate::cluster::Disruption;
use crate::model::{EventKind, NextBoot, Node, Order, Selector, Signal, State, Timestamp};
use crate::store::Tx;

use super::transition::transition;
use super::views::NodeView;
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
    /// first.
    ///
    /// # Errors
    /// When the node is not known, nobody approved it, or it has no agent that could be told.
    pub async fn order(&self, selector: Selector, order: Order, actor: Actor) -> Result<NodeView, AppError> {
        {
            let world = self.view();
            let disruption = match order {
                Order::Reload => Disruption::Reload,
                Order::Install => Disruption::Upgrade,
                Order::Wipe => Disruption::Wipe,
            };
            self.guard(&world, selector.find(&world)?, disruption)?;
        }
        self.change(selector, move |tx, node, at| {
            if order == Order::Install && tx.world().pin_of(node).is_none() {
                let name = &node.name;
                return Err(AppError::Refused(format!(
                    "{name} is pinned to no image; pin one with: firstlight node pin {name} NAME@VERSION"
                )));
            }
            give(tx, node, order, at, &actor)
        })
        .await
    }

    /// Takes a node out of service. Its disks are erased first, unless `wipe` is false or there is nothing on them.
    ///
    /// # Errors
    /// When the node is not known, or is retired already.
    pub async fn retire(&self, selector: Selector, wipe: bool, actor: Actor) -> Result<NodeView, AppError> {
        {
            let world = self.view();
            self.guard(&world, selector.find(&world)?, Disruption::Retire)?;
        }
        self.change(selector, move |tx, node, at| {
            transition(tx, node, &Signal::Retire, at, Some(&actor.0))?;
            if node.state == State::Retiring && !wipe {
                transition(tx, node, &Signal::Wiped, at, Some(&actor.0))?;
            }
            if node.state == State::Retired {
                node.order = None;
                node.installed = None;
            } else {
                note(tx, node, Order::Wipe, at, &actor);
            }
            node.next_boot = None;
            Ok(())
        })
        .await
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
                let order = format!("no {order} any more");
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

fn note(tx: &mut Tx, node: &mut Node, order: Order, at: Timestamp, actor: &Actor) {
    if node.order != Some(order) {
        node.order = Some(order);
        tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order: order.to_string() });
    }
}

fn give(tx: &mut Tx, node: &mut Node, order: Order, at: Timestamp, actor: &Actor) -> Result<(), AppError> {
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
    note(tx, node, order, at, actor);
    // Who is on the way to something else gets the order with its next boot, or from its next sign of life.
    if matches!(node.state, State::Ready | State::Configuring | State::Failed { .. }) {
        transition(tx, node, &Signal::Drain, at, Some(&actor.0))?;
    }
    Ok(())
}
