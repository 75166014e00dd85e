//! Who is let in without an operator's hand.

use crate::config::allowlist::{Allowlist, Candidate};
use crate::config::{Config, Policy};
use crate::model::inventory::Inventory;
use crate::model::{EventKind, Node, Signal, State, Timestamp};
use crate::store::Tx;

use super::AppError;
use super::transition::transition;

/// Approves a node that the policy lets in; the caller puts it.
pub fn admit(
    tx: &mut Tx,
    node: &mut Node,
    config: &Config,
    allowlist: Option<&Allowlist>,
    inventory: Option<&Inventory>,
    at: Timestamp,
) -> Result<(), AppError> {
    if node.state != State::Discovered {
        return Ok(());
    }
    match (&config.enrolment.policy, allowlist) {
        (Policy::Automatic, _) => transition(tx, node, &Signal::Approve, at, Some("policy")),
        (Policy::Allowlist(_), Some(list)) => {
            let Some(entry) = list.find(&candidate(node, inventory)) else { return Ok(()) };
            let free = |name: &_| tx.world().node_named(name).is_none();
            if let Some(name) = entry.name.clone().filter(|name| *name != node.name).filter(free) {
                let from = std::mem::replace(&mut node.name, name.clone());
                tx.append(at, Some(node), Some("allow-list"), EventKind::Renamed { from, to: name });
            }
            let group = entry.group.clone().filter(|group| tx.world().group(group).is_some());
            if group.is_some() && node.group != group {
                node.group.clone_from(&group);
                tx.append(at, Some(node), Some("allow-list"), EventKind::Grouped { group });
            }
            transition(tx, node, &Signal::Approve, at, Some("allow-list"))
        }
        (Policy::Manual | Policy::Allowlist(_), _) => Ok(()),
    }
}

fn candidate(node: &Node, inventory: Option<&Inventory>) -> Candidate {
    let mut candidate = Candidate {
        macs: node.macs.clone(),
        uuid: node.uuid.clone().unwrap_or_default(),
        ..Candidate::default()
    };
    if let Some(inventory) = inventory {
        let system = &inventory.system;
        candidate.serial.clone_from(&system.serial);
        candidate.uuid.clone_from(&system.uuid);
        candidate.asset.clone_from(&system.asset_tag);
        let neighbours = inventory.nics.iter().filter_map(|nic| nic.lldp.as_ref());
        candidate.ports = neighbours
            .map(|lldp| (lldp.system_name.clone(), vec![lldp.port.clone(), lldp.port_description.clone()]))
            .collect();
    }
    candidate
}
