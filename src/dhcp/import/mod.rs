//! What other DHCP servers leave behind, so that every client keeps its address: [`dnsmasq`], [`kea`], [`isc`].
//!
//! Pure: text in; leases, reservations and what could not be read out. One bad line costs nothing but itself.

pub mod dnsmasq;
pub mod isc;
pub mod kea;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::{MacAddr, NodeName};

/// An address of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// The address.
    pub ip: Ipv4Addr,
    /// Whose.
    pub mac: MacAddr,
    /// Its host name, printable characters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Until when, seconds since 1970; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether it is the client's by configuration.
    #[serde(default)]
    pub reserved: bool,
}

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub message: String,
}

/// All that a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By address: where one stands several times, the last counts.
    pub leases: BTreeMap<Ipv4Addr, Imported>,
    /// What could not be used.
    pub problems: Vec<Problem>,
    /// Of these, reservations by something else than a MAC, as they are written into the configuration.
    pub configure: Vec<String>,
}

/// Most problems that are told.
const PROBLEMS: usize = 1000;

impl Found {
    fn problem(&mut self, line: usize, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem { line, message: message.into() });
        }
    }

    /// A reservation by something else than a MAC: only the configuration can hold it.
    fn configure(&mut self, line: usize, ip: Ipv4Addr, name: Option<&str>, key: &str, value: &[u8]) {
        let name = name.filter(|name| name.parse::<NodeName>().is_ok());
        let name = name.map_or_else(String::new, |name| format!(", name = \"{name}\""));
        let reservation = format!("{{ {key} = \"{}\", ip = \"{ip}\"{name} }}", written(value));
        self.problem(line, format!("{ip} is reserved by {key}, not by MAC; write it into the configuration"));
        if self.configure.len() < PROBLEMS {
            self.configure.push(reservation);
        }
    }

    /// A reservation beats a lease of the same address.
    fn add(&mut self, lease: Imported) {
        if lease.reserved || self.leases.get(&lease.ip).is_none_or(|before| !before.reserved) {
            self.leases.insert(lease.ip, lease);
        }
    }
}

/// A host name as it is kept: 63 printable characters at most; none when nothing is left.
fn hostname(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(63).collect();
    (!kept.is_empty() && kept != "*").then_some(kept)
}

/// Bytes as the configuration takes them: plain text, else `0x…`.
fn written(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./: ".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(plain) && !text.starts_with("0x") => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}

/// Bytes as other servers have them: `'text'`, hexadecimal digits with or without colons, or a text.
fn octets(text: &str) -> Vec<u8> {
    if let Some(text) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return text.as_bytes().to_vec();
    }
    let parts =
        text.split(':').map(|part| if part.len() == 1 { format!("0{part}") } else { part.to_owned() });
    hex::decode(parts.collect::<String>()).unwrap_or_else(|_| text.as_bytes().to_vec())
}
