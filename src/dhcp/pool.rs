//! Which address a client gets.

use std::net::Ipv4Addr;

use crate::model::{
    AddressRange, ClientKey, Lease, LeaseState, MacAddr, Network, Reservation, Timestamp, World,
};

use super::request::Client;

/// Where addresses are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// What is leased.
    pub world: &'a World,
    /// The network.
    pub network: &'a Network,
    /// Our own address.
    pub server: Ipv4Addr,
}

impl<'a> Pool<'a> {
    /// The address for a client, or `None` when there is none to give.
    ///
    /// In this order: the one reserved for it, unless somebody else is using that; its own, which sticks to it; the one it asks
    /// for, when it is free; a free one; and when there is none, the one that ran out longest ago of those that belong to nobody
    /// who was approved.
    pub fn choose(&self, client: &Client, requested: Option<Ipv4Addr>, now: Timestamp) -> Option<Ipv4Addr> {
        if let Some(reserved) = self.reserved(client) {
            return (!self.is_used_by_another(reserved.ip, client.mac, now)).then_some(reserved.ip);
        }
        let may_have = |ip: &Ipv4Addr| self.in_ranges(*ip) && !self.is_taken(*ip);
        let free = |ip: &Ipv4Addr| may_have(ip) && self.world.lease(*ip).is_none();
        self.own(client)
            .map(|lease| lease.ip)
            .or_else(|| requested.filter(free))
            .or_else(|| self.parts().into_iter().find_map(|part| self.first_free(part)))
            .or_else(|| self.reclaim(now))
    }

    /// The address that is the client's by configuration.
    pub fn reserved(&self, client: &Client) -> Option<&'a Reservation> {
        self.network.reservations.of(&self.keys(client))
    }

    /// By what the client is told from others, where anything is reserved at all. The UUID that its firmware told stays its own under a
    /// system that tells none.
    fn keys(&self, client: &Client) -> Vec<ClientKey> {
        if self.network.reservations.is_empty() {
            return Vec::new();
        }
        let recorded = || self.world.node_with_mac(client.mac)?.uuid.clone();
        let uuid = client.uuid.clone().or_else(recorded);
        client.keys(uuid, client.relayed || self.network.trust_ports)
    }

    /// The client's lease on this network, whatever became of it, but for an address that it found in use. One that the
    /// configured ranges no longer hold is kept only as a reservation; one that is configured as another's by now, or is not
    /// the one reserved for the client, not at all.
    ///
    /// Of several (other servers give firmware and system an address each) the reserved one counts, then the one in use, then
    /// the one that lasts longest.
    pub fn own(&self, client: &Client) -> Option<&'a Lease> {
        foremost(self.in_place(client))
    }

    /// The client's lease of `ip`, if it may keep that one; else the one it has instead.
    ///
    /// # Errors
    /// The other lease, if any.
    pub fn own_at(&self, client: &Client, ip: Ipv4Addr) -> Result<&'a Lease, Option<&'a Lease>> {
        let all: Vec<&Lease> = self.in_place(client).collect();
        let own = foremost(all.iter().copied());
        let asked = all.into_iter().find(|lease| lease.ip == ip);
        asked.filter(|asked| asked.reserved || own.is_none_or(|own| !own.reserved)).ok_or(own)
    }

    fn in_place(&self, client: &Client) -> impl Iterator<Item = &'a Lease> {
        let keys = self.keys(client);
        let reserved = self.network.reservations.of(&keys);
        self.world.leases_of(client.mac).filter(move |lease| {
            let in_place = match (reserved, self.network.reservations.holder(lease.ip)) {
                (Some(reserved), _) => reserved.ip == lease.ip,
                (None, Some(holder)) => !holder.is_denied_by(&keys) && !self.is_a_servers(lease.ip),
                (None, None) if lease.reserved => {
                    self.network.subnet.has_host(lease.ip) && !self.is_taken(lease.ip)
                }
                (None, None) => self.in_ranges(lease.ip) && !self.is_taken(lease.ip),
            };
            in_place && lease.state != LeaseState::Declined
        })
    }

    /// Whether somebody else has `ip` by configuration, which may have changed since it was given.
    fn is_taken(&self, ip: Ipv4Addr) -> bool {
        self.is_a_servers(ip) || self.network.reservations.holder(ip).is_some()
    }

    fn is_a_servers(&self, ip: Ipv4Addr) -> bool {
        ip == self.server || self.network.gateway == Some(ip) || self.network.dns.contains(&ip)
    }

    /// Whether another client holds a lease of `ip` that has not run out, or found it in use.
    fn is_used_by_another(&self, ip: Ipv4Addr, mac: MacAddr, now: Timestamp) -> bool {
        self.world.lease(ip).is_some_and(|lease| match lease.state {
            LeaseState::Declined => lease.expires > now,
            LeaseState::Bound | LeaseState::Offered => lease.mac != mac && lease.expires > now,
            LeaseState::Released => false,
        })
    }

    fn in_ranges(&self, ip: Ipv4Addr) -> bool {
        let within = |ranges: &[AddressRange]| ranges.iter().any(|range| range.contains(ip));
        within(&self.network.ranges) && !within(&self.network.exclude)
    }

    /// The ranges without what is excluded from them.
    fn parts(&self) -> Vec<AddressRange> {
        let mut excluded = self.network.exclude.clone();
        excluded.sort_by_key(|excluded| excluded.first);
        let mut parts = Vec::new();
        for range in &self.network.ranges {
            // Wider than an address, for what comes behind the last one there is.
            let (mut first, last) = (u64::from(range.first.to_bits()), u64::from(range.last.to_bits()));
            for excluded in &excluded {
                let (from, to) = (u64::from(excluded.first.to_bits()), u64::from(excluded.last.to_bits()));
                if from > last {
                    break;
                }
                parts.extend(part(first, from.saturating_sub(1)).filter(|_| first < from));
                first = first.max(to + 1);
            }
            parts.extend(part(first, last));
        }
        parts
    }

    /// The address behind the highest one in use, else the lowest gap. Each step passes a whole run of leases, or an address that
    /// is somebody's by configuration.
    fn first_free(&self, part: AddressRange) -> Option<Ipv4Addr> {
        let leased = self.world.leased();
        let free_from = |from: Ipv4Addr| {
            let mut candidate = leased.gap_from(from)?;
            while candidate <= part.last {
                if !self.is_taken(candidate) {
                    return Some(candidate);
                }
                candidate = leased.gap_from(Ipv4Addr::from_bits(candidate.to_bits().checked_add(1)?))?;
            }
            None
        };
        leased.highest(part).and_then(free_from).or_else(|| free_from(part.first))
    }

    /// The address that ran out longest ago and that nobody has a right to.
    fn reclaim(&self, now: Timestamp) -> Option<Ipv4Addr> {
        let nobodys = |lease: &Lease| {
            // Who found an address in use has no right to it.
            let declined = lease.state == LeaseState::Declined;
            let trusted = || self.world.node_with_mac(lease.mac).is_some_and(|node| node.state.is_trusted());
            !self.is_taken(lease.ip) && (declined || !trusted())
        };
        let parts = self.parts().into_iter();
        let ran_out = parts.filter_map(|part| self.world.first_expired(part, now, nobodys));
        ran_out.min_by_key(|lease| (lease.expires, lease.ip)).map(|lease| lease.ip)
    }
}

/// Of a client's leases the one that counts.
fn foremost<'a>(leases: impl Iterator<Item = &'a Lease>) -> Option<&'a Lease> {
    leases.max_by_key(|lease| (lease.reserved, lease.state == LeaseState::Bound, lease.expires))
}

fn part(first: u64, last: u64) -> Option<AddressRange> {
    let address = |at: u64| u32::try_from(at).ok().map(Ipv4Addr::from_bits);
    let (first, last) = (address(first)?, address(last)?);
    (first <= last).then_some(AddressRange { first, last })
}
