//! What a client may ask for: to be let in, a terminal, a shell or a command. Nothing is forwarded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::Algorithm;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty, Sig};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::process::{Process, Request};
use super::server::Shared;
use super::terminal::Size;

/// Keys a client may offer in vain.
const FAILURES: u32 = 3;
/// Environment variables a client may set.
const VARIABLES: usize = 32;
/// Bytes of a variable's value, and of `TERM`.
const VALUE_BYTES: usize = 1024;
/// Bytes that a client may send ahead.
pub(super) const WINDOW: u32 = 1 << 20;
/// With more input waiting for processes that do not read it, the client is slowed down to a trickle.
const WAITING: usize = 2 << 20;
/// With more than that, it does not keep to its window, and is cut off.
const TOO_MUCH: usize = 64 << 20;
/// The smallest window that russh opens again by itself.
const TRICKLE: u32 = 2;

/// One client.
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: SocketAddr,
    proved: Arc<Notify>,
    failures: u32,
    channels: HashMap<ChannelId, Open>,
    /// Bytes that wait for processes.
    waiting: Arc<AtomicUsize>,
}

/// A channel: first what is asked for, then what runs.
struct Open {
    request: Request,
    process: Option<Process>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// `proved` is told once the client is let in.
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr, proved: Arc<Notify>) -> Self {
        let (channels, waiting) = (HashMap::new(), Arc::default());
        Self { shared, peer, proved, failures: 0, channels, waiting }
    }

    /// Whether a key of this kind opens the door for this user.
    fn fits(&self, user: &str, key: &russh::keys::PublicKey, algorithm: &Algorithm) -> bool {
        // RSA with SHA-1, RFC 8332 section 3.
        let weak = matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa);
        user == "root" && !weak && self.shared.keys.iter().any(|known| known.key_data() == key.key_data())
    }

    fn refuse(&mut self, user: &str, what: &str) -> Result<Auth, Error> {
        let user: String = user.chars().filter(|c| !c.is_control()).take(32).collect();
        self.failures += 1;
        tracing::warn!(peer = %self.peer, user, what, failures = self.failures, "SSH login refused");
        if self.failures >= FAILURES { Err(Error::Disconnect) } else { Ok(Auth::reject()) }
    }

    /// Runs the shell, or `command` in it.
    fn start(&mut self, id: ChannelId, command: Option<&[u8]>, session: &mut Session) -> Result<(), Error> {
        let Some(open) = self.channels.get_mut(&id).filter(|open| open.process.is_none()) else {
            return session.channel_failure(id);
        };
        let (handle, waiting) = (session.handle(), Arc::clone(&self.waiting));
        let shown = command.map(|c| String::from_utf8_lossy(c).chars().take(200).collect::<String>());
        match Process::start(&self.shared.shell, &open.request, command, self.peer, (id, handle), waiting) {
            Ok(process) => {
                tracing::info!(peer = %self.peer, command = shown, terminal = open.request.terminal.is_some(), "SSH session");
                open.process = Some(process);
                session.channel_success(id)
            }
            Err(error) => {
                tracing::warn!(peer = %self.peer, command = shown, %error, "SSH session cannot be started");
                session.channel_failure(id)
            }
        }
    }
}

impl Handler for Connection {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        if self.fits(user, offer.public_key, offer.algorithm) {
            Ok(Auth::Accept)
        } else {
            self.refuse(user, "public key")
        }
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        if !self.fits(user, key.public_key, key.algorithm) {
            return self.refuse(user, "public key");
        }
        let fingerprint = key.public_key.fingerprint(russh::keys::HashAlg::Sha256);
        tracing::info!(peer = %self.peer, key = %fingerprint, "SSH login");
        self.proved.notify_one();
        Ok(Auth::Accept)
    }

    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth, Error> {
        self.refuse(user, "password")
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let Ok(place) = Arc::clone(&self.shared.sessions).try_acquire_owned() else {
            tracing::warn!(peer = %self.peer, "SSH session refused: too many at once");
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let open = Open { request: Request::default(), process: None, _place: place };
        self.channels.insert(channel.id(), open);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        match self.channels.get_mut(&id) {
            Some(open) if open.process.is_none() => {
                let term: String = term.chars().filter(|c| plain(*c)).take(64).collect();
                let term = if term.is_empty() { "dumb".into() } else { term };
                open.request.terminal = Some((term, Size::new(columns, rows)));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        // What OpenSSH's clients send by themselves; no path, and nothing that a loader heeds.
        let known = matches!(name, "LANG" | "LANGUAGE" | "COLORTERM" | "NO_COLOR" | "TZ")
            || name.strip_prefix("LC_").is_some_and(|rest| {
                matches!(rest.len(), 1..=32) && rest.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
            });
        match self.channels.get_mut(&id) {
            Some(open)
                if known
                    && value.len() <= VALUE_BYTES
                    && !value.contains('\0')
                    && open.request.variables.len() < VARIABLES =>
            {
                open.request.variables.push((name.to_owned(), value.to_owned()));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.start(id, None, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.start(id, Some(command), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Error> {
        if let Some(process) = self.channels.get(&id).and_then(|open| open.process.as_ref()) {
            process.resize(Size::new(columns, rows));
        }
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Error> {
        if let Some(process) = self.channels.get(&id).and_then(|open| open.process.as_ref()) {
            process.signal(&signal);
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        if let Some(process) = self.channels.get(&id).and_then(|open| open.process.as_ref()) {
            process.input(data);
        }
        if self.waiting.load(Ordering::Relaxed) > TOO_MUCH {
            tracing::warn!(peer = %self.peer, "SSH connection closed: more input than is read");
            return Err(Error::Disconnect);
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        if self.waiting.load(Ordering::Relaxed) > WAITING { TRICKLE } else { WINDOW }
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(process) = self.channels.get_mut(&id).and_then(|open| open.process.as_mut()) {
            process.end_input();
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.channels.remove(&id);
        Ok(())
    }
}
