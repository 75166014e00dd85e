//! `DHCPv6` (RFC 8415), with boot options (RFC 5970) and the client's link-layer address from relays (RFC 6939).
//!
//! Pure: [`message`] is the bytes, relays' envelopes included; [`request`] reads a message once into what matters; [`pool`] chooses an
//! address; [`respond`] decides the answer. With the network: [`server`] is the socket and the loop ([`gate`]: who
//! is let in); [`rogue`] looks for other servers.
//!
//! The bytes are read here and not by dhcproto 0.15, which serves the IPv4 side: its IPv6 options underflow on a short authentication
//! option, lack the boot file's (59, 60) and the link-layer address (79), and it follows nested relays by recursion.

pub mod gate;
pub mod message;
pub mod pool;
pub mod request;
pub mod respond;
pub mod rogue;
pub mod server;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod tests;

pub use request::{Request, RequestError};
pub use respond::{Decision, View, respond};
