//! Management networks and their addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::network6::Network6;
use super::reservation::Reservations;

/// One subnet on which nodes boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The interface it is on; `None` for a subnet behind a relay.
    pub interface: Option<String>,
    /// Address and prefix length.
    pub subnet: Subnet,
    /// Addresses given to clients.
    pub ranges: Vec<AddressRange>,
    /// Default router (option 3).
    pub gateway: Option<Ipv4Addr>,
    /// Name servers (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// How long an address is lent.
    pub lease: Duration,
    /// What DHCP does here.
    pub dhcp: DhcpMode,
    /// Addresses within the ranges that nobody is given.
    pub exclude: Vec<AddressRange>,
    /// Networks with the same name here are on one link (as are those on one interface): a client may get an address of any.
    pub shared: Option<String>,
    /// Whether an address is asked for before it is offered for the first time, lest somebody uses it.
    pub probe: bool,
    /// Whether a port (option 82) is believed also without a relay: every switch here snoops DHCP and lets nobody else tell one.
    pub trust_ports: bool,
    /// Addresses of one client each.
    pub reservations: Reservations,
    /// Options beside those that follow from the rest, by number.
    pub options: BTreeMap<u8, Vec<u8>>,
    /// IPv6, where there is any.
    pub v6: Option<Network6>,
}

impl Network {
    /// One without addresses to give; leases last twelve hours.
    pub fn new(subnet: Subnet) -> Self {
        Self {
            interface: None,
            subnet,
            ranges: Vec::new(),
            gateway: None,
            dns: Vec::new(),
            lease: Duration::from_secs(12 * 3600),
            dhcp: DhcpMode::Full,
            exclude: Vec::new(),
            shared: None,
            probe: true,
            trust_ports: false,
            reservations: Reservations::default(),
            options: BTreeMap::new(),
            v6: None,
        }
    }

    /// Whether both are on one link.
    pub fn shares_link(&self, other: &Self) -> bool {
        (self.interface.is_some() && self.interface == other.interface)
            || (self.shared.is_some() && self.shared == other.shared)
    }
}

/// What DHCP does on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpMode {
    /// Addresses and boot files.
    Full,
    /// Boot files only, beside another server that gives addresses (PXE specification 2.1, section 2.2.3).
    Proxy,
    /// Nothing.
    Off,
}

/// An IPv4 subnet, its host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// Network address.
    pub address: Ipv4Addr,
    /// Prefix length, 8 to 30.
    pub prefix: u8,
}

/// Addresses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange<A = Ipv4Addr> {
    /// Lowest address.
    pub first: A,
    /// Highest address.
    pub last: A,
}

/// An address that ranges are made of.
pub trait Address: FromStr + Ord + Copy {
    /// How a range of such is written.
    const RANGE: &'static str;
}

impl Address for Ipv4Addr {
    const RANGE: &'static str = "10.77.0.100-10.77.0.200";
}

impl Address for Ipv6Addr {
    const RANGE: &'static str = "fd00:77::1000-fd00:77::1fff";
}

impl Subnet {
    /// The netmask (option 1).
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(u32::from(32 - self.prefix)).unwrap_or(0))
    }

    /// The broadcast address (option 28).
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask().to_bits())
    }

    /// Whether `ip` is in it.
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & self.mask().to_bits() == self.address.to_bits()
    }

    /// Whether `ip` is in it and can be a host's.
    pub fn has_host(self, ip: Ipv4Addr) -> bool {
        self.contains(ip) && ip != self.address && ip != self.broadcast()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a subnet; write it as 10.77.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (address, prefix): (Ipv4Addr, u8) =
            (address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?);
        if !(8..=30).contains(&prefix) {
            return Err(format!("'{text}' has prefix length {prefix}; 8 to 30 are possible"));
        }
        let subnet = Self { address, prefix };
        let network = Ipv4Addr::from_bits(address.to_bits() & subnet.mask().to_bits());
        if network != address {
            return Err(format!("'{text}' has host bits set; did you mean {network}/{prefix}?"));
        }
        Ok(subnet)
    }
}

impl<A: Address> AddressRange<A> {
    /// Whether `ip` is in it.
    pub fn contains(self, ip: A) -> bool {
        (self.first..=self.last).contains(&ip)
    }
}

impl<A: fmt::Display> fmt::Display for AddressRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<A: Address> FromStr for AddressRange<A> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a range; write it as {}", A::RANGE);
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let range = Self {
            first: first.trim().parse().map_err(|_| bad())?,
            last: last.trim().parse().map_err(|_| bad())?,
        };
        if range.first > range.last {
            return Err(format!("'{text}' ends before it starts"));
        }
        Ok(range)
    }
}
