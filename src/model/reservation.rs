//! Addresses that the configuration gives to one client for ever.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;

use super::ids::{MacAddr, NodeName};

/// By what a client is told from others. Listed in the order in which they count where several fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// Its hardware address.
    Mac(MacAddr),
    /// Its client identifier (option 61, RFC 2132 section 9.14), type byte included.
    ClientId(Vec<u8>),
    /// Its SMBIOS UUID (option 97), lower case, hyphenated.
    Uuid(String),
    /// The port of the switch it is plugged into (option 82, sub-option 1, RFC 3046 section 3.1).
    CircuitId(Vec<u8>),
    /// The same where several switches call their ports alike: with the switch (sub-option 2, RFC 3046 section 3.2).
    SwitchPort {
        /// The port.
        circuit_id: Vec<u8>,
        /// The switch.
        remote_id: Vec<u8>,
    },
}

impl ClientKey {
    /// Whether it is the port of a switch.
    pub fn is_port(&self) -> bool {
        matches!(self, Self::CircuitId(_) | Self::SwitchPort { .. })
    }

    /// Whether `keys` say that a client is not the one with this key: they have another of its kind. That a client does not
    /// tell one says nothing: firmware tells its UUID and systems do not, and no relay adds the port to a unicast renewal.
    pub fn is_denied_by(&self, keys: &[Self]) -> bool {
        keys.iter().any(|key| match (self, key) {
            (Self::SwitchPort { circuit_id, .. }, Self::CircuitId(told)) => circuit_id != told,
            _ => std::mem::discriminant(key) == std::mem::discriminant(self) && key != self,
        })
    }
}

/// An address of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Whose.
    pub key: ClientKey,
    /// The address.
    pub ip: Ipv4Addr,
    /// What the node is called when it is seen for the first time.
    pub name: Option<NodeName>,
}

/// The reservations of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservations {
    by_key: HashMap<ClientKey, Reservation>,
    by_ip: BTreeMap<Ipv4Addr, ClientKey>,
}

impl Reservations {
    /// Adds one.
    ///
    /// # Errors
    /// When the client or the address has one already.
    pub fn add(&mut self, reservation: Reservation) -> Result<(), String> {
        let Reservation { key, ip, .. } = &reservation;
        if let Some(other) = self.by_key.get(key) {
            return Err(format!("{key} has {} already", other.ip));
        }
        if let Some(other) = self.by_ip.get(ip) {
            return Err(format!("{ip} is reserved for {other} already"));
        }
        self.by_ip.insert(*ip, key.clone());
        self.by_key.insert(key.clone(), reservation);
        Ok(())
    }

    /// The reservation of the first of `keys` that has one.
    pub fn of(&self, keys: &[ClientKey]) -> Option<&Reservation> {
        keys.iter().find_map(|key| self.by_key.get(key))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_ip.is_empty()
    }

    /// Whose an address is.
    pub fn holder(&self, ip: Ipv4Addr) -> Option<&ClientKey> {
        self.by_ip.get(&ip)
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.by_ip.values().filter_map(|key| self.by_key.get(key))
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "MAC {mac}"),
            Self::ClientId(id) => write!(f, "client id {}", readable(id)),
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Self::CircuitId(id) => write!(f, "circuit id {}", readable(id)),
            Self::SwitchPort { circuit_id, remote_id } => {
                write!(f, "circuit id {} of remote id {}", readable(circuit_id), readable(remote_id))
            }
        }
    }
}

/// Bytes as the configuration has them: text where they are, else `0x…`.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.starts_with("0x") && !text.chars().any(char::is_control) => {
            text.to_owned()
        }
        _ => format!("0x{}", hex::encode(bytes)),
    }
}
