//! DNS for the nodes' domain (RFC 1034, 1035): where nodes are, and where the services of their clusters are.
//!
//! Pure: [`zone`] is what there is to know, [`answer`] decides what a question is answered. With the network: [`forward`] asks
//! others about the rest of the world, [`server`] is the loop.

pub mod answer;
pub mod forward;
pub mod server;
pub mod zone;

#[cfg(test)]
mod tests;

pub use answer::{Answer, answer};
pub use forward::Forwarder;
pub use server::{DnsError, Server, serve};
pub use zone::{Among, Target, Zone};
