//! How the supervisor starts a service: its folders, its environment, its commands.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use super::super::error::{Error, Result};
use super::super::fault::step;
use super::super::names;
use super::super::root::New;
use super::file::{self, Line, Service, Type};
use super::process;
use super::supervisor::{Record, Shared};

/// Longest of a command before, after, or of a oneshot.
const COMMAND: Duration = Duration::from_secs(90);
/// A service that ends within this time did not start.
const SETTLED: Duration = Duration::from_millis(150);

impl Shared {
    pub(super) fn service(&self, unit: &str) -> Result<Service> {
        let service = file::read(&self.root, unit)?;
        service.ok_or_else(|| {
            Error::Plain(format!("there is no unit {unit} on this host; bring its file or its package"))
        })
    }

    /// Starts it and keeps where it is; `children` is held all along, so that nobody else starts it too.
    pub(super) fn launch(
        &self,
        unit: &str,
        service: &Service,
        children: &mut BTreeMap<String, Child>,
    ) -> Result<()> {
        let mut record = self.record(unit);
        (record.wanted, record.pid, record.started, record.remains) = (true, None, None, false);
        self.keep(unit, &record)?;
        let environment = self.environment(service)?;
        let user = match &service.user {
            None => None,
            Some(user) => {
                let group = service.group.as_deref().unwrap_or(user);
                Some(names::numbers(&self.root, &self.place, unit, user, group)?)
            }
        };
        self.folders(service, user)?;
        for line in &service.before {
            self.through(unit, service, line, &environment, user)?;
        }
        match service.kind {
            Type::Oneshot => {
                for line in &service.start {
                    self.through(unit, service, line, &environment, user)?;
                }
                record.wanted = service.remain;
                record.remains = service.remain;
            }
            Type::Forking => {
                for line in &service.start {
                    self.through(unit, service, line, &environment, user)?;
                }
                if let Some(path) = service.pid_file.as_deref() {
                    let text = self.root.read(path, 64)?;
                    let pid = text.and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok());
                    let pid = pid.ok_or_else(|| self.died(unit, "left no process id in its PIDFile="))?;
                    (record.pid, record.started) = (Some(pid), process::started(pid));
                } else {
                    // Nobody tells which of its processes counts: it is active until it is stopped, and its health checks tell
                    // whether it works.
                    record.remains = true;
                }
            }
            Type::Simple => {
                let line = service.start.last().ok_or_else(|| self.died(unit, "has no ExecStart="))?;
                let mut child = self.spawn(unit, service, line, &environment, user)?;
                let pid =
                    i32::try_from(child.id()).map_err(|_| self.died(unit, "has an impossible process id"))?;
                (record.pid, record.started) = (Some(pid), process::started(pid));
                let until = Instant::now() + SETTLED;
                while Instant::now() < until {
                    if let Ok(Some(status)) = child.try_wait() {
                        return Err(self.died(unit, &format!("ended at once ({status})")));
                    }
                    std::thread::sleep(Duration::from_millis(15));
                }
                children.insert(unit.to_owned(), child);
            }
        }
        self.keep(unit, &record)?;
        step();
        for line in &service.after {
            self.through(unit, service, line, &environment, user)?;
        }
        Ok(())
    }

    fn died(&self, unit: &str, how: &str) -> Error {
        let output = process::tail(&self.path(unit, "log"));
        Error::Failed { what: format!("start of {unit}"), how: format!("it {how}"), output }
    }

    fn environment(&self, service: &Service) -> Result<Vec<(String, String)>> {
        let mut all = service.environment.clone();
        for (path, optional) in &service.environment_files {
            match self.root.read(path, 1 << 20)? {
                Some(text) => all.extend(String::from_utf8_lossy(&text).lines().filter_map(|line| {
                    let (name, value) =
                        line.trim().split_once('=').filter(|(name, _)| !name.starts_with(['#', ';']))?;
                    Some((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
                })),
                None if *optional => {}
                None => {
                    return Err(Error::place(
                        path.clone(),
                        "it is named in EnvironmentFile= and is not there",
                    ));
                }
            }
        }
        Ok(all)
    }

    fn folders(&self, service: &Service, user: Option<(u32, u32)>) -> Result<()> {
        let (uid, gid) = user.unwrap_or_default();
        for folder in &service.folders {
            // The tree's own care for links, by way of a file in the folder.
            if self.root.look(folder)?.is_none() {
                let probe = format!("{folder}/.firstlight");
                self.root.put(&probe, New::File(b"", 0o600), 0, 0)?;
                self.root.remove(&probe)?;
                self.root.own_folder(folder, uid, gid)?;
            }
        }
        Ok(())
    }

    fn spawn(
        &self,
        unit: &str,
        service: &Service,
        line: &Line,
        environment: &[(String, String)],
        user: Option<(u32, u32)>,
    ) -> Result<Child> {
        let mut argv = file::expanded(&line.argv, environment);
        if let Some(folder) = &service.folder {
            argv.splice(0..0, ["env".to_owned(), "-C".to_owned(), folder.clone()]);
        }
        let mut command = self.place.command(&argv, user)?;
        command
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env(process::MARK, self.mark(unit));
        process::logged(&mut command, &self.path(unit, "log"))?;
        step();
        let child = command.spawn().map_err(|source| Error::Run { program: argv.join(" "), source })?;
        step();
        Ok(child)
    }

    /// Runs a line to its end.
    pub(super) fn through(
        &self,
        unit: &str,
        service: &Service,
        line: &Line,
        environment: &[(String, String)],
        user: Option<(u32, u32)>,
    ) -> Result<()> {
        let mut child = self.spawn(unit, service, line, environment, user)?;
        let done = process::wait(&mut child, COMMAND);
        if done == Some(true) || line.may_fail {
            return Ok(());
        }
        let how = if done.is_none() { "took longer than 90 s" } else { "failed" };
        Err(self.died(unit, &format!("{how} in `{}`", line.argv.join(" "))))
    }

    pub(super) fn with_main(&self, service: &Service, record: &Record) -> Vec<(String, String)> {
        let mut environment = self.environment(service).unwrap_or_default();
        environment.push(("MAINPID".into(), record.pid.map(|pid| pid.to_string()).unwrap_or_default()));
        environment
    }
}
