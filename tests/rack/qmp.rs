//! QEMU's machine protocol: one JSON object a line over a Unix socket.

use super::error::{IoContext, RackError, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long QEMU may take to answer; it answers within milliseconds unless the computer is overloaded.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and leaves the negotiation mode.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream =
            UnixStream::connect(socket).while_doing(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER)).while_doing(|| "set a time limit on QMP".into())?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        qmp.read("greeting")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command; what it returned.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        let sent = self.stream.get_mut().write_all(format!("{request}\n").as_bytes());
        sent.while_doing(|| format!("send the QMP command {command}"))?;
        loop {
            let mut answer = self.read(command)?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if answer.get("event").is_none() {
                return Err(RackError::Qmp { command: command.into(), answer: answer.to_string() });
            }
        }
    }

    fn read(&mut self, command: &str) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).while_doing(|| format!("read the answer to QMP {command}"))?;
        serde_json::from_str(&line).map_err(|_| RackError::Qmp { command: command.into(), answer: line })
    }
}
