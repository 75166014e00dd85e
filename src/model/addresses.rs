//! Indexes over the addresses of leases that answer in a few steps, whatever the number of leases: what is free, and what ran out
//! first. Persistent, like everything in a [`World`](super::World).

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::network::AddressRange;
use super::time::Timestamp;

/// A set of addresses, kept as runs of neighbours: a pool that was given out from the bottom up is one run.
#[derive(Debug, Clone, Default)]
pub struct Runs(OrdMap<u32, u32>);

impl Runs {
    /// Adds an address.
    pub fn insert(&mut self, ip: Ipv4Addr) {
        let at = ip.to_bits();
        let below = self.run_to(at);
        if below.is_some_and(|(_, last)| last >= at) {
            return;
        }
        let first = below.filter(|(_, last)| last.checked_add(1) == Some(at)).map_or(at, |(first, _)| first);
        // A run above that this one now touches becomes part of it.
        let above = at.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, above.unwrap_or(at));
    }

    /// Takes an address out.
    pub fn remove(&mut self, ip: Ipv4Addr) {
        let at = ip.to_bits();
        let Some((first, last)) = self.run_to(at).filter(|(_, last)| *last >= at) else { return };
        if first == at {
            self.0.remove(&first);
        } else {
            self.0.insert(first, at - 1);
        }
        if at < last {
            self.0.insert(at + 1, last);
        }
    }

    /// The lowest address that is not in the set, of those from `ip` up.
    pub fn gap_from(&self, ip: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.run_to(ip.to_bits()) {
            Some((_, last)) if last >= ip.to_bits() => last.checked_add(1).map(Ipv4Addr::from_bits),
            _ => Some(ip),
        }
    }

    /// The highest address that is in the set, of those within `range`.
    pub fn highest(&self, range: AddressRange) -> Option<Ipv4Addr> {
        let (_, last) = self.run_to(range.last.to_bits())?;
        let highest = Ipv4Addr::from_bits(last.min(range.last.to_bits()));
        (highest >= range.first).then_some(highest)
    }

    /// The run that begins at `at` or below, the nearest such.
    fn run_to(&self, at: u32) -> Option<(u32, u32)> {
        self.0.get_prev(&at).map(|(first, last)| (*first, *last))
    }
}

/// The addresses of one client, of which there is seldom more than one.
#[derive(Debug, Clone)]
pub enum Held {
    /// One.
    One([Ipv4Addr; 1]),
    /// Several, ascending.
    More(Arc<[Ipv4Addr]>),
}

impl Held {
    /// One address.
    pub fn one(ip: Ipv4Addr) -> Self {
        Self::One([ip])
    }

    /// All of them, ascending.
    pub fn all(&self) -> &[Ipv4Addr] {
        match self {
            Self::One(one) => one,
            Self::More(all) => all,
        }
    }

    /// With one more.
    #[must_use]
    pub fn with(&self, ip: Ipv4Addr) -> Self {
        match self.all().binary_search(&ip) {
            Ok(_) => self.clone(),
            Err(at) => {
                let (before, behind) = self.all().split_at(at);
                Self::More([before, &[ip], behind].concat().into())
            }
        }
    }

    /// Without one; `None` when it was the last.
    #[must_use]
    pub fn without(&self, ip: Ipv4Addr) -> Option<Self> {
        let rest: Vec<Ipv4Addr> = self.all().iter().copied().filter(|other| *other != ip).collect();
        match rest.as_slice() {
            [] => None,
            [one] => Some(Self::one(*one)),
            _ => Some(Self::More(rest.into())),
        }
    }
}

/// Addresses by when they run out, in blocks of 256 and of 65,536 neighbours, so that the first within a range is found
/// without a look at those outside.
#[derive(Debug, Clone, Default)]
pub struct Expiring {
    small: OrdSet<(u32, Timestamp, Ipv4Addr)>,
    large: OrdSet<(u32, Timestamp, Ipv4Addr)>,
}

/// Bits of an address within a small block.
const SMALL: u32 = 8;
/// See [`SMALL`].
const LARGE: u32 = 16;

impl Expiring {
    /// Adds an address.
    pub fn insert(&mut self, expires: Timestamp, ip: Ipv4Addr) {
        self.small.insert((ip.to_bits() >> SMALL, expires, ip));
        self.large.insert((ip.to_bits() >> LARGE, expires, ip));
    }

    /// Takes an address out.
    pub fn remove(&mut self, expires: Timestamp, ip: Ipv4Addr) {
        self.small.remove(&(ip.to_bits() >> SMALL, expires, ip));
        self.large.remove(&(ip.to_bits() >> LARGE, expires, ip));
    }

    /// What ran out by `now` within `range`, the longest ago, of those that are `fit`.
    pub fn first(
        &self,
        range: AddressRange,
        now: Timestamp,
        fit: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<(Timestamp, Ipv4Addr)> {
        let last = range.last.to_bits();
        let mut at = range.first.to_bits();
        let mut found: Option<(Timestamp, Ipv4Addr)> = None;
        while at <= last {
            let whole = |bits: u32| at.trailing_zeros() >= bits && last - at >= (1 << bits) - 1;
            let (blocks, bits) = if whole(LARGE) { (&self.large, LARGE) } else { (&self.small, SMALL) };
            let block = at >> bits;
            // Nothing later than what was found already matters.
            let until = found.unwrap_or((now, Ipv4Addr::BROADCAST));
            let ran_out =
                blocks.range((block, Timestamp(0), Ipv4Addr::UNSPECIFIED)..=(block, until.0, until.1));
            let first = ran_out.map(|(_, expires, ip)| (*expires, *ip));
            found = first.filter(|(_, ip)| range.contains(*ip)).find(|(_, ip)| fit(*ip)).or(found);
            let Some(next) = (block + 1).checked_shl(bits).filter(|next| next >> bits == block + 1) else {
                break;
            };
            at = next;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Few enough to meet again, on both sides of a large block's end and at the ends of what there is.
    fn address() -> impl Strategy<Value = u32> {
        prop_oneof![
            0_u32..40,
            0x0a00_fff0_u32..0x0a01_0010,
            0x0a01_0100_u32..0x0a01_0300,
            u32::MAX - 20..=u32::MAX
        ]
    }

    fn range(a: u32, b: u32) -> AddressRange {
        AddressRange { first: Ipv4Addr::from_bits(a.min(b)), last: Ipv4Addr::from_bits(a.max(b)) }
    }

    proptest! {
        #[test]
        fn those_of_a_client_are_a_set(steps in prop::collection::vec((any::<bool>(), 0_u32..5), 1..40)) {
            let (mut held, mut set) = (None::<Held>, BTreeSet::new());
            for (add, at) in steps {
                let ip = Ipv4Addr::from_bits(at);
                held = match (held, add) {
                    (None, true) => Some(Held::one(ip)),
                    (Some(held), true) => Some(held.with(ip)),
                    (held, false) => held.and_then(|held| held.without(ip)),
                };
                if add { set.insert(ip) } else { set.remove(&ip) };
                let all = held.as_ref().map_or(&[][..], Held::all);
                prop_assert!(set.iter().eq(all), "{all:?} instead of {set:?}");
            }
        }

        #[test]
        fn runs_are_the_set(steps in prop::collection::vec((any::<bool>(), address()), 1..200), from in address(), to in address()) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (add, at) in steps {
                let ip = Ipv4Addr::from_bits(at);
                if add {
                    runs.insert(ip);
                    set.insert(at);
                } else {
                    runs.remove(ip);
                    set.remove(&at);
                }
                let mut before = None;
                for (first, last) in &runs.0 {
                    prop_assert!(first <= last);
                    prop_assert!(before.is_none_or(|before: u32| before + 1 < *first), "neighbours are one run");
                    before = Some(*last);
                }
            }
            let all: BTreeSet<u32> = runs.0.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(&all, &set);
            let gap = (from..=u32::MAX).find(|at| !set.contains(at)).map(Ipv4Addr::from_bits);
            prop_assert_eq!(runs.gap_from(Ipv4Addr::from_bits(from)), gap);
            let within = range(from, to);
            let highest = set.range(within.first.to_bits()..=within.last.to_bits()).next_back();
            prop_assert_eq!(runs.highest(within), highest.copied().map(Ipv4Addr::from_bits));
        }

        #[test]
        fn the_first_that_ran_out(
            steps in prop::collection::vec((any::<bool>(), address(), 0_u64..30), 1..200),
            from in address(), to in address(), now in 0_u64..30, odd in any::<bool>(),
        ) {
            let (mut expiring, mut model) = (Expiring::default(), BTreeMap::new());
            for (add, at, expires) in steps {
                let ip = Ipv4Addr::from_bits(at);
                if let Some(old) = model.remove(&ip) {
                    expiring.remove(old, ip);
                }
                if add {
                    expiring.insert(Timestamp(expires), ip);
                    model.insert(ip, Timestamp(expires));
                }
            }
            let within = range(from, to);
            let fit = |ip: Ipv4Addr| !odd || ip.to_bits() % 2 == 1;
            let ran_out = model.iter().map(|(ip, expires)| (*expires, *ip));
            let expected = ran_out
                .filter(|(expires, ip)| *expires <= Timestamp(now) && within.contains(*ip) && fit(*ip))
                .min();
            prop_assert_eq!(expiring.first(within, Timestamp(now), fit), expected);
        }
    }
}
