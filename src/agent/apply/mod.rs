//! Puts bundles on a host: all of a generation, or nothing of it.
//!
//! Read `transaction` for the way forward (what happens in which order) with `installs`, `parting` and `turn` for packages, bundles
//! that go and bundles that stay, `rollback` for the way back, `journal` for why a power cut leaves no half state. `plan` says what differs,
//! `check` what is let in at all. `root`, `process`, `units` and `packages` are the host: its files, programs, services, packages.

mod applier;
mod attempt;
pub mod check;
mod error;
mod facts;
#[doc(hidden)]
pub mod fault;
mod health;
mod hooks;
mod host;
mod installs;
mod journal;
mod log;
mod mask;
mod names;
mod observe;
pub mod packages;
mod parting;
mod plan;
mod process;
mod quiet;
mod rollback;
mod root;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod turn;
pub mod units;
mod verify;

use crate::bundle::desired;

pub use applier::{Applier, Machine, Removed};
pub use error::{Error, Failure, Result};
pub use log::{Log, Traced};
pub use mask::Mask;
pub use process::Place;
pub use root::Root;
