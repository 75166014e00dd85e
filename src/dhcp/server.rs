//! The loop: receive, decide, send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::gate::{Gate, Rank};
use super::interface::Interface;
use super::probe::Prober;
use super::reply::Reply;
use super::request::{LONGEST, Request};
use super::socket::DhcpSocket;
use crate::model::MacAddr;

/// Requests that may wait for their commit at once, on one interface. What comes beyond is dropped: clients ask
/// again (RFC 2131 section 4.1), and a flood must not fill the memory.
const IN_FLIGHT: usize = 1024;

/// So many addresses in use one after the other are set aside for one client; it asks again.
const CONFLICTS: usize = 4;

/// An answer to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What is sent.
    pub reply: Reply,
    /// Whether it offers an address that this client never had: then it is asked for first whether somebody uses it.
    pub fresh: bool,
}

/// Of [`IN_FLIGHT`], so many are kept for known nodes.
const FOR_KNOWN: usize = IN_FLIGHT / 4;

/// Who decides: one transaction from the request to a durable answer.
pub trait Exchange: Send + Sync + 'static {
    /// What is known of a client, now.
    fn rank(&self, mac: MacAddr) -> Rank;

    /// The reply to a request that came in by `interface`, once it may be sent.
    fn exchange(
        &self,
        request: Arc<Request>,
        interface: &Interface,
    ) -> impl Future<Output = Option<Answered>> + Send;

    /// The address that was about to be offered is in use by somebody: it is set aside, and another is chosen.
    fn conflict(
        &self,
        request: Arc<Request>,
        ip: Ipv4Addr,
        holder: Option<MacAddr>,
        interface: &Interface,
    ) -> impl Future<Output = Option<Answered>> + Send;
}

/// Serves one interface until told to stop, and then until what is under way is answered.
pub async fn serve<E: Exchange>(
    socket: DhcpSocket,
    prober: Option<Arc<Prober>>,
    exchange: Arc<E>,
    mut shutdown: watch::Receiver<bool>,
) {
    let socket = Arc::new(socket);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut dropped: u64 = 0;
    let mut gate = Gate::new(Instant::now());
    let mut settle = tokio::time::interval(Duration::from_secs(1));
    // One byte more than is taken, so that a longer datagram is seen to be longer.
    let mut buffer = [0; LONGEST + 1];
    let name = socket.interface().name.clone();
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            _ = settle.tick() => {
                for what in gate.settle(Instant::now()) {
                    tracing::warn!(interface = %name, what, "DHCP requests dropped");
                }
                continue;
            }
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => break,
        };
        let (length, source) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(interface = %name, %error, "DHCP request not received");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let request = match Request::parse(buffer.get(..length).unwrap_or_default()) {
            Ok(request) => Arc::new(request),
            Err(error) => {
                tracing::debug!(interface = %name, length, %error, "DHCP datagram dropped");
                continue;
            }
        };
        // Our own question whether there are other servers is not answered.
        let rank = exchange.rank(request.client.mac);
        if request.client.mac == socket.interface().mac || !gate.admit(&request, rank, Instant::now()) {
            continue;
        }
        let room = rank == Rank::Known || in_flight.available_permits() > FOR_KNOWN;
        let permit = Arc::clone(&in_flight).try_acquire_owned().ok().filter(|_| room);
        let Some(permit) = permit else {
            dropped += 1;
            if dropped.is_power_of_two() {
                tracing::warn!(interface = %name, dropped, "DHCP requests dropped: too many at once");
            }
            continue;
        };
        let (socket, exchange, prober) = (Arc::clone(&socket), Arc::clone(&exchange), prober.clone());
        // A task of its own: should a defect make one datagram panic, the loop goes on.
        tokio::spawn(async move {
            answer(&socket, prober.as_deref(), exchange.as_ref(), request, source).await;
            drop(permit);
        });
    }
    // All permits back: everything is answered.
    let _ = in_flight.acquire_many(u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX)).await;
}

async fn answer<E: Exchange>(
    socket: &DhcpSocket,
    prober: Option<&Prober>,
    exchange: &E,
    request: Arc<Request>,
    source: SocketAddr,
) {
    let interface = socket.interface();
    let (mac, xid) = (request.client.mac, request.message.xid());
    let Some(mut answered) = exchange.exchange(Arc::clone(&request), interface).await else { return };
    if let Some(prober) = prober {
        for _ in 0..CONFLICTS {
            let ip = answered.reply.message.yiaddr();
            if !answered.fresh || ip.is_unspecified() {
                break;
            }
            let relayed = !request.message.giaddr().is_unspecified();
            let Some(holder) = prober.holder(ip, relayed).await.filter(|holder| *holder != Some(mac)) else {
                break;
            };
            let again = exchange.conflict(Arc::clone(&request), ip, holder, interface).await;
            let Some(again) = again else { return };
            answered = again;
        }
    }
    let reply = &answered.reply;
    if let Err(error) = socket.send(reply, source).await {
        tracing::warn!(%mac, xid, destination = ?reply.destination, %error, "DHCP reply not sent");
    }
}
