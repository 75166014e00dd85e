//! systemd, by `systemctl`.

use std::path::Path;
use std::time::Duration;

use super::super::error::{Error, Result};
use super::super::fault::step;
use super::super::process::{Place, TOLD, argv};
use super::{UnitState, Units};

/// Longest that a job of systemd is waited for; its own limit for starting is 90 s.
const JOB: Duration = Duration::from_secs(5 * 60);
/// Longest that a question is waited for.
const ANSWER: Duration = Duration::from_secs(20);

/// When it is looked whether what was started still runs.
const SETTLED: Duration = Duration::from_millis(250);

/// systemd of this host.
#[derive(Debug)]
pub struct Systemd {
    place: Place,
}

impl Systemd {
    /// Programs are found in `place`.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    /// Whether systemd runs this host (`sd_booted(3)`).
    pub fn runs() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    fn act(&self, verb: &str, unit: &str) -> Result<()> {
        step();
        let done = self.place.run(
            &format!("systemctl {verb} {unit}"),
            &argv(&["systemctl", verb, "--", unit]),
            JOB,
            &mut |_| (),
        );
        step();
        if matches!(verb, "stop" | "disable") {
            return done.map(drop);
        }
        match done {
            Err(Error::Failed { what, how, .. }) => {
                Err(Error::Failed { what, how, output: self.last_lines(unit) })
            }
            // Type=simple counts as started before its program is: one that ends at once is seen only a moment later.
            Ok(_) if verb != "enable" => {
                std::thread::sleep(SETTLED);
                let now = self.values(unit, "ActiveState,SubState")?;
                if now
                    .iter()
                    .any(|line| line == "ActiveState=failed" || line.starts_with("SubState=auto-restart"))
                {
                    let (what, how) = (format!("systemctl {verb} {unit}"), "it ended at once".into());
                    return Err(Error::Failed { what, how, output: self.last_lines(unit) });
                }
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn values(&self, unit: &str, names: &str) -> Result<Vec<String>> {
        let command = argv(&["systemctl", "show", &format!("--property={names}"), "--", unit]);
        self.place.run(&format!("systemctl show {unit}"), &command, ANSWER, &mut |_| ())
    }
}

impl Units for Systemd {
    fn read_again(&self) -> Result<()> {
        let command = argv(&["systemctl", "daemon-reload"]);
        self.place.run("systemctl daemon-reload", &command, JOB, &mut |_| ()).map(drop)
    }

    fn state(&self, unit: &str) -> Result<UnitState> {
        let lines = self.values(unit, "LoadState,ActiveState,SubState,UnitFileState")?;
        let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let enabled = match value("UnitFileState=") {
            "enabled" | "enabled-runtime" => Some(true),
            "disabled" => Some(false),
            _ => None,
        };
        // `auto-restart`: it failed, and systemd is about to try again.
        let active = matches!(value("ActiveState="), "active" | "reloading" | "activating" | "refreshing")
            && !value("SubState=").starts_with("auto-restart");
        Ok(UnitState { known: value("LoadState=") == "loaded", enabled, active })
    }

    fn enable(&self, unit: &str, enabled: bool) -> Result<()> {
        let now = self.state(unit)?;
        if now.known && now.enabled.is_none_or(|now| now == enabled) {
            return Ok(());
        }
        self.act(if enabled { "enable" } else { "disable" }, unit)
    }

    fn start(&self, unit: &str) -> Result<()> {
        self.act("start", unit)
    }

    fn stop(&self, unit: &str) -> Result<()> {
        if !self.state(unit)?.known {
            return Ok(());
        }
        self.act("stop", unit)
    }

    fn restart(&self, unit: &str) -> Result<()> {
        // A unit that failed too often would be refused ("start request repeated too quickly").
        let forgotten = argv(&["systemctl", "reset-failed", "--", unit]);
        let _not_failed = self.place.end(&forgotten, &[], ANSWER, &mut |_| ());
        self.act("restart", unit)
    }

    fn reload(&self, unit: &str) -> Result<()> {
        self.act("reload-or-restart", unit)
    }

    fn boot(&self) -> Result<()> {
        Ok(())
    }

    fn running(&self) -> Vec<String> {
        let command = argv(&[
            "systemctl",
            "list-units",
            "--type=service,socket,timer,path",
            "--state=active",
            "--plain",
            "--no-legend",
            "--no-pager",
        ]);
        let done = self.place.end(&command, &[], ANSWER, &mut |_| ());
        let lines = done.map(|done| done.lines).unwrap_or_default();
        lines.iter().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    }

    fn last_lines(&self, unit: &str) -> Vec<String> {
        let count = TOLD.to_string();
        let mut command = argv(&["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines", &count]);
        // Only of its last start: what it wrote, and what systemd says of it.
        let start = self.values(unit, "InvocationID").unwrap_or_default();
        match start.iter().find_map(|line| line.strip_prefix("InvocationID=")).filter(|id| !id.is_empty()) {
            Some(id) => command.extend([
                format!("_SYSTEMD_INVOCATION_ID={id}"),
                "+".into(),
                format!("INVOCATION_ID={id}"),
            ]),
            None => command.extend(argv(&["--unit", unit])),
        }
        let done = self.place.end(&command, &[], ANSWER, &mut |_| ());
        done.map(|done| done.lines).unwrap_or_default()
    }
}
