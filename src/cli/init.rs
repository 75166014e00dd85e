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
    let outward = default_routes();
    let chosen = choose(&candidates, wanted, &outward)?;
    let text = configuration(chosen)?;
    Config::parse(&text, path)?;
    let failed = |error| CliError::Local(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    let warning = if outward.contains(&chosen.interface) {
        format!(
            "{} also leads to the world: make sure that no other DHCP server answers on it\n",
            chosen.interface
        )
    } else {
        String::new()
    };
    Ok(format!(
        "wrote {} for {} on {}\n{warning}Look through it, then: systemctl enable --now firstlight (or: firstlight serve)\n",
        path.display(),
        chosen.subnet,
        chosen.interface
    ))
}

fn candidates() -> Result<Vec<Candidate>, CliError> {
    let entries =
        getifaddrs().map_err(|error| CliError::Local(format!("cannot list the interfaces: {error}")))?;
    // No server boots from a loopback or at the end of a tunnel.
    let useless = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    let usable = entries.filter(|entry| !entry.flags.intersects(useless));
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

/// What was asked for; else the one private network (RFC 1918), of several the one that does not lead `outward`.
fn choose<'c>(
    candidates: &'c [Candidate],
    wanted: &Init,
    outward: &[String],
) -> Result<&'c Candidate, CliError> {
    let named = wanted.interface.is_some() || wanted.subnet.is_some();
    let fits = |candidate: &&Candidate| {
        wanted.interface.as_ref().is_none_or(|name| *name == candidate.interface)
            && wanted.subnet.is_none_or(|subnet| subnet == candidate.subnet)
            && (named || candidate.address.is_private())
    };
    let fitting: Vec<&Candidate> = candidates.iter().filter(fits).collect();
    // One that leads to the world is seldom the management network.
    let inner: Vec<&Candidate> =
        fitting.iter().filter(|candidate| !outward.contains(&candidate.interface)).copied().collect();
    match (fitting.as_slice(), inner.as_slice()) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) if named => {
            Err(CliError::Local(format!("no interface fits; there are: {}", list(candidates.iter()))))
        }
        ([], _) => Err(CliError::Local(format!(
            "no interface has a private IPv4 address; give the management interface one (ip addr add 10.77.0.1/24 dev eth1), \
             or choose one of those there are with --interface: {}",
            list(candidates.iter())
        ))),
        (several, []) => Err(several_fit(several)),
        (_, inner) => Err(several_fit(inner)),
    }
}

fn several_fit(several: &[&Candidate]) -> CliError {
    CliError::Local(format!(
        "several interfaces could be it: {}; choose with --interface, or --subnet",
        list(several.iter().copied())
    ))
}

fn list<'c>(candidates: impl Iterator<Item = &'c Candidate>) -> String {
    let names: Vec<String> =
        candidates.map(|candidate| format!("{} ({})", candidate.interface, candidate.subnet)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The interfaces of default routes (`/proc/net/route`: interface, destination 0, …).
fn default_routes() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let is_default = |line: &str| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?;
        (fields.next()? == "00000000").then(|| interface.to_owned())
    };
    table.lines().skip(1).filter_map(is_default).collect()
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

    fn candidate(interface: &str, address: &str, subnet: &str) -> Candidate {
        Candidate {
            interface: interface.into(),
            address: address.parse().expect("an address"),
            subnet: subnet.parse().expect("a subnet"),
        }
    }

    #[test]
    fn which_interface_it_chooses() {
        let world = || candidate("eth0", "192.168.1.5", "192.168.1.0/24");
        let inner = || candidate("eth1", "10.77.0.1", "10.77.0.0/24");
        let third = || candidate("eth2", "172.16.0.1", "172.16.0.0/16");
        let public = || candidate("eth3", "203.0.113.9", "203.0.113.0/24");
        for (name, candidates, interface, subnet, expected) in [
            ("the one that is not the way out", vec![world(), inner()], None, None, Ok("eth1")),
            ("the way out when it is the only one", vec![world(), public()], None, None, Ok("eth0")),
            ("no public one unasked", vec![public()], None, None, Err("no interface has a private IPv4")),
            ("a public one when asked", vec![public(), inner()], Some("eth3"), None, Ok("eth3")),
            (
                "several",
                vec![world(), inner(), third()],
                None,
                None,
                Err("eth1 (10.77.0.0/24), eth2 (172.16.0.0/16);"),
            ),
            ("by subnet", vec![world(), inner(), third()], None, Some("172.16.0.0/16"), Ok("eth2")),
            (
                "a subnet nobody is in",
                vec![inner()],
                None,
                Some("10.1.0.0/16"),
                Err("there are: eth1 (10.77.0.0/24)"),
            ),
            ("an interface that is not there", vec![inner()], Some("eth9"), None, Err("no interface fits")),
            ("nothing at all", vec![], None, None, Err("ip addr add")),
        ] {
            let wanted = Init {
                config: "x".into(),
                interface: interface.map(str::to_owned),
                subnet: subnet.map(|text: &str| text.parse().expect("a subnet")),
                force: false,
            };
            let chosen = choose(&candidates, &wanted, &["eth0".to_owned()]);
            match (chosen, expected) {
                (Ok(chosen), Ok(expected)) => assert_eq!(chosen.interface, expected, "{name}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{name}: {error}");
                }
                (chosen, _) => panic!("{name}: {:?}", chosen.map(|chosen| &chosen.interface)),
            }
        }
    }

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
            let candidate = candidate("eth1", address, subnet);
            assert_eq!(ranges(&candidate), expected, "{address}");
            let text = configuration(&candidate).expect("large enough");
            Config::parse(&text, std::path::Path::new("x"))
                .unwrap_or_else(|error| panic!("{address}: {error}\n{text}"));
        }
    }
}
