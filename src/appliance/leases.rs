//! What an administrator does with leases.

use std::net::Ipv4Addr;

use crate::model::{Change, EventKind};

use super::views::{LeaseView, lease_view};
use super::{Actor, AppError, Appliance, now};

impl Appliance {
    /// All leases, by address.
    pub fn leases(&self) -> Vec<LeaseView> {
        let (world, at) = (self.view(), now());
        world.leases().map(|lease| lease_view(&world, lease, at)).collect()
    }

    /// One lease.
    ///
    /// # Errors
    /// When nobody holds the address.
    pub fn lease(&self, ip: Ipv4Addr) -> Result<LeaseView, AppError> {
        let world = self.view();
        world.lease(ip).map(|lease| lease_view(&world, lease, now())).ok_or_else(|| no_lease(ip))
    }

    /// Takes an address back, whoever holds it.
    ///
    /// # Errors
    /// When nobody holds it.
    pub async fn release_lease(&self, ip: Ipv4Addr, actor: Actor) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let mac = tx.world().lease(ip).ok_or_else(|| no_lease(ip))?.mac;
                let node = tx.world().node_with_mac(mac).cloned();
                tx.put(Change::DeleteLease(ip));
                tx.append(at, node.as_ref(), Some(&actor.0), EventKind::LeaseReleased { ip, mac });
                Ok(())
            })
            .await
    }
}

fn no_lease(ip: Ipv4Addr) -> AppError {
    AppError::NotFound(format!("nobody holds {ip}; `firstlight lease list` shows who holds what"))
}
