//! Accepts connections, with bounds, and serves each with a router.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::peer;
use crate::model::Sha256Digest;

/// Connections at once.
const CONNECTIONS: usize = 1024;
/// Of one client.
const CONNECTIONS_OF_CLIENT: usize = 64;
/// How long a client may take to send its headers, or keep a connection open without a request.
const HEADERS: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the connection is given up (tcp(7), `TCP_USER_TIMEOUT`).
const STALLED: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest request line and headers, bytes.
const HEADER_BYTES: usize = 32 << 10;
/// How long transfers may go on after the order to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Who is at both ends of a connection of the management network.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client.
    pub peer: IpAddr,
    /// The address it reached us at.
    pub local: SocketAddr,
}

/// SHA-256 of the certificate that the client showed, and holds the key of.
#[derive(Debug, Clone, Copy)]
pub struct ShownCertificate(pub Option<Sha256Digest>);

/// Why HTTP cannot be served.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("TCP port {0} is in use (ss -ltnp tells by whom); stop that, or set another http.port")]
    InUse(SocketAddr),
    /// Another appliance answers on the socket.
    #[error("another `firstlight serve` is running: it answers on {0}")]
    Running(PathBuf),
    /// Anything else.
    #[error("cannot listen on {on}: {cause}")]
    System {
        /// Address or path.
        on: String,
        /// The system's error.
        cause: io::Error,
    },
}

/// A listening socket.
pub enum Listener {
    /// On a management network.
    Tcp(TcpListener),
    /// On a management network, for agents.
    Tls(TcpListener, TlsAcceptor),
    /// For administrators.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a management network.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub async fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Self::Tcp(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ListenError::InUse(address)),
            Err(cause) => Err(ListenError::System { on: address.to_string(), cause }),
        }
    }

    /// Listens for agents on a management network.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub async fn tls(address: SocketAddr, config: Arc<ServerConfig>) -> Result<Self, ListenError> {
        match Self::tcp(address).await? {
            Self::Tcp(listener) => Ok(Self::Tls(listener, TlsAcceptor::from(config))),
            other => Ok(other),
        }
    }

    /// Listens for administrators. A socket file that nobody answers on is replaced.
    ///
    /// # Errors
    /// When another appliance answers there, or the system refuses.
    pub async fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |cause| ListenError::System { on: format!("unix:{}", path.display()), cause };
        if UnixStream::connect(path).await.is_ok() {
            return Err(ListenError::Running(path.to_owned()));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Anybody may connect; whom it serves is decided by peer credentials.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self::Unix(listener))
    }

    /// Serves until told to stop; transfers under way get a few seconds more.
    pub async fn serve(self, router: Router, mut shutdown: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let clients = Clients::default();
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = self.accept(&places) => accepted,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (router, shutdown, clients) = (router.clone(), shutdown.clone(), clients.clone());
            connections.spawn(async move {
                match stream {
                    Stream::Tcp(stream) => tcp(stream, None, router, shutdown, &clients).await,
                    Stream::Tls(stream, acceptor) => {
                        tcp(stream, Some(acceptor), router, shutdown, &clients).await;
                    }
                    Stream::Unix(stream) => unix(stream, router, shutdown).await,
                }
                drop(place);
            });
        }
        drop(self);
        if tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!(open = connections.len(), "connections cut at the stop");
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
        let stream = match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
            Self::Tls(listener, acceptor) => Stream::Tls(listener.accept().await?.0, acceptor.clone()),
            Self::Unix(listener) => Stream::Unix(listener.accept().await?.0),
        };
        Ok((stream, place))
    }
}

enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
}

/// How many connections each client has.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Clients {
    fn enter(&self, client: IpAddr) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_insert(0);
        *count += 1;
        *count <= CONNECTIONS_OF_CLIENT
    }

    fn leave(&self, client: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&client)),
        }
    }
}

async fn tcp(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    shutdown: watch::Receiver<bool>,
    clients: &Clients,
) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    if clients.enter(peer.ip()) {
        // Neither changes what is served, only how fast or how long: not worth an error.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED));
        let mut about = Extensions::new();
        about.insert(Ends { peer: peer.ip(), local });
        match acceptor {
            None => connection(stream, router, about, shutdown).await,
            Some(acceptor) => tls(stream, &acceptor, router, about, shutdown).await,
        }
    } else {
        tracing::warn!(%peer, "connection dropped: too many from this client");
    }
    clients.leave(peer.ip());
}

async fn tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    router: Router,
    mut about: Extensions,
    shutdown: watch::Receiver<bool>,
) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let ends = about.get::<Ends>();
            return tracing::info!(?ends, %error, "TLS handshake failed");
        }
        Err(_) => return,
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    about.insert(ShownCertificate(shown.map(|der| Sha256Digest::of(der))));
    connection(stream, router, about, shutdown).await;
}

async fn unix(stream: UnixStream, router: Router, shutdown: watch::Receiver<bool>) {
    let mut about = Extensions::new();
    about.insert(peer::administrator(&stream));
    connection(stream, router, about, shutdown).await;
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // The sender goes away only when the process ends: that is a stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Serves one connection; `about` goes with each of its requests.
async fn connection<S>(stream: S, router: Router, about: Extensions, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().extend(about.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
