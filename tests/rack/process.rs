//! Child processes that cannot outlive the test.
//!
//! Three nets: [`Process`] ends its child when dropped; children ask the kernel for SIGKILL when their parent dies
//! (`setpriv --pdeathsig`); whatever is still in a namespace is killed when the namespace is removed, by the rack or,
//! if this program was killed, by its guardian.
//!
//! The kernel takes "parent" to mean the *thread* that forked. Therefore [`Process::spawn`] forks every child from one
//! thread that lives as long as the test program. A command that a test spawns by itself dies with the test's thread.

use super::error::{IoContext, RackError, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// A running (or ended) child; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` with no input and with output and errors appended to `log`.
    pub fn spawn_logged(mut command: Command, log: &Path) -> Result<Process> {
        let open = || File::options().create(true).append(true).open(log);
        let file = open().while_doing(|| format!("open the log {}", log.display()))?;
        let errors = file.try_clone().while_doing(|| format!("open the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        Process::spawn(command)
    }

    /// Starts `command` as it is.
    pub fn spawn(command: Command) -> Result<Process> {
        let name = shown(&command);
        let child = fork_from_lasting_thread(command).while_doing(|| format!("start `{name}`"))?;
        Ok(Process { child, name })
    }

    /// Process id. The namespace wrappers replace themselves, so this is the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().while_doing(|| format!("wait for `{}`", self.name))
    }

    /// Waits for the end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let what = format!("the end of `{}`", self.name);
                return Err(RackError::Timeout { what, limit, context: "it still runs".into() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal to a child that has not ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.status()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid()).map(Pid::from_raw).map_err(|_| RackError::Invalid {
            what: "process id",
            value: self.pid().to_string(),
            why: "outside the range of the system",
        })?;
        kill(pid, signal).map_err(io::Error::from).while_doing(|| format!("signal `{}`", self.name))
    }

    /// SIGTERM, then SIGKILL to one that has not ended after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        match self.wait(grace) {
            Err(RackError::Timeout { .. }) => self.kill(),
            other => other,
        }
    }

    /// SIGKILL, and reaps.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // an error leaves it to the other two nets
    }
}

/// Runs a short helper program to its end; its standard output.
pub fn run(mut command: Command) -> Result<String> {
    let name = shown(&command);
    let output = command.stdin(Stdio::null()).output().while_doing(|| format!("start `{name}`"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RackError::Command { command: name, status: output.status, stderr })
}

/// [`run`] for a program and words: `run_words("ip", "netns add fl-1-x")`.
pub fn run_words(program: &str, words: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    run(command)
}

/// The command as a person would type it, for messages.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

type Answer = io::Result<Child>;

/// Forks from one thread that lives as long as this program; see the top of this file.
pub(super) fn fork_from_lasting_thread(command: Command) -> Answer {
    static FORKER: OnceLock<Sender<(Command, Sender<Answer>)>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (requests, queue) = channel::<(Command, Sender<Answer>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn()); // the asker waits, so someone receives it
            }
        });
        requests
    });
    let gone = || io::Error::other("the thread that forks has ended");
    let (answer, child) = channel();
    forker.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}
