//! What a person in front of the machine sees: every console of the kernel gets each line.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An unchanged line is said again after this long, for whoever has only just come.
const AGAIN: Duration = Duration::from_secs(60);

/// The consoles, and what they show.
pub struct Console {
    devices: Vec<PathBuf>,
    said: Mutex<Option<(String, Instant)>>,
}

impl Console {
    /// The kernel's consoles (proc(5), `/proc/consoles`).
    pub fn open() -> Self {
        let consoles = std::fs::read_to_string("/proc/consoles").unwrap_or_default();
        let names = consoles.lines().filter_map(|line| line.split_ascii_whitespace().next());
        let mut devices: Vec<PathBuf> = names.map(|name| PathBuf::from("/dev").join(name)).collect();
        if devices.is_empty() {
            devices.push("/dev/console".into());
        }
        Self { devices, said: Mutex::new(None) }
    }

    /// The consoles' devices.
    pub fn devices(&self) -> &[PathBuf] {
        &self.devices
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        for device in &self.devices {
            // A console that is not there is nobody's loss: the others tell the same.
            if let Ok(mut file) = OpenOptions::new().write(true).open(device) {
                let _ = file.write_all(format!("firstlight: {line}\r\n").as_bytes());
            }
        }
    }

    /// Says a line unless it is what was said last, not long ago.
    pub fn show(&self, line: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref().is_some_and(|(last, at)| last == line && at.elapsed() < AGAIN) {
            return;
        }
        *said = Some((line.to_owned(), Instant::now()));
        drop(said);
        self.say(line);
    }
}
