//! "The server in port 12 is node 12": a name goes with a port, as its address does.

use crate::model::{Change, EventKind, LeaseState, Node, Reservation, Timestamp, World};
use crate::store::Tx;

use super::dhcp::free_name;

/// Who renames, for the audit log.
const ACTOR: &str = "switch port";

/// Whether a client takes over the address of the port it is in with these changes, rather than go on having it.
pub(super) fn takes_over(world: &World, changes: &[Change], reservation: &Reservation) -> bool {
    let taken = changes.iter().find_map(|change| match change {
        Change::PutLease(lease) if lease.ip == reservation.ip && lease.state == LeaseState::Bound => {
            Some(lease)
        }
        _ => None,
    });
    let had = |lease: &crate::model::Lease| matches!(lease.state, LeaseState::Bound | LeaseState::Released);
    taken.is_some_and(|taken| {
        let before = world.lease(taken.ip).filter(|lease| had(lease));
        reservation.key.is_port() && before.is_none_or(|before| before.mac != taken.mac)
    })
}

/// Names a node as its port is called; who was called so before gets a name of its own. The caller puts the node. An operator may
/// name it otherwise afterwards: only another server in the port changes that.
pub(super) fn name_by_port(tx: &mut Tx, node: &mut Node, reservation: &Reservation, at: Timestamp) {
    let Some(name) = reservation.name.clone().filter(|name| *name != node.name) else { return };
    if let Some(mut other) = tx.world().node_named(&name).cloned() {
        let Some(mac) = other.macs.first().copied() else { return };
        let to = free_name(tx.world(), mac, other.id);
        let from = std::mem::replace(&mut other.name, to.clone());
        tx.append(at, Some(&other), Some(ACTOR), EventKind::Renamed { from, to });
        tx.put(Change::put_node(other));
    }
    let from = std::mem::replace(&mut node.name, name.clone());
    tx.append(at, Some(node), Some(ACTOR), EventKind::Renamed { from, to: name });
}
