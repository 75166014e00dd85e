//! A download on its way: many may wait for it or read along while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use axum::http::{Method, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use super::MirrorError;

/// Bytes that are read along at once.
const CHUNK: u64 = 256 << 10;

/// What upstream said of a file.
#[derive(Debug, Clone)]
pub struct Head {
    /// Bytes, when it said.
    pub size: Option<u64>,
    /// Its entity tag, as it was sent.
    pub etag: Option<String>,
    /// Its `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
}

/// How far a download is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Upstream was asked.
    Asking,
    /// Bytes are coming. The last of them are held back until the digest is known to be right.
    Coming {
        /// What upstream said.
        head: Head,
        /// The file they are written to.
        file: Arc<File>,
        /// Bytes that may be read.
        ready: u64,
    },
    /// It is in the cache, whole; all bytes may be read.
    Done {
        /// Bytes.
        size: u64,
    },
    /// It failed.
    Failed(MirrorError),
}

/// Reads along.
pub struct Stream {
    /// What upstream said.
    pub head: Head,
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
}

impl Stream {
    /// Reads along with a download that has begun.
    pub fn new(head: Head, file: Arc<File>, progress: watch::Receiver<Progress>) -> Self {
        Self { head, file, progress }
    }

    /// The response: 200 with all bytes, whatever range was asked for (RFC 9110 section 14.2 allows that).
    pub fn into_response(self, method: &Method) -> Response<Body> {
        let head = self.head.clone();
        let body = if *method == Method::HEAD { Body::empty() } else { self.body() };
        let mut response = Response::new(body);
        let mut set = |name, value: Option<String>| {
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                response.headers_mut().insert(name, value);
            }
        };
        set(CONTENT_TYPE, Some("application/octet-stream".to_owned()));
        set(CONTENT_LENGTH, head.size.map(|size| size.to_string()));
        set(ETAG, head.etag);
        set(LAST_MODIFIED, head.last_modified);
        response
    }

    /// The bytes. An error breaks the connection off, so that no client takes a part for the whole.
    fn body(self) -> Body {
        Body::from_stream(stream::unfold(Some((self, 0_u64)), |reader| async {
            let (mut reader, offset) = reader?;
            match reader.next(offset).await {
                Ok(bytes) if bytes.is_empty() => None,
                Ok(bytes) => {
                    let offset = offset.saturating_add(bytes.len() as u64);
                    Some((Ok(bytes), Some((reader, offset))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The next bytes; empty at the end.
    async fn next(&mut self, offset: u64) -> io::Result<Bytes> {
        let ready = loop {
            match &*self.progress.borrow_and_update() {
                Progress::Coming { ready, .. } if *ready > offset => break *ready,
                Progress::Asking | Progress::Coming { .. } => {}
                Progress::Done { size } => break *size,
                Progress::Failed(error) => return Err(io::Error::other(error.clone())),
            }
            self.progress.changed().await.map_err(|_| io::Error::other("the download was broken off"))?;
        };
        let length = usize::try_from(ready.saturating_sub(offset).min(CHUNK)).unwrap_or(0);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let file = Arc::clone(&self.file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset)?;
            Ok::<_, io::Error>(Bytes::from(bytes))
        });
        read.await.map_err(io::Error::other)?
    }
}
