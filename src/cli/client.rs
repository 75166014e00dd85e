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

/// How long the appliance may take to begin its answer; reading a large image again takes its time.
const PATIENCE: Duration = Duration::from_secs(600);
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
    /// The connection broke.
    #[error("the appliance broke off: {0}; its log tells why")]
    Broken(String),
    /// It took too long.
    #[error("the appliance did not answer within {} s", PATIENCE.as_secs())]
    Slow,
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
        let bytes = serde_json::to_vec(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        let length = bytes.len() as u64;
        let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed();
        read(self.send(method, path, Some(length), body).await?).await
    }

    /// A request without a body whose answer has none, or does not matter.
    pub async fn order(&self, method: Method, path: &str) -> Result<(), ClientError> {
        self.send(method, path, None, empty()).await.map(drop)
    }

    /// Whether the resource is there.
    pub async fn exists(&self, path: &str) -> Result<bool, ClientError> {
        match self.raw(Method::HEAD, path, None, empty()).await?.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(ClientError::Refused(format!("the appliance answers {status}"))),
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
        let response = self.raw(method, path, length, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = collect(response).await?;
        let message = serde_json::from_slice::<ErrorBody>(&bytes).map(|body| body.error.message);
        Err(ClientError::Refused(message.unwrap_or_else(|_| format!("the appliance answers {status}"))))
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        length: Option<u64>,
        body: RequestBody,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|cause| ClientError::Unreachable { path: self.path.clone(), cause })?;
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header(HOST, "firstlight");
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length).header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Slow)?
            .map_err(broken)
    }
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
    let body = Limited::new(response.into_body(), ANSWER).collect().await;
    Ok(body.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let bytes = collect(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        ClientError::Broken(format!("its answer is not understood ({error}); are the versions the same?"))
    })
}
