//! The loop: receive, decide, send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::interface::Interface;
use super::reply::Reply;
use super::request::{LONGEST, Request};
use super::socket::DhcpSocket;

/// Requests that may wait for their commit at once, on one interface. What comes beyond is dropped: clients ask
/// again (RFC 2131 section 4.1), and a flood must not fill the memory.
const IN_FLIGHT: usize = 1024;

/// Who decides: one transaction from the request to a durable answer.
pub trait Exchange: Send + Sync + 'static {
    /// The reply to a request that came in by `interface`, once it may be sent.
    fn exchange(&self, request: Request, interface: &Interface)
    -> impl Future<Output = Option<Reply>> + Send;
}

/// Serves one interface until told to stop, and then until what is under way is answered.
pub async fn serve<E: Exchange>(socket: DhcpSocket, exchange: Arc<E>, mut shutdown: watch::Receiver<bool>) {
    let socket = Arc::new(socket);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let dropped = AtomicU64::new(0);
    // One byte more than is taken, so that a longer datagram is seen to be longer.
    let mut buffer = [0; LONGEST + 1];
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let length = match received {
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(interface = %socket.interface().name, %error, "DHCP request not received");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
            let dropped = dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(interface = %socket.interface().name, dropped, "DHCP requests dropped: too many at once");
            }
            continue;
        };
        let (socket, exchange) = (Arc::clone(&socket), Arc::clone(&exchange));
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        // A task of its own: should a defect make one datagram panic, the loop goes on.
        tokio::spawn(async move {
            answer(&socket, exchange.as_ref(), &datagram).await;
            drop(permit);
        });
    }
    // All permits back: everything is answered.
    let _ = in_flight.acquire_many(u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX)).await;
}

async fn answer<E: Exchange>(socket: &DhcpSocket, exchange: &E, datagram: &[u8]) {
    let request = match Request::parse(datagram) {
        Ok(request) => request,
        Err(error) => {
            let (interface, length) = (&socket.interface().name, datagram.len());
            return tracing::debug!(interface, length, %error, "DHCP datagram dropped");
        }
    };
    let (mac, xid) = (request.client.mac, request.message.xid());
    let Some(reply) = exchange.exchange(request, socket.interface()).await else { return };
    if let Err(error) = socket.send(&reply).await {
        tracing::warn!(%mac, xid, destination = ?reply.destination, %error, "DHCP reply not sent");
    }
}
