//! Sends the kernel's warnings to the appliance, which puts them on the node's timeline.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddrV4, UdpSocket};

/// The least urgent level that is sent: warnings (syslog(2)).
const WARNING: u8 = 4;
/// The facility of the kernel is 0; its lines' priority is the level alone (RFC 5424 section 6.2.1).
const LEVELS: u8 = 7;
/// Longest record of `/dev/kmsg`, bytes.
const RECORD: usize = 8 << 10;

/// Starts a thread that sends for as long as the machine runs.
pub fn send(to: SocketAddrV4) {
    let started = std::thread::Builder::new().name("kernel-log".into()).spawn(move || {
        if let Err(error) = forward(to) {
            tracing::warn!(%error, "the kernel's warnings are not sent");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "the kernel's warnings are not sent");
    }
}

fn forward(to: SocketAddrV4) -> std::io::Result<()> {
    let mut log = File::open("/dev/kmsg")?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    let mut record = vec![0; RECORD];
    loop {
        let read = match log.read(&mut record) {
            Ok(read) => read,
            // Overwritten before it was read: the next one follows.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(record.get(..read).unwrap_or_default()).into_owned();
        if let Some((level, line)) = warning(&text) {
            // Lost on the way: syslog is like that.
            let _ = socket.send(format!("<{level}>kernel: {line}").as_bytes());
        }
    }
}

/// Level and text of a record, `PRIORITY,SEQUENCE,TIME,FLAGS;TEXT` (the kernel's `dev-kmsg`), when it is a warning of the
/// kernel itself.
fn warning(record: &str) -> Option<(u8, &str)> {
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let level = u8::try_from(priority).ok().filter(|priority| *priority <= LEVELS)?;
    let line = text.lines().next().filter(|line| !line.is_empty())?;
    (level <= WARNING).then_some((level, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_records_are_sent() {
        for (name, record, sent) in [
            (
                "a warning",
                "4,339,5140900,-;nvme0: I/O timeout\n SUBSYSTEM=pci\n",
                Some((4, "nvme0: I/O timeout")),
            ),
            ("an error", "3,1,2,-;ext4 error", Some((3, "ext4 error"))),
            ("news", "6,1,2,-;random: crng init done", None),
            ("of a program", "12,1,2,-;hello", None),
            ("empty", "4,1,2,-;\n", None),
            ("no record", "hello", None),
            ("no number", "x,1;hello", None),
        ] {
            assert_eq!(warning(record), sent, "{name}");
        }
    }
}
