//! What can go wrong in the rack itself, as opposed to in what it tests.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Result of a rack operation.
pub type Result<T> = std::result::Result<T, RackError>;

/// A rack operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RackError {
    /// A helper program ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: ExitStatus, stderr: String },

    /// The operating system refused something; a program that is not installed ends here too.
    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },

    /// Something did not happen in time.
    #[error("{what} did not happen within {} s; {context}", limit.as_secs_f32())]
    Timeout { what: String, limit: Duration, context: String },

    /// A machine's QEMU ended, or never came up.
    #[error("machine {machine}: QEMU {event}; it said: {stderr}")]
    Qemu { machine: String, event: String, stderr: String },

    /// QEMU's control socket answered with an error or nonsense.
    #[error("QMP command {command}: {answer}")]
    Qmp { command: String, answer: String },

    /// A value given to the rack cannot be used.
    #[error("{what} {value:?}: {why}")]
    Invalid { what: &'static str, value: String, why: &'static str },

    /// A file that a Debian package would bring is missing.
    #[error("none of {paths} is there: install the package {package}")]
    MissingFile { paths: String, package: &'static str },
}

/// Adds what was being done to an I/O error.
pub trait IoContext<T> {
    /// `action` completes the sentence "cannot …".
    fn while_doing(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn while_doing(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| RackError::Io { action: action(), source })
    }
}
