//! Fetches one file from upstream into the cache, checks it, and tells those who wait.

use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, TRANSFER_ENCODING,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::timeout;

use super::cache::Entry;
use super::flight::{Head, Progress};
use super::known::{Known, is_index};
use super::path::Class;
use super::{MirrorError, Shared, Wanted};
use crate::model::Sha256Digest;

/// How long upstream may send nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long a download may take as a whole.
const WHOLE: Duration = Duration::from_secs(3600);
/// Bytes between two looks at the free space.
const ROOM_CHECK: u64 = 32 << 20;
/// Bytes that are gathered before they are written.
const WRITE: usize = 256 << 10;

/// Takes the download off the list whatever becomes of it.
struct Listed {
    shared: Arc<Shared>,
    wanted: Wanted,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.wanted.key);
    }
}

/// Fetches the file and tells `progress`.
pub(super) async fn run(shared: Arc<Shared>, wanted: Wanted, progress: watch::Sender<Progress>) {
    let listed = Listed { shared: Arc::clone(&shared), wanted: wanted.clone() };
    let slow = |_| Err(MirrorError::Away("the download took more than an hour".to_owned()));
    let last = match timeout(WHOLE, fetch(&shared, &wanted, &progress)).await.unwrap_or_else(slow) {
        Ok(size) => Progress::Done { size },
        Err(error) => {
            tracing::info!(mirror = %wanted.mirror, path = wanted.path, %error, "not fetched from upstream");
            Progress::Failed(error)
        }
    };
    // First off the list, then told: one that comes in between finds the file in the cache.
    drop(listed);
    progress.send_replace(last);
}

/// Returns the file's bytes.
async fn fetch(
    shared: &Arc<Shared>,
    wanted: &Wanted,
    progress: &watch::Sender<Progress>,
) -> Result<u64, MirrorError> {
    let _slot = shared.slots.acquire().await.map_err(|_| MirrorError::Busy)?;
    let base = shared.mirrors.get(&wanted.mirror).ok_or(MirrorError::Path)?;
    let held = shared.open(wanted, "hit").await?.map(|(_, entry, _)| entry);
    // A package that is not what the index says is fetched as if it were not there.
    let held = held.filter(|_| wanted.class == Class::Mutable);
    let mut headers = HeaderMap::new();
    if let Some(entry) = &held {
        let mut set = |name, value: &Option<String>| {
            if let Some(value) = value.as_ref().and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        };
        set(IF_NONE_MATCH, &entry.etag);
        set(IF_MODIFIED_SINCE, &entry.last_modified);
    }
    let response = shared.client.get(base, &wanted.path, &headers).await;
    let response = response.map_err(|error| shared.note_away(&wanted.mirror, &error))?;
    match (response.status().as_u16(), held) {
        (200, _) => store(shared, wanted, response, progress).await,
        (304, Some(entry)) => {
            shared.cache.confirm(wanted.key);
            Ok(entry.size)
        }
        (status @ (403 | 404 | 410), _) => Err(MirrorError::Missing(status)),
        (status, _) => Err(MirrorError::Away(format!("it answered {status}"))),
    }
}

/// Writes the body down, and keeps it when it is whole and right.
async fn store(
    shared: &Arc<Shared>,
    wanted: &Wanted,
    response: Response<Incoming>,
    progress: &watch::Sender<Progress>,
) -> Result<u64, MirrorError> {
    let broken = |what: &str| MirrorError::Upstream(what.to_owned());
    let text = |name: &HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let size = text(&CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
    let chunked =
        text(&TRANSFER_ENCODING).is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let known = shared.known(wanted);
    if size.is_none() && !chunked && known.is_none() {
        return Err(broken(
            "it does not say how long the file is, so that a part could be taken for the whole",
        ));
    }
    if text(&CONTENT_ENCODING).is_some_and(|value| !value.eq_ignore_ascii_case("identity")) {
        return Err(broken("it encodes the file in a way that was not asked for"));
    }
    let limit = shared.settings.file_bytes.min(shared.cache.limit());
    if size.is_some_and(|size| size > limit) {
        return Err(MirrorError::Large(limit));
    }
    if let Some(Known { size: Some(known), .. }) = known
        && size.is_some_and(|size| size != known)
    {
        return Err(MirrorError::Mismatch(format!("{size:?} bytes, not {known}")));
    }
    let head = Head { size, etag: text(&ETAG), last_modified: text(&LAST_MODIFIED) };
    let (owner, room) = (Arc::clone(shared), size.unwrap_or(limit.min(64 << 20)));
    let file = blocking(move || {
        let file = owner.cache.incoming(room)?;
        Ok((Arc::new(file.reopen()?), file))
    });
    let (reader, mut file) = file.await?;
    let coming = |ready| Progress::Coming { head: head.clone(), file: Arc::clone(&reader), ready };

    let (mut body, mut hasher, mut written) = (response.into_body(), Sha256::new(), 0_u64);
    let mut pending: Vec<Bytes> = Vec::new();
    let mut ended = false;
    while !ended {
        let mut gathered = 0;
        while gathered < WRITE {
            let frame = timeout(STALL, body.frame()).await;
            let frame =
                frame.map_err(|_| MirrorError::Away("it stopped in the middle of a file".to_owned()))?;
            let Some(frame) = frame else {
                ended = true;
                break;
            };
            let frame = frame.map_err(|error| MirrorError::Away(format!("it broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                gathered += data.len();
                pending.push(data);
            }
        }
        let ready = written;
        written = written.saturating_add(gathered as u64);
        if written > limit {
            return Err(MirrorError::Large(limit));
        }
        let (chunks, owner) = (std::mem::take(&mut pending), Arc::clone(shared));
        let look = ready / ROOM_CHECK != written / ROOM_CHECK;
        (file, hasher) = blocking(move || {
            if look {
                owner.cache.check_room()?;
            }
            for chunk in chunks {
                hasher.update(&chunk);
                file.write_all(&chunk)?;
            }
            Ok((file, hasher))
        })
        .await?;
        // What came last is held back until the digest is known.
        progress.send_replace(coming(ready));
    }
    if size.is_some_and(|size| size != written) {
        return Err(MirrorError::Away(format!("it sent {written} bytes and had promised others")));
    }
    let sha256 = Sha256Digest(hasher.finalize().into());
    if let Some(known) = known.filter(|known| known.sha256 != sha256) {
        let expected = known.sha256;
        return Err(MirrorError::Mismatch(format!("SHA-256 {sha256} of {written} bytes, not {expected}")));
    }
    let entry = Entry::new(wanted.mirror.as_str(), &wanted.path, head.etag, head.last_modified);
    let (owner, key) = (Arc::clone(shared), wanted.key);
    blocking(move || owner.cache.keep(key, entry, file, written, sha256)).await?;
    if is_index(&wanted.path) {
        shared.learnt.lock().unwrap_or_else(PoisonError::into_inner).remove(&wanted.key);
        shared.learn(wanted);
    }
    tracing::debug!(mirror = %wanted.mirror, path = wanted.path, bytes = written, "fetched from upstream");
    Ok(written)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, MirrorError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(std::io::Error::other).flatten().map_err(|error| MirrorError::Cache(Arc::new(error)))
}
