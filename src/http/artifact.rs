//! Sends a file: whole or in part, with its digest as entity tag, and tells how it went.

use std::io::SeekFrom;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, Take};
use tokio_util::io::ReaderStream;

use crate::appliance::AppError;
use crate::model::Sha256Digest;

use super::range::{Wanted, wanted};

/// Bytes that are read from the disk at once.
const CHUNK: usize = 512 << 10;

/// How a transfer ended.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Bytes handed to the connection.
    pub bytes: u64,
    /// Milliseconds since the request.
    pub elapsed_ms: u64,
    /// Whether that was all that was asked for.
    pub complete: bool,
}

/// The response for the file at `path`, whose bytes have this digest. `sent` is told when the body has gone out,
/// or was broken off; not when there is none.
pub async fn send(
    path: &Path,
    digest: Sha256Digest,
    method: &Method,
    headers: &HeaderMap,
    sent: impl FnOnce(Sent) + Send + 'static,
) -> Result<Response<Body>, AppError> {
    let unreadable =
        |error: std::io::Error| AppError::Internal(format!("cannot read {}: {error}", path.display()));
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AppError::NotFound(format!(
                "artifact {digest} is not stored; import its image again"
            )));
        }
        Err(error) => return Err(unreadable(error)),
    };
    let size = file.metadata().await.map_err(unreadable)?.len();
    let etag = format!("\"{digest}\"");
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let response = Response::builder()
        .header(ETAG, &etag)
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, "public, max-age=31536000, immutable");

    // RFC 9110 section 13.1.2: a list of tags, or any.
    let matches = |list: &str| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    };
    if text(&IF_NONE_MATCH).is_some_and(matches) {
        return finish(response.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    // Section 13.1.5: a part of another version is of no use.
    let range = text(&RANGE).filter(|_| text(&IF_RANGE).is_none_or(|tag| tag == etag));
    let (status, first, length) = match wanted(range, size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Unsatisfiable => {
            let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE);
            return finish(response.header(CONTENT_RANGE, format!("bytes */{size}")), Body::empty());
        }
    };
    let mut response = response
        .status(status)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, length);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first.saturating_add(length).saturating_sub(1);
        response = response.header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    if *method == Method::HEAD {
        return finish(response, Body::empty());
    }
    file.seek(SeekFrom::Start(first)).await.map_err(unreadable)?;
    file.set_max_buf_size(CHUNK);
    let body = Counted {
        stream: ReaderStream::with_capacity(file.take(length), CHUNK),
        length,
        bytes: 0,
        started: Instant::now(),
        sent: Some(sent),
    };
    finish(response, Body::from_stream(body))
}

fn finish(response: axum::http::response::Builder, body: Body) -> Result<Response<Body>, AppError> {
    response.body(body).map_err(|error| AppError::Internal(format!("a header is not one: {error}")))
}

/// A body that tells, when it is dropped, how much of it went out.
struct Counted<F: FnOnce(Sent)> {
    stream: ReaderStream<Take<File>>,
    length: u64,
    bytes: u64,
    started: Instant,
    sent: Option<F>,
}

impl<F: FnOnce(Sent)> Unpin for Counted<F> {}

impl<F: FnOnce(Sent)> Stream for Counted<F> {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.stream).poll_next(context);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        }
        next
    }
}

impl<F: FnOnce(Sent)> Drop for Counted<F> {
    fn drop(&mut self) {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(sent) = self.sent.take() {
            sent(Sent { bytes: self.bytes, elapsed_ms, complete: self.bytes == self.length });
        }
    }
}
