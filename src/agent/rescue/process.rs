//! A shell or a command, and the pumps between it and the client.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::Handle;
use russh::{ChannelId, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use super::terminal::{Master, Size, Steal, in_own_session};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a process may take to end after it was hung up.
const HANG_UP: Duration = Duration::from_secs(2);
/// Bytes sent to the client at once.
const CHUNK: usize = 32 << 10;
/// End of input on a terminal: control-D.
const END_OF_INPUT: &[u8] = b"\x04";

/// What a client asks for before something runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// `TERM` and the window.
    pub(super) terminal: Option<(String, Size)>,
    /// More environment.
    pub(super) variables: Vec<(String, String)>,
}

/// Something that runs; hung up when dropped.
pub(super) struct Process {
    group: Pid,
    terminal: Option<Arc<Master>>,
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    _hang_up: oneshot::Sender<()>,
}

/// The two ways to talk to a process.
enum Streams {
    Terminal(Arc<Master>),
    Pipes(ChildStdin, ChildStdout, ChildStderr),
}

impl Process {
    /// Starts `shell`, as at a login, or with `-c command`. `waiting` counts the bytes of input that it has not
    /// taken yet.
    pub(super) fn start(
        shell: &Path,
        request: &Request,
        command: Option<&[u8]>,
        peer: SocketAddr,
        client: (ChannelId, Handle),
        waiting: Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        let mut run = Command::new(shell);
        environment(&mut run, shell, request, peer);
        if let Some(command) = command {
            run.arg("-c").arg(OsStr::from_bytes(command));
        } else {
            let name = shell.file_name().unwrap_or_default().to_string_lossy();
            run.arg0(format!("-{name}"));
        }
        let (mut child, streams, terminal) = if let Some((_, size)) = request.terminal {
            let (master, slave) = Master::open(size)?;
            run.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?));
            run.stderr(Stdio::from(slave));
            in_own_session(&mut run, Some(Steal::No));
            let (child, master) = (run.spawn()?, Arc::new(master));
            (child, Streams::Terminal(Arc::clone(&master)), Some(master))
        } else {
            run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            in_own_session(&mut run, None);
            let mut child = run.spawn()?;
            let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            (child, Streams::Pipes(stdin, stdout, stderr), None)
        };
        // Our copies of the terminal's other end go with `run`; while they are open it never ends.
        drop(run);
        let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (input, typed) = mpsc::unbounded_channel();
        let (hang_up, dropped) = oneshot::channel();
        let taken = Arc::clone(&waiting);
        tokio::spawn(async move {
            let (id, handle) = client;
            let status = tokio::select! {
                status = attend(&mut child, streams, typed, taken, id, &handle) => status,
                _ = dropped => {
                    end(&mut child, group).await;
                    return;
                }
            };
            tell_end(status, id, &handle).await;
        });
        Ok(Self { group, terminal, input: Some(input), waiting, _hang_up: hang_up })
    }

    /// Input for it.
    pub(super) fn input(&self, data: &[u8]) {
        if let Some(input) = &self.input {
            self.waiting.fetch_add(data.len(), Ordering::Relaxed);
            if input.send(data.to_vec()).is_err() {
                self.waiting.fetch_sub(data.len(), Ordering::Relaxed);
            }
        }
    }

    /// There is no more input.
    pub(super) fn end_input(&mut self) {
        if let (Some(input), true) = (&self.input, self.terminal.is_some()) {
            self.waiting.fetch_add(END_OF_INPUT.len(), Ordering::Relaxed);
            let _ = input.send(END_OF_INPUT.to_vec());
        }
        self.input = None;
    }

    /// The client's window changed.
    pub(super) fn resize(&self, size: Size) {
        if let Some(Err(error)) = self.terminal.as_ref().map(|terminal| terminal.resize(size)) {
            tracing::debug!(%error, "window size");
        }
    }

    /// A signal from the client, for all of its processes.
    pub(super) fn signal(&self, signal: &Sig) {
        let signal = match signal {
            Sig::HUP => Signal::SIGHUP,
            Sig::INT => Signal::SIGINT,
            Sig::KILL => Signal::SIGKILL,
            Sig::QUIT => Signal::SIGQUIT,
            Sig::TERM => Signal::SIGTERM,
            _ => return,
        };
        let _ = killpg(self.group, signal);
    }
}

fn environment(run: &mut Command, shell: &Path, request: &Request, peer: SocketAddr) {
    let home = if Path::new("/root").is_dir() { "/root" } else { "/" };
    run.env_clear().current_dir(home);
    run.env("PATH", PATH).env("HOME", home).env("USER", "root").env("LOGNAME", "root").env("SHELL", shell);
    run.env("SSH_CLIENT", format!("{} {}", peer.ip(), peer.port()));
    for (name, value) in &request.variables {
        run.env(name, value);
    }
    if let Some((term, _)) = &request.terminal {
        run.env("TERM", term);
    }
}

/// Pumps until all output is sent, and waits for the end.
async fn attend(
    child: &mut Child,
    streams: Streams,
    mut typed: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    id: ChannelId,
    handle: &Handle,
) -> io::Result<ExitStatus> {
    match streams {
        Streams::Terminal(master) => {
            let keyboard = async {
                while let Some(data) = typed.recv().await {
                    let written = master.write_all(&data).await;
                    waiting.fetch_sub(data.len(), Ordering::Relaxed);
                    if written.is_err() {
                        break;
                    }
                }
                drain(typed, &waiting).await;
            };
            let screen = async {
                let mut buffer = vec![0; CHUNK];
                while let Ok(length @ 1..) = master.read(&mut buffer).await {
                    let data = buffer.get(..length).unwrap_or_default().to_vec();
                    if handle.data(id, data).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = screen => {}
                never = async { keyboard.await; std::future::pending::<()>().await } => never,
            }
        }
        Streams::Pipes(mut stdin, stdout, stderr) => {
            let input = async {
                while let Some(data) = typed.recv().await {
                    let written = stdin.write_all(&data).await;
                    waiting.fetch_sub(data.len(), Ordering::Relaxed);
                    if written.is_err() {
                        break;
                    }
                }
                drop(stdin);
                drain(typed, &waiting).await;
            };
            let output =
                async { tokio::join!(pump(stdout, id, handle, None), pump(stderr, id, handle, Some(1))) };
            tokio::select! {
                _ = output => {}
                never = async { input.await; std::future::pending::<()>().await } => never,
            }
        }
    }
    child.wait().await
}

/// Forgets what nobody will read.
async fn drain(mut typed: mpsc::UnboundedReceiver<Vec<u8>>, waiting: &AtomicUsize) {
    while let Some(data) = typed.recv().await {
        waiting.fetch_sub(data.len(), Ordering::Relaxed);
    }
}

/// Sends what is read; `extended` is 1 for standard error (RFC 4254 section 5.2).
async fn pump(mut from: impl AsyncRead + Unpin, id: ChannelId, handle: &Handle, extended: Option<u32>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default().to_vec();
        let sent = match extended {
            None => handle.data(id, data).await,
            Some(kind) => handle.extended_data(id, kind, data).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn tell_end(status: io::Result<ExitStatus>, id: ChannelId, handle: &Handle) {
    let _ = handle.eof(id).await;
    let code = match status {
        // A shell's way to tell of a signal.
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255),
        Err(error) => {
            tracing::warn!(%error, "the end of an SSH session's process is unknown");
            255
        }
    };
    let _ = handle.exit_status_request(id, u32::try_from(code).unwrap_or(255)).await;
    let _ = handle.close(id).await;
}

/// Hangs up, and kills what does not heed it.
async fn end(child: &mut Child, group: Pid) {
    let _ = killpg(group, Signal::SIGHUP);
    if tokio::time::timeout(HANG_UP, child.wait()).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}
