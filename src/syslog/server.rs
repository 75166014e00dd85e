//! The UDP side: datagrams in, lines out to a [`Sink`], with a bounded queue in between.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::parse::{Line, Severity, parse};
use crate::limit::{Limiter, Limits};

/// What the kernel may hold for us while we are busy, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How long the sink may take for what is queued, once we are to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// The facility `syslog`, for what we say ourselves.
const SYSLOG: u8 = 5;

/// Takes the lines; may be slow.
pub trait Sink: Send + Sync + 'static {
    /// A line of `from`. `0.0.0.0` stands for sources beyond those that are remembered.
    fn line(&self, from: Ipv4Addr, line: Line) -> impl Future<Output = ()> + Send;
}

/// Why nothing is received.
#[derive(Debug, Error)]
pub enum SyslogError {
    /// The address cannot be had.
    #[error(
        "cannot listen for syslog on UDP {address}: {source}; end what listens there, or name another address"
    )]
    Bind {
        /// What was asked for.
        address: SocketAddrV4,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A bound socket, not yet read.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    limits: Limits,
}

impl Receiver {
    /// Binds `address`; port 0 takes any.
    pub async fn bind(address: SocketAddrV4, limits: Limits) -> Result<Self, SyslogError> {
        let socket =
            UdpSocket::bind(address).await.map_err(|source| SyslogError::Bind { address, source })?;
        if let Err(error) = setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER) {
            tracing::debug!(%error, "the syslog socket keeps its small buffer");
        }
        Ok(Self { socket, limits })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives until `shutdown` turns true or its sender is gone; what is queued then has two seconds.
    pub async fn run<S: Sink>(self, sink: S, mut shutdown: watch::Receiver<bool>) {
        let (queue, mut queued) = mpsc::channel::<(Ipv4Addr, Line)>(self.limits.queue.max(1));
        let mut worker = tokio::spawn(async move {
            while let Some((from, line)) = queued.recv().await {
                sink.line(from, line).await;
            }
        });
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = receive(&self.socket, self.limits, &queue) => {}
            _ = &mut worker => tracing::error!("the syslog sink broke down; nothing more is received"),
        }
        drop(queue);
        if !worker.is_finished() && tokio::time::timeout(DRAIN, &mut worker).await.is_err() {
            worker.abort();
            tracing::warn!("syslog lines were dropped at shutdown: they could not be written in time");
        }
    }
}

async fn receive(socket: &UdpSocket, limits: Limits, queue: &mpsc::Sender<(Ipv4Addr, Line)>) {
    let mut limiter = Limiter::new(limits, Instant::now());
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = tick.tick() => {
                tell_drops(&mut limiter, queue);
                continue;
            }
        };
        let now = Instant::now();
        match received {
            Ok((length, SocketAddr::V4(from))) => {
                let from = *from.ip();
                if !limiter.admit(from, now) {
                    continue;
                }
                let line = parse(buffer.get(..length).unwrap_or_default());
                if !line.message.is_empty() && queue.try_send((from, line)).is_err() {
                    limiter.dropped(Some(from), 1, now);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "syslog socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One line for each flood that is over. When the queue is still full, it is told later.
fn tell_drops(limiter: &mut Limiter<Ipv4Addr>, queue: &mpsc::Sender<(Ipv4Addr, Line)>) {
    let now = Instant::now();
    for (from, count) in limiter.settle(now) {
        let source = from.unwrap_or(Ipv4Addr::UNSPECIFIED);
        tracing::warn!(%source, count, "syslog lines dropped: too many at once");
        let message = format!("{count} lines were dropped here: too many at once");
        let app = Some("firstlight".to_owned());
        let line = Line { facility: SYSLOG, severity: Severity::Warning, host: None, app, message };
        if queue.try_send((source, line)).is_err() {
            limiter.dropped(from, count, now);
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
