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

use crate::model::MacAddr;

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
}

/// Most problems that are told.
const PROBLEMS: usize = 1000;

impl Found {
    fn problem(&mut self, line: usize, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem { line, message: message.into() });
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
