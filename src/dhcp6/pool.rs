//! Which IPv6 address a client gets.

use std::net::Ipv6Addr;

use crate::model::{Duid, Lease6, LeaseState, MacAddr, Network6, Timestamp, World};

/// So many addresses are looked at, from the one that follows from the client's on. Ranges are thinly used: the first is nearly always free.
const TRIES: u128 = 256;

/// Where addresses are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// What is leased.
    pub world: &'a World,
    /// The network.
    pub network: &'a Network6,
    /// Our own address.
    pub server: Ipv6Addr,
}

/// One association of one client.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The client.
    pub duid: &'a Duid,
    /// Its association.
    pub iaid: u32,
    /// Its interface.
    pub mac: Option<MacAddr>,
}

impl<'a> Pool<'a> {
    /// The address for an association, or `None` when none is found.
    ///
    /// In this order: its own, which sticks to it; that of its interface, which had another name for itself in another stage of its boot;
    /// the one it asks for, when it is free; and one that follows from its hardware address, so that it is the same on an appliance that
    /// has forgotten everything.
    pub fn choose(&self, holder: &Holder<'_>, asked: &[Ipv6Addr], now: Timestamp) -> Option<Ipv6Addr> {
        let asked =
            || asked.iter().copied().find(|ip| self.may_have(*ip) && self.world.lease6(*ip).is_none());
        let own = self.own(holder).or_else(|| self.of_interface(holder));
        own.map(|lease| lease.ip).or_else(asked).or_else(|| self.derived(holder, now))
    }

    /// The association's lease on this network, whatever became of it, but for an address that it found in use.
    pub fn own(&self, holder: &Holder<'_>) -> Option<&'a Lease6> {
        self.world.leases6_of(holder.duid).find(|lease| lease.iaid == holder.iaid && self.is_good(lease))
    }

    /// The lease of the same interface under another name: firmware, iPXE and the system each have their own.
    fn of_interface(&self, holder: &Holder<'_>) -> Option<&'a Lease6> {
        self.world.leases6_at(holder.mac?).find(|lease| lease.duid != *holder.duid && self.is_good(lease))
    }

    fn is_good(&self, lease: &Lease6) -> bool {
        lease.state != LeaseState::Declined && self.may_have(lease.ip)
    }

    fn may_have(&self, ip: Ipv6Addr) -> bool {
        self.network.range.contains(ip) && ip != self.server && !self.network.dns.contains(&ip)
    }

    fn derived(&self, holder: &Holder<'_>, now: Timestamp) -> Option<Ipv6Addr> {
        let mut hasher = blake3::Hasher::new();
        match holder.mac {
            Some(mac) => hasher.update(&mac.0),
            None => hasher.update(holder.duid.as_bytes()),
        };
        // The first association of an interface has the interface's address, whatever number it gives it.
        let taken = holder.mac.is_some_and(|mac| self.world.leases6_at(mac).next().is_some());
        if holder.mac.is_none() || taken {
            hasher.update(&holder.iaid.to_be_bytes());
        }
        let digest = hasher.finalize();
        let bits = u128::from_be_bytes(*digest.as_bytes().first_chunk()?);
        let (first, last) = (self.network.range.first.to_bits(), self.network.range.last.to_bits());
        let size = (last - first).saturating_add(1);
        (0..TRIES.min(size))
            .map(|n| Ipv6Addr::from_bits(first + (bits % size + n) % size))
            .find(|ip| self.may_have(*ip) && self.is_free(*ip, now))
    }

    /// Whether nobody holds `ip`, or held it by a right that lasts.
    fn is_free(&self, ip: Ipv6Addr, now: Timestamp) -> bool {
        self.world.lease6(ip).is_none_or(|lease| {
            let trusted = lease
                .mac
                .and_then(|mac| self.world.node_with_mac(mac))
                .is_some_and(|node| node.state.is_trusted());
            lease.expires <= now && (!trusted || lease.state == LeaseState::Declined)
        })
    }
}
