//! The interfaces of this host.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use thiserror::Error;

use crate::model::{MacAddr, Subnet, Subnet6};

/// An interface that is ready to serve a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its address on the network: the server identifier.
    pub address: Ipv4Addr,
    /// All its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its IPv6 addresses, but for the link-local one.
    pub addresses6: Vec<Ipv6Addr>,
}

impl Interface {
    /// Our address on a network: one within it, so that clients without a router reach it; else the first.
    pub fn address_on(&self, subnet: Subnet) -> Ipv4Addr {
        self.addresses.iter().copied().find(|ip| subnet.has_host(*ip)).unwrap_or(self.address)
    }

    /// Our address of a prefix.
    pub fn address6_on(&self, subnet: Subnet6) -> Option<Ipv6Addr> {
        self.addresses6.iter().copied().find(|ip| subnet.contains(*ip))
    }
}

/// Why an interface cannot serve a network.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// There is none of this name.
    #[error("there is no interface '{name}'; this host has {}", others.join(", "))]
    Missing {
        /// The name.
        name: String,
        /// The names there are.
        others: Vec<String>,
    },
    /// It has no address on the network.
    #[error(
        "interface '{name}' has no address in {subnet}; add one, for example: ip addr add {example} dev {name}"
    )]
    NoAddress {
        /// The interface.
        name: String,
        /// The network.
        subnet: Subnet,
        /// An address that would do.
        example: String,
    },
    /// It has no address of the prefix.
    #[error("interface '{0}' has no address in {1}; add one, for example: ip -6 addr add {address}1/{prefix} dev {0}", address = .1.address, prefix = .1.prefix)]
    NoAddress6(String, Subnet6),
    /// Relays that pass IPv6 on cannot reach us.
    #[error(
        "none of the interfaces {} has an IPv6 address, so no relay of {subnet} reaches this host; add one with ip -6 addr add", names.join(", ")
    )]
    NoRelay6 {
        /// The prefix behind the relays.
        subnet: Subnet6,
        /// The interfaces that are configured.
        names: Vec<String>,
    },
    /// It is not Ethernet.
    #[error("interface '{0}' has no Ethernet address; DHCP is served on Ethernet only")]
    NotEthernet(String),
    /// The system does not tell.
    #[error("cannot list the interfaces of this host: {0}")]
    System(#[from] nix::Error),
}

/// All IPv4 addresses of this host.
///
/// # Errors
/// When the system does not tell.
pub fn own_addresses() -> std::io::Result<Vec<Ipv4Addr>> {
    let all = getifaddrs()?
        .filter_map(|entry| entry.address?.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
    Ok(all.collect())
}

/// Looks up the interface `name` and its address in `subnet`.
///
/// # Errors
/// When it is not there, has no address there, or is not Ethernet.
pub fn find(name: &str, subnet: Subnet) -> Result<Interface, InterfaceError> {
    let (mut mac, mut addresses, mut addresses6, mut others) =
        (None, Vec::new(), Vec::new(), BTreeSet::new());
    for entry in getifaddrs()? {
        others.insert(entry.interface_name.clone());
        let Some(storage) = entry.address.filter(|_| entry.interface_name == name) else { continue };
        if let Some(octets) = storage.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr) {
            mac = Some(MacAddr(octets));
        }
        let ip = storage.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip);
        addresses.extend(ip);
        let ip = storage.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip);
        addresses6.extend(ip.filter(|ip| !ip.is_unicast_link_local()));
    }
    if !others.contains(name) {
        return Err(InterfaceError::Missing { name: name.to_owned(), others: others.into_iter().collect() });
    }
    let mac =
        mac.filter(|mac| mac.is_client()).ok_or_else(|| InterfaceError::NotEthernet(name.to_owned()))?;
    let address = addresses.iter().copied().find(|ip| subnet.has_host(*ip));
    let address = address.ok_or_else(|| InterfaceError::NoAddress {
        name: name.to_owned(),
        subnet,
        example: format!("{}/{}", Ipv4Addr::from_bits(subnet.address.to_bits() | 1), subnet.prefix),
    })?;
    let index = nix::net::if_::if_nametoindex(name)?;
    Ok(Interface { name: name.to_owned(), index, mac, address, addresses, addresses6 })
}
