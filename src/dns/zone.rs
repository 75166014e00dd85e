//! What there is to know of a domain.

use std::net::IpAddr;

/// A service on one host, for an SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host's name within the domain.
    pub host: String,
    /// Where it listens.
    pub port: u16,
}

/// Which services are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Among<'a> {
    /// Those of this cluster; none: of all.
    pub cluster: Option<&'a str>,
    /// Those of members in this role.
    pub role: Option<&'a str>,
}

/// A domain as it is now. All names are given, and asked for, in lower case.
pub trait Zone {
    /// Its name, without a dot at the end.
    fn domain(&self) -> &str;
    /// Grows with each change (RFC 1982).
    fn serial(&self) -> u32;
    /// The host that answers for it.
    fn server(&self) -> &str;
    /// A host's addresses; `None` when there is no host of this name.
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>>;
    /// The host that has an address.
    fn host_at(&self, ip: IpAddr) -> Option<String>;
    /// Whether we speak for an address: it is of one of our networks.
    fn covers(&self, ip: IpAddr) -> bool;
    /// Whether one of our networks is among these addresses, or they in it.
    fn overlaps(&self, first: IpAddr, last: IpAddr) -> bool;
    /// Whether there is a cluster of this name.
    fn has_cluster(&self, cluster: &str) -> bool;
    /// The hosts in a role of a cluster; `None` when there is no such role.
    fn role(&self, cluster: &str, role: &str) -> Option<Vec<String>>;
    /// Where a service is (`protocol`: `tcp` or `udp`); `None` when nobody ever offers it.
    fn service(&self, service: &str, protocol: &str, among: &Among<'_>) -> Option<Vec<Target>>;
}
