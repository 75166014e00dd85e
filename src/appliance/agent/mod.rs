//! What a node's agent says and asks: what the machine is, a certificate, and what to do next.
//!
//! In the ramdisk an agent first speaks with the one-time token of its boot, which is bound to the node's MAC and address.
//! Once the node is approved it trades the token for a certificate, and speaks with that from then on.
//!
//! Here is what both sides say; [`identity`] tells machines apart, [`enrolment`] lets them in, [`check_in`] takes their signs
//! of life ([`signal`]: what one means for the node's state; [`observed`]: what is kept of it), [`disks`] what they did to their machines' disks.

mod check_in;
mod disks;
mod enrolment;
pub(super) mod identity;
mod observed;
mod signal;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::boot::{Instruction, Place};
use crate::bundle::desired::Applied;
use crate::cluster::serf::Line;
use crate::model::inventory::Inventory;
use crate::model::{ImageRef, Node, NodeName, OsRelease, Sha256Digest, Timestamp, World};

use super::AppError;
use super::boot::node_of_boot;
use super::presence::Progress;

pub(super) use enrolment::certify;

/// Seconds between two signs of life of an installed host.
pub const HEARTBEAT_SECONDS: u32 = 30;
/// Longest text that is kept, in characters.
const TEXT: usize = 256;
/// Longest reason that is kept, in characters.
pub const REASON: usize = 4096;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever booted with this token, from this address.
    Token {
        /// SHA-256 of the token.
        token: Sha256Digest,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
    /// Whoever holds the key of this certificate.
    Certificate {
        /// SHA-256 of its DER.
        fingerprint: Sha256Digest,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
}

impl Caller {
    /// The node that is spoken for.
    pub(super) fn node<'w>(&self, world: &'w World) -> Result<&'w Node, AppError> {
        match self {
            Self::Token { token, ip } => node_of_boot(world, *ip, *token),
            Self::Certificate { fingerprint, .. } => world.node_certified(*fingerprint).ok_or_else(|| {
                AppError::Forbidden(
                    "this certificate speaks for no node any more; boot the node over the network again"
                        .into(),
                )
            }),
        }
    }

    fn ip(&self) -> Ipv4Addr {
        match self {
            Self::Token { ip, .. } | Self::Certificate { ip, .. } => *ip,
        }
    }

    /// Whether it is a node that was let in.
    pub fn is_certified(&self) -> bool {
        matches!(self, Self::Certificate { .. })
    }
}

/// What the machine is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Its clock, as it was before anybody set it.
    pub clock: Timestamp,
    /// What it is made of.
    pub inventory: Inventory,
}

/// A token, or a certificate that runs out, for a new certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Enrol {
    /// The certificate request, PEM.
    pub request: String,
    /// Answers to challenges, by their kind; none is asked so far.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
}

/// What comes next in an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum EnrolStep {
    /// Done.
    Certificate {
        /// The certificate, PEM.
        certificate: String,
        /// When it ends.
        expires: Timestamp,
        /// What the node is called.
        node: NodeName,
    },
    /// Something has to be proved first, as the attestation of a TPM will ask; the request comes again with the answer.
    Challenge {
        /// Of what kind.
        kind: String,
        /// What the answer is made of.
        data: String,
    },
}

/// A sign of life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckIn {
    /// Where the agent runs.
    pub place: Place,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// The operating system, of a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsRelease>,
    /// `waiting`, `installing`, `wiping`, `rescue`, `configuring`, `ready`, `draining` or `failed`.
    pub phase: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Whether the host has given up its work.
    #[serde(default)]
    pub drained: bool,
    /// Whether its bundles took their leave, so that nobody counts on it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// Whether it is at a job, or has not told yet how that ended.
    #[serde(default)]
    pub busy: Option<bool>,
    /// The image that is on its disk.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// The disk that is being written: its serial, else its WWN, else its name.
    #[serde(default)]
    pub disk: Option<String>,
    /// What it has of bundles, and how it went.
    #[serde(default)]
    pub bundles: Option<Applied>,
    /// Whom its serf agent sees, when that is news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serf: Option<Vec<Line>>,
    /// What became of the dead members that it was to take off the lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicted: Vec<Evicted>,
}

/// A dead member, to be taken off the lists of members by one that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// What became of an [`Eviction`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// The dead member's name.
    pub name: String,
    /// Why it is still on a list; empty: it is on none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// The answer to a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// What the node is called.
    pub node: NodeName,
    /// Where in its life it is.
    pub state: String,
    /// What to do.
    pub instruction: Instruction,
    /// Seconds until the next sign of life.
    pub again_seconds: u32,
    /// Whether the certificate is to be renewed.
    pub renew: bool,
    /// The generation of bundles to go to now, by its digest; none when there is nothing to do, or it is not its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// Whether it is to be given up: the hooks of its bundles run, so that its cluster lets go of it.
    #[serde(default)]
    pub leave: bool,
    /// Whether it is given up even when a bundle does not take its leave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Dead members to take off the lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evict: Vec<Eviction>,
    /// The appliance's clock.
    pub time: Timestamp,
}

/// What an installation did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstallReport {
    /// The image.
    pub image: ImageRef,
    /// The disk: its serial, else its WWN, else its name.
    pub disk: String,
    /// Bytes fetched.
    pub bytes: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
}

/// Keeps what a node says short, and printable on a terminal.
pub(super) fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

/// The same for a reason, whose lines are kept.
pub(super) fn reason(text: &str) -> String {
    let kept = text.chars().map(|c| if c == '\t' { ' ' } else { c });
    let kept: String = kept.filter(|c| *c == '\n' || !c.is_control()).take(REASON).collect();
    kept.trim_end().to_owned()
}
