//! The nodes' domain as DNS tells of it: read from the state as it is at the moment, so that a lease is a name as soon as it is given.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::{self, MemberState, NodeView, Protocol, services};
use crate::config::Config;
use crate::dns::server::Source;
use crate::dns::{Among, Target, Zone};
use crate::model::{Network, Node, NodeId, State, World};

use super::Appliance;
use super::fleet::Plans;
use super::views::{address_of, address6_of};

/// What the appliance itself is called within the domain.
pub const OWN_NAME: &str = "firstlight";

/// The domain at one moment.
pub struct Names {
    world: Arc<World>,
    plans: Arc<Plans>,
    config: Arc<Config>,
    domain: String,
    own: Vec<IpAddr>,
}

impl Names {
    fn addresses_of(&self, node: &Node) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = address_of(&self.world, node).map(IpAddr::V4);
        v4.into_iter().chain(address6_of(&self.world, node).map(IpAddr::V6))
    }
}

impl Source for Appliance {
    type Zone = Names;

    fn zone(&self) -> Option<Names> {
        let v4 = self.addresses.get().into_iter().flatten().map(|(ip, _)| IpAddr::V4(*ip));
        let v6 = self.addresses6.get().into_iter().flatten().map(|ip| IpAddr::V6(*ip));
        Some(Names {
            world: self.view(),
            plans: self.plans.load_full(),
            config: Arc::clone(&self.config),
            domain: self.config.domain.as_ref()?.to_ascii_lowercase(),
            own: v4.chain(v6).collect(),
        })
    }

    fn forwards_for(&self, client: IpAddr) -> bool {
        client.is_loopback() || covered(&self.config, client)
    }
}

impl Zone for Names {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn serial(&self) -> u32 {
        // The lower half: serial numbers go round (RFC 1982).
        let [.., a, b, c, d] = self.world.next_seq().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn server(&self) -> &str {
        OWN_NAME
    }

    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        if host == OWN_NAME {
            return Some(self.own.clone());
        }
        let node = self.world.node_named(&host.parse().ok()?)?;
        let gone = node.state == State::Retired;
        Some(self.addresses_of(node).filter(|_| !gone).collect())
    }

    fn host_at(&self, ip: IpAddr) -> Option<String> {
        if self.own.contains(&ip) {
            return Some(OWN_NAME.into());
        }
        let node = self.world.node_at(ip)?;
        // An address that it had before is not told any more.
        self.addresses_of(node).any(|own| own == ip).then(|| node.name.to_string())
    }

    fn covers(&self, ip: IpAddr) -> bool {
        covered(&self.config, ip)
    }

    fn overlaps(&self, first: IpAddr, last: IpAddr) -> bool {
        let v6 = |network: &Network| network.v6.as_ref().map(|v6| IpAddr::V6(v6.subnet.address));
        let mut begins = self.config.networks.iter().flat_map(|network| {
            [Some(IpAddr::V4(network.subnet.address)), v6(network)].into_iter().flatten()
        });
        // Families do not mix: IPv4 comes before IPv6 in their order, and both ends are of one.
        covered(&self.config, first) || begins.any(|begin| first <= begin && begin <= last)
    }

    fn has_cluster(&self, cluster: &str) -> bool {
        self.world.cluster(cluster).is_some()
    }

    fn role(&self, cluster: &str, role: &str) -> Option<Vec<String>> {
        let cluster = self.world.cluster(cluster)?;
        let members = || cluster.members.iter().filter(|member| member.role.as_deref() == Some(role));
        members().next()?;
        let serves = |id: &u64| self.plans.views.get(id).is_some_and(NodeView::serves);
        let inside = members().filter(|member| member.state == MemberState::Member);
        let ready = inside.map(|member| member.node).filter(serves);
        Some(ready.filter_map(|id| Some(self.world.node(NodeId(id))?.name.to_string())).collect())
    }

    fn service(&self, service: &str, protocol: &str, among: &Among<'_>) -> Option<Vec<Target>> {
        let Among { cluster, role } = *among;
        let clusters =
            || self.world.clusters().filter(|one| cluster.is_none_or(|cluster| one.name == cluster));
        let is_it = |name: &str, by: Protocol| name == service && protocol_name(by) == protocol;
        let offers = |cluster: &cluster::Cluster| {
            let members = cluster.members.iter();
            let members =
                members.filter(|member| role.is_none_or(|role| member.role.as_deref() == Some(role)));
            let views = members.filter_map(|member| self.plans.views.get(&member.node));
            views.flat_map(|view| &view.offers).any(|offer| is_it(&offer.name, offer.protocol))
        };
        clusters().any(offers).then(|| {
            let found = clusters().flat_map(|cluster| services(cluster, &self.plans.views));
            let found = found.filter(|found| is_it(&found.name, found.protocol));
            let found = found.filter(|found| role.is_none_or(|role| found.role.as_deref() == Some(role)));
            found.map(|found| Target { host: found.host, port: found.port }).collect()
        })
    }
}

/// Whether an address is of one of our networks.
fn covered(config: &Config, ip: IpAddr) -> bool {
    config.networks.iter().any(|network| match ip {
        IpAddr::V4(ip) => network.subnet.contains(ip),
        IpAddr::V6(ip) => network.v6.as_ref().is_some_and(|v6| v6.subnet.contains(ip)),
    })
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
