//! The agent: the same program on a node, as the first process of the ramdisk and as a service of an installed host.
//!
//! [`init`] is the first process: it makes the machine usable ([`network`], [`console`], kernel modules), and then does
//! what the appliance says ([`work`]): [`discover`], [`install`], [`wipe`] or [`rescue`]. [`service`] is the agent of an installed host, [`members`] what it tells of its cluster, [`enrol`] how such a host joins. Both
//! speak to the appliance through [`client`], with what [`arguments`] or [`credentials`] say of it.

pub mod apply;
pub mod arguments;
pub mod bundles;
pub mod client;
pub mod console;
pub mod credentials;
pub mod discover;
pub mod enrol;
pub mod init;
pub mod install;
pub mod kernel_log;
pub mod machine;
pub mod members;
pub mod network;
pub mod rescue;
pub mod rescue_shell;
pub mod service;
pub mod wipe;
pub mod work;

use thiserror::Error;

/// Why the agent cannot go on.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The kernel's command line lacks something.
    #[error("the kernel's command line has no usable {0}; was this ramdisk booted by an appliance?")]
    Argument(&'static str),
    /// The appliance cannot be reached.
    #[error("cannot reach the appliance at {server}: {cause}")]
    Unreachable {
        /// Where it was tried.
        server: String,
        /// Why.
        cause: String,
    },
    /// The appliance refuses.
    #[error("the appliance refuses: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// Something on this machine.
    #[error("cannot {action}: {cause}")]
    Machine {
        /// What was tried.
        action: String,
        /// Why not.
        cause: String,
    },
}

impl AgentError {
    /// Something that this machine did not do.
    pub fn machine(action: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Machine { action: action.into(), cause: cause.to_string() }
    }

    /// Whether the appliance knows this agent no more, so that only a new boot helps.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }
}
