//! The agent's way to the appliance: JSON over HTTP over TLS, one connection a request.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::AgentError;
use crate::http::api::ErrorBody;
use crate::model::{Sha256Digest, Timestamp};
use crate::trust::client::{Credentials, config, server_name};

/// What one answer usually costs at most.
const USUAL: Limits = Limits { patience: Duration::from_secs(20), bytes: 4 << 20 };
/// The same for a generation: 16 MiB of files, as base64, and what stands around them.
const LARGE: Limits = Limits { patience: Duration::from_secs(300), bytes: 32 << 20 };

/// What an answer may cost.
#[derive(Debug, Clone, Copy)]
struct Limits {
    patience: Duration,
    bytes: usize,
}

/// A way to one appliance.
#[derive(Clone)]
pub struct Client {
    address: String,
    tls: Arc<ClientConfig>,
    token: Option<String>,
    /// Which of this host's addresses it speaks from; the kernel chooses unless given.
    own: Option<Ipv4Addr>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy)]
pub enum As<'a> {
    /// Whoever has this token.
    Token(&'a str),
    /// Whoever has this certificate, and its key.
    Certificate(&'a Credentials),
}

impl Client {
    /// To `server`, `https://ADDRESS:PORT`, whose authority has this digest; `time` is known to have passed.
    ///
    /// # Errors
    /// When the credentials cannot be read, or the server's name makes no sense.
    pub fn new(
        server: &str,
        authority: Sha256Digest,
        who: As<'_>,
        time: Timestamp,
    ) -> Result<Self, AgentError> {
        let address = server.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
        let address = address
            .filter(|address| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()));
        let address = address.ok_or_else(|| {
            AgentError::machine(format!("use the server '{server}'"), "write it as https://ADDRESS:PORT")
        })?;
        let (credentials, token) = match who {
            As::Token(token) => (None, Some(token.to_owned())),
            As::Certificate(credentials) => (Some(credentials), None),
        };
        let tls =
            config(authority, credentials, time).map_err(|error| AgentError::machine("set up TLS", error))?;
        Ok(Self { address: address.to_owned(), tls, token, own: None })
    }

    /// The same, from one of this host's addresses.
    #[must_use]
    pub fn speaking_from(self, own: Ipv4Addr) -> Self {
        Self { own: Some(own), ..self }
    }

    /// Asks for an answer.
    ///
    /// # Errors
    /// When the appliance cannot be reached, or refuses.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AgentError> {
        self.read(&self.send(path, body, USUAL).await?)
    }

    /// Asks for an answer that may be large.
    ///
    /// # Errors
    /// When the appliance cannot be reached, or refuses.
    pub async fn ask_large<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AgentError> {
        self.read(&self.send(path, body, LARGE).await?)
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, AgentError> {
        // The reader's own words may quote a secret.
        serde_json::from_slice(answer).map_err(|error| {
            self.unreachable(format!("its answer makes no sense in column {}", error.column()))
        })
    }

    /// Tells something that needs no answer.
    ///
    /// # Errors
    /// When the appliance cannot be reached, or refuses.
    pub async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), AgentError> {
        self.send(path, body, USUAL).await.map(|_| ())
    }

    fn unreachable(&self, cause: impl std::fmt::Display) -> AgentError {
        AgentError::Unreachable { server: self.address.clone(), cause: cause.to_string() }
    }

    async fn send(&self, path: &str, body: &impl Serialize, limits: Limits) -> Result<Bytes, AgentError> {
        let body = serde_json::to_vec(body).map_err(|error| AgentError::machine("write a request", error))?;
        match tokio::time::timeout(limits.patience, self.exchange(path, body, limits.bytes)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let Some(own) = self.own else { return TcpStream::connect(&self.address).await };
        let to = tokio::net::lookup_host(&self.address).await?.next();
        let to = to.ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((own, 0).into())?;
        socket.connect(to).await
    }

    async fn exchange(&self, path: &str, body: Vec<u8>, most: usize) -> Result<Bytes, AgentError> {
        let failed = |error: &dyn std::fmt::Display| self.unreachable(error);
        let stream = self.connect().await.map_err(|error| failed(&error))?;
        // A matter of speed only.
        let _ = stream.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(server_name(), stream).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .header("connection", "close");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), most).collect().await;
        connection.abort();
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error.message);
        if status.is_server_error() {
            return Err(self.unreachable(message.unwrap_or_else(|_| status.to_string())));
        }
        Err(AgentError::Refused {
            status: status.as_u16(),
            message: message.unwrap_or_else(|_| status.to_string()),
        })
    }
}
