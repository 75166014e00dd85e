//! Who is let through before anything is decided: each client at its own pace, known nodes before strangers, so that a flood of
//! made-up addresses neither fills the memory nor keeps a known node waiting. Both DHCP servers have one.

use std::fmt::Display;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

use crate::limit::{Limiter, Limits};

/// What one client may send: it asks four times in the first seconds, and then seldom (RFC 2131 section 4.1, RFC 8415 section
/// 7.6). Beyond `sources`, those that are not remembered share one allowance.
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
    /// A node that somebody approved.
    Trusted,
    /// A node that nobody approved.
    Known,
    /// Never seen, and there is room for it.
    Stranger,
    /// Never seen, and too many others wait for approval already.
    Excess,
}

/// Counts what each client sends, told apart by `K`. Time is an argument.
#[derive(Debug)]
pub struct Gate<K> {
    /// What clients send, for a person: `requests`.
    noun: &'static str,
    trusted: Limiter<K>,
    known: Limiter<K>,
    strangers: Limiter<K>,
    /// All strangers.
    together: Option<Limiter<()>>,
    ports: Limiter<u64>,
    hasher: RandomState,
    /// Strangers that were turned away since it was last told.
    excess: u64,
}

impl<K: Copy + Eq + Hash + Display> Gate<K> {
    /// Nobody has sent anything yet. `noun`: what clients send; `together`: how much all strangers may in a second.
    pub fn of(noun: &'static str, together: Option<u32>, now: Instant) -> Self {
        let together =
            together.map(|rate| Limits { source_rate: rate, source_burst: rate, sources: 1, ..CLIENT });
        Self {
            noun,
            trusted: Limiter::new(CLIENT, now),
            known: Limiter::new(CLIENT, now),
            strangers: Limiter::new(CLIENT, now),
            together: together.map(|limits| Limiter::new(limits, now)),
            ports: Limiter::new(PORT, now),
            hasher: RandomState::new(),
            excess: 0,
        }
    }

    /// Whether something that a client sent is looked at.
    pub fn admit_client(&mut self, client: K, rank: Rank, now: Instant) -> bool {
        match rank {
            Rank::Trusted => self.trusted.admit(client, now),
            Rank::Known => self.known.admit(client, now),
            Rank::Stranger => {
                self.strangers.admit(client, now)
                    && self.together.as_mut().is_none_or(|together| together.admit((), now))
            }
            Rank::Excess => {
                self.excess = self.excess.saturating_add(1);
                false
            }
        }
    }

    /// Whether what came out of this port of a relay, if out of any, is looked at: strangers behind it share its pace.
    pub fn admit_from(&mut self, port: Option<impl Hash>, rank: Rank, now: Instant) -> bool {
        let port = port.filter(|_| rank == Rank::Stranger).map(|port| self.hasher.hash_one(port));
        port.is_none_or(|port| self.ports.admit(port, now))
    }

    /// What was turned away, a sentence each. To be called about once a second.
    pub fn settle(&mut self, now: Instant) -> Vec<String> {
        let noun = self.noun;
        let of = |(client, count): (Option<K>, u64)| match client {
            Some(client) => format!("{count} {noun} of {client}: more than a client sends"),
            None => format!("{count} {noun} of more clients than there can be"),
        };
        let all = [&mut self.trusted, &mut self.known, &mut self.strangers];
        let mut told: Vec<String> = all.into_iter().flat_map(|one| one.settle(now)).map(of).collect();
        told.extend(self.ports.settle(now).iter().map(|(_, count)| {
            format!("{count} {noun} out of one port of a relay: more than are taken from one")
        }));
        let together = self.together.as_mut().map(|together| together.settle(now)).unwrap_or_default();
        told.extend(
            together.iter().map(|(_, count)| {
                format!("{count} {noun} of strangers: more than are looked at in a second")
            }),
        );
        if self.excess > 0 {
            let excess = std::mem::take(&mut self.excess);
            told.push(format!("{excess} {noun} of strangers: too many wait already (enrolment.max_unknown)"));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MacAddr;

    /// A gate of 20,000 strangers a second.
    fn gate(now: Instant) -> Gate<MacAddr> {
        Gate::of("requests", Some(20_000), now)
    }

    fn client(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 0, a, b, c, d])
    }

    fn remembered(gate: &Gate<MacAddr>) -> usize {
        let clients = [&gate.trusted, &gate.known, &gate.strangers];
        clients.iter().map(|one| one.remembered()).sum::<usize>() + gate.ports.remembered()
    }

    #[test]
    fn a_client_at_its_pace() {
        let start = Instant::now();
        let mut gate = gate(start);
        let taken = (0..1000).filter(|_| gate.admit_client(client(1), Rank::Stranger, start)).count();
        assert_eq!(taken, 40);
        let told = gate.settle(start + Duration::from_secs(3));
        assert_eq!(told, ["960 requests of 02:00:00:00:00:01: more than a client sends"]);
    }

    #[test]
    fn a_flood_of_strangers_leaves_known_nodes_alone() {
        let start = Instant::now();
        for (together, admitted) in [(Some(20_000), 20_000), (None, CLIENT.sources + 40)] {
            let mut gate: Gate<MacAddr> = Gate::of("requests", together, start);
            let taken =
                (0..1_000_000).filter(|n| gate.admit_client(client(*n), Rank::Stranger, start)).count();
            assert_eq!(taken, admitted, "of all strangers, {together:?} together");
            assert!(remembered(&gate) <= CLIENT.sources, "{} are remembered", remembered(&gate));
            assert!(gate.admit_client(client(1_000_007), Rank::Trusted, start));
            assert!(gate.admit_client(client(1_000_009), Rank::Known, start));
            assert!(
                !gate.admit_client(client(1_000_008), Rank::Stranger, start),
                "the others share what is left"
            );
            assert!(!gate.admit_client(client(5), Rank::Excess, start));
            let told = 2 + usize::from(together.is_some());
            assert_eq!(gate.settle(start + Duration::from_secs(3)).len(), told, "{together:?}");
            gate.settle(start + Duration::from_secs(9));
            assert_eq!(remembered(&gate), 0, "and forgotten");
        }
    }

    #[test]
    fn a_port_at_its_pace() {
        let start = Instant::now();
        let mut gate = gate(start);
        let taken = (0..1000).filter(|_| gate.admit_from(Some("e1"), Rank::Stranger, start)).count();
        assert_eq!(taken, 400);
        assert!(gate.admit_from(Some("e2"), Rank::Stranger, start), "another port has its own");
        assert!(gate.admit_from(Some("e1"), Rank::Known, start), "nodes behind it are not held up");
        assert!(
            gate.admit_from(None::<&str>, Rank::Stranger, start),
            "who comes through none has no pace of one"
        );
        let told = gate.settle(start + Duration::from_secs(3));
        assert_eq!(told, ["600 requests out of one port of a relay: more than are taken from one"]);
    }
}
