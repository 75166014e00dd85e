//! From what an operator writes to an option's bytes.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// Longest option, bytes: a quarter of a frame. What does not fit into a reply is left away there.
const LONGEST: usize = 1024;

/// What an option's bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address.
    Ip,
    /// Addresses, one at least.
    Ips,
    /// A number of 8 bits.
    U8,
    /// A number of 16 bits.
    U16,
    /// Numbers of 16 bits, one at least.
    U16s,
    /// A number of 32 bits.
    U32,
    /// A signed number of 32 bits.
    I32,
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
    /// Domain names (RFC 1035 section 3.1), without compression (RFC 3397 section 2 allows it, and nobody needs it).
    Domains,
    /// Routes (RFC 3442): `10.1.0.0/16 via 10.77.0.9`.
    Routes,
    /// Bytes: `0x01ff`.
    Hex,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "ip" => Self::Ip,
            "ips" => Self::Ips,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u16s" => Self::U16s,
            "u32" => Self::U32,
            "i32" => Self::I32,
            "bool" => Self::Bool,
            "text" => Self::Text,
            "domains" => Self::Domains,
            "routes" => Self::Routes,
            "hex" => Self::Hex,
            _ => {
                let all = "ip, ips, u8, u16, u16s, u32, i32, bool, text, domains, routes and hex";
                return Err(format!("'{text}' is no type; there are {all}"));
            }
        })
    }
}

/// The bytes of an option of this kind; lists have several `items`.
///
/// # Errors
/// When an item is not of the kind.
pub fn parse(kind: Kind, items: &[String]) -> Result<Vec<u8>, String> {
    let list = matches!(kind, Kind::Ips | Kind::U16s | Kind::Domains | Kind::Routes);
    if items.is_empty() || (items.len() > 1 && !list) {
        let wanted = if list { "one or more values" } else { "one value" };
        return Err(format!("it has {wanted}, not {}", items.len()));
    }
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend(one(kind, item.trim())?);
    }
    match bytes.len() {
        0 => Err("it is empty".into()),
        length if length > LONGEST => Err(format!("it has {length} bytes; {LONGEST} are the most")),
        _ => Ok(bytes),
    }
}

fn one(kind: Kind, item: &str) -> Result<Vec<u8>, String> {
    fn number<T: FromStr>(item: &str, what: &str) -> Result<T, String> {
        item.parse().map_err(|_| format!("'{item}' is not {what}"))
    }
    let address = |item: &str| -> Result<[u8; 4], String> {
        item.parse::<Ipv4Addr>().map(|ip| ip.octets()).map_err(|_| format!("'{item}' is not an IPv4 address"))
    };
    Ok(match kind {
        Kind::Ip | Kind::Ips => address(item)?.to_vec(),
        Kind::U8 => vec![number(item, "a number from 0 to 255")?],
        Kind::U16 | Kind::U16s => number::<u16>(item, "a number from 0 to 65535")?.to_be_bytes().to_vec(),
        Kind::U32 => number::<u32>(item, "a number from 0 to 4294967295")?.to_be_bytes().to_vec(),
        Kind::I32 => number::<i32>(item, "a number of 32 bits")?.to_be_bytes().to_vec(),
        Kind::Bool => vec![u8::from(number::<bool>(item, "true or false")?)],
        Kind::Text if item.contains('\0') => return Err("a text has no zero bytes".into()),
        Kind::Text => item.as_bytes().to_vec(),
        Kind::Domains => domain(item)?,
        Kind::Routes => {
            let wrong = || format!("'{item}' is not a route; write it as 10.1.0.0/16 via 10.77.0.9");
            let (to, by) = item.split_once(" via ").ok_or_else(wrong)?;
            route(to.trim(), address(by.trim())?).ok_or_else(wrong)?
        }
        Kind::Hex => {
            let digits = item.strip_prefix("0x").unwrap_or(item).replace(':', "");
            hex::decode(&digits).map_err(|_| format!("'{item}' is not hexadecimal; write it as 0x01ff"))?
        }
    })
}

/// RFC 3442: prefix length, the octets of the network that it covers, the router.
fn route(to: &str, router: [u8; 4]) -> Option<Vec<u8>> {
    let (network, prefix) = to.split_once('/')?;
    let (network, prefix) = (network.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
    let host_bits = 32_u32.checked_sub(u32::from(prefix))?;
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    if network.to_bits() & !mask != 0 {
        return None;
    }
    let significant = usize::from(prefix.div_ceil(8));
    let octets = network.octets();
    Some([&[prefix], octets.get(..significant)?, &router[..]].concat())
}

fn domain(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("'{text}' is not a domain name");
    let mut bytes = Vec::new();
    for label in text.trim_end_matches('.').split('.') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=63).contains(&label.len()) || !label.bytes().all(plain) {
            return Err(wrong());
        }
        bytes.push(u8::try_from(label.len()).map_err(|_| wrong())?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() <= 255 { Ok(bytes) } else { Err(wrong()) }
}

/// The route to everywhere by way of a router, for who heeds option 121 and then no longer option 3 (RFC 3442).
pub fn default_route(router: Ipv4Addr) -> Vec<u8> {
    [&[0], &router.octets()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_bytes() {
        for (rule, kind, items, expected) in [
            ("RFC 2132 3.5: addresses", Kind::Ips, &["10.0.0.1", " 10.0.0.2"][..], "0a0000010a000002"),
            ("RFC 2132 5.1: an MTU", Kind::U16, &["9000"], "2328"),
            ("RFC 2132 3.4: a time offset", Kind::I32, &["-3600"], "fffff1f0"),
            ("RFC 2132 4.1: a switch", Kind::Bool, &["true"], "01"),
            ("a text", Kind::Text, &["a b"], "612062"),
            (
                "RFC 3397 2: a search list",
                Kind::Domains,
                &["a.example", "b."],
                "0161076578616d706c6500016200",
            ),
            ("RFC 3442: to everywhere", Kind::Routes, &["0.0.0.0/0 via 10.0.0.1"], "000a000001"),
            ("RFC 3442: to a /17", Kind::Routes, &["129.210.128.0/17 via 10.0.0.1"], "1181d2800a000001"),
            ("RFC 3442: to a host", Kind::Routes, &["10.1.2.3/32 via 10.0.0.1"], "200a0102030a000001"),
            ("bytes", Kind::Hex, &["0x01:ff"], "01ff"),
        ] {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            assert_eq!(parse(kind, &items).map(hex::encode).as_deref(), Ok(expected), "{rule}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = "x".repeat(1025);
        for (kind, items, message) in [
            (Kind::Ip, &["10.0.0.1", "10.0.0.2"][..], "one value"),
            (Kind::Ips, &[], "one or more values"),
            (Kind::Ips, &["10.0.0.256"], "'10.0.0.256' is not an IPv4 address"),
            (Kind::U8, &["256"], "0 to 255"),
            (Kind::Text, &[""], "empty"),
            (Kind::Text, &[long.as_str()], "1024 are the most"),
            (Kind::Domains, &["a..b"], "not a domain name"),
            (Kind::Routes, &["10.1.2.3/16 via 10.0.0.1"], "not a route"),
            (Kind::Routes, &["10.1.0.0/33 via 10.0.0.1"], "not a route"),
            (Kind::Hex, &["0x1"], "not hexadecimal"),
        ] {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            let told = parse(kind, &items).expect_err(message);
            assert!(told.contains(message), "{told}");
        }
    }
}
