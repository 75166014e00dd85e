//! Package repositories for the nodes: what operators push, and mirrors of distributions.
//!
//! Read in this order: [`deb`] and [`rpm`] tell what a package file says of itself; [`state`] holds which package
//! lies in which suite; [`apt`] and [`dnf`] write the metadata of a suite, signed by [`sign`]; [`snapshot`] puts all
//! of it together and [`repository`] switches from one snapshot to the next. [`suites`] tells which a node uses,
//! [`sources`] writes what it needs to know. [`mirror`] keeps what nodes fetch from elsewhere. [`serve`] answers HTTP requests for all of it.

pub mod apt;
pub mod backing;
pub mod body;
pub mod compress;
pub mod control;
pub mod deb;
pub mod dnf;
pub mod mirror;
pub mod names;
mod opened;
mod placing;
pub mod repository;
pub mod repository_error;
pub mod rpm;
pub mod rpm_header;
pub mod serve;
pub mod sign;
pub mod snapshot;
pub mod sources;
pub mod state;
pub mod suites;
