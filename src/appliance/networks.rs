//! Networks: how full they are, and how long that will do; and other DHCP servers on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::dhcp::rogue::Rogue;
use crate::model::{DhcpMode, EventKind, LeaseState, Network, Network6, Timestamp, World};

use super::{AppError, Appliance, now};

/// New clients of so long are counted, and their growth is taken to go on, milliseconds.
const WEEK_MS: u64 = 7 * DAY_MS;
const DAY_MS: u64 = 86_400_000;
/// Whatever is there already asks in the first hours of a network that is taken into service: that is no growth. And what was watched
/// for less tells nothing. Milliseconds.
const SETTLING_MS: u64 = 6 * 3_600_000;
/// A pool that lasts longer is not full in any sight.
const FAR_DAYS: u64 = 3650;
/// Addresses that are looked at one by one; of larger pools only the leases are counted.
const COUNTED: u32 = 1 << 20;
/// A server that was not heard for so long is gone, milliseconds: it is asked every ten minutes.
const ROGUE_MS: u64 = 3_600_000;

/// A network and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Address and prefix length.
    pub subnet: String,
    /// The interface it is on; none for one behind a relay.
    pub interface: Option<String>,
    /// `full`, `proxy` or `off`.
    pub dhcp: String,
    /// The link that it shares with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_network: Option<String>,
    /// Default router.
    pub gateway: Option<Ipv4Addr>,
    /// Its ranges.
    pub ranges: Vec<String>,
    /// Addresses that can be given, reservations by configuration not counted.
    pub addresses: u64,
    /// Of these: in use.
    pub bound: u64,
    /// Of these: kept for a client that may come back.
    pub kept: u64,
    /// Of these: found in use by somebody else.
    pub declined: u64,
    /// Of these: given to nobody so far.
    pub free: u64,
    /// Addresses that the configuration reserves.
    pub reservations: usize,
    /// New clients in the last seven days.
    pub new_clients: u64,
    /// In how many days no address is free, if it goes on like this; none: not in sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_in_days: Option<u64>,
    /// Its IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Pool6View>,
}

/// A prefix and its addresses. What is free is not counted: it is nearly all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool6View {
    /// The prefix.
    pub subnet: String,
    /// Addresses that are given.
    pub range: String,
    /// Of these: in use.
    pub bound: u64,
    /// Of these: kept for a client that may come back.
    pub kept: u64,
    /// Of these: found in use by somebody else.
    pub declined: u64,
}

/// Something that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    fn warning(what: String, hint: String) -> Self {
        Self { severity: "warning".into(), what, hint }
    }

    fn error(what: String, hint: String) -> Self {
        Self { severity: "error".into(), what, hint }
    }
}

impl Appliance {
    /// All networks, as they are configured.
    pub fn networks(&self) -> Vec<NetworkView> {
        let (world, at) = (self.view(), now());
        self.config.networks.iter().map(|network| view(&world, network, at)).collect()
    }

    /// The network of this subnet or prefix, or with this address in it, or on this interface.
    ///
    /// # Errors
    /// When there is none, or several are on the interface.
    pub fn network(&self, name: &str) -> Result<NetworkView, AppError> {
        let network = named(&self.config.networks, name)?;
        Ok(view(&self.view(), network, now()))
    }

    /// Told when a client on an interface names another DHCP server.
    pub fn rogue_suspicion(&self, interface: &str) -> Arc<Notify> {
        self.rogues.suspicion(interface)
    }

    /// Another DHCP server was heard.
    pub async fn rogue_heard(&self, interface: &str, server: impl Into<IpAddr>) {
        let server = server.into();
        if !self.rogues.hear(interface, server, now()) {
            return;
        }
        tracing::warn!(%server, interface, "another DHCP server answers");
        let kind = EventKind::RogueServer { server, interface: interface.to_owned() };
        if let Err(error) = self.record(kind).await {
            tracing::error!(%error, "another DHCP server could not be recorded");
        }
    }

    /// Another router's advertisements say something else than ours.
    pub async fn router_heard(&self, interface: &str, router: Ipv6Addr) {
        if !self.rogue_routers.hear(interface, router, now()) {
            return;
        }
        tracing::warn!(%router, interface, "another router contradicts our advertisements");
        let kind = EventKind::RogueRouter { router, interface: interface.to_owned() };
        if let Err(error) = self.record(kind).await {
            tracing::error!(%error, "another router could not be recorded");
        }
    }

    /// What an operator should look at.
    pub fn findings(&self) -> Vec<Finding> {
        let at = now();
        let since = Timestamp(at.0.saturating_sub(ROGUE_MS));
        let mut findings: Vec<Finding> = self.rogues.since(since).iter().map(rogue).collect();
        findings.extend(self.rogue_routers.since(since).iter().map(rogue_router));
        for network in self.networks() {
            findings.extend(fullness(&network));
        }
        if let super::RamdiskState::Failed { reason } = self.ramdisk().as_ref() {
            findings.push(Finding::error(
                format!("there is no ramdisk: {reason}"),
                "new servers cannot be discovered or installed; mend it and restart the appliance".into(),
            ));
        }
        let world = self.view();
        let failed = world.nodes().filter(|node| matches!(node.state, crate::model::State::Failed { .. }));
        let names: Vec<&str> = failed.map(|node| node.name.as_str()).collect();
        if let Some(first) = names.first() {
            let (count, more) = (names.len(), if names.len() > 1 { " and others" } else { "" });
            findings.push(Finding::warning(
                format!("{count} nodes have failed: {first}{more}"),
                format!("firstlight node explain {first}"),
            ));
        }
        findings
    }
}

fn rogue(rogue: &Rogue) -> Finding {
    let hint = if rogue.server.is_ipv4() {
        "stop it; or, if it is to give the addresses, set dhcp = \"proxy\" for that network"
    } else {
        "stop it; or, if it is to give the IPv6 addresses, take subnet6 away from that network"
    };
    let what = format!("another DHCP server, {}, answers on {}", rogue.server, rogue.interface);
    Finding::error(what, hint.into())
}

fn rogue_router(rogue: &Rogue) -> Finding {
    Finding::error(
        format!("a router, {}, contradicts our advertisements on {}", rogue.server, rogue.interface),
        "let it set the managed flag and the same prefix, without the autonomous flag; or, if it is to tell alone, set advertise = \
         false for that network"
            .into(),
    )
}

fn fullness(network: &NetworkView) -> Option<Finding> {
    let hint = "add ranges to it, or release what nobody needs: firstlight lease list".to_owned();
    if network.addresses == 0 {
        None
    } else if network.free == 0 {
        Some(Finding::error(format!("{} has no free address left", network.subnet), hint))
    } else if network.free * 10 < network.addresses {
        let what = format!("{} has {} of {} addresses free", network.subnet, network.free, network.addresses);
        Some(Finding::warning(what, hint))
    } else {
        let days = network.full_in_days.filter(|days| *days <= 14)?;
        Some(Finding::warning(
            format!("{} will be full in {days} days, if it goes on like this", network.subnet),
            hint,
        ))
    }
}

/// Where a lease is counted: bound, kept or declined.
fn place(state: LeaseState, active: bool) -> usize {
    match state {
        LeaseState::Declined => 2,
        _ if active => 0,
        _ => 1,
    }
}

fn pool6(world: &World, network: &Network6, at: Timestamp) -> Pool6View {
    let mut counts = [0_u64; 3];
    for lease in world.leases6_between(network.range.first, network.range.last) {
        let active = lease.state == LeaseState::Bound && lease.expires > at;
        if let Some(count) = counts.get_mut(place(lease.state, active)) {
            *count += 1;
        }
    }
    let [bound, kept, declined] = counts;
    let (subnet, range) = (network.subnet.to_string(), network.range.to_string());
    Pool6View { subnet, range, bound, kept, declined }
}

fn named<'n>(networks: &'n [Network], name: &str) -> Result<&'n Network, AppError> {
    let ip = name.parse::<IpAddr>().ok();
    let is_it = |network: &&Network| {
        let prefix = network.v6.as_ref().map(|v6| v6.subnet);
        network.subnet.to_string() == name
            || prefix.is_some_and(|prefix| prefix.to_string() == name)
            || match ip {
                Some(IpAddr::V4(ip)) => network.subnet.contains(ip),
                Some(IpAddr::V6(ip)) => prefix.is_some_and(|prefix| prefix.contains(ip)),
                None => false,
            }
    };
    if let Some(network) = networks.iter().find(is_it) {
        return Ok(network);
    }
    let there: Vec<&Network> =
        networks.iter().filter(|network| network.interface.as_deref() == Some(name)).collect();
    match there.as_slice() {
        [network] => Ok(network),
        [] => {
            let hint = "`firstlight network list` shows them";
            Err(AppError::NotFound(format!("there is no network '{name}'; {hint}")))
        }
        several => {
            let subnets: Vec<String> = several.iter().map(|network| network.subnet.to_string()).collect();
            let subnets = subnets.join(" and ");
            Err(AppError::Refused(format!("{name} has the networks {subnets}; name one by its subnet")))
        }
    }
}

fn view(world: &World, network: &Network, at: Timestamp) -> NetworkView {
    let mut counts = [0_u64; 3];
    let mut taken = 0;
    let outside = |ip: Ipv4Addr| {
        network.exclude.iter().any(|range| range.contains(ip))
            || network.gateway == Some(ip)
            || network.dns.contains(&ip)
            || network.reservations.holder(ip).is_some()
    };
    let mut addresses: u64 = 0;
    for range in &network.ranges {
        let size = range.last.to_bits() - range.first.to_bits();
        let never = (range.first.to_bits()..=range.last.to_bits())
            .take(if size < COUNTED { usize::MAX } else { 0 })
            .filter(|bits| outside(Ipv4Addr::from_bits(*bits)))
            .count();
        addresses += (u64::from(size) + 1).saturating_sub(u64::try_from(never).unwrap_or(u64::MAX));
        for lease in world.leases_between(range.first, range.last).filter(|lease| !outside(lease.ip)) {
            taken += 1;
            if let Some(count) = counts.get_mut(place(lease.state, lease.is_active(at))) {
                *count += 1;
            }
        }
    }
    let leases = network.ranges.iter().flat_map(|range| world.leases_between(range.first, range.last));
    let first_seen: Vec<Timestamp> =
        leases.filter_map(|lease| Some(world.node_with_mac(lease.mac)?.first_seen)).collect();
    let free = addresses.saturating_sub(taken);
    let [bound, kept, declined] = counts;
    NetworkView {
        subnet: network.subnet.to_string(),
        interface: network.interface.clone(),
        dhcp: match network.dhcp {
            DhcpMode::Full => "full",
            DhcpMode::Proxy => "proxy",
            DhcpMode::Off => "off",
        }
        .into(),
        shared_network: network.shared.clone(),
        gateway: network.gateway,
        ranges: network.ranges.iter().map(ToString::to_string).collect(),
        addresses,
        bound,
        kept,
        declined,
        free,
        reservations: network.reservations.iter().count(),
        new_clients: newer(&first_seen, at.0.saturating_sub(WEEK_MS)),
        full_in_days: full_in_days(free, &first_seen, at),
        v6: network.v6.as_ref().map(|v6| pool6(world, v6, at)),
    }
}

/// How many clients came after that moment.
fn newer(first_seen: &[Timestamp], since: u64) -> u64 {
    let newer = first_seen.iter().filter(|seen| seen.0 > since);
    u64::try_from(newer.count()).unwrap_or(u64::MAX)
}

/// In how many days `free` addresses are gone, if as many new clients come as came in the last week, or since the first of them was
/// there; none: too little was seen to tell, or it is not in sight.
fn full_in_days(free: u64, first_seen: &[Timestamp], at: Timestamp) -> Option<u64> {
    let settled = first_seen.iter().min()?.0.saturating_add(SETTLING_MS);
    let since = settled.max(at.0.saturating_sub(WEEK_MS));
    let watched = at.0.checked_sub(since).filter(|watched| *watched >= SETTLING_MS)?;
    let days = u128::from(free) * u128::from(watched) / u128::from(DAY_MS);
    let days = days.checked_div(u128::from(newer(first_seen, since)))?;
    u64::try_from(days).ok().filter(|days| *days < FAR_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const NOW: u64 = 1000 * DAY_MS;

    /// So many clients, one every so many hours, the last one so many hours ago.
    fn clients(count: u64, every: u64, last: u64) -> Vec<Timestamp> {
        (0..count).map(|n| Timestamp(NOW - (last + n * every) * HOUR_MS)).collect()
    }

    #[test]
    fn when_a_pool_is_full() {
        let year = || clients(1, 1, 365 * 24);
        let and = |one: Vec<Timestamp>, other: Vec<Timestamp>| [one, other].concat();
        for (rule, free, first_seen, expected) in [
            ("nobody ever came", 100, vec![], None),
            ("all of them long ago", 100, clients(50, 24, 8 * 24), None),
            ("24 a day for a month", 240, clients(30 * 24, 1, 0), Some(10)),
            ("24 a day, since yesterday", 240, clients(25, 1, 0), Some(10)),
            ("24 a day, for half a day", 240, clients(13, 1, 0), Some(10)),
            ("two hours are too few to tell", 240, clients(3, 1, 0), None),
            ("a hall that is switched on, and then nothing", 100, clients(60, 0, 20), None),
            (
                "a hall that is switched on, and then one a day",
                10,
                and(clients(60, 0, 78), clients(3, 24, 1)),
                Some(10),
            ),
            ("an old network, and seven in the last week", 30, and(year(), clients(7, 24, 1)), Some(30)),
            ("an old network that grew yesterday alone", 30, and(year(), clients(7, 1, 24)), Some(30)),
            ("it is full", 0, clients(25, 1, 0), Some(0)),
            ("less than a day is left", 5, clients(25, 1, 0), Some(0)),
            ("a pool for ever", 1 << 40, clients(25, 1, 0), None),
            ("a clock that was put back", 100, vec![Timestamp(NOW + HOUR_MS)], None),
        ] {
            assert_eq!(full_in_days(free, &first_seen, Timestamp(NOW)), expected, "{rule}");
        }
    }

    #[test]
    fn who_is_new_on_a_network() {
        use crate::model::{Change, Lease, MacAddr, Node, NodeId};
        let mut world = World::default();
        // One that came every 12 hours since ten days; the last of another network.
        for n in 0..20_u8 {
            let mac = MacAddr([2, 0, 0, 0, 0, n]);
            let name = format!("n{n}").parse().expect("a name");
            let seen = Timestamp(NOW - (u64::from(n) * 12 + 1) * HOUR_MS);
            world.apply(&Change::put_node(Node::discovered(NodeId(n.into()), name, mac, seen)));
            let ip = Ipv4Addr::new(10, if n < 19 { 77 } else { 78 }, 0, 100 + n);
            let (state, expires) = (LeaseState::Bound, Timestamp(NOW + 1));
            world.apply(&Change::PutLease(Lease {
                ip,
                mac,
                state,
                expires,
                reserved: false,
                hostname: None,
            }));
        }
        let network = Network {
            ranges: vec!["10.77.0.100-10.77.0.199".parse().expect("a range")],
            ..Network::new("10.77.0.0/24".parse().expect("a subnet"))
        };
        let seen = view(&world, &network, Timestamp(NOW));
        assert_eq!((seen.addresses, seen.bound, seen.free), (100, 19, 81));
        assert_eq!((seen.new_clients, seen.full_in_days), (14, Some(40)), "two a day");
    }

    #[test]
    fn networks_are_found_by_what_is_known_of_them() {
        let on = |interface: &str, subnet: &str| Network {
            interface: Some(interface.into()),
            ..Network::new(subnet.parse().expect("a subnet"))
        };
        let prefix = "fd00:77::/64".parse::<crate::model::Subnet6>().expect("a prefix");
        let v6 = Network6 { subnet: prefix, range: prefix.usual_range(), dns: vec![], advertise: true };
        let networks = [
            Network { v6: Some(v6), ..on("br0", "10.77.0.0/24") },
            on("br1", "10.78.0.0/24"),
            on("br1", "10.79.0.0/24"),
        ];
        for (name, expected) in [
            ("10.77.0.0/24", Ok("10.77.0.0/24")),
            ("10.79.0.9", Ok("10.79.0.0/24")),
            ("fd00:77::/64", Ok("10.77.0.0/24")),
            ("fd00:77::9", Ok("10.77.0.0/24")),
            ("br0", Ok("10.77.0.0/24")),
            ("br1", Err("br1 has the networks 10.78.0.0/24 and 10.79.0.0/24; name one by its subnet")),
            ("br9", Err("there is no network 'br9'; `firstlight network list` shows them")),
            ("10.77.0.0/16", Err("there is no network '10.77.0.0/16'; `firstlight network list` shows them")),
            ("fd00:78::9", Err("there is no network 'fd00:78::9'; `firstlight network list` shows them")),
        ] {
            let found = named(&networks, name).map(|network| network.subnet.to_string());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}");
        }
    }
}
