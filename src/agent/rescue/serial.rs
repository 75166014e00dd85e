//! A shell on the console: a serial line or a screen, started again whenever it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::terminal::{Steal, in_own_session};

/// The least time between two starts.
const PAUSE: Duration = Duration::from_secs(1);
/// The same when the terminal cannot be had.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Starts `shell` on `tty`, in a session of its own and with job control. Not for `/dev/console`, which can be
/// nobody's controlling terminal: name what is behind it, as `/dev/ttyS0` or `/dev/tty1`.
pub fn spawn(tty: &Path, shell: &Path) -> io::Result<Child> {
    let terminal = open(tty)?;
    let mut command = Command::new(shell);
    let name = shell.file_name().unwrap_or_default().to_string_lossy();
    let serial = tty.file_name().is_some_and(|name| name.to_string_lossy().contains("ttyS"));
    command.arg0(format!("-{name}")).env("TERM", if serial { "vt102" } else { "linux" });
    command.stdin(Stdio::from(terminal.try_clone()?)).stdout(Stdio::from(terminal.try_clone()?));
    command.stderr(Stdio::from(terminal));
    in_own_session(&mut command, Some(Steal::Yes));
    command.spawn()
}

/// Keeps a shell on `tty` until `shutdown` turns true or its sender is gone; it is hung up then.
pub async fn keep(tty: &Path, shell: &Path, mut shutdown: watch::Receiver<bool>) {
    loop {
        let pause = match spawn(tty, shell) {
            Ok(mut child) => {
                let ended = tokio::select! {
                    status = child.wait() => Some(status),
                    _ = shutdown.wait_for(|stop| *stop) => None,
                };
                let Some(status) = ended else {
                    return hang_up(child).await;
                };
                tracing::info!(tty = %tty.display(), ?status, "the console's shell ended");
                PAUSE
            }
            Err(error) => {
                tracing::warn!(tty = %tty.display(), %error, "no shell on the console");
                LONG_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

/// Without waiting for a carrier, which a serial line without modem control never shows.
fn open(tty: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY | O_NONBLOCK).open(tty)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    if !nix::unistd::isatty(&file)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a terminal"));
    }
    Ok(file)
}

async fn hang_up(mut child: Child) {
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) {
        for signal in [Signal::SIGHUP, Signal::SIGKILL] {
            let _ = killpg(group, signal);
            if tokio::time::timeout(PAUSE, child.wait()).await.is_ok() {
                return;
            }
        }
    }
}
