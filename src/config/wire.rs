//! The configuration file as it is written.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ConfigError;
use crate::packages::mirror::MirrorConfig;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub state_dir: Option<PathBuf>,
    pub domain: Option<String>,
    pub socket: Option<PathBuf>,
    pub overrides: Option<PathBuf>,
    #[serde(default)]
    pub options: toml::Table,
    #[serde(default)]
    pub network: Vec<Network>,
    #[serde(default)]
    pub enrolment: Enrolment,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub boot: Boot,
    #[serde(default)]
    pub ramdisk: Ramdisk,
    #[serde(default)]
    pub install: Install,
    #[serde(default)]
    pub syslog: Syslog,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub mirror: Vec<MirrorConfig>,
    #[serde(default)]
    pub mirrors: Mirrors,
    #[serde(default)]
    pub log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub interface: Option<String>,
    pub subnet: String,
    #[serde(default)]
    pub ranges: Vec<String>,
    pub gateway: Option<String>,
    #[serde(default)]
    pub dns: Vec<String>,
    pub lease: Option<String>,
    pub dhcp: Option<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(rename = "shared_network")]
    pub shared: Option<String>,
    pub probe: Option<bool>,
    #[serde(default)]
    pub trust_ports: bool,
    pub subnet6: Option<String>,
    pub range6: Option<String>,
    #[serde(default)]
    pub dns6: Vec<String>,
    pub advertise: Option<bool>,
    #[serde(default)]
    pub reservation: Vec<Reservation>,
    #[serde(default)]
    pub options: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    pub ip: String,
    pub name: Option<String>,
    pub mac: Option<String>,
    pub client_id: Option<String>,
    pub uuid: Option<String>,
    pub circuit_id: Option<String>,
    pub remote_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    pub policy: Option<String>,
    pub unknown: Option<String>,
    pub discovery_image: Option<String>,
    pub max_unknown: Option<usize>,
    pub allowlist: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    pub enabled: Option<bool>,
    #[serde(default)]
    pub forward: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub port: Option<u16>,
    pub tls_port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramdisk {
    #[serde(default)]
    pub kernel: Vec<PathBuf>,
    #[serde(default)]
    pub firmware: Vec<PathBuf>,
    pub busybox: Option<PathBuf>,
    pub cmdline: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    #[serde(default)]
    pub ssh_keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    pub port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    pub architectures: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirrors {
    pub cache_gib: Option<u32>,
    pub file_gib: Option<u32>,
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: Option<String>,
    pub level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    pub draining: Option<String>,
    pub reloading: Option<String>,
    pub installing: Option<String>,
    pub booting: Option<String>,
    pub configuring: Option<String>,
    pub retiring: Option<String>,
    pub heartbeat: Option<String>,
}

pub fn parse(text: &str, path: &Path) -> Result<File, ConfigError> {
    parse_toml(text, path)
}

fn parse_toml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let (line, message) = syntax_error(text, &error);
        ConfigError::Syntax { path: path.to_owned(), line, message }
    })
}

/// The line (from 1) and a message for a person of a TOML error in `text`; an unknown key gets the nearest
/// valid one.
pub fn syntax_error(text: &str, error: &toml::de::Error) -> (usize, String) {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let message = error.message();
    (line, nearest_key(message).unwrap_or_else(|| message.replace('\n', "; ")))
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a suggestion.
fn nearest_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let valid: Vec<&str> = quoted.collect();
    let nearest = valid
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key, unknown), *key))
        .min()
        .filter(|(distance, key)| *distance <= key.len().max(unknown.len()) / 2);
    Some(match nearest {
        Some((_, key)) => format!("unknown key '{unknown}'; did you mean '{key}'?"),
        None => format!("unknown key '{unknown}'; valid keys here are {}", valid.join(", ")),
    })
}
