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
            .or_else(|| self.network.ranges.iter().find_map(|range| self.first_free(*range, &may_have)))
            .or_else(|| self.reclaim(now))
    }

    /// The address that is the client's by configuration.
    pub fn reserved(&self, client: &Client) -> Option<&'a Reservation> {
        self.network.reservations.of(&self.keys(client))
    }

    /// By what the client is told from others. The UUID that its firmware told stays its own under a system that tells none.
    fn keys(&self, client: &Client) -> Vec<ClientKey> {
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
        self.in_place(client)
            .max_by_key(|lease| (lease.reserved, lease.state == LeaseState::Bound, lease.expires))
    }

    /// The client's lease of `ip`, if it may keep that one; else the one it has instead.
    ///
    /// # Errors
    /// The other lease, if any.
    pub fn own_at(&self, client: &Client, ip: Ipv4Addr) -> Result<&'a Lease, Option<&'a Lease>> {
        let own = self.own(client);
        let asked = self.in_place(client).find(|lease| lease.ip == ip);
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

    /// The address behind the highest one in use, else the lowest gap.
    fn first_free(&self, range: AddressRange, may_have: &impl Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let leases = || self.world.leases_between(range.first, range.last);
        let behind = match leases().next_back().map(|lease| lease.ip) {
            None => Some(range.first),
            Some(ip) => ip.to_bits().checked_add(1).map(Ipv4Addr::from_bits),
        };
        let above = behind.and_then(|behind| addresses(behind, range.last).find(may_have));
        above.or_else(|| {
            let mut candidate = range.first.to_bits();
            for lease in leases() {
                let gap = candidate..lease.ip.to_bits();
                if let Some(ip) = gap.map(Ipv4Addr::from_bits).find(may_have) {
                    return Some(ip);
                }
                candidate = lease.ip.to_bits().checked_add(1)?;
            }
            None
        })
    }

    /// The address that ran out longest ago and that nobody has a right to.
    fn reclaim(&self, now: Timestamp) -> Option<Ipv4Addr> {
        let nobodys = |lease: &&Lease| {
            self.in_ranges(lease.ip)
                && !self.is_taken(lease.ip)
                && !lease.reserved
                && self.world.node_with_mac(lease.mac).is_none_or(|node| !node.state.is_trusted())
        };
        self.world.expired(now).find(nobodys).map(|lease| lease.ip)
    }
}

fn addresses(first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> {
    (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits)
}
