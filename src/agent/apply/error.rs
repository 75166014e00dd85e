//! Why something of a bundle could not be put on the host.

use std::io;

use thiserror::Error;

/// What went wrong; each text says what, why, and where there is something to do, what.
#[derive(Debug, Error)]
pub enum Error {
    /// What the appliance sent breaks a rule; nothing was changed.
    #[error("{what} {why}; the host was not touched: correct the bundle and push a new version")]
    Refused {
        /// The value at fault.
        what: String,
        /// The rule.
        why: String,
    },
    /// A file or folder of the host could not be read or written.
    #[error("{path}: cannot {doing}: {source}")]
    File {
        /// Which, as seen in the host's root.
        path: String,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A place in the host's file tree is not what it should be.
    #[error("{path}: {why}")]
    Place {
        /// Which, as seen in the host's root.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A program could not be run at all.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Which.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{what}: {how}{}", tail(.output))]
    Failed {
        /// What was run, for a person.
        what: String,
        /// `ended with 1`, `was stopped after 300 s`.
        how: String,
        /// The last lines it wrote.
        output: Vec<String>,
    },
    /// A user or group is not there.
    #[error(
        "{path}: there is no {kind} `{name}` on this host; name one that is there, or add the package that creates it"
    )]
    NoSuchName {
        /// The file that it should own.
        path: String,
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// What the state folder holds makes no sense.
    #[error("{path}: {why}; move it away to start anew (what bundles brought then stays on the host)")]
    State {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Said elsewhere.
    #[error("{0}")]
    Plain(String),
}

/// Results of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), why: why.into() }
    }

    pub(super) fn place(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Place { path: path.into(), why: why.into() }
    }

    /// For `map_err` on what the file system says.
    pub(super) fn file<E: Into<io::Error>>(path: &str, doing: &'static str) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, doing, source: source.into() }
    }

    /// With the bundle at fault.
    pub(super) fn of(self, bundle: &str) -> Failure {
        Failure { bundle: (!bundle.is_empty()).then(|| bundle.to_owned()), text: self.to_string() }
    }
}

fn tail(output: &[String]) -> String {
    output.iter().fold(String::new(), |text, line| text + "\n  " + line)
}

/// An [`Error`] with the bundle at fault, where one is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Failure {
    /// `name@version`.
    pub bundle: Option<String>,
    /// What and why, for a person.
    pub text: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        error.of("")
    }
}
