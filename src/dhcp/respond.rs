//! What a client is answered: one pure decision.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;

use crate::boot::{ClientKind, boot_file};
use crate::model::{Change, EventKind, Lease, LeaseState, Reservation, Timestamp};

use super::place::View;
use super::reply::{BOOT_FILE_NAME, Grant, Reply, grant, refusal};
use super::request::Request;

/// How long an offered address is kept for the client.
const OFFER: Duration = Duration::from_secs(60);
/// How long an address that somebody found in use is offered to nobody.
pub const DECLINED: Duration = Duration::from_secs(600);

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

/// Decides about one request.
pub fn respond(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    if !view.serves_strangers && !view.knows(request.client.mac) {
        return Decision::silence("too many nodes wait for approval already (enrolment.max_unknown)");
    }
    // All of the link, wherever on it the client is placed.
    let (link, view) = (view, &view.placed(request, now));
    let mut decision = match request.message_type {
        MessageType::Discover => discover(request, view, now),
        MessageType::Request => requested(request, view, now),
        MessageType::Decline => decline(request, view, now),
        MessageType::Release => release(request, view, now),
        MessageType::Inform => inform(request, view),
        _ => Decision::silence("not a message that clients send"),
    };
    decision.changes.extend(left_behind(link, &decision.changes, now));
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
    // A lease that is its own stays what it is, also when it has run out or was given back: the client may have restarted and ask
    // twice, and what is known of the node's address is known until another is acknowledged.
    let is_its_own = |lease: &Lease| matches!(lease.state, LeaseState::Bound | LeaseState::Released);
    let changes = if held.is_some_and(is_its_own) {
        Vec::new()
    } else {
        let reserved = held.is_some_and(|lease| lease.reserved);
        let hostname = request.client.hostname.clone();
        let state = LeaseState::Offered;
        vec![Change::PutLease(Lease { ip, mac, state, expires: now.plus(OFFER), reserved, hostname })]
    };
    let fresh = held.is_none() && view.network.probe && !view.is_settled(mac);
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
            Err(_) => nak(request, view, "that address was not offered to you", now),
        },
        // INIT-REBOOT.
        (None, Some(ip)) if ciaddr.is_unspecified() => match claim(view, request, ip) {
            Ok(lease) => acknowledge(request, view, lease, now, true),
            Err(_) if !view.network.subnet.has_host(ip) => {
                nak(request, view, "that address is of another network", now)
            }
            Err(Some(_)) => nak(request, view, "your address is another one", now),
            Err(None) if view.world.lease(ip).is_some_and(|lease| lease.mac == request.client.mac) => {
                nak(request, view, "that address is not yours any more", now)
            }
            Err(None) => Decision::silence("an unknown client that restarts (RFC 2131 section 4.3.2)"),
        },
        // RENEWING and REBINDING.
        (None | Some(_), _) if !ciaddr.is_unspecified() => match claim(view, request, ciaddr) {
            Ok(lease) => {
                let boots = !matches!(request.client.kind, ClientKind::Other(_));
                acknowledge(request, view, lease, now, boots)
            }
            // The server checks `ciaddr` (REBINDING), and its link is known, of a RENEWING client by `ciaddr` itself.
            Err(_) if !view.network.subnet.has_host(ciaddr) => {
                nak(request, view, "that address is of another network", now)
            }
            Err(_) => nak(request, view, "that address is not yours", now),
        },
        _ => Decision::silence("a REQUEST for no address"),
    }
}

/// The client's lease of `ip`; else the lease that it has of another address here.
fn claim<'w>(view: &View<'w>, request: &Request, ip: Ipv4Addr) -> Result<&'w Lease, Option<&'w Lease>> {
    view.pool().own_at(&request.client, ip)
}

fn acknowledge(request: &Request, view: &View<'_>, lease: &Lease, now: Timestamp, tell: bool) -> Decision {
    let hostname = request.client.hostname.clone().or_else(|| lease.hostname.clone());
    let expires = now.plus(view.network.lease);
    let bound = Lease { state: LeaseState::Bound, expires, hostname, ..lease.clone() };
    give(request, view, MessageType::Ack, lease.ip, vec![Change::PutLease(bound)], tell)
}

/// The leases on this link that a client holds beside the one that it takes: it has moved, and uses them no longer, so that they
/// keep nobody from an address that is reserved for him.
fn left_behind(view: &View<'_>, changes: &[Change], now: Timestamp) -> Vec<Change> {
    let Some(Change::PutLease(taken)) = changes.first() else { return Vec::new() };
    if taken.state != LeaseState::Bound {
        return Vec::new();
    }
    let on_link = |ip: Ipv4Addr| {
        let others = view.shared.iter().map(|place| place.network);
        std::iter::once(view.network).chain(others).any(|network| network.subnet.contains(ip))
    };
    let leases = view.world.leases_of(taken.mac).filter(|lease| lease.ip != taken.ip && on_link(lease.ip));
    leases.filter_map(|lease| given_up(lease, now)).collect()
}

/// A lease that its client no longer uses.
fn given_up(lease: &Lease, now: Timestamp) -> Option<Change> {
    let held = lease.state == LeaseState::Bound && lease.expires > now;
    let (state, expires) = (LeaseState::Released, now);
    held.then(|| Change::PutLease(Lease { state, expires, reserved: false, ..lease.clone() }))
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
    let event = || {
        let configured = view.options.get(&BOOT_FILE_NAME);
        let configured = configured.map(|name| String::from_utf8_lossy(name).into_owned());
        let message = if message_type == MessageType::Offer { "offer" } else { "ack" };
        EventKind::Dhcp {
            message: message.into(),
            ip: ip.into(),
            client: client.kind.describe(view.firmware),
            boot_file: file.map(|file| configured.unwrap_or(file.name)),
            reason: None,
        }
    };
    Decision { reply: Some(reply), changes, event: tell.then(event), ..Decision::default() }
}

fn nak(request: &Request, view: &View<'_>, reason: &str, now: Timestamp) -> Decision {
    let event = EventKind::Dhcp {
        message: "nak".into(),
        ip: Ipv4Addr::UNSPECIFIED.into(),
        client: request.client.kind.describe(view.firmware),
        boot_file: None,
        reason: Some(reason.into()),
    };
    Decision {
        reply: Some(refusal(request, view.server_identifier, reason)),
        changes: refused(request, view, now),
        event: Some(event),
        ..Decision::default()
    }
}

/// The lease of an address that is refused to the client that holds it, because the configuration has given it to another:
/// who gets a NAK stops using the address (RFC 2131 section 3.1, step 5, and section 3.2, step 3).
fn refused(request: &Request, view: &View<'_>, now: Timestamp) -> Vec<Change> {
    let ciaddr = Some(request.message.ciaddr()).filter(|ip| !ip.is_unspecified());
    let ip = request.requested_ip().or(ciaddr).filter(|ip| view.network.subnet.contains(*ip));
    let lease = ip.and_then(|ip| view.world.lease(ip)).filter(|lease| lease.mac == request.client.mac);
    lease.and_then(|lease| given_up(lease, now)).into_iter().collect()
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
