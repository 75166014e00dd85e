//! Secrets: kept encrypted to the appliance (age, <https://age-encryption.org/v1>), opened only while a node's files are made.

use std::fmt;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519::{Identity, Recipient};
use thiserror::Error;

/// How an encrypted value begins.
pub const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// What is shown in a secret's place.
pub const MASK: &str = "••••••";
/// Longest secret, bytes.
pub const LONGEST: usize = 64 << 10;
/// Longest encrypted value, bytes: the longest secret, in base64 with its line breaks, and a header with room.
const ARMOR_BYTES: usize = 96 << 10;

/// Why a secret cannot be opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    /// The key is none.
    #[error("this is no age key: {0}")]
    Key(String),
    /// Not an encrypted value.
    #[error("it is not encrypted; set it with: firstlight vars set --secret NAME < FILE")]
    Plain,
    /// More than is kept.
    #[error("it has more than {LONGEST} bytes, which is no key or password; what it opens may be a file")]
    Long,
    /// Encrypted for somebody else, or damaged.
    #[error("it cannot be opened with this appliance's key ({0}); set it again")]
    Closed(String),
}

/// A text that prints nowhere. Its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text. Whoever takes it must not show it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What stands in the place of a secret for everybody but its node.
    pub(super) fn masked() -> Self {
        Self(SecretString::from(MASK))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The key that opens secrets.
#[derive(Clone)]
pub struct SecretKey(Identity);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl SecretKey {
    /// A new key.
    pub fn generate() -> Self {
        Self(Identity::generate())
    }

    /// Reads `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        text.trim().parse().map(Self).map_err(|error: &str| SecretError::Key(error.into()))
    }

    /// `AGE-SECRET-KEY-1…`, for the file that keeps it.
    pub fn text(&self) -> Secret {
        Secret(self.0.to_string())
    }

    /// What others encrypt to: `age1…`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// A name for content that may hold secrets: who has the content but for a weak secret can try guesses against a plain
    /// digest, and not against this one (BLAKE3, keyed).
    pub fn name(&self, content: &[u8]) -> String {
        let key = blake3::derive_key("firstlight: generations of bundles", self.text().expose().as_bytes());
        blake3::keyed_hash(&key, content).to_hex().to_string()
    }

    /// Opens a value.
    ///
    /// # Errors
    /// When it is not encrypted, or not to this key.
    pub fn open(&self, value: &str) -> Result<Secret, SecretError> {
        let value = value.trim();
        if !value.starts_with(ARMOR) {
            return Err(SecretError::Plain);
        }
        if value.len() > ARMOR_BYTES {
            return Err(SecretError::Long);
        }
        let closed = |error: &dyn fmt::Display| SecretError::Closed(error.to_string());
        let plain = age::decrypt(&self.0, value.as_bytes()).map_err(|error| closed(&error))?;
        let text = String::from_utf8(plain).map_err(|_| SecretError::Closed("it is no UTF-8".into()))?;
        Ok(Secret(SecretString::from(text)))
    }
}

/// Whether a value of a secret can be stored: it is encrypted, or "" for none.
pub fn is_closed(value: &serde_json::Value) -> bool {
    let closed = |text: &str| text.trim_start().starts_with(ARMOR) && text.len() <= ARMOR_BYTES;
    value.as_str().is_some_and(|text| text.is_empty() || closed(text))
}

/// Encrypts a text to an appliance.
///
/// # Errors
/// When the recipient is none, or the text is longer than [`LONGEST`].
pub fn close(recipient: &str, text: &str) -> Result<String, SecretError> {
    if text.len() > LONGEST {
        return Err(SecretError::Long);
    }
    let recipient: Recipient = recipient.parse().map_err(|error: &str| SecretError::Key(error.into()))?;
    age::encrypt_and_armor(&recipient, text.as_bytes()).map_err(|error| SecretError::Key(error.to_string()))
}
