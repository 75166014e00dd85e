//! When a repair that did not help is tried again.

use std::time::{Duration, Instant};

use crate::bundle::desired::Applied;

/// Between two repairs: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// Repairs of one generation. Whoever changes a file back again and again does not keep the host from all else.
#[derive(Debug, Default)]
pub struct Repairs {
    generation: String,
    next: Option<Instant>,
    pause: Duration,
}

impl Repairs {
    /// Whether there is something to repair, and it is time to; if so, the next time is later.
    pub fn is_due(&mut self, seen: &Applied, now: Instant) -> bool {
        if self.generation != seen.generation {
            *self = Self { generation: seen.generation.clone(), ..Self::default() };
        }
        let early = self.next.is_some_and(|next| now < next);
        if seen.drift.is_empty() {
            if !early {
                *self = Self { generation: std::mem::take(&mut self.generation), ..Self::default() };
            }
            return false;
        }
        if early {
            return false;
        }
        self.pause = self.pause.saturating_mul(2).clamp(PAUSES.0, PAUSES.1);
        self.next = now.checked_add(self.pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_that_does_not_help_is_tried_less_and_less() {
        let start = Instant::now();
        let mut repairs = Repairs::default();
        let seen = |generation: &str, drift: usize| Applied {
            generation: generation.into(),
            drift: vec!["/etc/x".into(); drift],
            ..Applied::default()
        };
        for (name, after, generation, drift, due) in [
            ("nothing was changed", 0, "g1", 0, false),
            ("at once", 1, "g1", 1, true),
            ("not again already", 4, "g1", 1, false),
            ("after 30 s", 31, "g1", 1, true),
            ("and then after 60 s", 62, "g1", 1, false),
            ("and then after 60 s", 91, "g1", 1, true),
            ("it helped, for a moment", 100, "g1", 0, false),
            ("changed again at once", 103, "g1", 1, false),
            ("it helped for as long as the pause is", 300, "g1", 0, false),
            ("changed again later", 303, "g1", 1, true),
            ("another generation", 304, "g2", 1, true),
        ] {
            let found = repairs.is_due(&seen(generation, drift), start + Duration::from_secs(after));
            assert_eq!(found, due, "{name}, after {after} s");
        }
    }
}
