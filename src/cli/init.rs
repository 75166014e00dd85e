//! `firstlight init`: a configuration for this host.

use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::config::Config;
use crate::model::Subnet;

use super::CliError;
use super::args::Init;

/// An interface that could serve a management network.
struct Candidate {
    interface: String,
    address: Ipv4Addr,
    subnet: Subnet,
}

/// Writes the file; returns what to tell the user.
pub fn init(wanted: &Init) -> Result<String, CliError> {
    let path = &wanted.config;
    if path.exists() && !wanted.force {
        let path = path.display();
        return Err(CliError::Local(format!(
            "{path} is there already; --force replaces it, --config names another"
        )));
    }
    let candidates = candidates()?;
    let chosen = choose(&candidates, wanted)?;
    let text = configuration(chosen)?;
    Config::parse(&text, path)?;
    let failed = |error| CliError::Local(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    Ok(format!(
        "wrote {} for {} on {}\nLook through it, then: systemctl enable --now firstlight (or: firstlight serve)\n",
        path.display(),
        chosen.subnet,
        chosen.interface
    ))
}

fn candidates() -> Result<Vec<Candidate>, CliError> {
    let entries =
        getifaddrs().map_err(|error| CliError::Local(format!("cannot list the interfaces: {error}")))?;
    let usable = entries.filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK));
    Ok(usable
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in()?.ip();
            let mask = entry.netmask?.as_sockaddr_in()?.ip();
            let prefix = mask.to_bits().leading_ones();
            let network = Ipv4Addr::from_bits(address.to_bits() & mask.to_bits());
            let subnet = format!("{network}/{prefix}").parse().ok()?;
            Some(Candidate { interface: entry.interface_name, address, subnet })
        })
        .collect())
}

fn choose<'c>(candidates: &'c [Candidate], wanted: &Init) -> Result<&'c Candidate, CliError> {
    let fits = |candidate: &&Candidate| {
        wanted.interface.as_ref().is_none_or(|name| *name == candidate.interface)
            && wanted.subnet.is_none_or(|subnet| subnet == candidate.subnet)
    };
    let fitting: Vec<&Candidate> = candidates.iter().filter(fits).collect();
    // One that leads to the world is seldom the management network.
    let inner: Vec<&Candidate> = fitting
        .iter()
        .filter(|candidate| Some(candidate.interface.as_str()) != default_route().as_deref())
        .copied()
        .collect();
    match (fitting.as_slice(), inner.as_slice()) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) => Err(CliError::Local(
            "no interface has a fitting IPv4 address; give the management interface one (ip addr add 10.77.0.1/24 dev \
             eth1), or name it with --interface"
                .into(),
        )),
        (several, _) => {
            let names: Vec<String> = several.iter().map(|c| format!("{} ({})", c.interface, c.subnet)).collect();
            Err(CliError::Local(format!("several interfaces could be it: {}; choose with --interface", names.join(", "))))
        }
    }
}

/// The interface of the default route (`/proc/net/route`: interface, destination 0, …).
fn default_route() -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?;
        (fields.next()? == "00000000").then(|| interface.to_owned())
    })
}

/// The upper half of the subnet, without the host's own address.
fn ranges(candidate: &Candidate) -> Vec<String> {
    let (network, last) = (candidate.subnet.address.to_bits(), candidate.subnet.broadcast().to_bits() - 1);
    let first = network + (last - network) / 2 + 1;
    let own = candidate.address.to_bits();
    let parts = if (first..=last).contains(&own) {
        vec![(first, own - 1), (own + 1, last)]
    } else {
        vec![(first, last)]
    };
    parts
        .into_iter()
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| format!("\"{}-{}\"", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)))
        .collect()
}

fn configuration(candidate: &Candidate) -> Result<String, CliError> {
    let ranges = ranges(candidate);
    if ranges.is_empty() {
        return Err(CliError::Local(format!("{} is too small to give addresses from", candidate.subnet)));
    }
    Ok(format!(
        r#"# Firstlight. Unknown keys are refused; `firstlight serve` says what is wrong with a value.

state_dir = "/var/lib/firstlight"
# domain = "mgmt.example"

[[network]]                       # one for each subnet on which servers boot
interface = "{interface}"
subnet = "{subnet}"
ranges = [{ranges}]   # addresses for nodes; no other DHCP server may answer here
# gateway = "{address}"
# dns = ["{address}"]
lease = "12h"

[enrolment]
policy = "manual"                 # automatic: every server is approved at sight
unknown = "wait"                  # discover: strangers boot discovery_image and tell what they are
# discovery_image = "discovery@1"

[http]
port = 8080
"#,
        interface = candidate.interface,
        subnet = candidate.subnet,
        ranges = ranges.join(", "),
        address = candidate.address,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_valid_and_spares_the_host() {
        for (address, subnet, expected) in [
            ("10.77.0.1", "10.77.0.0/24", vec!["\"10.77.0.128-10.77.0.254\""]),
            (
                "10.77.0.200",
                "10.77.0.0/24",
                vec!["\"10.77.0.128-10.77.0.199\"", "\"10.77.0.201-10.77.0.254\""],
            ),
            ("10.77.0.254", "10.77.0.0/24", vec!["\"10.77.0.128-10.77.0.253\""]),
            ("192.168.1.1", "192.168.1.0/30", vec!["\"192.168.1.2-192.168.1.2\""]),
        ] {
            let candidate = Candidate {
                interface: "eth1".into(),
                address: address.parse().expect("an address"),
                subnet: subnet.parse().expect("a subnet"),
            };
            assert_eq!(ranges(&candidate), expected, "{address}");
            let text = configuration(&candidate).expect("large enough");
            Config::parse(&text, std::path::Path::new("x"))
                .unwrap_or_else(|error| panic!("{address}: {error}\n{text}"));
        }
    }
}
