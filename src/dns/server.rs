//! The loop: receive, decide, send. Over UDP and TCP (RFC 7766).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use super::answer::{Answer, answer, datagram, one_question, refused, reply_to};
use super::forward::Forwarder;
use super::zone::Zone;
use crate::limit::{Limiter, Limits};

/// The longest question that is read, bytes.
const LONGEST: usize = 1500;
/// Questions that may wait for others' answers at once.
const IN_FLIGHT: usize = 512;
/// Connections at once.
const CONNECTIONS: usize = 128;
/// A connection that says nothing for so long is closed (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// What one client may ask: an answer is larger than its question, and its sender may be forged.
const LIMITS: Limits = Limits {
    source_rate: 500,
    source_burst: 1000,
    overall_rate: 50_000,
    sources: 4096,
    queue: 0,
    calm: Duration::from_secs(2),
};

/// Why names cannot be served.
#[derive(Debug, Error)]
#[error(
    "cannot serve DNS at {address}: {cause}; is another name server there? (ss -lnp sport = :53 tells; dns.enabled = false leaves it alone)"
)]
pub struct DnsError {
    /// Where.
    pub address: SocketAddr,
    /// The system's words.
    pub cause: io::Error,
}

/// The sockets of one address.
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Server {
    /// Opens them.
    ///
    /// # Errors
    /// When the port is in use, or the system refuses.
    pub async fn bind(ip: IpAddr, port: u16) -> Result<Self, DnsError> {
        let address = SocketAddr::new(ip, port);
        let failed = |cause| DnsError { address, cause };
        Ok(Self {
            udp: UdpSocket::bind(address).await.map_err(failed)?,
            tcp: TcpListener::bind(address).await.map_err(failed)?,
        })
    }
}

/// Where the zone as it is now comes from.
pub trait Source: Send + Sync + 'static {
    /// The zone.
    type Zone: Zone;
    /// The zone, now.
    fn zone(&self) -> Option<Self::Zone>;
    /// Whether questions of this client about the rest of the world are passed on.
    fn forwards_for(&self, client: IpAddr) -> bool;
}

struct Shared<S> {
    source: Arc<S>,
    forwarder: Forwarder,
    limiter: Mutex<Limiter<IpAddr>>,
    in_flight: Semaphore,
}

/// Serves until told to stop.
pub async fn serve<S: Source>(
    server: Server,
    source: Arc<S>,
    forwarder: Forwarder,
    mut shutdown: watch::Receiver<bool>,
) {
    let limiter = Mutex::new(Limiter::new(LIMITS, Instant::now()));
    let shared = Arc::new(Shared { source, forwarder, limiter, in_flight: Semaphore::new(IN_FLIGHT) });
    let (udp, tcp) = (Arc::new(server.udp), server.tcp);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut buffer = [0; LONGEST];
    let mut settle = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let query = buffer.get(..length).unwrap_or_default();
                over_udp(&shared, &udp, query, client).await;
            }
            accepted = tcp.accept() => {
                let Ok((stream, client)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                // Too many: this one is closed at once, and may come again.
                let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // It ends when the client does, or says nothing any more.
                    let _ = over_tcp(&shared, stream, client).await;
                    drop(permit);
                });
            }
            _ = settle.tick() => {
                let floods = shared.limiter.lock().unwrap_or_else(PoisonError::into_inner).settle(Instant::now());
                for (client, dropped) in floods {
                    tracing::warn!(?client, dropped, "DNS questions dropped: too many");
                }
            }
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => return,
        }
    }
}

async fn over_udp<S: Source>(
    shared: &Arc<Shared<S>>,
    udp: &Arc<UdpSocket>,
    bytes: &[u8],
    client: SocketAddr,
) {
    if !admitted(shared, client) {
        return;
    }
    match decide(shared.as_ref(), bytes) {
        Decided::Reply(reply, query) => {
            if let Some(bytes) = datagram(&reply, &query) {
                // Lost like any datagram: the client asks again.
                let _ = udp.send_to(&bytes, client).await;
            }
        }
        Decided::Forward(query) => {
            let (shared, udp, bytes) = (Arc::clone(shared), Arc::clone(udp), bytes.to_vec());
            tokio::spawn(async move {
                let answer = match shared.in_flight.try_acquire() {
                    Ok(_permit) if forwardable(shared.as_ref(), client) => {
                        shared.forwarder.over_udp(&bytes).await
                    }
                    _ => None,
                };
                let bytes = answer.or_else(|| datagram(&unanswered(shared.as_ref(), &query, client), &query));
                if let Some(bytes) = bytes {
                    let _ = udp.send_to(&bytes, client).await;
                }
            });
        }
        Decided::Drop => {}
    }
}

async fn over_tcp<S: Source>(
    shared: &Arc<Shared<S>>,
    mut stream: TcpStream,
    client: SocketAddr,
) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        if usize::from(length) > LONGEST || !admitted(shared, client) {
            return Ok(());
        }
        let mut bytes = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut bytes)).await??;
        let answer = match decide(shared.as_ref(), &bytes) {
            Decided::Reply(reply, _) => reply.to_vec().ok(),
            Decided::Forward(query) => {
                let answer = match shared.in_flight.try_acquire() {
                    Ok(_permit) if forwardable(shared.as_ref(), client) => {
                        shared.forwarder.over_tcp(&bytes).await
                    }
                    _ => None,
                };
                answer.or_else(|| unanswered(shared.as_ref(), &query, client).to_vec().ok())
            }
            Decided::Drop => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let all = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE, stream.write_all(&all)).await??;
    }
}

enum Decided {
    Reply(Box<Message>, Box<Message>),
    Forward(Box<Message>),
    Drop,
}

fn decide<S: Source>(shared: &Shared<S>, bytes: &[u8]) -> Decided {
    // A response, or less than a header: nobody is answered.
    let Some([high, low, flags, ..]) = bytes.get(..12) else { return Decided::Drop };
    if flags & 0x80 != 0 {
        return Decided::Drop;
    }
    let id = u16::from_be_bytes([*high, *low]);
    let failed = |code| {
        let nothing = Message::response(id, OpCode::Query);
        match refused(nothing.clone(), code) {
            Answer::Reply(reply) => Decided::Reply(reply, Box::new(nothing)),
            _ => Decided::Drop,
        }
    };
    if !one_question(bytes) {
        return failed(ResponseCode::FormErr);
    }
    let Ok(query) = Message::from_vec(bytes) else { return failed(ResponseCode::FormErr) };
    let Some(zone) = shared.source.zone() else { return Decided::Forward(Box::new(query)) };
    match answer(&query, &zone) {
        Answer::Reply(reply) => Decided::Reply(reply, Box::new(query)),
        Answer::Forward => Decided::Forward(Box::new(query)),
        Answer::Drop => Decided::Drop,
    }
}

fn admitted<S>(shared: &Shared<S>, client: SocketAddr) -> bool {
    shared.limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(client.ip(), Instant::now())
}

fn forwardable<S: Source>(shared: &Shared<S>, client: SocketAddr) -> bool {
    !shared.forwarder.upstreams.is_empty() && shared.source.forwards_for(client.ip())
}

/// What is said of a question about others that nobody answered.
fn unanswered<S: Source>(shared: &Shared<S>, query: &Message, client: SocketAddr) -> Message {
    let mut reply = reply_to(query);
    let asked = forwardable(shared, client);
    reply.metadata.response_code = if asked { ResponseCode::ServFail } else { ResponseCode::Refused };
    reply
}
