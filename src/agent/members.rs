//! What a host tells of its cluster beside itself: whom its serf sees, and what became of the dead whom it was to take off
//! the lists of members.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::appliance::{Evicted, Eviction};
use crate::cluster::serf::{Line, parse};

/// Where serf's program is.
const SERF: [&str; 2] = ["/usr/bin/serf", "/usr/local/bin/serf"];
/// What the serf bundle leaves to tell where serf answers: a line `RPC='127.0.0.1:7373'`.
const SERF_SETTINGS: &str = "/etc/default/firstlight-serf";
/// Between two looks at serf's list: it may tell of a failure long before a heartbeat is missed.
const LOOK: Duration = Duration::from_secs(5);
/// How long serf may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// A list that did not change is told again after so long.
const AGAIN: Duration = Duration::from_secs(50);
/// Where bundles put their programs, those named `…-evict` among them.
const PROGRAMS: &str = "/usr/lib/firstlight";
/// How long one of them may take.
const EVICTION: Duration = Duration::from_secs(60);
/// A dead member that could not be taken off is tried again after so long.
const RETRY: Duration = Duration::from_secs(30);

/// The cluster, as this host sees it.
pub struct Members {
    serf: watch::Receiver<Option<Vec<Line>>>,
    /// When the list was told last.
    told: Option<Instant>,
    evicting: Option<JoinHandle<Vec<Evicted>>>,
    /// When each was tried last.
    tried: HashMap<String, Instant>,
}

impl Members {
    /// Begins to look at serf, now and whenever it is there.
    pub fn watch() -> Self {
        let (sender, serf) = watch::channel(None);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let seen = look().await;
                sender.send_if_modified(|last| {
                    let modified = seen.is_some() && *last != seen;
                    *last = seen;
                    modified
                });
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { serf, told: None, evicting: None, tried: HashMap::new() }
    }

    /// Ends when serf's list becomes another.
    pub async fn changed(&mut self) {
        if self.serf.changed().await.is_err() {
            // Nobody looks any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whom serf sees, when that is news, or was told long ago.
    pub fn serf(&mut self) -> Option<Vec<Line>> {
        let changed = self.serf.has_changed().unwrap_or(false);
        let due = self.told.is_none_or(|told| told.elapsed() >= AGAIN);
        let seen = self.serf.borrow_and_update().clone()?;
        (changed || due).then(|| {
            self.told = Some(Instant::now());
            seen
        })
    }

    /// What became of those who were to be taken off the lists.
    pub async fn evicted(&mut self) -> Vec<Evicted> {
        match self.evicting.take_if(|evicting| evicting.is_finished()) {
            Some(done) => done.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Takes dead members off the lists of what runs here, beside everything else.
    pub fn evict(&mut self, gone: Vec<Eviction>) {
        if self.evicting.is_some() {
            return;
        }
        self.tried.retain(|_, tried| tried.elapsed() < RETRY);
        let due: Vec<Eviction> = gone.into_iter().filter(|one| !self.tried.contains_key(&one.name)).collect();
        if due.is_empty() {
            return;
        }
        self.tried.extend(due.iter().map(|one| (one.name.clone(), Instant::now())));
        self.evicting = Some(tokio::spawn(async move {
            let mut done = Vec::new();
            for one in due {
                let error = take_off(Path::new(PROGRAMS), &one).await.err().unwrap_or_default();
                tracing::info!(member = one.name, error, "takes a dead member off the lists");
                done.push(Evicted { name: one.name, error });
            }
            done
        }));
    }
}

/// Serf's list; none where no serf answers.
async fn look() -> Option<Vec<Line>> {
    let program = SERF.into_iter().find(|path| Path::new(path).exists())?;
    let mut serf = Command::new(program);
    serf.args(["members", "-format=json"]);
    if let Some(place) = tokio::fs::read_to_string(SERF_SETTINGS).await.ok().as_deref().and_then(rpc) {
        serf.arg(format!("-rpc-addr={place}"));
    }
    let output = end(serf, ANSWER).await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    match parse(&text) {
        Ok(lines) => Some(lines),
        Err(error) => {
            tracing::warn!(%error, "serf's list");
            None
        }
    }
}

/// Where serf answers, from the settings of its bundle.
fn rpc(settings: &str) -> Option<String> {
    let value = settings.lines().find_map(|line| line.trim().strip_prefix("RPC="))?;
    Some(value.trim_matches(['\'', '"']).to_owned())
}

/// Runs each program that takes a dead member off a list. A host without any has no list that it could be on.
async fn take_off(folder: &Path, gone: &Eviction) -> Result<(), String> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| format!("{}: {error}", folder.display()))?,
    };
    let mut programs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with("-evict")))
        .collect();
    programs.sort();
    for program in programs {
        let mut command = Command::new(&program);
        command.args([&gone.name, &gone.address]);
        end(command, EVICTION).await.map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok(())
}

/// Runs a program to its end; an error says what it wrote.
async fn end(mut command: Command, limit: Duration) -> Result<Output, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(output),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("{}: {last}", output.status))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("took more than {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_dead_are_taken_off_by_every_program_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = Eviction { name: "n2".into(), address: "10.0.0.2".into() };
        let nowhere = folder.path().join("none");
        assert_eq!(take_off(&nowhere, &gone).await, Ok(()), "nothing here keeps a list");
        let program = |name: &str, script: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        };
        program("a-evict", &format!("echo \"$@\" > {}/told", folder.path().display()));
        program("a-leave", "exit 1");
        assert_eq!(take_off(folder.path(), &gone).await, Ok(()));
        let told = std::fs::read_to_string(folder.path().join("told")).expect("it ran");
        assert_eq!(told, "n2 10.0.0.2\n");
        program("b-evict", "echo n2 is alive >&2; exit 1");
        let refused = take_off(folder.path(), &gone).await.expect_err("it is alive");
        assert!(refused.contains("b-evict") && refused.contains("n2 is alive"), "{refused}");
    }

    #[test]
    fn where_serf_answers_is_read_from_its_settings() {
        for (settings, place) in [
            ("NAME='n1'\nRPC='127.0.0.1:7373'\n", Some("127.0.0.1:7373")),
            ("RPC=[::1]:1", Some("[::1]:1")),
            ("NAME=x", None),
        ] {
            assert_eq!(super::rpc(settings).as_deref(), place);
        }
    }
}
