//! The loop: receive all that waits, decide, make it durable together, send.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::batch::{BATCH, Datagrams};
use super::gate::Gate;
use super::interface::Interface;
use super::probe::Prober;
use super::reply::Reply;
use super::request::Request;
use super::socket::DhcpSocket;
use crate::gate::Rank;
use crate::model::MacAddr;

/// Requests that may wait for their commit at once, on one interface. What comes beyond is dropped: clients ask
/// again (RFC 2131 section 4.1), and a flood must not fill the memory.
const IN_FLIGHT: usize = 8192;

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

/// Between two looks at the socket while several ask at once: what came in meanwhile is answered together. A look, a commit and the
/// threads that they wake cost more than an answer; who asks alone does not wait. The more came in, the longer it is: [`pace`].
const PACE: Duration = Duration::from_millis(1);
/// It is at most so many times as long.
const SLOWEST: u32 = 4;
/// Datagrams that come so close together are of several clients: one waits for its answer before it goes on.
const CLOSE: Duration = Duration::from_micros(500);

/// How long it is after so many datagrams since the last time: the more are answered together, the less each of them costs.
fn pace(datagrams: usize) -> Duration {
    PACE * u32::try_from(datagrams / BATCH).unwrap_or(SLOWEST).saturating_add(1).min(SLOWEST)
}

/// Of [`IN_FLIGHT`], so many are kept for those of a higher rank.
fn reserve(rank: Rank) -> usize {
    match rank {
        Rank::Trusted => 0,
        Rank::Known => IN_FLIGHT / 4,
        Rank::Stranger | Rank::Excess => IN_FLIGHT / 2,
    }
}

/// Who decides: one transaction from the request to a durable answer.
pub trait Exchange: Send + Sync + 'static {
    /// What is known of a client, now.
    fn rank(&self, mac: MacAddr) -> Rank;

    /// The answer to a request that changes nothing, where a glance tells: it waits for no commit.
    fn at_a_glance(&self, request: &Arc<Request>, interface: &Interface) -> Option<Answered>;

    /// The reply to each of the requests that came in by `interface`, in their order, once they may be sent.
    fn exchange(
        &self,
        requests: Vec<Arc<Request>>,
        interface: &Interface,
    ) -> impl Future<Output = Vec<Option<Answered>>> + Send;

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
    let service = Arc::new(Service { socket, prober, exchange });
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut door =
        Door { gate: Gate::new(Instant::now()), dropped: 0, name: service.interface().name.clone() };
    let mut settle = tokio::time::interval(Duration::from_secs(1));
    let mut datagrams = Datagrams::default();
    let (mut last, mut since) = (Instant::now(), 0);
    loop {
        let received = tokio::select! {
            received = service.socket.receive(&mut datagrams) => received,
            _ = settle.tick() => {
                for what in door.gate.settle(Instant::now()) {
                    tracing::warn!(interface = %door.name, what, "DHCP requests dropped");
                }
                continue;
            }
            () = async { drop(shutdown.wait_for(|stop| *stop).await) } => break,
        };
        if let Err(error) = received {
            tracing::warn!(interface = %door.name, %error, "DHCP request not received");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let several = datagrams.count() > 1 || last.elapsed() < CLOSE;
        last = Instant::now();
        since += datagrams.count();
        let requests = door.let_in(&datagrams, &service, in_flight.available_permits());
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        // Nobody else takes any, so they are there.
        if count > 0
            && let Ok(permits) = Arc::clone(&in_flight).try_acquire_many_owned(count)
        {
            // A task of its own: should a defect make one datagram panic, the loop goes on.
            tokio::spawn(Arc::clone(&service).answer(requests, permits));
        }
        // Else more waits.
        if datagrams.count() < BATCH {
            let together = std::mem::take(&mut since);
            if several {
                tokio::time::sleep(pace(together)).await;
            }
        }
    }
    // All permits back: everything is answered.
    let _ = in_flight.acquire_many(u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX)).await;
}

/// A request, and where it came from.
type Asked = (Arc<Request>, SocketAddr);

/// Who is looked at.
struct Door {
    gate: Gate,
    dropped: u64,
    name: String,
}

impl Door {
    /// Those of the datagrams that are answered, when so many more may be under way.
    fn let_in<E: Exchange>(
        &mut self,
        datagrams: &Datagrams,
        service: &Service<E>,
        room: usize,
    ) -> Vec<Asked> {
        let now = Instant::now();
        let mut requests = Vec::new();
        for (bytes, source, cast) in datagrams.iter() {
            // Our own question whether there are other servers is not answered.
            let Some(mac) = hardware_address(bytes).filter(|mac| *mac != service.interface().mac) else {
                continue;
            };
            // Before it is read: a flood is mostly what is not.
            let rank = service.exchange.rank(mac);
            if !self.gate.admit_client(mac, rank, now) {
                continue;
            }
            // dhcproto has panicked before at what nobody had thought of.
            let request = match catch_unwind(|| Request::parse(bytes)) {
                Ok(Ok(request)) => request.sent(cast),
                Ok(Err(error)) => {
                    tracing::debug!(interface = %self.name, length = bytes.len(), %error, "DHCP datagram dropped");
                    continue;
                }
                Err(_) => continue,
            };
            if !self.gate.admit_port(&request, rank, now) {
                continue;
            }
            if room.saturating_sub(requests.len()) <= reserve(rank) {
                self.dropped += 1;
                if self.dropped.is_power_of_two() {
                    tracing::warn!(interface = %self.name, dropped = self.dropped, "DHCP requests dropped: too many at once");
                }
                continue;
            }
            requests.push((Arc::new(request), source));
        }
        requests
    }
}

/// The client's hardware address (`chaddr`), before anything else is read.
fn hardware_address(bytes: &[u8]) -> Option<MacAddr> {
    bytes.get(28..34).and_then(|chaddr| chaddr.try_into().ok()).map(MacAddr)
}

struct Service<E> {
    socket: DhcpSocket,
    prober: Option<Arc<Prober>>,
    exchange: Arc<E>,
}

impl<E: Exchange> Service<E> {
    fn interface(&self) -> &Interface {
        self.socket.interface()
    }

    /// Answers what came in together: who asks for nothing new at once, all others when what they were given is durable.
    async fn answer(self: Arc<Self>, asked: Vec<Asked>, mut permits: OwnedSemaphorePermit) {
        let (mut replies, mut rest) = (Vec::new(), Vec::with_capacity(asked.len()));
        for (request, source) in asked {
            // What the client said before comes first: it may have given its address back.
            let waits = rest.iter().any(|(other, _): &Asked| other.client.mac == request.client.mac);
            let glance = if waits { None } else { self.exchange.at_a_glance(&request, self.interface()) };
            match glance {
                Some(answered) => replies.push((answered.reply, source)),
                None => rest.push((request, source)),
            }
        }
        let given = async {
            if rest.is_empty() {
                return Vec::new();
            }
            let requests = rest.iter().map(|(request, _)| Arc::clone(request)).collect();
            self.exchange.exchange(requests, self.interface()).await
        };
        let (answers, ()) = tokio::join!(given, self.send(&replies));
        let mut replies = Vec::with_capacity(answers.len());
        for ((request, source), answered) in rest.into_iter().zip(answers) {
            let Some(answered) = answered else { continue };
            match &self.prober {
                Some(prober) if asks_first(&answered) => {
                    // Whoever has to wait for an answer holds up nobody else.
                    let (service, prober, permit) = (Arc::clone(&self), Arc::clone(prober), permits.split(1));
                    tokio::spawn(async move {
                        if let Some(reply) = service.ask_first(&prober, &request, answered).await {
                            service.send(&[(reply, source)]).await;
                        }
                        drop(permit);
                    });
                }
                _ => replies.push((answered.reply, source)),
            }
        }
        self.send(&replies).await;
        drop(permits);
    }

    /// The reply, once an address is found that nobody uses.
    async fn ask_first(
        &self,
        prober: &Prober,
        request: &Arc<Request>,
        mut answered: Answered,
    ) -> Option<Reply> {
        let relayed = !request.message.giaddr().is_unspecified();
        for _ in 0..CONFLICTS {
            if !asks_first(&answered) {
                break;
            }
            let ip = answered.reply.message.yiaddr();
            let holder = prober.holder(ip, relayed).await;
            let Some(holder) = holder.filter(|holder| *holder != Some(request.client.mac)) else { break };
            answered = self.exchange.conflict(Arc::clone(request), ip, holder, self.interface()).await?;
        }
        Some(answered.reply)
    }

    async fn send(&self, replies: &[(Reply, SocketAddr)]) {
        for (number, error) in self.socket.send(replies).await {
            let Some((reply, _)) = replies.get(number) else { continue };
            let (xid, destination) = (reply.message.xid(), reply.destination);
            tracing::warn!(interface = %self.interface().name, xid, ?destination, %error, "DHCP reply not sent");
        }
    }
}

fn asks_first(answered: &Answered) -> bool {
    answered.fresh && !answered.reply.message.yiaddr().is_unspecified()
}
