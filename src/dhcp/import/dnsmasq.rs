//! dnsmasq: its lease file (`EXPIRES MAC IP NAME CLIENT-ID`), and `dhcp-host=` of its configuration (dnsmasq(8)).

use std::net::Ipv4Addr;

use super::{Found, Imported, hostname, octets};
use crate::model::MacAddr;

/// Reads either.
pub fn read(text: &str) -> Found {
    let mut found = Found::default();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(host) = line.strip_prefix("dhcp-host=") {
            match reservation(host) {
                Ok(Reservation::Of(lease)) => found.add(lease),
                Ok(Reservation::ByClientId { ip, id, name }) => {
                    found.configure(number, ip, name.as_deref(), "client_id", &id);
                }
                Ok(Reservation::Nothing) => {}
                Err(message) => found.problem(number, message),
            }
        } else if line.split_whitespace().next() == Some("duid") {
            // What follows are leases of IPv6.
            break;
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            match lease(line) {
                Ok(lease) => found.add(lease),
                Err(message) => found.problem(number, message),
            }
        }
        // Another setting: it says nothing of addresses.
    }
    found
}

fn lease(line: &str) -> Result<Imported, String> {
    let mut words = line.split_whitespace();
    let (Some(expires), Some(mac), Some(ip)) = (words.next(), words.next(), words.next()) else {
        return Err("a lease has an end, a MAC and an address".into());
    };
    let expires: u64 = expires.parse().map_err(|_| format!("'{expires}' is not a time"))?;
    // A hardware type other than Ethernet stands in front, with a '-'.
    let mac = mac.parse().map_err(|error| format!("{error}"))?;
    let ip = ip.parse().map_err(|_| format!("'{ip}' is not an IPv4 address"))?;
    let hostname = words.next().and_then(hostname);
    Ok(Imported { ip, mac, hostname, expires: (expires != 0).then_some(expires), reserved: false })
}

/// What a `dhcp-host=` says.
enum Reservation {
    Of(Imported),
    ByClientId { ip: Ipv4Addr, id: Vec<u8>, name: Option<String> },
    Nothing,
}

/// `MAC,...,IP,NAME,...` in any order, `id:...` for a client id; nothing, when it fixes no address.
fn reservation(host: &str) -> Result<Reservation, String> {
    let (mut macs, mut ip, mut name, mut id) = (Vec::new(), None, None, None);
    for part in host.split(',').map(str::trim) {
        if let Ok(mac) = part.parse::<MacAddr>() {
            macs.push(mac);
        } else if let Ok(address) = part.parse::<Ipv4Addr>() {
            ip = Some(address);
        } else if let Some(text) = part.strip_prefix("id:").filter(|text| *text != "*") {
            id = Some(octets(text));
        } else if !part.contains(':') && !part.is_empty() && !is_time(part) && part != "ignore" {
            name = name.or_else(|| hostname(part));
        }
    }
    let Some(ip) = ip else { return Ok(Reservation::Nothing) };
    match (macs.first().copied(), id) {
        (Some(mac), _) => {
            Ok(Reservation::Of(Imported { ip, mac, hostname: name, expires: None, reserved: true }))
        }
        (None, Some(id)) => Ok(Reservation::ByClientId { ip, id, name }),
        (None, None) => Err(format!("{ip} is reserved, but for no MAC; reserve it in the configuration")),
    }
}

fn is_time(part: &str) -> bool {
    part == "infinite" || part.trim_end_matches(['s', 'm', 'h', 'd', 'w']).parse::<u64>().is_ok()
}
