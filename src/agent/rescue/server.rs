//! Who gets in: root, with one of the operator's keys; and how many at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PublicKey, ssh_key};
use russh::server::{Config, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, SshId};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

use super::connection::Connection;
use super::host_key::HostKey;

/// Shells and commands at once, of all clients together.
pub const SESSIONS: usize = 8;
/// Connections at once, whoever they are.
const CONNECTIONS: usize = 16;
/// How long a client may take to prove itself.
const LOGIN: Duration = Duration::from_secs(30);
/// A client that is silent is asked this often whether it is there; three times in vain ends it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no rescue shell.
#[derive(Debug, Error)]
pub enum RescueError {
    /// The address cannot be had.
    #[error("cannot listen for SSH on {address}: {source}; end what listens there, or name another port")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line that is not a plain public key.
    #[error(
        "line {line} of the authorized keys is not taken: {why}; \
             give one public key a line, as in ~/.ssh/id_ed25519.pub, without options before it"
    )]
    Key {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: ssh_key::Error,
    },
    /// Nobody could log in.
    #[error("there are no authorized keys: nobody could log in; add the operator's public key")]
    NoKeys,
    /// No key pair.
    #[error("the SSH host key cannot be made: {0}")]
    HostKey(ssh_key::Error),
}

/// What all connections share.
pub(super) struct Shared {
    /// Whose owners get in.
    pub(super) keys: Vec<PublicKey>,
    /// What runs for them.
    pub(super) shell: PathBuf,
    /// Places for shells and commands.
    pub(super) sessions: Arc<Semaphore>,
}

/// A bound listener, not yet serving.
pub struct Server {
    listener: TcpListener,
    config: Arc<Config>,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds `listen`; port 0 takes any. `authorized_keys` are lines of OpenSSH public keys; blank lines and
    /// those that begin with `#` are skipped.
    pub async fn bind(
        listen: SocketAddr,
        authorized_keys: &[String],
        host_key: HostKey,
        shell: &Path,
    ) -> Result<Self, RescueError> {
        let keys = parse_keys(authorized_keys)?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| RescueError::Bind { address: listen, source })?;
        let config = Config {
            server_id: SshId::Standard("SSH-2.0-firstlight".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: Duration::from_secs(1),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key.into_private()],
            window_size: super::connection::WINDOW,
            // Answers to keepalives count; it also ends those who were sent away and stay.
            inactivity_timeout: Some(KEEPALIVE * 4),
            keepalive_interval: Some(KEEPALIVE),
            ..Config::default()
        };
        let shared = Shared { keys, shell: shell.to_owned(), sessions: Arc::new(Semaphore::new(SESSIONS)) };
        Ok(Self { listener, config: Arc::new(config), shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` turns true or its sender is gone; what runs then is hung up.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "SSH listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(%peer, "SSH connection refused: too many at once");
                continue;
            };
            let (config, shared, shutdown) =
                (Arc::clone(&self.config), Arc::clone(&self.shared), shutdown.clone());
            tokio::spawn(async move {
                talk(stream, peer, config, shared, shutdown).await;
                drop(place);
            });
        }
    }
}

/// Binds and serves; see [`Server`].
pub async fn serve(
    listen: SocketAddr,
    authorized_keys: &[String],
    host_key: HostKey,
    shell: &Path,
    shutdown: watch::Receiver<bool>,
) -> Result<(), RescueError> {
    Server::bind(listen, authorized_keys, host_key, shell).await?.run(shutdown).await;
    Ok(())
}

async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<Config>,
    shared: Arc<Shared>,
    mut shutdown: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY");
    }
    let proved = Arc::new(Notify::new());
    let connection = Connection::new(shared, peer, Arc::clone(&proved));
    let opened = tokio::time::timeout(LOGIN, run_stream(config, stream, connection)).await;
    let session = match opened {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return tracing::info!(%peer, %error, "SSH connection"),
        Err(_) => return tracing::info!(%peer, "SSH connection: it never said what it is"),
    };
    let handle = session.handle();
    tokio::pin!(session);
    let reason = tokio::select! {
        ended = &mut session => {
            match ended {
                Ok(()) | Err(russh::Error::Disconnect) => tracing::info!(%peer, "SSH connection closed"),
                Err(error) => tracing::info!(%peer, %error, "SSH connection"),
            }
            return;
        }
        _ = shutdown.wait_for(|stop| *stop) => "this machine stops",
        () = late(&proved) => {
            tracing::warn!(%peer, "SSH login refused: it took too long");
            "too slow"
        }
    };
    // Dropping the session would leave its task behind: it ends when it has said good-bye, or is cut off.
    let _ = handle.disconnect(Disconnect::ByApplication, reason.into(), String::new()).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), session).await;
}

/// Comes back when the client did not prove itself in time.
async fn late(proved: &Notify) {
    if tokio::time::timeout(LOGIN, proved.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

fn parse_keys(lines: &[String]) -> Result<Vec<PublicKey>, RescueError> {
    let mut keys = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let key = PublicKey::from_openssh(line).map_err(|why| RescueError::Key { line: at + 1, why })?;
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(RescueError::NoKeys) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ops";

    #[test]
    fn keys_are_plain_lines() {
        for (name, lines, want) in [
            ("one", vec![KEY], "1"),
            ("with a comment and a blank line", vec!["# ops", "", KEY, KEY], "2"),
            ("none", vec!["# ops"], "no authorized keys"),
            ("a restriction that would not be kept", vec![KEY, "command=\"ls\" ssh-ed25519 AAAA"], "line 2"),
            ("cut off", vec!["ssh-ed25519 AAAAC3NzaC1lZDI1"], "line 1"),
        ] {
            let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
            let told = match parse_keys(&lines) {
                Ok(keys) => keys.len().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(want), "{name}: {told}");
        }
    }
}
