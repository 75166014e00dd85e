//! A disk erased, and the proof of it.
//!
//! Read [`certificate`] (what is claimed), [`plan`] (which methods, in which order), then [`erase`] (the
//! whole course). The rest are its hands: [`disk`] (is it ours to erase?), [`nvme`], [`ioctl`], [`overwrite`],
//! [`verify`].
//!
//! ATA SECURITY ERASE is not used: firmware mostly freezes it before we run, a power cut in its midst leaves
//! the disk locked with a password, and controllers often do not pass it. SATA and SAS disks are thus
//! cleared, not purged, and their certificates say so.

pub mod certificate;
pub mod disk;
pub mod erase;
pub mod error;
pub mod ioctl;
pub mod nvme;
pub mod overwrite;
pub mod plan;
pub mod verify;

pub use certificate::{Attempt, Certificate, Content, Coverage, Method, Standard, Verification};
pub use erase::{Options, Phase, Progress, wipe};
pub use error::WipeError;

#[cfg(test)]
mod tests;
