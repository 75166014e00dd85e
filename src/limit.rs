//! Who may say how much: a token bucket for each source and one for all, and what was dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What is taken of senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lines a second of one source, in the long run.
    pub source_rate: u32,
    /// Lines of one source at once.
    pub source_burst: u32,
    /// Lines a second of all together, and at once.
    pub overall_rate: u32,
    /// Sources that are remembered; those beyond share one allowance.
    pub sources: usize,
    /// Lines that wait for the sink.
    pub queue: usize,
    /// A flood is over when nothing was dropped for this long.
    pub calm: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_rate: 50,
            source_burst: 200,
            overall_rate: 2000,
            sources: 4096,
            queue: 1024,
            calm: Duration::from_secs(2),
        }
    }
}

/// A flood that lasts is told of this often.
const LASTING: Duration = Duration::from_secs(60);

/// A token bucket, kept as the moment when it is full again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn take(&mut self, now: Instant, rate: u32, burst: u32) -> bool {
        let each = Duration::from_secs(1) / rate.max(1);
        let full_at = self.full_at.max(now);
        if full_at - now > each * burst.saturating_sub(1) {
            return false;
        }
        self.full_at = full_at + each;
        true
    }
}

/// What is known of a source.
#[derive(Debug)]
struct Source {
    bucket: Bucket,
    drops: Option<Drops>,
}

/// Lines dropped since it was last told.
#[derive(Debug)]
struct Drops {
    count: u64,
    first: Instant,
    last: Instant,
}

/// Decides line by line, for sources told apart by `K`. Time is an argument.
#[derive(Debug)]
pub struct Limiter<K> {
    limits: Limits,
    overall: Bucket,
    sources: HashMap<K, Source>,
    /// Shared by those who are not remembered.
    others: Source,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// Nobody has said anything yet.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let others = Source { bucket: Bucket::full(now), drops: None };
        Self { limits, overall: Bucket::full(now), sources: HashMap::new(), others }
    }

    /// Whether a line of `from` is taken; when not, it is counted as dropped.
    pub fn admit(&mut self, from: K, now: Instant) -> bool {
        let limits = self.limits;
        let admitted = self.source(from, now).bucket.take(now, limits.source_rate, limits.source_burst)
            && self.overall.take(now, limits.overall_rate, limits.overall_rate);
        if !admitted {
            self.dropped(Some(from), 1, now);
        }
        admitted
    }

    /// `count` lines of `from` (of those who are not remembered, when it has no name) were dropped, here or further on.
    pub fn dropped(&mut self, from: Option<K>, count: u64, now: Instant) {
        let source = match from {
            Some(from) => self.source(from, now),
            None => &mut self.others,
        };
        let drops = source.drops.get_or_insert(Drops { count: 0, first: now, last: now });
        drops.count = drops.count.saturating_add(count);
        drops.last = now;
    }

    /// The floods that are over, or have lasted for a minute, with how many lines each lost; those who are not remembered stand
    /// together, under no name. Sources that
    /// have been quiet are forgotten. To be called about once a second.
    pub fn settle(&mut self, now: Instant) -> Vec<(Option<K>, u64)> {
        let calm = self.limits.calm;
        let mut floods = Vec::new();
        let mut tell = |from: Option<K>, source: &mut Source| {
            let over = |drops: &mut Drops| {
                now.saturating_duration_since(drops.last) >= calm
                    || now.saturating_duration_since(drops.first) >= LASTING
            };
            floods.extend(source.drops.take_if(over).map(|drops| (from, drops.count)));
        };
        // One look at each: there may be tens of thousands.
        self.sources.retain(|from, source| {
            tell(Some(*from), source);
            source.drops.is_some() || source.bucket.full_at > now
        });
        tell(None, &mut self.others);
        floods
    }

    /// Sources that take memory: at most as many as the limits say.
    pub fn remembered(&self) -> usize {
        self.sources.len()
    }

    fn source(&mut self, from: K, now: Instant) -> &mut Source {
        let room = self.sources.len() < self.limits.sources;
        if !room && !self.sources.contains_key(&from) {
            return &mut self.others;
        }
        self.sources.entry(from).or_insert_with(|| Source { bucket: Bucket::full(now), drops: None })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn admitted(limiter: &mut Limiter<Ipv4Addr>, from: Ipv4Addr, lines: usize, now: Instant) -> usize {
        (0..lines).filter(|_| limiter.admit(from, now)).count()
    }

    #[test]
    fn a_source_has_its_burst_then_its_rate_and_leaves_others_theirs() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limits::default(), start);
        assert_eq!(admitted(&mut limiter, A, 1000, start), 200);
        assert_eq!(admitted(&mut limiter, B, 10, start), 10);
        assert_eq!(admitted(&mut limiter, A, 1000, start + Duration::from_secs(1)), 50);
        assert_eq!(admitted(&mut limiter, A, 1000, start + Duration::from_secs(60)), 200);
    }

    #[test]
    fn all_together_have_a_limit() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limits::default(), start);
        let taken: usize =
            (0..20).map(|n| admitted(&mut limiter, Ipv4Addr::new(10, 0, 1, n), 200, start)).sum();
        assert_eq!(taken, 2000);
    }

    #[test]
    fn a_flood_is_told_once_when_it_is_over_and_each_minute_while_it_lasts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limiter = Limiter::new(Limits::default(), start);
        admitted(&mut limiter, A, 300, start);
        assert_eq!(limiter.settle(at(1)), []);
        assert_eq!(limiter.settle(at(2)), [(Some(A), 100)]);
        assert_eq!(limiter.settle(at(3)), []);
        for second in 100..160 {
            admitted(&mut limiter, B, 1000, at(second));
            assert_eq!(limiter.settle(at(second)), [], "{second}");
        }
        assert_eq!(limiter.settle(at(160)), [(Some(B), 60_000 - 200 - 59 * 50)]);
    }

    #[test]
    fn forged_sources_fill_no_memory_and_the_quiet_are_forgotten() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limits { overall_rate: 1_000_000, ..Limits::default() }, start);
        let taken = (0..10_000u32).filter(|n| limiter.admit(Ipv4Addr::from(0x0a00_0000 + n), start)).count();
        assert_eq!(limiter.sources.len(), 4096);
        assert_eq!(taken, 4096 + 200, "what is remembered, and one burst for all others");
        assert_eq!(limiter.settle(start + Duration::from_secs(9)), [(None, 10_000 - 4296)]);
        assert_eq!(limiter.sources.len(), 0);
    }
}
