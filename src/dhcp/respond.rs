//! What a client is answered: one pure decision.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;

use crate::boot::{ClientKind, FirmwareTable, boot_file};
use crate::model::{Change, EventKind, Lease, LeaseState, Network, Reservation, Timestamp, World};

use super::options::Options;
use super::pool::Pool;
use super::reply::{Grant, Reply, grant, refusal};
use super::request::Request;

/// How long an offered address is kept for the client.
const OFFER: Duration = Duration::from_secs(60);
/// How long an address that somebody found in use is offered to nobody.
pub const DECLINED: Duration = Duration::from_secs(600);

/// A network on the client's link, with what is the client's there.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The network.
    pub network: &'a Network,
    /// Our address there.
    pub server: Ipv4Addr,
    /// What we are called there.
    pub server_identifier: Ipv4Addr,
    /// Options that an operator configured.
    pub options: &'a Options,
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The state.
    pub world: &'a World,
    /// The network the client is on.
    pub network: &'a Network,
    /// Others on the same link.
    pub shared: &'a [Place<'a>],
    /// Our address: boot files are there.
    pub server: Ipv4Addr,
    /// What we are called (option 54): our address, or that of a relay which wants to see renewals (RFC 5107).
    pub server_identifier: Ipv4Addr,
    /// Which boot file which firmware gets.
    pub firmware: &'a FirmwareTable,
    /// Port of scripts and files.
    pub http_port: u16,
    /// The nodes' domain.
    pub domain: Option<&'a str>,
    /// Whether we serve names.
    pub names: bool,
    /// Options that an operator configured, the nearer ones counting.
    pub options: &'a Options,
    /// Whether a MAC that nobody knows is answered.
    pub serves_strangers: bool,
}

/// What is done about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// What is answered, if anything.
    pub reply: Option<Reply>,
    /// What changes in the leases. An offer passes: it is not written down, since its client takes it within a minute, or asks anew.
    pub changes: Vec<Change>,
    /// What is written on the node's timeline.
    pub event: Option<EventKind>,
    /// Whether an address is offered that this client never had.
    pub fresh: bool,
    /// What the configuration reserves for the client on the network where it was placed.
    pub reservation: Option<Reservation>,
    /// Why nothing is answered; for the log.
    pub silent: Option<&'static str>,
}

impl Decision {
    pub(super) fn silence(why: &'static str) -> Self {
        Self { silent: Some(why), ..Self::default() }
    }
}

impl<'a> View<'a> {
    /// The addresses of the client's network.
    pub fn pool(&self) -> Pool<'a> {
        Pool { world: self.world, network: self.network, server: self.server }
    }

    /// The same, of the network on the link where the client has an address or asks for one; else of the first with a free one.
    fn placed(self, request: &Request, now: Timestamp) -> Self {
        if self.shared.is_empty() {
            return self;
        }
        let client = &request.client;
        let all = || {
            let there = self.shared.iter().map(|place| {
                let Place { network, server, server_identifier, options } = *place;
                View { network, server, server_identifier, options, ..self }
            });
            std::iter::once(self).chain(there)
        };
        let asked = [Some(request.message.ciaddr()), request.requested_ip()];
        let holds = |view: &Self| asked.iter().flatten().any(|ip| view.network.subnet.has_host(*ip));
        let knows = |view: &Self| view.pool().reserved(client).is_some() || view.pool().own(client).is_some();
        let discovers = request.message_type == MessageType::Discover;
        let own = if discovers { all().find(knows) } else { None };
        let gives = |view: &Self| view.pool().choose(client, request.requested_ip(), now).is_some();
        own.or_else(|| all().find(holds).filter(|view| !discovers || gives(view)))
            .or_else(|| all().find(gives))
            .unwrap_or(self)
    }
}

/// The network of a request: the link that the relay names (RFC 3527), the relay's own, or that of the interface it came
/// in by (RFC 2131 section 4.3.1).
///
/// A client behind a relay renews by unicast, past the relay (section 4.3.2, RENEWING): then only `ciaddr` tells its
/// network, which has no interface here.
pub fn choose_network<'n>(
    networks: &'n [Network],
    interface: &str,
    request: &Request,
) -> Option<&'n Network> {
    let (giaddr, ciaddr) = (request.message.giaddr(), request.message.ciaddr());
    if !giaddr.is_unspecified() {
        // A link is named by any address of it, its own included.
        return match request.client.relay.link {
            Some(link) => networks.iter().find(|network| network.subnet.contains(link)),
            None => networks.iter().find(|network| network.subnet.has_host(giaddr)),
        };
    }
    let renews = |network: &&Network| network.interface.is_none() && network.subnet.has_host(ciaddr);
    let here = |network: &&Network| network.interface.as_deref() == Some(interface);
    networks.iter().find(renews).or_else(|| networks.iter().find(here))
}

/// Decides about one request.
pub fn respond(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    if !view.serves_strangers && view.world.node_with_mac(request.client.mac).is_none() {
        return Decision::silence("too many nodes wait for approval already (enrolment.max_unknown)");
    }
    let view = &view.placed(request, now);
    let decision = match request.message_type {
        MessageType::Discover => discover(request, view, now),
        MessageType::Request => requested(request, view, now),
        MessageType::Decline => decline(request, view, now),
        MessageType::Release => release(request, view, now),
        MessageType::Inform => inform(request, view),
        _ => Decision::silence("not a message that clients send"),
    };
    Decision { reservation: view.pool().reserved(&request.client).cloned(), ..decision }
}

/// RFC 2131 section 4.3.1.
fn discover(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    let mac = request.client.mac;
    let pool = view.pool();
    let Some(ip) = pool.choose(&request.client, request.requested_ip(), now) else {
        return Decision::silence(match pool.reserved(&request.client) {
            Some(_) => "the address reserved for it is in use by somebody else",
            None => "no free address",
        });
    };
    let held = view.world.lease(ip).filter(|lease| lease.mac == mac);
    // A lease that is in use stays what it is: the client may have restarted and ask twice.
    let changes = if held.is_some_and(|lease| lease.is_active(now)) {
        Vec::new()
    } else {
        let reserved = held.is_some_and(|lease| lease.reserved);
        let hostname = request.client.hostname.clone();
        let state = LeaseState::Offered;
        vec![Change::PutLease(Lease { ip, mac, state, expires: now.plus(OFFER), reserved, hostname })]
    };
    let fresh = held.is_none() && view.network.probe;
    Decision { fresh, ..give(request, view, MessageType::Offer, ip, changes, true) }
}

/// RFC 2131 section 4.3.2: which of the four situations it is shows in the fields that are filled.
fn requested(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    let ciaddr = request.message.ciaddr();
    match (request.server_identifier(), request.requested_ip()) {
        // SELECTING, another server's offer.
        (Some(server), _) if server != view.server_identifier => {
            Decision::silence("the client chose another server")
        }
        // SELECTING, ours. The offer may have been forgotten: it is not kept over a restart.
        (Some(_), Some(ip)) => match claim(view, request, ip) {
            Ok(lease) => acknowledge(request, view, lease, now, true),
            Err(_) if view.pool().choose(&request.client, Some(ip), now) == Some(ip) => {
                let (mac, hostname) = (request.client.mac, request.client.hostname.clone());
                let reserved = view.world.lease(ip).is_some_and(|lease| lease.mac == mac && lease.reserved);
                let offered = Lease { ip, mac, state: LeaseState::Offered, expires: now, reserved, hostname };
                acknowledge(request, view, &offered, now, true)
            }
            Err(_) => nak(request, view, "that address was not offered to you"),
        },
        // INIT-REBOOT.
        (None, Some(ip)) if ciaddr.is_unspecified() => match claim(view, request, ip) {
            Ok(lease) => acknowledge(request, view, lease, now, true),
            Err(_) if !view.network.subnet.has_host(ip) => {
                nak(request, view, "that address is of another network")
            }
            Err(Some(_)) => nak(request, view, "your address is another one"),
            Err(None) => Decision::silence("an unknown client that restarts (RFC 2131 section 4.3.2)"),
        },
        // RENEWING and REBINDING.
        (None | Some(_), _) if !ciaddr.is_unspecified() => match claim(view, request, ciaddr) {
            Ok(lease) => {
                let boots = !matches!(request.client.kind, ClientKind::Other(_));
                acknowledge(request, view, lease, now, boots)
            }
            Err(_) => nak(request, view, "that address is not yours"),
        },
        _ => Decision::silence("a REQUEST for no address"),
    }
}

/// The client's lease of `ip`; else the lease that it has of another address here.
fn claim<'w>(view: &View<'w>, request: &Request, ip: Ipv4Addr) -> Result<&'w Lease, Option<&'w Lease>> {
    match view.pool().own(&request.client) {
        Some(lease) if lease.ip == ip => Ok(lease),
        other => Err(other),
    }
}

fn acknowledge(request: &Request, view: &View<'_>, lease: &Lease, now: Timestamp, tell: bool) -> Decision {
    let hostname = request.client.hostname.clone().or_else(|| lease.hostname.clone());
    let expires = now.plus(view.network.lease);
    let bound = Lease { state: LeaseState::Bound, expires, hostname, ..lease.clone() };
    give(request, view, MessageType::Ack, lease.ip, vec![Change::PutLease(bound)], tell)
}

fn give(
    request: &Request,
    view: &View<'_>,
    message_type: MessageType,
    ip: Ipv4Addr,
    changes: Vec<Change>,
    tell: bool,
) -> Decision {
    let client = &request.client;
    let file = boot_file(view.firmware, &client.kind, client.mac, view.server, view.http_port);
    let hostname = view.world.node_with_mac(client.mac).map(|node| node.name.as_str());
    let (network, server, domain) = (view.network, view.server_identifier, view.domain);
    let (names, options, boot_file) = (view.names, view.options, file.as_ref());
    let reply = grant(
        request,
        &Grant { message_type, ip, network, server, boot_file, hostname, domain, names, options },
    );
    let message = if message_type == MessageType::Offer { "offer" } else { "ack" };
    let event = EventKind::Dhcp {
        message: message.into(),
        ip: ip.into(),
        client: client.kind.describe(view.firmware),
        boot_file: file.map(|file| file.name),
        reason: None,
    };
    Decision { reply: Some(reply), changes, event: tell.then_some(event), ..Decision::default() }
}

fn nak(request: &Request, view: &View<'_>, reason: &str) -> Decision {
    let event = EventKind::Dhcp {
        message: "nak".into(),
        ip: Ipv4Addr::UNSPECIFIED.into(),
        client: request.client.kind.describe(view.firmware),
        boot_file: None,
        reason: Some(reason.into()),
    };
    Decision {
        reply: Some(refusal(request, view.server_identifier, reason)),
        event: Some(event),
        ..Decision::default()
    }
}

/// RFC 2131 section 4.3.3: the address is in use by somebody who did not ask us.
fn decline(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    let declined = request.requested_ip().map(|ip| claim(view, request, ip));
    match (request.server_identifier(), declined) {
        (Some(server), Some(Ok(lease))) if server == view.server_identifier => {
            let (ip, expires) = (lease.ip, now.plus(DECLINED));
            let lease = Lease { state: LeaseState::Declined, expires, reserved: false, ..lease.clone() };
            Decision {
                changes: vec![Change::PutLease(lease)],
                event: Some(EventKind::LeaseEnded { ip: ip.into(), how: "declined".into() }),
                ..Decision::silence("a DECLINE is not answered")
            }
        }
        _ => Decision::silence("a DECLINE of an address that the client does not hold from us"),
    }
}

/// RFC 2131 section 4.3.4: the client keeps a claim to the address when it returns.
fn release(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    match (request.server_identifier(), claim(view, request, request.message.ciaddr())) {
        (Some(server), Ok(lease)) if server == view.server_identifier => {
            let ip = lease.ip;
            let lease = Lease { state: LeaseState::Released, expires: now, ..lease.clone() };
            Decision {
                changes: vec![Change::PutLease(lease)],
                event: Some(EventKind::LeaseEnded { ip: ip.into(), how: "released".into() }),
                ..Decision::silence("a RELEASE is not answered")
            }
        }
        _ => Decision::silence("a RELEASE of an address that the client does not hold from us"),
    }
}

/// RFC 2131 section 4.3.5: options only, to a client that has an address from elsewhere.
fn inform(request: &Request, view: &View<'_>) -> Decision {
    if !view.network.subnet.has_host(request.message.ciaddr()) {
        return Decision::silence("an INFORM from outside the network");
    }
    let answer = give(request, view, MessageType::Ack, Ipv4Addr::UNSPECIFIED, Vec::new(), false);
    Decision { event: None, ..answer }
}
