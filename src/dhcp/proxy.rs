//! Beside another server: it gives the addresses, we say what to boot (PXE specification 2.1, section 2.2.3), with the configured
//! options that are for booting.
//!
//! What the other server gave is learned from the client's REQUEST, which it sends to everybody (RFC 2131 section 3.1,
//! step 4): so a node's address is known here as on any other network.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use crate::boot::{ClientKind, boot_file};
use crate::model::{Change, EventKind, Lease, LeaseState, Timestamp};

use super::place::View;
use super::reply::{BOOT_FILE_NAME, boot_only};
use super::request::Request;
use super::respond::Decision;

/// Decides about one request on a network where another server gives the addresses.
pub fn assist(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    if !view.serves_strangers && !view.knows(request.client.mac) {
        return Decision::silence("too many nodes wait for approval already (enrolment.max_unknown)");
    }
    let boots = !matches!(request.client.kind, ClientKind::Other(_));
    let decision = match request.message_type {
        MessageType::Discover if boots => offer(request, view, MessageType::Offer),
        MessageType::Inform if boots => offer(request, view, MessageType::Ack),
        MessageType::Request => requested(request, view, now, boots),
        MessageType::Discover | MessageType::Inform => Decision::silence("it does not boot"),
        _ => Decision::silence("it is for the server that gives addresses here"),
    };
    Decision { reservation: view.pool().reserved(&request.client).cloned(), ..decision }
}

fn requested(request: &Request, view: &View<'_>, now: Timestamp, boots: bool) -> Decision {
    match request.server_identifier() {
        Some(server) if server != view.server => learned(request, view, now),
        // To us, or to nobody by name at port 4011.
        Some(_) => offer(request, view, MessageType::Ack),
        None if boots && !request.message.ciaddr().is_unspecified() => offer(request, view, MessageType::Ack),
        None => Decision::silence("it is for the server that gives addresses here"),
    }
}

/// The address that a client takes from the other server. One that another client holds by what we know is not taken from it.
fn learned(request: &Request, view: &View<'_>, now: Timestamp) -> Decision {
    let mac = request.client.mac;
    let silence = Decision::silence("the server that gives addresses here answers");
    let Some(ip) = request.requested_ip().filter(|ip| view.network.subnet.has_host(*ip)) else {
        return silence;
    };
    let of_another =
        |lease: &Lease| lease.mac != mac && (lease.expires > now || lease.reserved || ip == view.server);
    if view.world.lease(ip).is_some_and(of_another) || view.world.node_with_mac(mac).is_none() {
        return silence;
    }
    let hostname = request.client.hostname.clone();
    let expires = now.plus(view.network.lease);
    let lease = Lease { ip, mac, state: LeaseState::Bound, expires, reserved: false, hostname };
    Decision { changes: vec![Change::PutLease(lease)], ..silence }
}

fn offer(request: &Request, view: &View<'_>, message_type: MessageType) -> Decision {
    let client = &request.client;
    let file = boot_file(view.firmware, &client.kind, client.mac, view.server, view.http_port);
    let configured = view.options.get(&BOOT_FILE_NAME).map(|name| String::from_utf8_lossy(name).into_owned());
    let Some(name) = configured.or_else(|| file.as_ref().map(|file| file.name.clone())) else {
        return Decision::silence("there is nothing that it could boot");
    };
    let message = if message_type == MessageType::Offer { "proxy offer" } else { "proxy ack" };
    let event = EventKind::Dhcp {
        message: message.into(),
        ip: Ipv4Addr::UNSPECIFIED.into(),
        client: client.kind.describe(view.firmware),
        boot_file: Some(name),
        reason: None,
    };
    let reply = boot_only(request, message_type, view, file.as_ref());
    Decision { reply: Some(reply), event: Some(event), ..Decision::default() }
}
