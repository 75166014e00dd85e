//! A shell for the operator on a machine that runs from memory: over SSH, and on the console.
//!
//! Read [`server`] (who gets in), then [`connection`] (what a client may ask for), [`process`] (what runs then)
//! and [`terminal`]; [`serial`] stands alone.

pub mod connection;
pub mod host_key;
pub mod process;
pub mod serial;
pub mod server;
pub mod terminal;

pub use host_key::HostKey;
pub use server::{RescueError, Server, serve};

#[cfg(test)]
mod tests;
