//! Who is let in: clients are told apart by their address on their link, relays' ports by interface id (option 18).

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Instant;

use super::request::Request;
use crate::gate::Rank;

/// A client's address on its link, with the link's where a relay tells it: link-local addresses are each link's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender {
    link: Option<Ipv6Addr>,
    ip: Ipv6Addr,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

/// Counts what each client sends.
pub type Gate = crate::gate::Gate<Sender>;

impl Gate {
    /// Nobody has sent anything yet.
    pub fn new(now: Instant) -> Self {
        Self::of("messages", None, now)
    }

    /// Whether a message that came from `source` is looked at.
    pub fn admit(&mut self, request: &Request, source: Ipv6Addr, rank: Rank, now: Instant) -> bool {
        let hop = request.hops.last();
        let sender = hop
            .map_or(Sender { link: None, ip: source }, |hop| Sender { link: Some(hop.link), ip: hop.peer });
        let port = hop.and_then(|hop| Some((hop.link, hop.interface_id.as_ref()?)));
        self.admit_from(port, rank, now) && self.admit_client(sender, rank, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::message::{Hop, Message, option};
    use super::*;

    fn request(hop: Option<(u16, u128, &[u8])>) -> Request {
        let options = vec![(option::CLIENT_ID, vec![0, 4, 1, 1])];
        let bytes = Message { kind: 1, xid: [0; 3], options }.encode(&[]);
        let mut request = Request::parse(&bytes, ip(1)).expect("a request");
        request.hops = hop
            .into_iter()
            .map(|(link, peer, port)| Hop {
                count: 0,
                link: Ipv6Addr::new(0xfd00, link, 0, 0, 0, 0, 0, 1),
                peer: ip(peer),
                interface_id: Some(port.to_vec()),
                mac: None,
            })
            .collect();
        request
    }

    fn ip(n: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits((0xfe80_u128 << 112) | n)
    }

    #[test]
    fn a_client_is_its_address_and_its_link() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        for (rule, hop, source, expected) in [
            ("a client", None, 1, 40),
            ("the same", None, 1, 0),
            ("another", None, 2, 40),
            ("one of the same address on another link", Some((1, 1, &b"e1"[..])), 7, 40),
            ("the same address on yet another", Some((2, 1, b"e1")), 7, 40),
        ] {
            let request = request(hop);
            let taken = (0..60).filter(|_| gate.admit(&request, ip(source), Rank::Stranger, start)).count();
            assert_eq!(taken, expected, "{rule}");
        }
        let told = gate.settle(start + Duration::from_secs(3));
        assert!(told.contains(&"80 messages of fe80::1: more than a client sends".to_owned()), "{told:?}");
    }

    #[test]
    fn clients_behind_one_port_share_its_pace() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let mut of =
            |n: u128, port: &[u8]| gate.admit(&request(Some((1, n, port))), ip(7), Rank::Stranger, start);
        assert_eq!((0..1000).filter(|n| of(100 + n, b"e1")).count(), 400);
        assert!(of(5000, b"e2"), "another port has its own");
    }
}
