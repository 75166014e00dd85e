//! Who is let through before anything is decided, as on the IPv4 side (`dhcp/gate.rs`): each client at its own pace, known nodes
//! before strangers.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::request::Request;
use crate::dhcp::gate::Rank;
use crate::limit::{Limiter, Limits};

/// What one client may send: its questions come a second apart and more (RFC 8415 section 7.6). Beyond `sources`, those that are
/// not remembered share one allowance.
const CLIENT: Limits = Limits {
    source_rate: 10,
    source_burst: 40,
    overall_rate: u32::MAX,
    sources: 65_536,
    queue: 0,
    calm: Duration::from_secs(2),
};
/// What may come out of one port of a relay (option 18).
const PORT: Limits = Limits { source_rate: 100, source_burst: 400, ..CLIENT };

/// A client's address on its link, with the link's where a relay tells it: link-local addresses are each link's own.
type Sender = (Option<Ipv6Addr>, Ipv6Addr);

/// Counts what each client sends. Time is an argument.
#[derive(Debug)]
pub struct Gate {
    trusted: Limiter<Sender>,
    known: Limiter<Sender>,
    strangers: Limiter<Sender>,
    ports: Limiter<u64>,
    hasher: RandomState,
    /// Strangers that were turned away since it was last told.
    excess: u64,
}

impl Gate {
    /// Nobody has sent anything yet.
    pub fn new(now: Instant) -> Self {
        Self {
            trusted: Limiter::new(CLIENT, now),
            known: Limiter::new(CLIENT, now),
            strangers: Limiter::new(CLIENT, now),
            ports: Limiter::new(PORT, now),
            hasher: RandomState::new(),
            excess: 0,
        }
    }

    /// Whether a message that came from `source` is looked at.
    pub fn admit(&mut self, request: &Request, source: Ipv6Addr, rank: Rank, now: Instant) -> bool {
        let hop = request.hops.last();
        let sender = hop.map_or((None, source), |hop| (Some(hop.link), hop.peer));
        match rank {
            Rank::Trusted => self.trusted.admit(sender, now),
            Rank::Known => self.known.admit(sender, now),
            Rank::Excess => {
                self.excess = self.excess.saturating_add(1);
                false
            }
            Rank::Stranger => {
                let port = hop.and_then(|hop| Some((hop.link, hop.interface_id.as_ref()?)));
                let port = port.map(|port| self.hasher.hash_one(port));
                port.is_none_or(|port| self.ports.admit(port, now)) && self.strangers.admit(sender, now)
            }
        }
    }

    /// What was turned away, a sentence each. To be called about once a second.
    pub fn settle(&mut self, now: Instant) -> Vec<String> {
        let of = |(sender, count): (Option<Sender>, u64)| match sender {
            Some((_, ip)) => format!("{count} messages of {ip}: more than a client sends"),
            None => format!("{count} messages of more clients than there can be"),
        };
        let mut told: Vec<String> = [&mut self.trusted, &mut self.known, &mut self.strangers]
            .into_iter()
            .flat_map(|limiter| limiter.settle(now))
            .map(of)
            .collect();
        told.extend(self.ports.settle(now).iter().map(|(_, count)| {
            format!("{count} messages out of one port of a relay: more than are taken from one")
        }));
        if self.excess > 0 {
            let excess = std::mem::take(&mut self.excess);
            told.push(format!(
                "{excess} messages of strangers: too many wait already (enrolment.max_unknown)"
            ));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Hop, Message, option};
    use super::*;

    fn request(hop: Option<(u128, &[u8])>) -> Request {
        let options = vec![(option::CLIENT_ID, vec![0, 4, 1, 1])];
        let bytes = Message { kind: 1, xid: [0; 3], options }.encode(&[]);
        let mut request = Request::parse(&bytes, ip(1)).expect("a request");
        request.hops = hop
            .into_iter()
            .map(|(peer, port)| Hop {
                count: 0,
                link: "fd00:78::1".parse().expect("an address"),
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
    fn a_client_at_its_pace_and_a_port_at_its() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let one = request(None);
        let taken = (0..1000).filter(|_| gate.admit(&one, ip(1), Rank::Stranger, start)).count();
        assert_eq!(taken, 40);
        let told = gate.settle(start + Duration::from_secs(3));
        assert_eq!(told, ["960 messages of fe80::1: more than a client sends"]);

        let mut of =
            |n: u128, port: &[u8]| gate.admit(&request(Some((n, port))), ip(7), Rank::Stranger, start);
        assert_eq!((0..1000).filter(|n| of(100 + n, b"e1")).count(), 400);
        assert!(of(5000, b"e2"), "another port has its own");
    }

    #[test]
    fn a_flood_of_strangers_leaves_known_nodes_alone() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let one = request(None);
        for n in 0..200_000 {
            gate.admit(&one, ip(n), Rank::Stranger, start);
        }
        assert!(gate.admit(&one, ip(9_999_999), Rank::Known, start));
        assert!(!gate.admit(&one, ip(9_999_998), Rank::Stranger, start), "the others share what is left");
        assert!(!gate.admit(&one, ip(5), Rank::Excess, start));
        assert_eq!(gate.settle(start + Duration::from_secs(3)).len(), 2);
    }
}
