//! Firstlight takes bare servers from first power-on to a working, tracked, upgradable member of a cluster.
//!
//! The floors, lowest first; each uses only the floors below it:
//!
//! 1. [`model`], [`dhcp::respond`], [`dhcp::pool`], [`boot`]: the domain. No I/O, no clock, no async.
//! 2. [`store`], [`config`]: what is kept, and what the operator wrote.
//! 3. [`appliance`]: the verbs of the product, each one transaction and its events.
//! 4. [`dhcp::server`], [`tftp`], [`http`]: services, all I/O.
//! 5. [`cli`] and [`serve`]: the entries.

pub mod agent;
pub mod appliance;
pub mod boot;
pub mod bundle;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dhcp;
pub mod dhcp6;
pub mod diskimage;
pub mod dns;
pub mod gate;
pub mod http;
pub mod limit;
pub mod model;
pub mod modules;
pub mod ndp;
pub mod packages;
pub mod ramdisk;
pub mod serve;
pub mod store;
pub mod syslog;
pub mod tftp;
pub mod trust;
