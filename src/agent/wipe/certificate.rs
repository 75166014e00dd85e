//! What is claimed of an erased disk, and on which ground.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a disk is erased, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `NVMe` Sanitize, block erase: all flash, spare blocks too.
    NvmeSanitizeBlock,
    /// `NVMe` Sanitize, cryptographic erase: the key is changed.
    NvmeSanitizeCrypto,
    /// `NVMe` Format with secure erase setting 1, user data erase.
    NvmeFormatUserData,
    /// `NVMe` Format with secure erase setting 2, cryptographic erase.
    NvmeFormatCrypto,
    /// `BLKSECDISCARD`: secure trim of eMMC and a few others.
    SecureDiscard,
    /// `BLKDISCARD`: TRIM, UNMAP, Deallocate. Counts only when zeros are read afterwards.
    Discard,
    /// Zeros written to every addressable block.
    Overwrite,
}

impl Method {
    /// What the method reaches, when its result is verified.
    pub fn standard(self) -> Standard {
        match self {
            Self::NvmeSanitizeBlock
            | Self::NvmeSanitizeCrypto
            | Self::NvmeFormatUserData
            | Self::NvmeFormatCrypto => Standard::Purge,
            Self::SecureDiscard | Self::Discard | Self::Overwrite => Standard::Clear,
        }
    }

    /// Whether the old content is made unreadable by changing its key, so that anything may be read later.
    pub fn is_crypto(self) -> bool {
        matches!(self, Self::NvmeSanitizeCrypto | Self::NvmeFormatCrypto)
    }

    /// Whether it is a command to an `NVMe` controller, which may leave `FFh` where others leave 00h.
    pub fn is_nvme(self) -> bool {
        matches!(
            self,
            Self::NvmeSanitizeBlock
                | Self::NvmeSanitizeCrypto
                | Self::NvmeFormatUserData
                | Self::NvmeFormatCrypto
        )
    }

    /// The wording for the certificate.
    fn wording(self) -> &'static str {
        match self {
            Self::NvmeSanitizeBlock => "the NVMe Sanitize command with block erase",
            Self::NvmeSanitizeCrypto => {
                "the NVMe Sanitize command with cryptographic erase (section 2.6; it rests on the maker's word \
                 that all data was encrypted)"
            }
            Self::NvmeFormatUserData => "the NVMe Format command with user data erase (table A-8)",
            Self::NvmeFormatCrypto => {
                "the NVMe Format command with cryptographic erase (table A-8; it rests on the maker's word that \
                 all data was encrypted)"
            }
            Self::SecureDiscard => "secure discard of all addressable blocks",
            Self::Discard => {
                "discard of all addressable blocks, which read as zeros since (flash behind them may keep data)"
            }
            Self::Overwrite => {
                "one pass of zeros over all addressable blocks (remapped and spare blocks may keep data)"
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NvmeSanitizeBlock => "NVMe Sanitize (block erase)",
            Self::NvmeSanitizeCrypto => "NVMe Sanitize (cryptographic erase)",
            Self::NvmeFormatUserData => "NVMe Format (user data erase)",
            Self::NvmeFormatCrypto => "NVMe Format (cryptographic erase)",
            Self::SecureDiscard => "secure discard",
            Self::Discard => "discard",
            Self::Overwrite => "overwriting",
        })
    }
}

/// NIST SP 800-88 revision 1, section 2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standard {
    /// Not to be had back through the disk's own interface.
    Clear,
    /// Not to be had back in a laboratory either.
    Purge,
}

/// A method that was tried in vain before the one that the certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried.
    pub method: Method,
    /// Why it does not count.
    pub failed: String,
}

/// What was read afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Nothing but bytes 00h.
    Zeros,
    /// Nothing but bytes `FFh`: erased flash.
    Ones,
    /// Anything, without a file system's signature, and nowhere what was there before: the key is gone.
    Unintelligible,
}

/// How much was read afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Every byte.
    Full,
    /// Both ends, and places chosen at random between them.
    Sampled,
}

/// The reading afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// What was read.
    pub content: Content,
    /// How much.
    pub coverage: Coverage,
    /// The same in bytes.
    pub verified_bytes: u64,
    /// Places read between the two ends; 0 when everything was read.
    pub samples: u32,
    /// What the places were drawn from, so that they can be drawn again.
    pub seed: u64,
    /// SHA-256 of all bytes read, in order of their place; lower-case hex.
    pub sha256: String,
    /// Blocks whose content was known before, and is gone now.
    pub witnesses: u32,
}

/// That a disk was erased: how, when, and how it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The device, as the kernel called it: `nvme0n1`.
    pub disk: String,
    /// Maker's model name.
    pub model: Option<String>,
    /// Maker's serial number.
    pub serial: Option<String>,
    /// World-wide identifier of the disk or namespace.
    pub wwid: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How it was erased.
    pub method: Method,
    /// What that counts as.
    pub standard: Standard,
    /// The claim in words.
    pub statement: String,
    /// What was tried before, in vain.
    pub attempts: Vec<Attempt>,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Milliseconds since the Unix epoch; the verification is done.
    pub finished_ms: u64,
    /// What was read afterwards.
    pub verification: Verification,
}

/// The claim in words.
pub fn statement(method: Method, verification: &Verification, size_bytes: u64) -> String {
    let standard = match method.standard() {
        Standard::Clear => "Clear",
        Standard::Purge => "Purge",
    };
    let read = match verification.coverage {
        Coverage::Full => format!("all {size_bytes} bytes were read back"),
        Coverage::Sampled => format!(
            "{} of {size_bytes} bytes were read back, both ends and {} random places",
            verification.verified_bytes, verification.samples
        ),
    };
    let found = match verification.content {
        Content::Zeros => "and are zeros",
        Content::Ones => "and are FFh",
        Content::Unintelligible => "and hold neither known structures nor what was there before",
    };
    format!("NIST SP 800-88 Rev. 1 {standard}, by {}; {read} {found}.", method.wording())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_claims_no_more_than_was_done() {
        let verification = Verification {
            content: Content::Zeros,
            coverage: Coverage::Sampled,
            verified_bytes: 10,
            samples: 3,
            seed: 1,
            sha256: String::new(),
            witnesses: 0,
        };
        let text = statement(Method::Discard, &verification, 1000);
        assert!(text.starts_with("NIST SP 800-88 Rev. 1 Clear, by discard"), "{text}");
        assert!(text.contains("10 of 1000 bytes were read back, both ends and 3 random places"), "{text}");
        let verification = Verification { content: Content::Unintelligible, ..verification };
        let text = statement(Method::NvmeFormatCrypto, &verification, 1000);
        assert!(text.contains("Purge") && text.contains("maker's word"), "{text}");
    }

    #[test]
    fn names_in_json_are_fixed() {
        assert_eq!(
            serde_json::to_string(&Method::NvmeSanitizeBlock).expect("JSON"),
            "\"nvme_sanitize_block\""
        );
        assert_eq!(serde_json::to_string(&Standard::Purge).expect("JSON"), "\"purge\"");
    }
}
