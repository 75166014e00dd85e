//! The one place that moves a node from state to state: the pure step, its effects and its event together.

use crate::model::lifecycle::{Effect, step};
use crate::model::{Change, EventKind, Identity, Lease, LeaseState, Node, Signal, State, Timestamp};
use crate::store::Tx;

use super::AppError;
use super::agent::identity::identity_at_approval;
use super::jobs::end_running;

/// Gives `node` the signal. The caller puts the node; leases and the event are put here.
pub fn transition(
    tx: &mut Tx,
    node: &mut Node,
    signal: &Signal,
    at: Timestamp,
    actor: Option<&str>,
) -> Result<(), AppError> {
    let (next, effects) = step(&node.state, signal)?;
    if *signal == Signal::Approve {
        // Whoever is let in after a quarantine is the machine that it next says it is.
        node.identity = match node.state {
            State::Discovered => identity_at_approval(tx.world(), node.id),
            _ => Identity::default(),
        };
    }
    for effect in effects {
        match effect {
            Effect::ReserveAddresses => {
                for lease in leases(tx, node).filter(|lease| lease.state != LeaseState::Declined) {
                    tx.put(Change::PutLease(Lease { reserved: true, ..lease }));
                }
            }
            Effect::ReleaseAddresses => {
                for lease in leases(tx, node) {
                    tx.put(Change::DeleteLease(lease.ip));
                }
                let world = tx.world();
                let v6: Vec<_> =
                    node.macs.iter().flat_map(|mac| world.leases6_at(*mac)).map(|lease| lease.ip).collect();
                for ip in v6 {
                    tx.put(Change::DeleteLease6(ip));
                }
            }
            Effect::ForgetSecrets => {
                node.boot = None;
                node.certificates.clear();
            }
        }
    }
    if next == node.state {
        return Ok(());
    }
    let kind = EventKind::State {
        from: node.state.name().into(),
        to: next.name().into(),
        after_ms: u64::try_from(at.since(node.state_since).as_millis()).unwrap_or(u64::MAX),
        reason: next.reason().map(str::to_owned),
    };
    if next == State::Retired {
        // Nobody speaks for it any more.
        node.observed.bundles = None;
        end_running(tx, node, "the node was retired in the middle of it", at);
    }
    node.state = next;
    node.state_since = at;
    tx.append(at, Some(node), actor, kind);
    Ok(())
}

/// The node's leases on all its interfaces.
fn leases(tx: &Tx, node: &Node) -> impl Iterator<Item = Lease> + use<> {
    let found: Vec<Lease> = node.macs.iter().flat_map(|mac| tx.world().leases_of(*mac)).cloned().collect();
    found.into_iter()
}
