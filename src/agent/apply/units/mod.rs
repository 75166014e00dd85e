//! Units of the host: by systemd where it runs, else by a supervisor that reads the same unit files.

mod file;
mod launch;
mod process;
mod supervisor;
mod systemd;

use serde::{Deserialize, Serialize};

pub use supervisor::Supervisor;
pub use systemd::Systemd;

use super::error::Result;

/// How a unit stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Whether there is a unit of that name.
    pub known: bool,
    /// Whether it starts with the system; none: it can't be told so (systemd: `static` and the like).
    pub enabled: Option<bool>,
    /// Whether it runs.
    pub active: bool,
}

/// What is done with units. Every call comes back when it is done, or after some minutes with an error.
pub trait Units: Send + Sync {
    /// Unit files were changed: they are read anew.
    fn read_again(&self) -> Result<()>;
    /// How a unit stands.
    fn state(&self, unit: &str) -> Result<UnitState>;
    /// Whether it starts with the system.
    fn enable(&self, unit: &str, enabled: bool) -> Result<()>;
    /// Starts it; nothing when it runs.
    fn start(&self, unit: &str) -> Result<()>;
    /// Stops it; nothing when it does not run.
    fn stop(&self, unit: &str) -> Result<()>;
    /// Stops and starts it.
    fn restart(&self, unit: &str) -> Result<()>;
    /// Lets it read its configuration anew; restarts it when it has no such way.
    fn reload(&self, unit: &str) -> Result<()>;
    /// Starts what starts with the system, if nobody else does.
    fn boot(&self) -> Result<()>;
    /// The services that run now; empty where that can't be told.
    fn running(&self) -> Vec<String>;
    /// The last lines that a unit wrote.
    fn last_lines(&self, unit: &str) -> Vec<String>;
}

/// Ends all processes of a unit of the supervisor, for tests that clean up.
#[cfg(test)]
pub(super) fn end_marked(mark: &str) -> Result<()> {
    process::end(mark, None)
}

#[cfg(test)]
mod tests {
    //! The words of unit files.

    use super::file::{expanded, split};

    #[test]
    fn command_lines_are_split_and_filled_in_as_systemd_does() {
        let environment = [("A".to_owned(), "one two".to_owned()), ("B".to_owned(), "${A}".to_owned())];
        for (text, words) in [
            ("/bin/x a  b", vec!["/bin/x", "a", "b"]),
            (r#"/bin/x "a b" 'c "d"' e\ f"#, vec!["/bin/x", "a b", "c \"d\"", "e f"]),
            ("/bin/x $A ${A} x${A}y", vec!["/bin/x", "one", "two", "one two", "xone twoy"]),
            ("/bin/x ${B} $$A ${MISSING} $MISSING", vec!["/bin/x", "${A}", "$A", ""]),
            ("/bin/x ${open", vec!["/bin/x", "${open"]),
            (r#"/bin/x """#, vec!["/bin/x", ""]),
        ] {
            assert_eq!(expanded(&split(text), &environment), words, "{text}");
        }
    }
}
