//! Who is let through before anything is decided: each client at its own pace, known nodes before strangers, so that a flood of
//! made-up hardware addresses neither fills the memory nor keeps a known node waiting.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::request::Request;
use crate::limit::{Limiter, Limits};
use crate::model::MacAddr;

/// What one client may send: it asks four times in the first seconds, and then seldom (RFC 2131 section 4.1). Beyond
/// `sources`, those that are not remembered share one allowance.
const CLIENT: Limits = Limits {
    source_rate: 10,
    source_burst: 40,
    overall_rate: u32::MAX,
    sources: 65_536,
    queue: 0,
    calm: Duration::from_secs(2),
};
/// What may come out of one port of a relay: a virtual machine host has many clients.
const PORT: Limits = Limits { source_rate: 100, source_burst: 400, ..CLIENT };

/// What all strangers together may send: more than any hall that is powered on at once, and no more than leaves time for nodes.
const TOGETHER: Limits = Limits { source_rate: 20_000, source_burst: 20_000, sources: 1, ..CLIENT };

/// What is known of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A node that somebody approved.
    Trusted,
    /// A node that nobody approved.
    Known,
    /// Never seen, and there is room for it.
    Stranger,
    /// Never seen, and too many others wait for approval already.
    Excess,
}

/// Counts what each client sends. Time is an argument.
#[derive(Debug)]
pub struct Gate {
    trusted: Limiter<MacAddr>,
    known: Limiter<MacAddr>,
    strangers: Limiter<MacAddr>,
    /// All strangers.
    together: Limiter<()>,
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
            together: Limiter::new(TOGETHER, now),
            ports: Limiter::new(PORT, now),
            hasher: RandomState::new(),
            excess: 0,
        }
    }

    /// Whether a client's datagram is read.
    pub fn admit_client(&mut self, mac: MacAddr, rank: Rank, now: Instant) -> bool {
        match rank {
            Rank::Trusted => self.trusted.admit(mac, now),
            Rank::Known => self.known.admit(mac, now),
            Rank::Stranger => self.strangers.admit(mac, now) && self.together.admit((), now),
            Rank::Excess => {
                self.excess = self.excess.saturating_add(1);
                false
            }
        }
    }

    /// Whether a request that was read is looked at: a port of a relay has its pace, too.
    pub fn admit_port(&mut self, request: &Request, rank: Rank, now: Instant) -> bool {
        let port = request.client.relay.circuit_id.as_ref().filter(|_| rank == Rank::Stranger);
        let port = port.map(|port| self.hasher.hash_one((request.message.giaddr(), port)));
        port.is_none_or(|port| self.ports.admit(port, now))
    }

    /// What was turned away, a sentence each. To be called about once a second.
    pub fn settle(&mut self, now: Instant) -> Vec<String> {
        let of = |(mac, count): (Option<MacAddr>, u64)| match mac {
            Some(mac) => format!("{count} requests of {mac}: more than a client sends"),
            None => format!("{count} requests of more clients than there can be"),
        };
        let all = [&mut self.trusted, &mut self.known, &mut self.strangers];
        let mut told: Vec<String> = all.into_iter().flat_map(|one| one.settle(now)).map(of).collect();
        told.extend(self.ports.settle(now).iter().map(|(_, count)| {
            format!("{count} requests out of one port of a relay: more than are taken from one")
        }));
        told.extend(
            self.together.settle(now).iter().map(|(_, count)| {
                format!("{count} requests of strangers: more than are looked at in a second")
            }),
        );
        if self.excess > 0 {
            let excess = std::mem::take(&mut self.excess);
            told.push(format!(
                "{excess} requests of strangers: too many wait already (enrolment.max_unknown)"
            ));
        }
        told
    }
}

#[cfg(test)]
impl Gate {
    /// Clients and ports that take memory.
    fn remembered(&self) -> usize {
        self.trusted.remembered()
            + self.known.remembered()
            + self.strangers.remembered()
            + self.ports.remembered()
    }

    fn admit(&mut self, request: &Request, rank: Rank, now: Instant) -> bool {
        self.admit_client(request.client.mac, rank, now) && self.admit_port(request, rank, now)
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, Message, MessageType};

    use super::*;

    fn request(mac: [u8; 6]) -> Request {
        let mut message = Message::default();
        message.set_chaddr(&mac);
        message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
        Request::new(message).expect("a request")
    }

    fn many(number: u32) -> [u8; 6] {
        let mut mac = [2, 0, 0, 0, 0, 0];
        mac[2..].copy_from_slice(&number.to_be_bytes());
        mac
    }

    #[test]
    fn a_client_at_its_pace() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let one = request(many(1));
        let taken = (0..1000).filter(|_| gate.admit(&one, Rank::Stranger, start)).count();
        assert_eq!(taken, 40);
        let told = gate.settle(start + Duration::from_secs(3));
        assert_eq!(told, ["960 requests of 02:00:00:00:00:01: more than a client sends"]);
    }

    #[test]
    fn a_flood_of_strangers_leaves_known_nodes_alone() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let admitted =
            (0..10_000_000).filter(|n| gate.admit_client(MacAddr(many(*n)), Rank::Stranger, start)).count();
        assert_eq!(admitted, 20_000, "of all strangers together");
        assert!(gate.remembered() <= CLIENT.sources, "{} are remembered", gate.remembered());
        assert!(gate.admit(&request(many(9_999_997)), Rank::Trusted, start));
        assert!(gate.admit(&request(many(9_999_999)), Rank::Known, start));
        assert!(
            !gate.admit(&request(many(9_999_998)), Rank::Stranger, start),
            "the others share what is left"
        );
        assert!(!gate.admit(&request(many(5)), Rank::Excess, start));
        assert_eq!(gate.settle(start + Duration::from_secs(3)).len(), 3);
        gate.settle(start + Duration::from_secs(9));
        assert_eq!(gate.remembered(), 0, "and forgotten");
    }

    #[test]
    fn a_port_at_its_pace() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let of = |n: u32, port: &[u8]| {
            let mut request = request(many(n));
            request.client.relay.circuit_id = Some(port.to_vec());
            request
        };
        let taken = (0..1000).filter(|n| gate.admit(&of(*n, b"e1"), Rank::Stranger, start)).count();
        assert_eq!(taken, 400);
        assert!(gate.admit(&of(5000, b"e2"), Rank::Stranger, start), "another port has its own");
    }
}
