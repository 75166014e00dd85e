//! The configuration as the program works with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::wire;
use crate::dhcp::options::{self, Options};
use crate::model::{
    AddressRange, AddressRange6, Arch, ClientKey, DhcpMode, ImageRef, Network, Network6, Reservation,
    Reservations, Subnet, Subnet6,
};
use crate::packages::mirror::{MirrorConfig, Settings};

/// Shortest and longest lease that is accepted.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(365 * 86_400);

/// The appliance's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where state and images lie.
    pub state_dir: PathBuf,
    /// DNS domain of the nodes.
    pub domain: Option<String>,
    /// The admin API's Unix socket.
    pub socket: PathBuf,
    /// Folder whose `firmware-cfg/` and `ipxe-scripts/` beat the built-in ones.
    pub overrides: PathBuf,
    /// DHCP options for everybody.
    pub options: Options,
    /// The management networks.
    pub networks: Vec<Network>,
    /// Who may join.
    pub enrolment: Enrolment,
    /// TCP port of boot files, scripts and images.
    pub http_port: u16,
    /// TCP port on which agents speak, over TLS.
    pub tls_port: u16,
    /// What the ramdisk with the agent is made of, where there is to be one.
    pub ramdisk: Option<Ramdisk>,
    /// SSH keys of the operators: they may log in to installed hosts and to rescue shells.
    pub ssh_keys: Vec<String>,
    /// UDP port for the logs of firmware, installers and kernels; 0 for none.
    pub syslog_port: u16,
    /// Whether, and how, names are served.
    pub dns: Dns,
    /// Package repositories elsewhere that nodes fetch through the appliance.
    pub mirrors: Vec<MirrorConfig>,
    /// How these are kept.
    pub mirror_settings: Settings,
    /// How long each state may last without anything new.
    pub deadlines: Deadlines,
    /// Machine architectures whose boot files must be there at start.
    pub architectures: Vec<Arch>,
    /// How to log.
    pub log_format: LogFormat,
    /// What to log, in the syntax of `tracing-subscriber`'s `EnvFilter`.
    pub log_level: String,
}

/// Names of nodes and services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Whether they are served.
    pub enabled: bool,
    /// Whether the operator said so: then a port in use is an error.
    pub demanded: bool,
    /// Who is asked about the rest of the world; nobody: it is refused.
    pub forward: Vec<SocketAddr>,
}

/// Who may join, and what strangers get.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Who vouches for a new node.
    pub policy: Policy,
    /// What an unknown node does while it waits.
    pub unknown: Unknown,
    /// How many nodes that nobody approved are recorded; more are not answered.
    pub max_unknown: usize,
}

/// How long a state may last without any news from the node, before it counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Giving up its work.
    pub draining: Duration,
    /// Restarting.
    pub reloading: Duration,
    /// Writing its image.
    pub installing: Duration,
    /// From its boot script to its system's first word; large servers test themselves for ten minutes.
    pub booting: Duration,
    /// Applying its configuration.
    pub configuring: Duration,
    /// Erasing its disks.
    pub retiring: Duration,
    /// Silence of an agent after which its node counts as out of reach.
    pub heartbeat: Duration,
}

/// What the ramdisk with the agent is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramdisk {
    /// Distribution kernel packages, or a folder with an unpacked one.
    pub kernel: Vec<PathBuf>,
    /// Firmware packages, or folders.
    pub firmware: Vec<PathBuf>,
    /// A static busybox, for shells.
    pub busybox: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// Who vouches for a new node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// An operator, with `firstlight node approve`.
    Manual,
    /// A list in this file, of what is known of the servers that were bought.
    Allowlist(PathBuf),
    /// Nobody: every node is approved at sight.
    Automatic,
}

/// What an unknown node does while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// It stays in iPXE and asks again.
    Wait,
    /// It boots the ramdisk, whose agent tells what it found and asks again.
    Ramdisk,
    /// It boots this image, which reports what it found and asks again.
    Discover(ImageRef),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A key and what is wrong with its value.
type Wrong = (String, String);

/// Checks every value of the file.
pub fn check(file: wire::File) -> Result<Config, Wrong> {
    let at = |key: &str| {
        let key = key.to_owned();
        move |message: String| (key, message)
    };
    if file.network.is_empty() {
        return Err(at("network")("there is no [[network]]; the appliance needs one subnet at least".into()));
    }
    let mut networks: Vec<Network> = Vec::new();
    for (index, network) in file.network.into_iter().enumerate() {
        let network = check_network(index, network)?;
        let overlaps = |other: &&Network| {
            other.subnet.contains(network.subnet.address) || network.subnet.contains(other.subnet.address)
        };
        if let Some(other) = networks.iter().find(overlaps) {
            let message = format!("{} overlaps with {}", network.subnet, other.subnet);
            return Err(at(&format!("network[{index}].subnet"))(message));
        }
        networks.push(network);
    }
    if networks.iter().all(|network| network.interface.is_none()) {
        let why = "no network has an interface, so nothing reaches this host, relayed or not; add interface = \"NAME\" to the \
                   network that this host is on (with dhcp = \"off\", if only others, behind relays, are to be served)";
        return Err(at("network")(why.into()));
    }
    let architectures = file.boot.architectures.unwrap_or_else(|| vec!["x86_64".into()]);
    let architectures = architectures
        .iter()
        .map(|text| text.parse().map_err(|error: crate::model::IdError| error.to_string()))
        .collect::<Result<_, String>>()
        .map_err(at("boot.architectures"))?;
    if let Some(domain) = &file.domain {
        check_domain(domain).map_err(at("domain"))?;
    }
    let log_format = match file.log.format.as_deref() {
        None | Some("human") => LogFormat::Human,
        Some("json") => LogFormat::Json,
        Some(other) => return Err(at("log.format")(format!("'{other}' is not a format; use human or json"))),
    };
    let ramdisk = check_ramdisk(file.ramdisk)?;
    for key in &file.install.ssh_keys {
        check_ssh_key(key).map_err(at("install.ssh_keys"))?;
    }
    let http_port = match file.http.port {
        Some(0) => return Err(at("http.port")("0 is not a port".into())),
        port => port.unwrap_or(8080),
    };
    let tls_port = match file.http.tls_port {
        Some(0) => return Err(at("http.tls_port")("0 is not a port".into())),
        Some(port) if port == http_port => {
            return Err(at("http.tls_port")(format!("{port} is http.port already")));
        }
        port => port.unwrap_or(8443),
    };
    let dns = check_dns(&file.dns, file.domain.is_some())?;
    Ok(Config {
        options: check_options(file.options).map_err(at("options"))?,
        dns,
        state_dir: file.state_dir.unwrap_or_else(|| "/var/lib/firstlight".into()),
        domain: file.domain,
        socket: file.socket.unwrap_or_else(|| "/run/firstlight/firstlight.sock".into()),
        overrides: file.overrides.unwrap_or_else(|| "/etc/firstlight".into()),
        networks,
        enrolment: check_enrolment(&file.enrolment, ramdisk.is_some())?,
        http_port,
        tls_port,
        ramdisk,
        ssh_keys: file.install.ssh_keys,
        mirror_settings: check_mirrors(&file.mirror, file.mirrors)?,
        mirrors: file.mirror,
        deadlines: check_deadlines(&file.deadlines)?,
        syslog_port: file.syslog.port.unwrap_or(514),
        architectures,
        log_format,
        log_level: file.log.level.unwrap_or_else(|| "info".into()),
    })
}

fn check_network(index: usize, network: wire::Network) -> Result<Network, Wrong> {
    let at = |key: &str| {
        let key = format!("network[{index}].{key}");
        move |message: String| (key, message)
    };
    let subnet: Subnet = network.subnet.parse().map_err(at("subnet"))?;
    let host = |key: &str, text: &str| {
        let ip: Ipv4Addr = text.parse().map_err(|_| at(key)(format!("'{text}' is not an IPv4 address")))?;
        if subnet.has_host(ip) {
            Ok(ip)
        } else {
            Err(at(key)(format!("{ip} is no host address of {subnet}")))
        }
    };
    let mut ranges: Vec<AddressRange> = Vec::new();
    for text in &network.ranges {
        let range: AddressRange = text.parse().map_err(at("ranges"))?;
        if !subnet.has_host(range.first) || !subnet.has_host(range.last) {
            return Err(at("ranges")(format!("{range} is not within the host addresses of {subnet}")));
        }
        if let Some(other) =
            ranges.iter().find(|other| other.first <= range.last && range.first <= other.last)
        {
            return Err(at("ranges")(format!("{range} overlaps with {other}")));
        }
        ranges.push(range);
    }
    let dhcp = match network.dhcp.as_deref() {
        None | Some("full") => DhcpMode::Full,
        Some("off") => DhcpMode::Off,
        Some("proxy") => DhcpMode::Proxy,
        Some(other) => return Err(at("dhcp")(format!("'{other}' is not a mode; use full, proxy or off"))),
    };
    if dhcp == DhcpMode::Proxy && !ranges.is_empty() {
        let why = "another server gives addresses there (dhcp = \"proxy\"); leave the ranges out";
        return Err(at("ranges")(why.into()));
    }
    let mut exclude = Vec::new();
    for text in &network.exclude {
        let range = if text.contains('-') { text.clone() } else { format!("{text}-{text}") };
        let range: AddressRange = range.parse().map_err(at("exclude"))?;
        if !subnet.contains(range.first) || !subnet.contains(range.last) {
            return Err(at("exclude")(format!("{range} is not within {subnet}")));
        }
        exclude.push(range);
    }
    if let Some(name) = &network.shared {
        name.parse::<crate::model::NodeName>().map_err(|error| at("shared_network")(error.to_string()))?;
    }
    let v6 = check_network6(&network).map_err(|(key, message)| at(key)(message))?;
    let mut reservations = Reservations::default();
    for (number, one) in network.reservation.into_iter().enumerate() {
        let key = format!("reservation[{number}]");
        let reservation = check_reservation(one, subnet).map_err(at(&key))?;
        reservations.add(reservation).map_err(at(&key))?;
    }
    if dhcp == DhcpMode::Full && ranges.is_empty() && reservations.iter().next().is_none() {
        let example =
            format!("{subnet} has no addresses to give; add ranges = [\"FIRST-LAST\"], or dhcp = \"off\"");
        return Err(at("ranges")(example));
    }
    let lease = match network.lease.as_deref() {
        None => Duration::from_secs(12 * 3600),
        Some(text) => humantime::parse_duration(text).map_err(|error| {
            at("lease")(format!("'{text}' is not a duration ({error}); write it as 12h or 30m"))
        })?,
    };
    if !LEASE.contains(&lease) {
        return Err(at("lease")("a lease lasts from 1m to 365d".into()));
    }
    let dns = |text: &String| text.parse().map_err(|_| at("dns")(format!("'{text}' is not an IPv4 address")));
    let options = check_options(network.options).map_err(at("options"))?;
    if dhcp == DhcpMode::Proxy
        && let Some(code) = options.keys().find(|code| !options::is_for_boot(**code))
    {
        return Err(at("options")(format!(
            "{} belongs to the address, and another server gives that there (dhcp = \"proxy\"); set it on that one. From here clients take \
             what to boot: boot-file-name, tftp-server-name, vendor-encapsulated-options, root-path and the like",
            options::table::name(*code)
        )));
    }
    Ok(Network {
        interface: network
            .interface
            .map(|name| check_interface(name).map_err(at("interface")))
            .transpose()?,
        subnet,
        ranges,
        gateway: network.gateway.map(|text| host("gateway", &text)).transpose()?,
        dns: network.dns.iter().map(dns).collect::<Result<_, _>>()?,
        lease,
        dhcp,
        exclude,
        shared: network.shared,
        probe: network.probe.unwrap_or(true),
        trust_ports: network.trust_ports,
        reservations,
        options,
        v6,
    })
}

fn check_network6(network: &wire::Network) -> Result<Option<Network6>, (&'static str, String)> {
    let Some(text) = &network.subnet6 else {
        let others = [
            ("range6", network.range6.is_some()),
            ("dns6", !network.dns6.is_empty()),
            ("advertise", network.advertise.is_some()),
        ];
        return match others.iter().find(|(_, there)| *there) {
            Some((key, _)) => Err((key, "it needs subnet6 = \"PREFIX/LENGTH\" beside it".into())),
            None => Ok(None),
        };
    };
    let subnet: Subnet6 = text.parse().map_err(|message| ("subnet6", message))?;
    let range = match &network.range6 {
        None => subnet.usual_range(),
        Some(text) => text.parse::<AddressRange6>().map_err(|message| ("range6", message))?,
    };
    if !subnet.contains(range.first) || !subnet.contains(range.last) || range.first == subnet.address {
        return Err(("range6", format!("{range} is not within the host addresses of {subnet}")));
    }
    let server =
        |text: &String| text.parse().map_err(|_| ("dns6", format!("'{text}' is not an IPv6 address")));
    let dns = network.dns6.iter().map(server).collect::<Result<_, _>>()?;
    Ok(Some(Network6 { subnet, range, dns, advertise: network.advertise.unwrap_or(true) }))
}

fn check_options(table: toml::Table) -> Result<Options, String> {
    let table = serde_json::to_value(table).map_err(|error| error.to_string())?;
    options::from_table(&table)
}

fn check_reservation(reservation: wire::Reservation, subnet: Subnet) -> Result<Reservation, String> {
    let wire::Reservation { ip, name, mac, client_id, uuid, circuit_id, remote_id } = reservation;
    let address: Ipv4Addr = ip.parse().map_err(|_| format!("ip: '{ip}' is not an IPv4 address"))?;
    if !subnet.has_host(address) {
        return Err(format!("ip: {address} is no host address of {subnet}"));
    }
    let name = name.map(|name| name.parse().map_err(|error| format!("name: {error}"))).transpose()?;
    let mac = mac.map(|mac| mac.parse().map(ClientKey::Mac).map_err(|error| format!("mac: {error}")));
    let client_id = client_id.map(|id| octets(&id).map(ClientKey::ClientId));
    let uuid = uuid.map(|uuid| check_uuid(&uuid).map(ClientKey::Uuid));
    if remote_id.is_some() && circuit_id.is_none() {
        return Err("remote_id is a switch; which of its ports? add circuit_id".into());
    }
    let circuit_id = circuit_id.map(|id| {
        let (circuit_id, remote_id) = (octets(&id)?, remote_id.map(|id| octets(&id)).transpose()?);
        Ok(match remote_id {
            Some(remote_id) => ClientKey::SwitchPort { circuit_id, remote_id },
            None => ClientKey::CircuitId(circuit_id),
        })
    });
    let mut keys = [mac, client_id, uuid, circuit_id].into_iter().flatten();
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(Reservation { key: key?, ip: address, name }),
        (None, _) => Err(format!("whose is {address}? add mac, client_id, uuid or circuit_id")),
        (Some(_), Some(_)) => Err("one of mac, client_id, uuid and circuit_id, not more".into()),
    }
}

/// Bytes: text, or `0x` and hexadecimal digits.
fn octets(text: &str) -> Result<Vec<u8>, String> {
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits.replace(':', ""))
            .map_err(|_| format!("'{text}' is not hexadecimal; write it as 0x0004ab12"))?,
        None => text.as_bytes().to_vec(),
    };
    if (1..=255).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(format!("'{text}' has no length from 1 to 255"))
    }
}

fn check_uuid(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let digits =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|c| c.is_ascii_hexdigit());
    let parts: Vec<&str> = lower.split('-').collect();
    let right =
        parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| digits(part, length));
    if right { Ok(lower) } else { Err(format!("'{text}' is not a UUID; dmidecode -s system-uuid shows it")) }
}

/// Linux: 1 to 15 bytes, no '/', no white space (`dev_valid_name` in the kernel's net/core/dev.c).
fn check_interface(name: String) -> Result<String, String> {
    let bad = |c: u8| c == b'/' || c == b':' || c.is_ascii_whitespace() || c == 0;
    if (1..=15).contains(&name.len()) && !name.bytes().any(bad) && name != "." && name != ".." {
        Ok(name)
    } else {
        Err(format!("'{name}' is not an interface name"))
    }
}

fn check_domain(domain: &str) -> Result<(), String> {
    let labels_fit = domain.split('.').all(|label| label.parse::<crate::model::NodeName>().is_ok());
    if labels_fit && domain.len() <= 190 {
        Ok(())
    } else {
        Err(format!("'{domain}' is not a DNS domain; write it as mgmt.example"))
    }
}

fn check_deadlines(wire: &wire::Deadlines) -> Result<Deadlines, Wrong> {
    let one = |key: &str, text: &Option<String>, minutes: u64| match text {
        None => Ok(Duration::from_secs(minutes * 60)),
        Some(text) => match humantime::parse_duration(text) {
            Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
            _ => Err((
                format!("deadlines.{key}"),
                format!("'{text}' is not a duration; write it as 15m or 90s"),
            )),
        },
    };
    Ok(Deadlines {
        draining: one("draining", &wire.draining, 30)?,
        reloading: one("reloading", &wire.reloading, 20)?,
        installing: one("installing", &wire.installing, 10)?,
        booting: one("booting", &wire.booting, 20)?,
        configuring: one("configuring", &wire.configuring, 30)?,
        retiring: one("retiring", &wire.retiring, 30)?,
        heartbeat: one("heartbeat", &wire.heartbeat, 2)?,
    })
}

fn check_dns(dns: &wire::Dns, domain: bool) -> Result<Dns, Wrong> {
    if dns.enabled == Some(true) && !domain {
        let why = "names are served below a domain; add domain = \"mgmt.example\" at the top";
        return Err(("dns.enabled".into(), why.into()));
    }
    let upstream = |text: &String| {
        let with_port = text.parse::<SocketAddr>().ok();
        let found = with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)));
        let wrong =
            || format!("'{text}' is not a name server's address; write it as 192.0.2.53 or 192.0.2.53:5353");
        found.ok_or_else(|| ("dns.forward".to_owned(), wrong()))
    };
    Ok(Dns {
        enabled: dns.enabled.unwrap_or(domain),
        demanded: dns.enabled == Some(true),
        forward: dns.forward.iter().map(upstream).collect::<Result<_, _>>()?,
    })
}

fn check_ramdisk(ramdisk: wire::Ramdisk) -> Result<Option<Ramdisk>, Wrong> {
    let wire::Ramdisk { kernel, firmware, busybox, cmdline } = ramdisk;
    if kernel.is_empty() {
        let others = !firmware.is_empty() || busybox.is_some() || cmdline.is_some();
        let missing = "which kernel? name a linux-image package file, or a folder with an unpacked one";
        return if others { Err(("ramdisk.kernel".into(), missing.into())) } else { Ok(None) };
    }
    let cmdline = cmdline.unwrap_or_else(|| "console=tty0 console=ttyS0,115200n8 quiet".into());
    Ok(Some(Ramdisk { kernel, firmware, busybox, cmdline }))
}

fn check_mirrors(mirrors: &[MirrorConfig], settings: wire::Mirrors) -> Result<Settings, Wrong> {
    let mut names = BTreeSet::new();
    for (index, mirror) in mirrors.iter().enumerate() {
        let at = |(key, message): (&str, String)| (format!("mirror[{index}].{key}"), message);
        mirror.check().map_err(at)?;
        if !names.insert(&mirror.name) {
            return Err(at(("name", format!("there is a mirror {} already; rename one", mirror.name))));
        }
    }
    let mut checked = Settings { ca_file: settings.ca_file, ..Settings::default() };
    let at = |key: &str, message: String| Err((format!("mirrors.{key}"), message));
    for (key, gib, bytes) in [
        ("cache_gib", settings.cache_gib, &mut checked.cache_bytes),
        ("file_gib", settings.file_gib, &mut checked.file_bytes),
    ] {
        match gib {
            Some(0) => return at(key, "there must be room for something; write whole GiB, from 1".into()),
            Some(gib) => *bytes = u64::from(gib) << 30,
            None => {}
        }
    }
    if checked.file_bytes > checked.cache_bytes {
        let (file, cache) = (checked.file_bytes >> 30, checked.cache_bytes >> 30);
        return at(
            "file_gib",
            format!("a file of {file} GiB does not fit into a cache of {cache} GiB (cache_gib)"),
        );
    }
    if let Some(path) = checked.ca_file.as_ref().filter(|path| !path.is_absolute()) {
        return at("ca_file", format!("'{}' is not an absolute path", path.display()));
    }
    Ok(checked)
}

/// A line of `authorized_keys` (sshd(8)) without options.
fn check_ssh_key(key: &str) -> Result<(), String> {
    let mut words = key.split_ascii_whitespace();
    let kind = words.next().is_some_and(|kind| {
        kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-")
    });
    let base64 = |word: &str| word.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=".contains(&c));
    if kind
        && words.next().is_some_and(|word| word.len() > 40 && base64(word))
        && !key.chars().any(char::is_control)
    {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not an SSH public key; paste the line of a .pub file",
            key.chars().take(40).collect::<String>()
        ))
    }
}

fn check_enrolment(enrolment: &wire::Enrolment, ramdisk: bool) -> Result<Enrolment, Wrong> {
    let at = |key: &str, message: String| Err((format!("enrolment.{key}"), message));
    let policy = match enrolment.policy.as_deref() {
        None | Some("manual") => Policy::Manual,
        Some("automatic") => Policy::Automatic,
        Some("allowlist") => match &enrolment.allowlist {
            Some(path) => Policy::Allowlist(path.clone()),
            None => {
                return at(
                    "allowlist",
                    "policy = \"allowlist\" needs a file, such as /etc/firstlight/allow.csv".into(),
                );
            }
        },
        Some(other) => {
            return at("policy", format!("'{other}' is not a policy; use manual, allowlist or automatic"));
        }
    };
    let image = match enrolment.discovery_image.as_deref().map(str::parse).transpose() {
        Ok(image) => image,
        Err(error) => return at("discovery_image", format!("{error}")),
    };
    let unknown = match (enrolment.unknown.as_deref(), image) {
        (Some("discover") | None, Some(image)) => Unknown::Discover(image),
        (Some("discover"), None) if !ramdisk => {
            return at(
                "unknown",
                "\"discover\" needs a [ramdisk], or a discovery_image such as discovery@1".into(),
            );
        }
        (Some("discover"), None) => Unknown::Ramdisk,
        (None, None) if ramdisk => Unknown::Ramdisk,
        (None | Some("wait"), _) => Unknown::Wait,
        (Some(other), _) => {
            return at("unknown", format!("'{other}' is not known here; use wait or discover"));
        }
    };
    Ok(Enrolment { policy, unknown, max_unknown: enrolment.max_unknown.unwrap_or(4096) })
}
