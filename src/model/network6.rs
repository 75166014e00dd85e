//! IPv6 on a management network.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::network::AddressRange;

/// What there is of IPv6 on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network6 {
    /// Its prefix.
    pub subnet: Subnet6,
    /// Addresses given to clients.
    pub range: AddressRange6,
    /// Name servers (`DHCPv6` option 23).
    pub dns: Vec<Ipv6Addr>,
    /// Whether routers are stood in for: the link's prefix is advertised, and that addresses come by `DHCPv6` (RFC 4861 section 4.2).
    pub advertise: bool,
}

/// An IPv6 prefix, its host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet6 {
    /// Its first address.
    pub address: Ipv6Addr,
    /// Prefix length, 16 to 120.
    pub prefix: u8,
}

/// Addresses from `first` to `last`, both included.
pub type AddressRange6 = AddressRange<Ipv6Addr>;

impl Subnet6 {
    fn hosts(self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0)
    }

    /// Whether `ip` is in it.
    pub fn contains(self, ip: Ipv6Addr) -> bool {
        ip.to_bits() & !self.hosts() == self.address.to_bits()
    }

    /// The range that is given where none is configured: a sixteenth of the hosts, beginning at a sixteenth; far from the
    /// low addresses that people give by hand.
    pub fn usual_range(self) -> AddressRange6 {
        let part = self.hosts() / 16 + 1;
        let at = |bits: u128| Ipv6Addr::from_bits(self.address.to_bits() | bits);
        AddressRange6 { first: at(part), last: at(part + (part - 1)) }
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not an IPv6 prefix; write it as fd00:77::/64");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (address, prefix): (Ipv6Addr, u8) =
            (address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?);
        if !(16..=120).contains(&prefix) {
            return Err(format!("'{text}' has prefix length {prefix}; 16 to 120 are possible"));
        }
        let subnet = Self { address, prefix };
        if address.is_multicast() || address.is_unicast_link_local() {
            return Err(format!("'{text}' is no prefix of unicast addresses that a server can give"));
        }
        let network = Ipv6Addr::from_bits(address.to_bits() & !subnet.hosts());
        if network != address {
            return Err(format!("'{text}' has host bits set; did you mean {network}/{prefix}?"));
        }
        Ok(subnet)
    }
}
