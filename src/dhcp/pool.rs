//! Which address a client gets.

use std::net::Ipv4Addr;

use crate::model::{AddressRange, Lease, LeaseState, MacAddr, Network, Timestamp, World};

/// The address for `mac` on `network`, or `None` when there is none to give.
///
/// In this order: the client's own, which sticks to it; the one it asks for, when it is free; a free one; and when
/// there is none, the one that ran out longest ago of those that belong to nobody who was approved.
pub fn choose(
    world: &World,
    network: &Network,
    server: Ipv4Addr,
    mac: MacAddr,
    requested: Option<Ipv4Addr>,
    now: Timestamp,
) -> Option<Ipv4Addr> {
    let may_have = |ip: &Ipv4Addr| in_ranges(network, *ip) && !is_taken(network, server, *ip);
    let free = |ip: &Ipv4Addr| may_have(ip) && world.lease(*ip).is_none();
    own(world, network, server, mac)
        .map(|lease| lease.ip)
        .or_else(|| requested.filter(free))
        .or_else(|| network.ranges.iter().find_map(|range| first_free(world, *range, &may_have)))
        .or_else(|| reclaim(world, network, server, now))
}

/// The client's lease on this network, whatever became of it, but for an address that it found in use. One that the
/// configured ranges no longer hold is kept only as a reservation; one that is configured as another's by now, not at
/// all.
pub fn own<'w>(world: &'w World, network: &Network, server: Ipv4Addr, mac: MacAddr) -> Option<&'w Lease> {
    world.leases_of(mac).find(|lease| {
        let in_place =
            if lease.reserved { network.subnet.has_host(lease.ip) } else { in_ranges(network, lease.ip) };
        in_place && lease.state != LeaseState::Declined && !is_taken(network, server, lease.ip)
    })
}

/// Whether somebody else has `ip` by configuration, which may have changed since it was given.
fn is_taken(network: &Network, server: Ipv4Addr, ip: Ipv4Addr) -> bool {
    ip == server || network.gateway == Some(ip) || network.dns.contains(&ip)
}

fn in_ranges(network: &Network, ip: Ipv4Addr) -> bool {
    network.ranges.iter().any(|range| range.contains(ip))
}

/// The address behind the highest one in use, else the lowest gap.
fn first_free(world: &World, range: AddressRange, may_have: &impl Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let highest = world.leases_between(range.first, range.last).next_back().map(|lease| lease.ip);
    let behind = match highest {
        None => Some(range.first),
        Some(ip) => ip.to_bits().checked_add(1).map(Ipv4Addr::from_bits),
    };
    let above = behind.and_then(|behind| addresses(behind, range.last).find(may_have));
    above.or_else(|| {
        let mut candidate = range.first.to_bits();
        for lease in world.leases_between(range.first, range.last) {
            let gap = candidate..lease.ip.to_bits();
            if let Some(ip) = gap.map(Ipv4Addr::from_bits).find(may_have) {
                return Some(ip);
            }
            candidate = lease.ip.to_bits().checked_add(1)?;
        }
        None
    })
}

fn addresses(first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> {
    (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits)
}

/// The address that ran out longest ago and that nobody has a right to.
fn reclaim(world: &World, network: &Network, server: Ipv4Addr, now: Timestamp) -> Option<Ipv4Addr> {
    let nobodys = |lease: &&Lease| {
        in_ranges(network, lease.ip)
            && !is_taken(network, server, lease.ip)
            && !lease.reserved
            && world.node_with_mac(lease.mac).is_none_or(|node| !node.state.is_trusted())
    };
    world.expired(now).find(nobodys).map(|lease| lease.ip)
}
