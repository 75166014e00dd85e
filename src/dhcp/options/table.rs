//! The options that have a name (RFC 2132 and those after it; names as in Kea and ISC dhcpd), and what their bytes mean.

use std::ops::RangeInclusive;

use super::value::Kind;

/// An option with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub code: u8,
    /// Its name.
    pub name: &'static str,
    /// What its bytes mean.
    pub kind: Kind,
}

const fn known(code: u8, name: &'static str, kind: Kind) -> Known {
    Known { code, name, kind }
}

/// Options that the server itself writes, and why nobody else may.
pub const OWN: [(u8, &str); 12] = [
    (0, "it is padding"),
    (1, "it follows from the network's subnet"),
    (50, "clients send it"),
    (51, "set lease for the network"),
    (52, "it is set where it is needed"),
    (53, "it is the message's type"),
    (54, "it is our address"),
    (55, "clients send it"),
    (56, "it is the reason of a refusal"),
    (57, "clients send it"),
    (82, "it is the relay's"),
    (255, "it is the end"),
];

/// What firmware, iPXE and PXELINUX boot by: root path, PXE's own (RFC 4578 section 2.4 keeps 128 to 135 for it), server and file, TFTP
/// servers (RFC 5859), iPXE's own, PXELINUX's (RFC 5071), and what a site numbers itself for its scripts (RFC 3942).
const FOR_BOOT: [RangeInclusive<u8>; 8] =
    [17..=17, 43..=43, 66..=67, 128..=135, 150..=150, 175..=175, 208..=211, 224..=254];

/// All that have a name, by number.
pub const TABLE: [Known; 88] = [
    known(2, "time-offset", Kind::I32),
    known(3, "routers", Kind::Ips),
    known(4, "time-servers", Kind::Ips),
    known(5, "name-servers", Kind::Ips),
    known(6, "domain-name-servers", Kind::Ips),
    known(7, "log-servers", Kind::Ips),
    known(8, "cookie-servers", Kind::Ips),
    known(9, "lpr-servers", Kind::Ips),
    known(10, "impress-servers", Kind::Ips),
    known(11, "resource-location-servers", Kind::Ips),
    known(12, "host-name", Kind::Text),
    known(13, "boot-size", Kind::U16),
    known(14, "merit-dump", Kind::Text),
    known(15, "domain-name", Kind::Text),
    known(16, "swap-server", Kind::Ip),
    known(17, "root-path", Kind::Text),
    known(18, "extensions-path", Kind::Text),
    known(19, "ip-forwarding", Kind::Bool),
    known(20, "non-local-source-routing", Kind::Bool),
    known(21, "policy-filter", Kind::Ips),
    known(22, "max-dgram-reassembly", Kind::U16),
    known(23, "default-ip-ttl", Kind::U8),
    known(24, "path-mtu-aging-timeout", Kind::U32),
    known(25, "path-mtu-plateau-table", Kind::U16s),
    known(26, "interface-mtu", Kind::U16),
    known(27, "all-subnets-local", Kind::Bool),
    known(28, "broadcast-address", Kind::Ip),
    known(29, "perform-mask-discovery", Kind::Bool),
    known(30, "mask-supplier", Kind::Bool),
    known(31, "router-discovery", Kind::Bool),
    known(32, "router-solicitation-address", Kind::Ip),
    known(33, "static-routes", Kind::Ips),
    known(34, "trailer-encapsulation", Kind::Bool),
    known(35, "arp-cache-timeout", Kind::U32),
    known(36, "ieee802-3-encapsulation", Kind::Bool),
    known(37, "default-tcp-ttl", Kind::U8),
    known(38, "tcp-keepalive-interval", Kind::U32),
    known(39, "tcp-keepalive-garbage", Kind::Bool),
    known(40, "nis-domain", Kind::Text),
    known(41, "nis-servers", Kind::Ips),
    known(42, "ntp-servers", Kind::Ips),
    known(43, "vendor-encapsulated-options", Kind::Hex),
    known(44, "netbios-name-servers", Kind::Ips),
    known(45, "netbios-dd-server", Kind::Ips),
    known(46, "netbios-node-type", Kind::U8),
    known(47, "netbios-scope", Kind::Text),
    known(48, "font-servers", Kind::Ips),
    known(49, "x-display-managers", Kind::Ips),
    known(58, "dhcp-renewal-time", Kind::U32),
    known(59, "dhcp-rebinding-time", Kind::U32),
    known(60, "vendor-class-identifier", Kind::Text),
    known(64, "nisplus-domain-name", Kind::Text),
    known(65, "nisplus-servers", Kind::Ips),
    known(66, "tftp-server-name", Kind::Text),
    known(67, "boot-file-name", Kind::Text),
    known(68, "mobile-ip-home-agents", Kind::Ips),
    known(69, "smtp-servers", Kind::Ips),
    known(70, "pop-servers", Kind::Ips),
    known(71, "nntp-servers", Kind::Ips),
    known(72, "www-servers", Kind::Ips),
    known(73, "finger-servers", Kind::Ips),
    known(74, "irc-servers", Kind::Ips),
    known(75, "streettalk-servers", Kind::Ips),
    known(76, "streettalk-directory-assistance-servers", Kind::Ips),
    known(81, "fqdn", Kind::Hex),
    known(83, "isns", Kind::Hex),
    known(85, "nds-servers", Kind::Ips),
    known(86, "nds-tree-name", Kind::Text),
    known(87, "nds-context", Kind::Text),
    known(88, "bcmcs-controller-names", Kind::Domains),
    known(89, "bcmcs-controller-addresses", Kind::Ips),
    known(97, "client-machine-identifier", Kind::Hex),
    known(98, "user-authentication-protocol", Kind::Text),
    known(100, "pcode", Kind::Text),
    known(101, "tcode", Kind::Text),
    known(114, "captive-portal", Kind::Text),
    known(116, "auto-config", Kind::U8),
    known(117, "name-service-search", Kind::U16s),
    known(119, "domain-search", Kind::Domains),
    known(120, "sip-servers", Kind::Hex),
    known(121, "classless-static-routes", Kind::Routes),
    known(138, "capwap-ac", Kind::Ips),
    known(150, "tftp-server-address", Kind::Ips),
    known(175, "ipxe-encapsulated-options", Kind::Hex),
    known(208, "pxelinux-magic", Kind::Hex),
    known(209, "pxelinux-config-file", Kind::Text),
    known(210, "pxelinux-path-prefix", Kind::Text),
    known(211, "pxelinux-reboot-time", Kind::U32),
];

/// The number and kind of what an operator names: `ntp-servers`, `42`, or `224:text`.
///
/// # Errors
/// When there is no such option, or the server writes it itself.
pub fn find(key: &str) -> Result<(u8, Kind), String> {
    let (name, kind) = key.split_once(':').map_or((key, None), |(name, kind)| (name, Some(kind)));
    let kind = kind.map(str::parse::<Kind>).transpose()?;
    let found = if let Ok(code) = name.parse::<u8>() {
        let known = TABLE.iter().find(|known| known.code == code);
        (code, kind.or(known.map(|known| known.kind)).unwrap_or(Kind::Hex))
    } else {
        let known = TABLE.iter().find(|known| known.name == name).ok_or_else(|| unknown(name))?;
        (known.code, kind.unwrap_or(known.kind))
    };
    match OWN.iter().find(|(code, _)| *code == found.0) {
        Some((code, why)) => Err(format!("option {code} cannot be set: {why}")),
        None => Ok(found),
    }
}

/// Whether an option says what to boot, or how: it is ours to give also where another server gives the addresses.
pub fn is_for_boot(code: u8) -> bool {
    FOR_BOOT.iter().any(|codes| codes.contains(&code))
}

/// An option's name, else its number.
pub fn name(code: u8) -> String {
    let known = TABLE.iter().find(|known| known.code == code);
    known.map_or_else(|| code.to_string(), |known| known.name.to_owned())
}

fn unknown(name: &str) -> String {
    let alike = |known: &Known| strsim::jaro_winkler(known.name, name);
    let near = TABLE.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let near = near.map_or_else(String::new, |near| format!("; did you mean '{}'?", near.name));
    format!("there is no option '{name}'{near} Options without a name are written as 224:text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_name_and_number() {
        for (key, expected) in [
            ("ntp-servers", Ok((42, Kind::Ips))),
            ("42", Ok((42, Kind::Ips))),
            ("224:text", Ok((224, Kind::Text))),
            ("224", Ok((224, Kind::Hex))),
            ("ntp-server", Err("did you mean 'ntp-servers'?")),
            ("224:words", Err("is no type")),
            ("256", Err("there is no option '256'")),
            ("51", Err("set lease")),
            ("82", Err("relay")),
        ] {
            match (find(key), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{key}"),
                (Err(told), Err(part)) => assert!(told.contains(part), "{key}: {told}"),
                (found, _) => panic!("{key}: {found:?}"),
            }
        }
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code), "in order, each once");
    }
}
