//! HTTP over the appliance's Unix socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::http::api::ErrorBody;

/// How long the appliance may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long when it has to read or sync files of images first.
const PATIENCE_FOR_FILES: Duration = Duration::from_secs(3600);
/// Longest answer that is read, bytes.
const ANSWER: usize = 256 << 20;

/// A body of a request.
pub type RequestBody = BoxBody<Bytes, io::Error>;

/// Why the appliance did not do it.
#[derive(Debug, Error)]
pub enum ClientError {
    /// `--server` is not a Unix socket.
    #[error("--server {0}: only unix:PATH is there in this version")]
    Address(String),
    /// Nobody listens.
    #[error("no appliance answers at unix:{}: {cause}; start it with `firstlight serve`, or name another with --server", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The system does not let this user in.
    #[error("this user may not open unix:{}; run this as root, or join the group 'firstlight'", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the appliance broke off: {0}; its log tells why")]
    Broken(String),
    /// It took too long.
    #[error("the appliance did not answer within {} s; its log tells what it does", .0.as_secs())]
    Slow(Duration),
    /// It refused; its own words.
    #[error("{0}")]
    Refused(String),
}

/// The appliance, as a client sees it.
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Takes `unix:PATH`; connects with each request.
    ///
    /// # Errors
    /// When it is another kind of address.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        match server.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self { path: path.into() }),
            _ => Err(ClientError::Address(server.to_owned())),
        }
    }

    /// GET, as a value of its own type.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read(self.send(Method::GET, path, None, empty()).await?).await
    }

    /// Any method, with a JSON body; the answer as a value.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let (length, body) = json(body)?;
        read(self.send(method, path, Some(length), body).await?).await
    }

    /// Any method, with a JSON body; the answer does not matter.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ClientError> {
        let (length, body) = json(body)?;
        self.send(method, path, Some(length), body).await.map(drop)
    }

    /// POST of what makes the appliance read files of images before it answers.
    pub async fn toil<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (length, body) = json(&serde_json::json!({}))?;
        let sent = self.raw(Method::POST, path, Some(length), body);
        read(accepted(within(PATIENCE_FOR_FILES, || 0, sent).await??).await?).await
    }

    /// PUT of `length` bytes, which may take as long as it likes while `sent` grows.
    pub async fn upload(
        &self,
        path: &str,
        length: u64,
        body: RequestBody,
        sent: impl Fn() -> u64,
    ) -> Result<(), ClientError> {
        let answer = self.raw(Method::PUT, path, Some(length), body);
        accepted(within(PATIENCE_FOR_FILES, sent, answer).await??).await.map(drop)
    }

    /// A request without a body whose answer has none, or does not matter.
    pub async fn order(&self, method: Method, path: &str) -> Result<(), ClientError> {
        self.send(method, path, None, empty()).await.map(drop)
    }

    /// Whether the resource is there.
    pub async fn exists(&self, path: &str) -> Result<bool, ClientError> {
        let answer = within(PATIENCE, || 0, self.raw(Method::HEAD, path, None, empty())).await??;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => {
                // The answer to HEAD has no body that would say why. Whoever is no administrator is told so here.
                self.order(Method::GET, "/status").await?;
                Err(ClientError::Refused(format!("the appliance answers {status}")))
            }
        }
    }

    /// Sends a request; an error status becomes its message.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        length: Option<u64>,
        body: RequestBody,
    ) -> Result<Response<Incoming>, ClientError> {
        accepted(within(PATIENCE, || 0, self.raw(method, path, length, body)).await??).await
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        length: Option<u64>,
        body: RequestBody,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { path: self.path.clone() },
            _ => ClientError::Unreachable { path: self.path.clone(), cause },
        })?;
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header(HOST, "firstlight");
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length).header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }
}

/// Waits for `future`; gives up when `progress` stayed the same for `patience`.
async fn within<F: Future>(
    patience: Duration,
    progress: impl Fn() -> u64,
    future: F,
) -> Result<F::Output, ClientError> {
    let mut future = std::pin::pin!(future);
    let mut before = progress();
    loop {
        if let Ok(done) = tokio::time::timeout(patience, &mut future).await {
            return Ok(done);
        }
        let now = progress();
        if now == before {
            return Err(ClientError::Slow(patience));
        }
        before = now;
    }
}

/// The answer, or the message of an error status.
async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = collect(response).await?;
    let message = serde_json::from_slice::<ErrorBody>(&bytes).map(|body| body.error.message);
    Err(ClientError::Refused(message.unwrap_or_else(|_| format!("the appliance answers {status}"))))
}

/// A JSON body and its length.
fn json(value: &impl Serialize) -> Result<(u64, RequestBody), ClientError> {
    let bytes = serde_json::to_vec(value).map_err(|error| ClientError::Broken(error.to_string()))?;
    Ok((bytes.len() as u64, Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()))
}

/// No body.
pub fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A text as one segment of a path.
pub fn segment(text: impl std::fmt::Display) -> String {
    utf8_percent_encode(&text.to_string(), NON_ALPHANUMERIC).to_string()
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = within(PATIENCE, || 0, Limited::new(response.into_body(), ANSWER).collect()).await?;
    Ok(body.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let bytes = collect(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        ClientError::Broken(format!("its answer is not understood ({error}); are the versions the same?"))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn patience_lasts_while_something_moves() {
        let patience = Duration::from_millis(20);
        let still = within(patience, || 0, std::future::pending::<()>()).await;
        assert!(matches!(still, Err(ClientError::Slow(_))), "{still:?}");
        // It moves five times, then no more.
        let (moves, started) = (Cell::new(0), Instant::now());
        let progress = || {
            moves.set(5.min(moves.get() + 1));
            moves.get()
        };
        assert!(within(patience, progress, std::future::pending::<()>()).await.is_err());
        assert!(started.elapsed() >= patience * 5, "given up after {:?}", started.elapsed());
        assert_eq!(within(patience, || 0, async { 7 }).await.ok(), Some(7));
    }

    #[test]
    fn only_unix_sockets() {
        for (server, fits) in [
            ("unix:/run/x", true),
            ("unix:", false),
            ("http://localhost", false),
            ("https://h", false),
            ("", false),
        ] {
            assert_eq!(Client::new(server).is_ok(), fits, "{server}");
        }
    }
}
