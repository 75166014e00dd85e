//! HTTP: what booting machines fetch, and the admin API.
//!
//! [`listen`] accepts connections, with bounds, and hands each request to a router: [`plane`] on the management
//! networks, [`agent`] there over TLS, [`api`] on the Unix socket, for whom [`peer`] lets in. [`artifact`] sends files, [`range`] reads which
//! part of one is wanted, [`answer`] turns errors into responses.

pub mod agent;
mod answer;
pub mod api;
mod artifact;
pub mod listen;
mod peer;
pub mod plane;
pub mod range;

pub use listen::{ListenError, Listener};
