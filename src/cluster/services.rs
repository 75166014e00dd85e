//! What a cluster offers, and where: for DNS SRV records (RFC 2782) and the API.

use serde::{Deserialize, Serialize};

use super::members::{Cluster, MemberState};
use super::node::{Nodes, Protocol};

/// A service on one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens.
    pub port: u16,
    /// The member's node.
    pub node: u64,
    /// The node's name: the record's target.
    pub host: String,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: Option<String>,
}

/// Services of members that are in, ready, reachable and healthy, by name, then by the members' indexes.
pub fn services(cluster: &Cluster, nodes: &Nodes) -> Vec<Service> {
    let mut services: Vec<Service> = cluster
        .members
        .iter()
        .filter(|member| member.state == MemberState::Member)
        .filter_map(|member| Some((member, nodes.get(&member.node)?)))
        .filter(|(_, node)| node.serves() && !node.address.is_empty())
        .flat_map(|(member, node)| {
            node.offers.iter().map(|offer| Service {
                name: offer.name.clone(),
                protocol: offer.protocol,
                port: offer.port,
                node: node.id,
                host: node.name.clone(),
                address: node.address.clone(),
                role: member.role.clone(),
            })
        })
        .collect();
    services.sort_by(|one, other| (&one.name, one.protocol).cmp(&(&other.name, other.protocol)));
    services
}

impl Service {
    /// The owner name of its SRV record: `_etcd-client._tcp.prod.example.org` (RFC 2782).
    pub fn owner(&self, cluster: &str, domain: &str) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!("_{}._{protocol}.{cluster}.{}", self.name, domain.trim_matches('.'))
    }
}
