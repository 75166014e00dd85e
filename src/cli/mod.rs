//! The command line.
//!
//! [`args`] is what can be typed, [`client`] talks to the appliance, [`run`](run()) does what was asked. [`show`] makes
//! tables, JSON and YAML of answers, [`timeline`] a node's history; [`import`] and [`manifest`] take in images,
//! [`init`] writes a configuration.

pub mod args;
mod client;
mod import;
mod init;
pub mod manifest;
mod run;
mod show;
mod timeline;

use std::io;

use thiserror::Error;

pub use client::ClientError;
pub use run::run;

/// Why a command was not done: one clear line.
#[derive(Debug, Error)]
pub enum CliError {
    /// The appliance cannot be reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::ManifestError),
    /// A configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The appliance stopped.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// Several nodes for which it was not done; the others are.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<ClientError>),
    /// Something on this host.
    #[error("{0}")]
    Local(String),
    /// Nobody reads what is printed any more: not worth a word.
    #[error("broken pipe")]
    BrokenPipe,
}

impl CliError {
    /// What to print, a line for each thing that was not done. What comes from elsewhere cannot command the terminal.
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(show::clean).collect()
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Local(format!("cannot write the answer: {error}")),
        }
    }
}
