//! `firstlight node timeline`: what happened to a node, with durations.

use crate::appliance::views::EventView;
use crate::model::{EventKind, Timestamp};

use super::show::columns;

/// One line an event: when, how long after the one before, how long after its boot began.
pub fn timeline(events: &[EventView]) -> String {
    let (mut before, mut boot) = (None, None);
    let mut rows = Vec::with_capacity(events.len());
    let mut last = None;
    for view in events {
        let at = view.event.at;
        let start: Timestamp = *boot.get_or_insert(at);
        let actor = view.event.actor.as_ref().map(|actor| format!(" (by {actor})")).unwrap_or_default();
        let after = before.map_or_else(|| "-".into(), |before| seconds(at, before));
        rows.push([clock(at), after, seconds(at, start), format!("{}{actor}", view.text)]);
        before = Some(at);
        // What comes behind `ready` belongs to the next boot.
        if matches!(&view.event.kind, EventKind::State { to, .. } if to == "ready") {
            last = Some((start, at));
            boot = None;
        }
    }
    let table = columns(["UTC", "AFTER", "SINCE START", "WHAT"], rows);
    match last {
        Some((start, ready)) => format!("{table}\nready {} after its first packet\n", seconds(ready, start)),
        None => table,
    }
}

/// The date and the time of day.
fn clock(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', "")
}

fn seconds(at: Timestamp, since: Timestamp) -> String {
    let millis = at.since(since).as_millis();
    format!("{}.{:03} s", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::views::event_view;
    use crate::model::Event;

    #[test]
    fn durations_start_again_with_each_boot() {
        let event = |seq, at, kind| {
            event_view(Event { seq, at: Timestamp(at), node: None, name: None, actor: None, kind })
        };
        let state =
            |to: &str| EventKind::State { from: "x".into(), to: to.into(), after_ms: 0, reason: None };
        let started = || EventKind::Started { version: "1".into() };
        let text = timeline(&[
            event(1, 1_000, started()),
            event(2, 3_500, state("ready")),
            event(3, 10_000, started()),
            event(4, 10_250, state("booting")),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("-        0.000 s"), "{text}");
        assert!(lines[2].contains("2.500 s  2.500 s"), "{text}");
        assert!(lines[3].contains("6.500 s  0.000 s"), "{text}");
        assert!(lines[4].contains("0.250 s  0.250 s"), "{text}");
        assert!(text.ends_with("ready 2.500 s after its first packet\n"), "{text}");
    }
}
