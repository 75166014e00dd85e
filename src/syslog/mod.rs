//! What firmware, installers and kernels say over syslog (UDP), received and made fit to be shown.
//!
//! Read [`parse`] (bytes in, a [`Line`] out), then [`crate::limit`] (who may say how much), then [`server`].

pub mod parse;
pub mod server;

pub use crate::limit::Limits;
pub use parse::{Line, Severity, parse};
pub use server::{Receiver, Sink, SyslogError};
