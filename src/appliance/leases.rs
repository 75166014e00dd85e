//! What an administrator does with leases.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::dhcp::import::Imported;
use crate::model::{Change, EventKind, Lease, LeaseState, Network, Timestamp, World};

use super::views::{LeaseView, lease_view, lease6_view};
use super::{Actor, AppError, Appliance, now};

/// Leases of another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportLeases {
    /// The leases.
    pub leases: Vec<Imported>,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// How many are ours now.
    pub imported: u64,
    /// Those that are not.
    pub left: Vec<Left>,
}

/// A lease that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Why not.
    pub why: String,
}

impl Appliance {
    /// All leases, by address.
    pub fn leases(&self) -> Vec<LeaseView> {
        let (world, at) = (self.view(), now());
        let v4 = world.leases().map(|lease| lease_view(&world, lease, at));
        v4.chain(world.leases6().map(|lease| lease6_view(&world, lease, at))).collect()
    }

    /// One lease.
    ///
    /// # Errors
    /// When nobody holds the address.
    pub fn lease(&self, ip: IpAddr) -> Result<LeaseView, AppError> {
        let (world, at) = (self.view(), now());
        let found = match ip {
            IpAddr::V4(ip) => world.lease(ip).map(|lease| lease_view(&world, lease, at)),
            IpAddr::V6(ip) => world.lease6(ip).map(|lease| lease6_view(&world, lease, at)),
        };
        found.ok_or_else(|| no_lease(ip))
    }

    /// Takes over what another server gave: each client keeps its address. What stands against it is told, and the rest is done.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn import_leases(&self, import: ImportLeases, actor: Actor) -> Result<ImportReport, AppError> {
        let (at, networks) = (now(), self.config.networks.clone());
        let own: Vec<Ipv4Addr> = self.addresses.get().into_iter().flatten().map(|(ip, _)| *ip).collect();
        self.store
            .transact(move |tx| {
                let mut report = ImportReport::default();
                for one in import.leases {
                    match importable(tx.world(), &networks, &own, &one, at) {
                        Ok(lease) => {
                            tx.put(Change::PutLease(lease));
                            report.imported += 1;
                        }
                        Err(why) => report.left.push(Left { ip: one.ip, why }),
                    }
                }
                if report.imported > 0 {
                    let count = report.imported;
                    tx.append(at, None, Some(&actor.0), EventKind::LeasesImported { count });
                }
                Ok(report)
            })
            .await
    }

    /// Takes an address back, whoever holds it.
    ///
    /// # Errors
    /// When nobody holds it.
    pub async fn release_lease(&self, ip: IpAddr, actor: Actor) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let (mac, change) = match ip {
                    IpAddr::V4(ip) => {
                        (tx.world().lease(ip).map(|lease| Some(lease.mac)), Change::DeleteLease(ip))
                    }
                    IpAddr::V6(ip) => {
                        (tx.world().lease6(ip).map(|lease| lease.mac), Change::DeleteLease6(ip))
                    }
                };
                let mac = mac.ok_or_else(|| no_lease(ip))?;
                let node = mac.and_then(|mac| tx.world().node_with_mac(mac)).cloned();
                tx.put(change);
                tx.append(at, node.as_ref(), Some(&actor.0), EventKind::LeaseReleased { ip, mac });
                Ok(())
            })
            .await
    }
}

/// What an imported lease is here.
fn importable(
    world: &World,
    networks: &[Network],
    own: &[Ipv4Addr],
    one: &Imported,
    at: Timestamp,
) -> Result<Lease, String> {
    let network = networks.iter().find(|network| network.subnet.has_host(one.ip));
    let network = network.ok_or("it is of no network here")?;
    if !one.mac.is_client() {
        return Err(format!("{} is no client's hardware address", one.mac));
    }
    let whose = [
        (own.contains(&one.ip), "it is the appliance's own"),
        (network.gateway == Some(one.ip), "it is the gateway's"),
        (network.dns.contains(&one.ip), "it is a name server's"),
    ];
    if let Some((_, why)) = whose.iter().find(|(is_it, _)| *is_it) {
        return Err((*why).into());
    }
    let held = world.lease(one.ip).filter(|lease| lease.mac != one.mac);
    if let Some(other) = held.filter(|lease| lease.reserved || lease.expires > at) {
        return Err(format!("{} holds it already", other.mac));
    }
    if let Some(key) = network.reservations.holder(one.ip) {
        return Err(format!("the configuration reserves it for {key}"));
    }
    let expires =
        one.expires.map_or(at.plus(network.lease), |seconds| Timestamp(seconds.saturating_mul(1000)));
    Ok(Lease {
        ip: one.ip,
        mac: one.mac,
        state: LeaseState::Bound,
        expires,
        // One without an end is a reservation by another name.
        reserved: one.reserved || one.expires.is_none(),
        hostname: one.hostname.clone(),
    })
}

fn no_lease(ip: IpAddr) -> AppError {
    AppError::NotFound(format!("nobody holds {ip}; `firstlight lease list` shows who holds what"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_over() {
        let network = Network {
            gateway: Some([10, 77, 0, 1].into()),
            dns: vec![[10, 77, 0, 3].into()],
            ..Network::new("10.77.0.0/24".parse().expect("a subnet"))
        };
        let own = [Ipv4Addr::new(10, 77, 0, 2)];
        for (ip, expected) in [
            ("10.77.0.9", None),
            ("10.77.0.1", Some("it is the gateway's")),
            ("10.77.0.2", Some("it is the appliance's own")),
            ("10.77.0.3", Some("it is a name server's")),
            ("10.78.0.9", Some("it is of no network here")),
            ("10.77.0.255", Some("it is of no network here")),
        ] {
            let ip = ip.parse().expect("an address");
            let mac = "52:54:00:00:00:01".parse().expect("a MAC");
            let one = Imported { ip, mac, hostname: None, expires: Some(9), reserved: false };
            let networks = std::slice::from_ref(&network);
            let told = importable(&World::default(), networks, &own, &one, Timestamp(0));
            assert_eq!(told.err().as_deref(), expected, "{ip}");
        }
    }
}
