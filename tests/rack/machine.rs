//! A virtual server: power button, power cord, reset button and serial console.

use super::accel;
use super::error::{IoContext, RackError, Result};
use super::machine_spec::{Files, Firmware, FirmwareFiles, MachineSpec, ovmf};
use super::netns::Inner;
use super::process::Process;
use super::qmp::Qmp;
use super::serial::{last_lines, readable};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// A virtual server of a rack; its power is cut when it is dropped.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    files: Files,
    tap: Option<String>,
    running: Option<Running>,
    /// When it was last powered on or reset, and how long the serial log was then.
    started: Instant,
    log_start: u64,
    rack: Arc<Inner>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    qmp: Qmp,
}

impl Machine {
    pub(super) fn new(rack: &Arc<Inner>, spec: MachineSpec) -> Result<Machine> {
        let dir = rack.dir.join(format!("machine-{}", spec.name));
        fs::create_dir(&dir).while_doing(|| format!("make {}", dir.display()))?;
        let firmware = match spec.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => {
                let (code, original) = ovmf()?;
                let variables = dir.join("variables.fd");
                fs::copy(original, &variables).while_doing(|| format!("copy {}", original.display()))?;
                Some(FirmwareFiles { code: code.to_owned(), variables })
            }
        };
        let [serial, qmp, stderr] = ["serial.log", "qmp", "qemu.log"].map(|name| dir.join(name));
        File::create(&serial).while_doing(|| format!("make {}", serial.display()))?;
        let files = Files { serial, qmp, stderr, firmware };
        let tap = match &spec.bridge {
            None => None,
            Some(bridge) => {
                let tap = format!("m{}", rack.next_port());
                rack.namespace.ip(&format!("tuntap add dev {tap} mode tap"))?;
                rack.plug(&tap, bridge)?;
                Some(tap)
            }
        };
        let rack = Arc::clone(rack);
        Ok(Machine { spec, files, tap, running: None, started: Instant::now(), log_start: 0, rack })
    }

    /// What it is made of.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// The port of the bridge that its card is plugged into.
    pub fn port(&self) -> Option<&str> {
        self.tap.as_deref()
    }

    /// Changes what it is made of; takes effect at the next power-on. Name, firmware and bridge stay as they were.
    pub fn respec(&mut self, change: impl FnOnce(&mut MachineSpec)) {
        change(&mut self.spec);
    }

    /// Presses the power button of a machine that is off.
    pub fn power_on(&mut self) -> Result<()> {
        if self.is_on()? {
            return Err(self.qemu_error("is running already"));
        }
        let _ = fs::remove_file(&self.files.qmp); // left by a machine that lost power
        let mut command = self.rack.namespace.enter();
        let arguments = self.spec.arguments(&self.files, self.tap.as_deref(), accel::chosen());
        command.arg("qemu-system-x86_64").args(arguments);
        self.mark_start()?;
        let mut process = Process::spawn_logged(command, &self.files.stderr)?;
        let limit = Duration::from_secs(10);
        loop {
            if let Ok(qmp) = Qmp::connect(&self.files.qmp) {
                self.running = Some(Running { process, qmp });
                return Ok(());
            }
            if let Some(status) = process.status()? {
                return Err(self.qemu_error(&format!("ended at once ({status})")));
            }
            if self.started.elapsed() > limit {
                return Err(self.qemu_error("did not open its control socket within 10 s"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Switches off as a BMC does: the guest is not asked; QEMU writes out what it holds.
    pub fn power_off(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            let _ = running.qmp.execute("quit", &json!({})); // may be gone already; the wait below decides
            if running.process.wait(Duration::from_secs(10)).is_err() {
                running.process.kill()?;
            }
        }
        Ok(())
    }

    /// Cuts the power: SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.process.kill()?;
        }
        Ok(())
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.mark_start()?;
        self.qmp("system_reset", &json!({}))
    }

    /// Presses the power button of a machine that is on: the guest is asked to shut down (ACPI).
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp("system_powerdown", &json!({}))
    }

    /// Pulls the network cable, or puts it back.
    pub fn set_link(&mut self, up: bool) -> Result<()> {
        self.qmp("set_link", &json!({ "name": "net0", "up": up }))
    }

    /// Whether it has power. One that switched itself off has not.
    pub fn is_on(&mut self) -> Result<bool> {
        match &mut self.running {
            None => Ok(false),
            Some(running) => Ok(running.process.status()?.is_none()),
        }
    }

    /// Process id of QEMU.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.pid())
    }

    /// Waits until it switches itself off.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Some(running) = &mut self.running else {
            return Err(self.qemu_error("was not running"));
        };
        let status = running.process.wait(limit)?;
        self.running = None;
        Ok(status)
    }

    /// Waits for a text on the serial console, since the last power-on or reset. Returns the time from there to when
    /// the text was seen (to 20 ms).
    pub fn wait_serial(&mut self, text: &str, limit: Duration) -> Result<Duration> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = !self.is_on()?; // asked first, so that the log is complete if it has
            let log = self.serial_text()?;
            if log.contains(text) {
                return Ok(self.started.elapsed());
            }
            if ended {
                let last = last_lines(&log, 20);
                return Err(self.qemu_error(&format!("ended before {text:?} was on the console:\n{last}\n")));
            }
            if Instant::now() >= deadline {
                let what = format!("machine {}: {text:?} on the console", self.spec.name);
                let context = format!("its last lines:\n{}", last_lines(&log, 30));
                return Err(RackError::Timeout { what, limit, context });
            }
            std::thread::sleep(POLL);
        }
    }

    /// What the serial console showed since the last power-on or reset, without terminal control.
    pub fn serial_text(&self) -> Result<String> {
        let path = &self.files.serial;
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut bytes)
        });
        read.while_doing(|| format!("read {}", path.display()))?;
        Ok(readable(&bytes))
    }

    /// The whole serial log as it was sent, all power-ons.
    pub fn serial_log(&self) -> &std::path::Path {
        &self.files.serial
    }

    /// Time since the last power-on or reset.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn qmp(&mut self, command: &str, arguments: &serde_json::Value) -> Result<()> {
        match &mut self.running {
            Some(running) => running.qmp.execute(command, arguments).map(drop),
            None => Err(self.qemu_error("is not running")),
        }
    }

    fn mark_start(&mut self) -> Result<()> {
        let log = fs::metadata(&self.files.serial).while_doing(|| "measure the serial log".into())?;
        self.log_start = log.len();
        self.started = Instant::now();
        Ok(())
    }

    fn qemu_error(&self, event: &str) -> RackError {
        let stderr = fs::read_to_string(&self.files.stderr).unwrap_or_default();
        RackError::Qemu {
            machine: self.spec.name.clone(),
            event: event.to_owned(),
            stderr: last_lines(&stderr, 5),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.running = None;
        if let Some(tap) = &self.tap {
            let _ = self.rack.namespace.ip(&format!("link del {tap}")); // goes with the rack anyway
        }
    }
}
