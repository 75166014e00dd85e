//! Where IPv6 is served: on which of our addresses, and on which interfaces.

use std::net::Ipv6Addr;

use crate::config::Config;
use crate::dhcp::interface::{Interface, InterfaceError};
use crate::model::{DhcpMode, Network6};

/// One of our addresses that machines are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own6 {
    /// The interface it is on.
    pub interface: Interface,
    /// The address.
    pub ip: Ipv6Addr,
}

/// Our addresses: one of each prefix that is on a link; and where prefixes are behind relays, the first of each interface, by
/// which relays reach us.
///
/// # Errors
/// When there is no such address.
pub fn own(config: &Config, interfaces: &[Interface]) -> Result<Vec<Own6>, InterfaceError> {
    let mut all: Vec<Own6> = Vec::new();
    let mut add = |interface: &Interface, ip: Ipv6Addr| {
        if !all.iter().any(|own| own.ip == ip && own.interface.name == interface.name) {
            all.push(Own6 { interface: interface.clone(), ip });
        }
    };
    for interface in interfaces {
        for v6 in on_link(config, interface) {
            let missing = || InterfaceError::NoAddress6(interface.name.clone(), v6.subnet);
            add(interface, interface.address6_on(v6.subnet).ok_or_else(missing)?);
        }
    }
    let mut relayed = config.networks.iter().filter(|network| network.interface.is_none());
    if let Some(v6) = relayed.find_map(|network| network.v6.as_ref()) {
        let first = |interface: &Interface| interface.addresses6.first().copied();
        if !interfaces.iter().any(|interface| first(interface).is_some()) {
            let names = interfaces.iter().map(|interface| interface.name.clone()).collect();
            return Err(InterfaceError::NoRelay6 { subnet: v6.subnet, names });
        }
        for interface in interfaces {
            if let Some(ip) = first(interface) {
                add(interface, ip);
            }
        }
    }
    Ok(all)
}

/// The prefixes of an interface's link.
fn on_link<'c>(config: &'c Config, interface: &Interface) -> impl Iterator<Item = &'c Network6> {
    let name = interface.name.clone();
    let here = config.networks.iter().filter(move |network| network.interface.as_ref() == Some(&name));
    here.filter_map(|network| network.v6.as_ref())
}

/// What is advertised on an interface's link: its prefixes; or that there are none, where machines boot over IPv4 only. `None`
/// where nothing is: an operator who sets `advertise = false` has a router that does, and must not be contradicted.
pub fn advertised<'c>(config: &'c Config, interface: &Interface) -> Option<Vec<&'c Network6>> {
    let prefixes: Vec<&Network6> = on_link(config, interface).collect();
    if prefixes.is_empty() {
        let boots = config.networks.iter().any(|network| {
            network.interface.as_deref() == Some(&interface.name) && network.dhcp != DhcpMode::Off
        });
        return boots.then(Vec::new);
    }
    let told: Vec<&Network6> = prefixes.into_iter().filter(|v6| v6.advertise).collect();
    (!told.is_empty()).then_some(told)
}

/// Whether `DHCPv4` is served on an interface: for its own link, or for relays that reach us by it.
pub fn serves_v4(config: &Config, interface: &Interface) -> bool {
    config.networks.iter().any(|network| {
        let here = network.interface.as_ref().is_none_or(|name| *name == interface.name);
        here && network.dhcp != DhcpMode::Off
    })
}

/// Whether `DHCPv6` is served on an interface's own link.
pub fn serves_v6(config: &Config, interface: &Interface) -> bool {
    on_link(config, interface).next().is_some()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ConfigError;
    use crate::model::MacAddr;

    fn interface(name: &str, addresses6: &[&str]) -> Interface {
        let address = "10.77.0.1".parse().expect("an address");
        Interface {
            name: name.into(),
            index: 1,
            mac: MacAddr([2; 6]),
            address,
            addresses: vec![address],
            addresses6: addresses6.iter().map(|ip| ip.parse().expect("an address")).collect(),
        }
    }

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("firstlight.toml"))
    }

    const UPLINK: &str = "[[network]]\ninterface = \"eth0\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"off\"\n";
    const FULL: &str =
        "[[network]]\ninterface = \"eth0\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.9-10.77.0.20\"]\n";
    const RELAYED: &str = "[[network]]\nsubnet = \"10.78.0.0/24\"\nranges = [\"10.78.0.9-10.78.0.20\"]\n";

    #[test]
    fn what_is_served_where() {
        let six = "subnet6 = \"fd00:77::/64\"\n";
        let silent = format!("{six}advertise = false\n");
        let relayed6 = format!("{RELAYED}subnet6 = \"fd00:78::/64\"\n");
        // The configuration; whether DHCPv4 is served on eth0; the prefixes advertised there; our IPv6 addresses.
        for (name, text, v4, told, ips) in [
            ("nothing but an uplink", UPLINK.to_owned(), false, None, Some(vec![])),
            ("behind relays only", format!("{UPLINK}{RELAYED}"), true, None, Some(vec![])),
            ("IPv4 alone: there is no IPv6, and that is said", FULL.into(), true, Some(0), Some(vec![])),
            ("a prefix", format!("{FULL}{six}"), true, Some(1), Some(vec!["fd00:77::1"])),
            ("a router of the operator's", format!("{FULL}{silent}"), true, None, Some(vec!["fd00:77::1"])),
            ("a prefix without IPv4", format!("{UPLINK}{six}"), false, Some(1), Some(vec!["fd00:77::1"])),
            ("a prefix behind relays", format!("{UPLINK}{relayed6}"), true, None, Some(vec!["fd00:77::1"])),
            (
                "a prefix that we have no address of",
                format!("{FULL}subnet6 = \"fd01::/64\"\n"),
                true,
                Some(1),
                None,
            ),
        ] {
            let config = parse(&text).expect(name);
            let interface = interface("eth0", &["fd00:77::1"]);
            assert_eq!(serves_v4(&config, &interface), v4, "{name}");
            assert_eq!(advertised(&config, &interface).map(|all| all.len()), told, "{name}");
            let own = own(&config, std::slice::from_ref(&interface)).ok();
            let own = own.map(|all| all.iter().map(|own| own.ip.to_string()).collect::<Vec<_>>());
            assert_eq!(own, ips.map(|all| all.iter().map(ToString::to_string).collect()), "{name}");
        }
        let config = parse(&format!("{UPLINK}{relayed6}")).expect("a configuration");
        let error = own(&config, &[interface("eth0", &[])]).expect_err("no address").to_string();
        assert!(error.contains("fd00:78::/64") && error.contains("eth0"), "{error}");
    }
}
