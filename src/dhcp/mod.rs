//! `DHCPv4` (RFC 2131, 2132) and PXE (RFC 4578).
//!
//! Pure: [`request`] reads a message once into what matters ([`gather`]: its options; [`relay`]: what a relay adds), [`place`] finds the client's network, [`pool`] chooses an address,
//! [`respond`] decides the answer ([`proxy`]: beside another server), [`reply`] and [`options`] write it down, [`frame`] wraps it for a client without an address. With the network:
//! [`interface`], [`socket`] and [`batch`] are the system calls, [`server`] is the loop ([`gate`]: who is let in); [`probe`] asks whether an address is in use,
//! [`rogue`] looks for other servers.

pub mod batch;
pub mod frame;
pub mod gate;
pub mod gather;
pub mod import;
pub mod interface;
pub mod options;
pub mod place;
pub mod pool;
pub mod probe;
pub mod proxy;
pub mod relay;
pub mod reply;
pub mod request;
pub mod respond;
pub mod rogue;
pub mod server;
pub mod socket;

#[cfg(test)]
mod tests;

pub use place::{Place, View, choose_network};
pub use proxy::assist;
pub use reply::{Destination, Reply};
pub use request::{Cast, Client, Request, RequestError};
pub use respond::{Decision, respond};
