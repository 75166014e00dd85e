//! Programs of the host: each in a process group of its own, with a time limit and bounded output.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::error::{Error, Result};

/// Longest line that is read; the rest of it is dropped.
const LINE: u64 = 64 << 10;
/// Lines kept of one program, and bytes of them.
const KEPT: (usize, usize) = (2000, 1 << 20);
/// Lines of a failed program that are told.
pub(super) const TOLD: usize = 5;
/// How long the output of a program that ended is still read, when something it left behind holds it open.
const TRAILING: Duration = Duration::from_millis(300);
/// How often it is looked whether the program ended.
const LOOK: Duration = Duration::from_millis(20);

/// Where programs run: on this host, or in the tree of another.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    enter: bool,
}

impl Place {
    /// Programs run with `root` as their root.
    pub fn within(root: &Path) -> Self {
        Self { root: root.to_owned(), enter: root != Path::new("/") }
    }

    /// Programs run outside of `root` and find it in `FIRSTLIGHT_ROOT`; for trees without programs of their own.
    pub fn outside(root: &Path) -> Self {
        Self { root: root.to_owned(), enter: false }
    }

    /// A command ready to be run here, as `user` (numbers) where one is given; without an environment but `PATH`, `HOME` and `LANG`.
    pub(super) fn command(&self, argv: &[String], user: Option<(u32, u32)>) -> Result<Command> {
        let (program, arguments) =
            argv.split_first().ok_or_else(|| Error::Plain("an empty command line; name a program".into()))?;
        let mut command = if self.enter {
            let mut command = Command::new("chroot");
            if let Some((uid, gid)) = user {
                command.arg(format!("--userspec={uid}:{gid}"));
            }
            command.arg(&self.root).arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        command.args(arguments).current_dir("/").env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").env("LANG", "C.UTF-8").env("FIRSTLIGHT_ROOT", &self.root);
        command.process_group(0).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `argv` to its end, at most `limit`; each line it writes is told as it comes. Fails when it fails.
    pub(super) fn run(
        &self,
        what: &str,
        argv: &[String],
        limit: Duration,
        told: &mut dyn FnMut(&str),
    ) -> Result<Vec<String>> {
        let done = self.end(argv, &[], limit, told)?;
        done.good(what)
    }

    /// As [`Self::run`], but how it ended is for the caller to judge; with `environment` added.
    pub(super) fn end(
        &self,
        argv: &[String],
        environment: &[(&str, &str)],
        limit: Duration,
        told: &mut dyn FnMut(&str),
    ) -> Result<Done> {
        let mut command = self.command(argv, None)?;
        command.envs(environment.iter().copied());
        finish(command, limit, told)
    }
}

/// An argv from texts.
pub(super) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// How a program ended, and the lines it wrote.
#[derive(Debug)]
pub(super) struct Done {
    /// None: it took too long and was ended.
    pub(super) status: Option<ExitStatus>,
    /// What it wrote to either output, bounded.
    pub(super) lines: Vec<String>,
    limit: Duration,
}

impl Done {
    pub(super) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Its lines if it went well.
    pub(super) fn good(self, what: &str) -> Result<Vec<String>> {
        if self.success() {
            return Ok(self.lines);
        }
        let how = match self.status {
            None => format!("was stopped because it took longer than {} s", self.limit.as_secs_f32()),
            Some(status) => match status.code() {
                Some(code) => format!("ended with {code}"),
                None => format!("was ended from outside ({status})"),
            },
        };
        let from = self.lines.len().saturating_sub(TOLD);
        let output = self.lines.into_iter().skip(from).collect();
        Err(Error::Failed { what: what.to_owned(), how, output })
    }
}

/// Runs a command made by [`Place::command`].
pub(super) fn finish(mut command: Command, limit: Duration, told: &mut dyn FnMut(&str)) -> Result<Done> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |source| Error::Run { program: program.clone(), source };
    let (output, input) = std::io::pipe().map_err(cannot)?;
    command.stdout(input.try_clone().map_err(cannot)?).stderr(input);
    let mut child = command.spawn().map_err(cannot)?;
    drop(command); // holds the pipe's other end
    let lines = reader(output);
    let started = Instant::now();
    let (mut kept, mut bytes) = (VecDeque::new(), 0);
    let mut keep = |line: String| {
        told(&line);
        bytes += line.len();
        kept.push_back(line);
        while kept.len() > KEPT.0 || bytes > KEPT.1 {
            bytes -= kept.pop_front().map_or(bytes, |first| first.len());
        }
    };
    let mut open = true;
    let status = loop {
        if open {
            match lines.recv_timeout(LOOK) {
                Ok(line) => keep(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        } else {
            std::thread::sleep(LOOK);
        }
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break Some(status);
        }
        if started.elapsed() >= limit {
            end_group(&mut child);
            break None;
        }
    };
    let until = Instant::now() + TRAILING;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        keep(line);
    }
    Ok(Done { status, lines: kept.into(), limit })
}

/// Ends a child and all it started.
fn end_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _gone = child.kill();
    let _gone = child.wait();
}

/// Reads lines on a thread of its own: whatever keeps the pipe open can't hold the caller.
fn reader(output: PipeReader) -> Receiver<String> {
    let (send, receive) = sync_channel(256);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = output.by_ref().take(LINE).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                return;
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == LINE && output.skip_until(b'\n').is_err() {
                return;
            }
            let text = String::from_utf8_lossy(&line);
            let text: String = text.trim_end().chars().filter(|c| *c == '\t' || !c.is_control()).collect();
            // Nobody listens any more: still read, or the program would fail at writing.
            let _nobody = send.send(text);
        }
    });
    receive
}
