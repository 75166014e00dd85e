//! Who gets which file, and what becomes of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_tftp::packet::Error;
use bytes::{Buf, Bytes};
use futures_util::io::{AsyncRead, Sink};
use tokio::runtime::Handle;

use super::BootFiles;
use crate::appliance::Appliance;
use crate::model::EventKind;

/// Transfers at once, of everybody and of one client. Firmware opens one, or one more while it tries again.
const TRANSFERS: usize = 256;
/// See [`TRANSFERS`].
const TRANSFERS_OF_CLIENT: usize = 4;
/// Refusals are written down at most this often.
const REFUSAL_PACE: Duration = Duration::from_millis(200);

/// async-tftp's side of the boot files.
pub struct Handler {
    files: Arc<BootFiles>,
    appliance: Arc<Appliance>,
    runtime: Handle,
    running: Running,
    last_refusal: Option<Instant>,
}

/// How many transfers each client has.
type Running = Arc<Mutex<HashMap<IpAddr, usize>>>;

impl Handler {
    /// Must be called within a tokio runtime: events are written from it.
    pub fn new(files: Arc<BootFiles>, appliance: Arc<Appliance>) -> Self {
        Self { files, appliance, runtime: Handle::current(), running: Running::default(), last_refusal: None }
    }

    fn refuse(&mut self, client: &SocketAddr, file: &str, reason: &str, error: Error) -> Error {
        tracing::info!(%client, file, reason, "TFTP request refused");
        if self.last_refusal.is_none_or(|last| last.elapsed() >= REFUSAL_PACE) {
            self.last_refusal = Some(Instant::now());
            let (protocol, file, reason) = ("tftp".into(), file.to_owned(), reason.to_owned());
            note(&self.runtime, &self.appliance, client.ip(), EventKind::NotSent { protocol, file, reason });
        }
        error
    }
}

impl async_tftp::server::Handler for Handler {
    type Reader = Transfer;
    type Writer = Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Transfer, Option<u64>), Error> {
        let file: String = path.to_string_lossy().chars().filter(|c| !c.is_control()).take(128).collect();
        let Some(data) = path.to_str().and_then(|name| self.files.get(name)) else {
            return Err(self.refuse(client, &file, "there is no such boot file", Error::FileNotFound));
        };
        let Some(place) = Place::take(&self.running, client.ip()) else {
            let busy = Error::Msg("too many transfers".into());
            return Err(self.refuse(client, &file, "too many transfers at once", busy));
        };
        let size = data.len() as u64;
        let transfer = Transfer {
            left: data,
            size,
            file,
            started: Instant::now(),
            place,
            runtime: self.runtime.clone(),
            appliance: Arc::clone(&self.appliance),
        };
        Ok((transfer, Some(size)))
    }

    async fn write_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
        _: Option<u64>,
    ) -> Result<Sink, Error> {
        let file: String = path.to_string_lossy().chars().filter(|c| !c.is_control()).take(128).collect();
        Err(self.refuse(client, &file, "nothing can be written here", Error::PermissionDenied))
    }
}

/// A client's place among the transfers; given back when dropped.
struct Place {
    running: Running,
    client: IpAddr,
}

impl Place {
    fn take(running: &Running, client: IpAddr) -> Option<Self> {
        let mut counts = running.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&client).copied().unwrap_or(0);
        if all >= TRANSFERS || own >= TRANSFERS_OF_CLIENT {
            return None;
        }
        counts.insert(client, own + 1);
        Some(Self { running: Arc::clone(running), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.client)),
        }
    }
}

/// A file on its way to a client. When it is dropped, what was sent becomes an event.
pub struct Transfer {
    left: Bytes,
    size: u64,
    file: String,
    started: Instant,
    place: Place,
    runtime: Handle,
    appliance: Arc<Appliance>,
}

impl AsyncRead for Transfer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let length = buffer.len().min(self.left.len());
        if let Some(target) = buffer.get_mut(..length) {
            self.left.copy_to_slice(target);
        }
        Poll::Ready(Ok(length))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let bytes = self.size.saturating_sub(self.left.len() as u64);
        // UEFI asks for the size first (RFC 2349) and breaks off: nothing was sent.
        if bytes == 0 {
            return;
        }
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (client, complete) = (self.place.client, self.left.is_empty());
        tracing::info!(%client, file = %self.file, bytes, elapsed_ms, complete, "TFTP transfer");
        let (protocol, file) = ("tftp".into(), std::mem::take(&mut self.file));
        let kind = EventKind::Sent { protocol, file, bytes, elapsed_ms, complete };
        note(&self.runtime, &self.appliance, client, kind);
    }
}

/// Writes an event without keeping the transfer waiting.
fn note(runtime: &Handle, appliance: &Arc<Appliance>, client: IpAddr, kind: EventKind) {
    let appliance = Arc::clone(appliance);
    runtime.spawn(async move {
        if let Err(error) = appliance.note_transfer(client, kind).await {
            tracing::warn!(%client, %error, "the transfer is not on the timeline");
        }
    });
}
