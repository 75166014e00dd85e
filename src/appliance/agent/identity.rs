//! Which machine a node is: who comes with a known MAC and is another machine is not let in.

use crate::model::inventory::Inventory;
use crate::model::node::Identity;
use crate::model::{Node, NodeId, State, World};

/// Which machine an inventory is of.
pub(in crate::appliance) fn identity(inventory: &Inventory) -> Identity {
    let key = inventory.tpm.as_ref().and_then(|tpm| tpm.ek_sha256.clone());
    Identity::of(&inventory.system.serial, &inventory.system.uuid, key)
}

/// Adds what was not known.
pub(in crate::appliance) fn complete(known: &mut Identity, told: Identity) {
    if known.serial.is_empty() {
        known.serial = told.serial;
    }
    if known.uuid.is_empty() {
        known.uuid = told.uuid;
    }
    known.endorsement_key = known.endorsement_key.take().or(told.endorsement_key);
}

/// Why a machine is not the one that it says it is.
pub(in crate::appliance) fn identify(world: &World, node: &Node, told: &Identity) -> Option<String> {
    if let Some(contradiction) = node.identity.contradiction(told) {
        return Some(format!("another machine answers with its MAC: {contradiction}"));
    }
    let same = |other: &Node| {
        let serial = !told.serial.is_empty() && told.serial == other.identity.serial;
        let uuid = !told.uuid.is_empty() && told.uuid == other.identity.uuid;
        match (serial, uuid) {
            (true, _) => Some(format!("its serial '{}' is that of node {}", told.serial, other.name)),
            (false, true) => Some(format!("its UUID '{}' is that of node {}", told.uuid, other.name)),
            (false, false) => None,
        }
    };
    let mut others = world.nodes().filter(|other| other.id != node.id && other.state != State::Retired);
    others.find_map(same)
}

/// For a node whose identity is not recorded yet, when it is approved: what it last told.
pub(in crate::appliance) fn identity_at_approval(world: &World, node: NodeId) -> Identity {
    world.inventory(node).map(identity).unwrap_or_default()
}
