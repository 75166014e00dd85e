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

/// What is known of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A node, or about to be one again.
    Known,
    /// Never seen, and there is room for it.
    Stranger,
    /// Never seen, and too many others wait for approval already.
    Excess,
}

/// Counts what each client sends. Time is an argument.
#[derive(Debug)]
pub struct Gate {
    known: Limiter<MacAddr>,
    strangers: Limiter<MacAddr>,
    ports: Limiter<u64>,
    hasher: RandomState,
    /// Strangers that were turned away since it was last told.
    excess: u64,
}

impl Gate {
    /// Nobody has sent anything yet.
    pub fn new(now: Instant) -> Self {
        Self {
            known: Limiter::new(CLIENT, now),
            strangers: Limiter::new(CLIENT, now),
            ports: Limiter::new(PORT, now),
            hasher: RandomState::new(),
            excess: 0,
        }
    }

    /// Whether a request is looked at.
    pub fn admit(&mut self, request: &Request, rank: Rank, now: Instant) -> bool {
        let client = &request.client;
        match rank {
            Rank::Known => self.known.admit(client.mac, now),
            Rank::Excess => {
                self.excess = self.excess.saturating_add(1);
                false
            }
            Rank::Stranger => {
                let port = client.relay.circuit_id.as_ref();
                let port = port.map(|port| self.hasher.hash_one((request.message.giaddr(), port)));
                port.is_none_or(|port| self.ports.admit(port, now)) && self.strangers.admit(client.mac, now)
            }
        }
    }

    /// What was turned away, a sentence each. To be called about once a second.
    pub fn settle(&mut self, now: Instant) -> Vec<String> {
        let of = |(mac, count): (Option<MacAddr>, u64)| match mac {
            Some(mac) => format!("{count} requests of {mac}: more than a client sends"),
            None => format!("{count} requests of more clients than there can be"),
        };
        let mut told: Vec<String> =
            self.known.settle(now).into_iter().chain(self.strangers.settle(now)).map(of).collect();
        told.extend(self.ports.settle(now).iter().map(|(_, count)| {
            format!("{count} requests out of one port of a relay: more than are taken from one")
        }));
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
        for n in 0..300_000 {
            gate.admit(&request(many(n)), Rank::Stranger, start);
        }
        assert!(gate.admit(&request(many(9_999_999)), Rank::Known, start));
        assert!(
            !gate.admit(&request(many(9_999_998)), Rank::Stranger, start),
            "the others share what is left"
        );
        assert!(!gate.admit(&request(many(5)), Rank::Excess, start));
        assert_eq!(gate.settle(start + Duration::from_secs(3)).len(), 2);
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
