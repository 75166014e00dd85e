//! Where a client is: the network of its request, others on the same link, and what is known of it there.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use crate::boot::FirmwareTable;
use crate::model::{DhcpMode, LeaseState, MacAddr, Network, Timestamp, World};

use super::options::Options;
use super::pool::Pool;
use super::request::{Cast, Request};

/// A network on the client's link, with what is the client's there.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The network.
    pub network: &'a Network,
    /// Our address there.
    pub server: Ipv4Addr,
    /// What we are called there.
    pub server_identifier: Ipv4Addr,
    /// Options that an operator configured.
    pub options: &'a Options,
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The state.
    pub world: &'a World,
    /// The network the client is on.
    pub network: &'a Network,
    /// Others on the same link.
    pub shared: &'a [Place<'a>],
    /// Our address: boot files are there.
    pub server: Ipv4Addr,
    /// What we are called (option 54): our address, or that of a relay which wants to see renewals (RFC 5107).
    pub server_identifier: Ipv4Addr,
    /// Which boot file which firmware gets.
    pub firmware: &'a FirmwareTable,
    /// Port of scripts and files.
    pub http_port: u16,
    /// The nodes' domain.
    pub domain: Option<&'a str>,
    /// Whether we serve names.
    pub names: bool,
    /// Options that an operator configured, the nearer ones counting.
    pub options: &'a Options,
    /// Whether a MAC that nobody knows is answered.
    pub serves_strangers: bool,
}

impl<'a> View<'a> {
    /// The addresses of the client's network.
    pub fn pool(&self) -> Pool<'a> {
        Pool { world: self.world, network: self.network, server: self.server }
    }

    /// Whether anything but this exchange tells of a client.
    pub(super) fn knows(&self, mac: MacAddr) -> bool {
        self.world.node_with_mac(mac).is_some() || self.has_had_a_lease(mac)
    }

    /// Whether a client is a node that was here before: it was approved, or had an address, here or on another network. It waits
    /// for no probe.
    pub(super) fn is_settled(&self, mac: MacAddr) -> bool {
        let node = self.world.node_with_mac(mac);
        node.is_some_and(|node| node.state.is_trusted() || self.has_had_a_lease(mac))
    }

    fn has_had_a_lease(&self, mac: MacAddr) -> bool {
        has_had_a_lease(self.world, mac)
    }

    /// The same, of the network on the link where the client has an address or asks for one; else of the first with a free one.
    pub(super) fn placed(self, request: &Request, now: Timestamp) -> Self {
        if self.shared.is_empty() {
            return self;
        }
        let client = &request.client;
        let all = || {
            let there = self.shared.iter().map(|place| {
                let Place { network, server, server_identifier, options } = *place;
                View { network, server, server_identifier, options, ..self }
            });
            std::iter::once(self).chain(there)
        };
        let asked = [Some(request.message.ciaddr()), request.requested_ip()];
        let holds = |view: &Self| asked.iter().flatten().any(|ip| view.network.subnet.has_host(*ip));
        let knows = |view: &Self| view.pool().reserved(client).is_some() || view.pool().own(client).is_some();
        let discovers = request.message_type == MessageType::Discover;
        let own = if discovers { all().find(knows) } else { None };
        let gives = |view: &Self| view.pool().choose(client, request.requested_ip(), now).is_some();
        own.or_else(|| all().find(holds).filter(|view| !discovers || gives(view)))
            .or_else(|| all().find(gives))
            .unwrap_or(self)
    }
}

/// Whether a client holds or held an address of ours; one that was only offered, or that it found in use, does not count.
pub fn has_had_a_lease(world: &World, mac: MacAddr) -> bool {
    world.leases_of(mac).any(|lease| matches!(lease.state, LeaseState::Bound | LeaseState::Released))
}

/// The network of a request: the link that the relay names (RFC 3527), the relay's own, or that of the interface it came
/// in by (RFC 2131 section 4.3.1); of several there, the first that is served.
///
/// A client behind a relay renews by unicast, past the relay and through routers (section 4.3.2, RENEWING): then only `ciaddr` tells
/// its network, which has no interface here. What was broadcast (REBINDING) came through no router: its network is where it came in.
///
/// A relay is known by `giaddr` alone, not by where the datagram came from: relays in a row leave the first one's `giaddr` as it is
/// (RFC 1542 section 4.1.1), and any of them may send from another of its addresses.
pub fn choose_network<'n>(
    networks: &'n [Network],
    interface: &str,
    request: &Request,
) -> Option<&'n Network> {
    let (giaddr, ciaddr) = (request.message.giaddr(), request.message.ciaddr());
    if !giaddr.is_unspecified() {
        // A link is named by any address of it, its own included.
        return match request.client.relay.link {
            Some(link) => networks.iter().find(|network| network.subnet.contains(link)),
            None => networks.iter().find(|network| network.subnet.has_host(giaddr)),
        };
    }
    let routed = request.cast == Cast::Unicast;
    let renews =
        |network: &&Network| routed && network.interface.is_none() && network.subnet.has_host(ciaddr);
    let here = || networks.iter().filter(|network| network.interface.as_deref() == Some(interface));
    let served = |network: &&Network| network.dhcp != DhcpMode::Off;
    networks.iter().find(renews).or_else(|| here().find(served)).or_else(|| here().next())
}
