//! A lease: an address held by a client until a time.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::ids::MacAddr;
use super::time::Timestamp;

/// An IPv4 address and who holds it. An address sticks to its MAC after the lease has run out, until it is
/// released by an operator or a pool without any free address takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// Whose it is; for [`LeaseState::Declined`], who found it in use.
    pub mac: MacAddr,
    /// How firmly it is held.
    pub state: LeaseState,
    /// Until when.
    pub expires: Timestamp,
    /// An approved node's address: never given to anybody else.
    #[serde(default)]
    pub reserved: bool,
    /// The host name the client told (option 12), cut to printable characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// How firmly an address is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Offered, not yet taken (RFC 2131 section 4.3.1).
    Offered,
    /// Acknowledged.
    Bound,
    /// Given back by the client (section 4.3.4); still its own when it returns.
    Released,
    /// Found in use by somebody else (section 4.3.3); offered to nobody until it expires.
    Declined,
}

impl LeaseState {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Declined => "declined",
        }
    }
}

impl Lease {
    /// Whether a client is using the address by right at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.state == LeaseState::Bound && self.expires > now
    }
}
