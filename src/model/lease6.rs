//! An IPv6 lease: an address held by a client's association until a time.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{MacAddr, serde_as_text};
use super::lease::LeaseState;
use super::time::Timestamp;

/// What a `DHCPv6` client calls itself, 3 to 130 bytes (RFC 8415 section 11.1). Written in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duid(Vec<u8>);

impl Duid {
    /// A two-byte type, and 1 to 128 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (3..=130).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// DUID-UUID (RFC 6355 section 4).
    pub fn of_uuid(uuid: [u8; 16]) -> Self {
        Self([&[0, 4][..], &uuid].concat())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hardware address in it, where it is made of one: DUID-LLT and DUID-LL of Ethernet (RFC 8415 sections 11.2 and 11.4).
    pub fn mac(&self) -> Option<MacAddr> {
        let ([0, 1, 0, 1, _, _, _, _, mac @ ..] | [0, 3, 0, 1, mac @ ..]) = self.0.as_slice() else {
            return None;
        };
        mac.try_into().ok().map(MacAddr).filter(|mac| mac.is_client())
    }
}

impl fmt::Display for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Duid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).ok();
        bytes.and_then(|bytes| Self::new(&bytes)).ok_or_else(|| format!("'{text}' is not a DUID"))
    }
}

serde_as_text!(Duid);

/// An IPv6 address and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease6 {
    /// The address.
    pub ip: Ipv6Addr,
    /// Whose it is; for [`LeaseState::Declined`], who found it in use.
    pub duid: Duid,
    /// Which of the client's associations (RFC 8415 section 12).
    pub iaid: u32,
    /// The interface it is for, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// How firmly it is held.
    pub state: LeaseState,
    /// Until when.
    pub expires: Timestamp,
}

impl Lease6 {
    /// Whether a client is using the address by right at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.state == LeaseState::Bound && self.expires > now
    }
}
