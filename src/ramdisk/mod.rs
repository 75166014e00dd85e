//! The ramdisk that discovery, installer and rescue run from: our own program as `/init`, and the
//! modules of a distribution's kernel.
//!
//! Read in this order: [`source`] (packages and folders), [`kernel`] (which kernel they hold),
//! [`table`] and [`select`] (what goes in), [`agent`] (what may be `/init`), [`cpio`] (the archive),
//! [`build`] (all of it), [`fingerprint`] (whether it must be done at all).

pub mod agent;
pub mod build;
pub mod cpio;
pub mod error;
pub mod fingerprint;
pub mod kernel;
pub mod select;
pub mod source;
pub mod table;

pub use build::{Built, Inputs, Progress, build};
pub use error::RamdiskError;
pub use fingerprint::fingerprint;
