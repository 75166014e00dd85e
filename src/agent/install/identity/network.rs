//! A fixed address, written for whatever configures the network in an image.

use std::fmt::Write;
use std::net::IpAddr;

use super::tree::Tree;
use crate::agent::install::Error;

/// A network card's fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The card.
    pub mac: [u8; 6],
    /// Its address.
    pub address: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix: u8,
    /// The router.
    pub gateway: Option<IpAddr>,
    /// Name servers, best first.
    pub dns: Vec<IpAddr>,
}

impl Network {
    fn check(&self) -> Result<(), Error> {
        let longest = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix > longest {
            return Err(Error::Identity(format!(
                "{}/{} is no address with a prefix",
                self.address, self.prefix
            )));
        }
        Ok(())
    }

    fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    fn servers(&self, separator: &str) -> String {
        self.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    }

    /// Version 2 of cloud-init's network configuration, which is netplan's.
    pub fn netplan(&self, domain: &str) -> String {
        let mut text = format!(
            "version: 2\nethernets:\n  firstlight:\n    match:\n      macaddress: \"{}\"\n    dhcp4: false\n    dhcp6: false\n    addresses: [\"{}/{}\"]\n",
            self.mac(),
            self.address,
            self.prefix
        );
        if let Some(gateway) = self.gateway {
            let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let _ = write!(text, "    routes:\n      - to: \"{all}\"\n        via: \"{gateway}\"\n");
        }
        if !self.dns.is_empty() {
            let _ = write!(text, "    nameservers:\n      addresses: [\"{}\"]\n", self.servers("\", \""));
            if !domain.is_empty() {
                let _ = writeln!(text, "      search: [\"{domain}\"]");
            }
        }
        text
    }

    fn networkd(&self, domain: &str) -> String {
        let mut text = format!(
            "[Match]\nMACAddress={}\n\n[Network]\nAddress={}/{}\n",
            self.mac(),
            self.address,
            self.prefix
        );
        if let Some(gateway) = self.gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
        for server in &self.dns {
            let _ = writeln!(text, "DNS={server}");
        }
        if !domain.is_empty() {
            let _ = writeln!(text, "Domains={domain}");
        }
        text
    }

    fn network_manager(&self, domain: &str) -> String {
        let (own, other) = if self.address.is_ipv4() { ("ipv4", "ipv6") } else { ("ipv6", "ipv4") };
        let mut text = format!(
            "[connection]\nid=firstlight\ntype=ethernet\nautoconnect-priority=100\n\n[ethernet]\nmac-address={}\n\n[{own}]\nmethod=manual\naddress1={}/{}",
            self.mac(),
            self.address,
            self.prefix
        );
        if let Some(gateway) = self.gateway {
            let _ = write!(text, ",{gateway}");
        }
        text.push('\n');
        if !self.dns.is_empty() {
            let _ = writeln!(text, "dns={};", self.servers(";"));
        }
        if !domain.is_empty() {
            let _ = writeln!(text, "dns-search={domain};");
        }
        let method = if other == "ipv6" { "auto" } else { "disabled" };
        let _ = write!(text, "\n[{other}]\nmethod={method}\n");
        text
    }

    /// ifupdown knows interfaces by name only; [`LINK`] gives the card this one.
    fn ifupdown(&self, domain: &str) -> String {
        let family = if self.address.is_ipv4() { "inet" } else { "inet6" };
        let mut text = format!(
            "auto {LINK}\niface {LINK} {family} static\n    address {}/{}\n",
            self.address, self.prefix
        );
        if let Some(gateway) = self.gateway {
            let _ = writeln!(text, "    gateway {gateway}");
        }
        if !self.dns.is_empty() {
            let _ = writeln!(text, "    dns-nameservers {}", self.servers(" "));
        }
        if !domain.is_empty() {
            let _ = writeln!(text, "    dns-search {domain}");
        }
        text
    }

    fn resolv_conf(&self, domain: &str) -> String {
        let mut text = String::new();
        if !domain.is_empty() {
            let _ = writeln!(text, "search {domain}");
        }
        for server in &self.dns {
            let _ = writeln!(text, "nameserver {server}");
        }
        text
    }
}

/// The card's name where names are all that counts.
const LINK: &str = "firstlight0";

/// Writes `network` for what the image uses; says what that is.
pub fn write(tree: &Tree, network: &Network, domain: &str) -> Result<&'static str, Error> {
    network.check()?;
    if tree.any(&["/usr/sbin/netplan", "/sbin/netplan"]) {
        let lines = network.netplan(domain).lines().fold("network:\n".to_owned(), |mut all, line| {
            let _ = writeln!(all, "  {line}");
            all
        });
        tree.write("/etc/netplan/90-firstlight.yaml", 0o600, lines.as_bytes())?;
        return Ok("netplan");
    }
    if tree.any(&["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"]) {
        let path = "/etc/NetworkManager/system-connections/firstlight.nmconnection";
        tree.write(path, 0o600, network.network_manager(domain).as_bytes())?;
        return Ok("NetworkManager");
    }
    if tree.exists("/etc/network/interfaces") && tree.any(&["/usr/sbin/ifup", "/sbin/ifup"]) {
        let link = format!("[Match]\nMACAddress={}\nType=ether\n\n[Link]\nName={LINK}\n", network.mac());
        tree.write("/etc/systemd/network/10-firstlight.link", 0o644, link.as_bytes())?;
        tree.write("/etc/network/interfaces.d/firstlight", 0o644, network.ifupdown(domain).as_bytes())?;
        if !network.dns.is_empty() && !tree.any(&["/sbin/resolvconf", "/usr/sbin/resolvconf"]) {
            tree.write("/etc/resolv.conf", 0o644, network.resolv_conf(domain).as_bytes())?;
        }
        return Ok("ifupdown");
    }
    let daemons = ["/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"];
    if tree.any(&daemons) {
        tree.write("/etc/systemd/network/10-firstlight.network", 0o644, network.networkd(domain).as_bytes())?;
        for unit in ["systemd-networkd", "systemd-resolved"] {
            let file = format!("/usr/lib/systemd/system/{unit}.service");
            if tree.exists(&file) || tree.exists(file.trim_start_matches("/usr")) {
                tree.link(&format!("/etc/systemd/system/multi-user.target.wants/{unit}.service"), &file)?;
            }
        }
        return Ok("systemd-networkd");
    }
    Err(Error::Identity(
        "the image has none of netplan, NetworkManager, ifupdown and systemd-networkd: leave the address to DHCP".into(),
    ))
}
