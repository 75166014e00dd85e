//! Identifiers. Each is parsed once, at the edge, and is valid from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::time::Timestamp;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not six octets in one of the usual notations.
    #[error("'{0}' is not a MAC address; write it as 52:54:00:12:34:56")]
    Mac(String),
    /// Not a DNS label (RFC 1123 section 2.1).
    #[error(
        "'{text}' is not a valid {what}: use 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    Label {
        /// What the text should have named.
        what: &'static str,
        /// The text at fault.
        text: String,
    },
    /// Not `name@version`.
    #[error("'{0}' is not an image reference; write it as name@version, such as debian@12.7")]
    ImageRef(String),
    /// Not `name@version`.
    #[error("'{0}' is not a bundle reference; write it as name@version, such as etcd@3.4.23-1")]
    BundleRef(String),
    /// Not a version.
    #[error(
        "'{0}' is not a valid version: use 1 to 64 of A-Z, a-z, 0-9, '.', '_', '+' and '-', not starting with '.' or '-'"
    )]
    Version(String),
    /// Not 64 hexadecimal digits.
    #[error("'{0}' is not a SHA-256 digest; it is 64 hexadecimal digits")]
    Digest(String),
    /// Not a known machine architecture.
    #[error("'{0}' is not a known architecture; use x86_64 or aarch64")]
    Arch(String),
    /// Not a node id.
    #[error("'{0}' is not a node id; it is 16 hexadecimal digits")]
    NodeId(String),
}

/// Serialises a type as its `Display` text and reads it back through `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use serde_as_text;

/// An IEEE 802 48-bit hardware address; shown as `52:54:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether a client can really have this address: neither all zeros nor a group address
    /// (the I/G bit, IEEE 802 section 8.2).
    pub fn is_client(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }

    /// The notation iPXE's `${net0/mac:hexhyp}` gives: `52-54-00-12-34-56`.
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = self.0.iter();
        octets.next().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        octets.try_for_each(|octet| write!(f, ":{octet:02x}"))
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = IdError;

    /// Accepts `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456` and `525400123456`, in any case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Mac(text.chars().take(64).collect());
        let grouped = |separator: char, groups: usize, width: usize| {
            let parts: Vec<&str> = text.split(separator).collect();
            parts.len() == groups && parts.iter().all(|part| part.len() == width)
        };
        if !(grouped(':', 6, 2) || grouped('-', 6, 2) || grouped('.', 3, 4) || text.len() == 12) {
            return Err(bad());
        }
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        let mut octets = [0; 6];
        hex::decode_to_slice(&digits, &mut octets).map_err(|_| bad())?;
        Ok(Self(octets))
    }
}
serde_as_text!(MacAddr);

/// Whether `text` is a DNS label in lower case (RFC 1123 section 2.1).
fn is_label(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

/// Defines a name that is a DNS label, so that it can stand in host names, paths and scripts as it is.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_label(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError::Label { what: $what, text: text.chars().take(80).collect() })
                }
            }
        }
        serde_as_text!($type);
    };
}

label!(
    /// A node's stable name: a DNS label, unique in the appliance.
    NodeName,
    "node name"
);
label!(
    /// A group's name: a DNS label.
    GroupName,
    "group name"
);
label!(
    /// An image's name without its version: a DNS label.
    ImageName,
    "image name"
);

label!(
    /// A bundle's name without its version: a DNS label.
    BundleName,
    "bundle name"
);
label!(
    /// A cluster's name: a DNS label.
    ClusterName,
    "cluster name"
);
label!(
    /// What a node is in its cluster or group, such as `control` or `worker`: a DNS label.
    RoleName,
    "role"
);

/// Defines `name@version`; the version may hold `A-Za-z0-9._+-` and no more, so that it is a safe path and URL segment.
macro_rules! reference {
    ($(#[$doc:meta])* $type:ident, $name:ident, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            /// Its name.
            pub name: $name,
            version: String,
        }

        impl $type {
            /// Joins a name and a version.
            pub fn new(name: $name, version: &str) -> Result<Self, IdError> {
                if is_version(version) {
                    Ok(Self { name, version: version.to_owned() })
                } else {
                    Err(IdError::Version(version.chars().take(80).collect()))
                }
            }

            /// The version part.
            pub fn version(&self) -> &str {
                &self.version
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}@{}", self.name, self.version)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let (name, version) =
                    text.split_once('@').ok_or_else(|| IdError::$error(text.chars().take(160).collect()))?;
                Self::new(name.parse()?, version)
            }
        }
        serde_as_text!($type);
    };
}

/// Whether `text` can be a version.
fn is_version(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"._+-".contains(c))
        && !matches!(bytes.first(), Some(b'.' | b'-'))
}

reference!(
    /// An immutable image version, `name@version`.
    ImageRef,
    ImageName,
    ImageRef
);
reference!(
    /// An immutable bundle version, `name@version`.
    BundleRef,
    BundleName,
    BundleRef
);

/// A SHA-256 digest (FIPS 180-4); shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl Sha256Digest {
    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(data).into())
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| IdError::Digest(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}
serde_as_text!(Sha256Digest);

/// A node's identity for ever, drawn when it is first seen; shown as 16 hexadecimal digits.
///
/// Ids grow with time, as UUIDs of version 7 do (RFC 9562 section 5.7): nodes that are seen one after the other lie beside each other in
/// every table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// An id of a node that is first seen `at`: its milliseconds since 1970 above 22 bits of `random`.
    pub fn seen(at: Timestamp, random: u32) -> Self {
        Self(at.0 << 22 | u64::from(random >> 10))
    }

    /// The next one up.
    #[must_use]
    pub fn following(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::NodeId(text.chars().take(64).collect());
        if text.len() != 16 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| bad())
    }
}
serde_as_text!(NodeId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_notations() {
        let mac = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xab]);
        for text in ["52:54:00:12:34:ab", "52-54-00-12-34-AB", "5254.0012.34ab", "5254001234AB"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:ab:cd",
            "5254001234zz",
            "52:54:0012:34:ab",
            "é2:54:00:12:34:a",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:12:34:ab");
        assert_eq!(mac.hyphenated(), "52-54-00-12-34-ab");
    }

    #[test]
    fn only_unicast_addresses_are_clients() {
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_client());
        assert!(!MacAddr([0; 6]).is_client());
        assert!(!MacAddr([0xff; 6]).is_client());
        assert!(!MacAddr([1, 0, 0x5e, 0, 0, 1]).is_client());
    }

    #[test]
    fn image_references() {
        let image: ImageRef = "debian@12.7-1+b".parse().expect("a valid reference");
        assert_eq!((image.name.as_str(), image.version()), ("debian", "12.7-1+b"));
        for text in
            ["debian", "debian@", "@1", "Debian@1", "debian@../x", "debian@.1", "de/b@1", "a@1@2", "a@b c"]
        {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn labels() {
        for text in ["a", "node-1", "0", &"x".repeat(63)] {
            assert!(text.parse::<NodeName>().is_ok(), "{text}");
        }
        for text in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "../a", &"x".repeat(64)] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
    }
}
