//! `DHCPv4` (RFC 2131, 2132) and PXE (RFC 4578).
//!
//! Pure: [`request`] reads a message once into what matters, [`pool`] chooses an address, [`respond`] decides the
//! answer, [`reply`] writes it down, [`frame`] wraps it for a client without an address. With the network:
//! [`interface`] and [`socket`] are the system calls, [`server`] is the loop.

pub mod frame;
pub mod interface;
pub mod pool;
pub mod reply;
pub mod request;
pub mod respond;
pub mod server;
pub mod socket;

#[cfg(test)]
mod tests;

pub use reply::{Destination, Reply};
pub use request::{Client, Request, RequestError};
pub use respond::{Decision, View, choose_network, respond};
