//! `firstlight node timeline`: what happened to a node, with durations.

use std::fmt::Write;

use jiff::tz::TimeZone;

use crate::appliance::views::EventView;
use crate::model::{EventKind, Timestamp};

use super::show::clean;

/// A DHCP offer after so long a silence, in milliseconds, belongs to another try; firmware waits up to 32 s between
/// its own repetitions.
const PAUSE_MS: u128 = 60_000;

/// How far a boot is. One that goes back began anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Firmware,
    Ipxe,
    Image,
    System,
}

/// Prints events one by one, each with its distance to the one before and to the begin of its boot.
pub struct Timeline {
    clock: Clock,
    colour: bool,
    boot: Option<Boot>,
}

/// The boot that the last event belongs to.
struct Boot {
    start: Timestamp,
    stage: Stage,
    last: Timestamp,
    ready: Option<Timestamp>,
}

/// How the time of day is told.
pub struct Clock {
    zone: TimeZone,
    header: &'static str,
}

impl Clock {
    /// UTC, or this host's time zone.
    pub fn new(utc: bool) -> Self {
        if utc {
            Self { zone: TimeZone::UTC, header: "UTC" }
        } else {
            Self { zone: TimeZone::system(), header: "LOCAL TIME" }
        }
    }

    fn tell(&self, at: Timestamp) -> String {
        let moment = i64::try_from(at.0).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let zoned = moment.map(|moment| moment.to_zoned_datetime(self.zone.clone()));
        zoned.map_or_else(|| at.to_string(), |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
    }
}

impl Timeline {
    pub fn new(clock: Clock, colour: bool) -> Self {
        Self { clock, colour, boot: None }
    }

    /// The header, the events, and how long the last boot took.
    pub fn whole(&mut self, events: &[EventView], node: &str) -> String {
        let text = events.iter().fold(self.header(), |text, event| text + &self.line(event));
        text + &self.total(node)
    }

    pub fn header(&self) -> String {
        format!("{:<23}  {:>11}  {:>11}  WHAT\n", self.clock.header, "AFTER", "SINCE START")
    }

    /// One event. State changes stand out.
    pub fn line(&mut self, view: &EventView) -> String {
        let at = view.event.at;
        let after = self.boot.as_ref().map_or_else(|| "-".into(), |boot| seconds(at, boot.last));
        let boot = self.advance(at, &view.event.kind);
        let since = seconds(at, boot.start);
        let mut line = format!("{:<23}  {after:>11}  {since:>11}  {}", self.clock.tell(at), view.text);
        if let Some(actor) = &view.event.actor {
            // Writing into a string cannot fail.
            let _ = write!(line, " (by {actor})");
        }
        let line = clean(&line);
        match &view.event.kind {
            EventKind::State { to, .. } if self.colour => {
                let style = match to.as_str() {
                    "ready" => "1;32",
                    "failed" | "quarantined" => "1;31",
                    _ => "1",
                };
                format!("\x1b[{style}m{line}\x1b[0m\n")
            }
            _ => line + "\n",
        }
    }

    fn total(&self, node: &str) -> String {
        match &self.boot {
            None => String::new(),
            Some(Boot { start, ready: Some(ready), .. }) => {
                format!("\nready {} after the first packet of its last boot\n", seconds(*ready, *start))
            }
            Some(_) => {
                clean(&format!("its last boot is not ready; `firstlight node explain {node}` tells why"))
                    + "\n"
            }
        }
    }

    fn advance(&mut self, at: Timestamp, kind: &EventKind) -> &Boot {
        let stage = stage(kind);
        let fresh = Boot { start: at, stage: stage.unwrap_or(Stage::Firmware), last: at, ready: None };
        let boot = match self.boot.take() {
            Some(boot) if !begins(&boot, at, kind) => Boot {
                stage: stage.map_or(boot.stage, |stage| stage.max(boot.stage)),
                last: at,
                ready: if is_ready(kind) { Some(at) } else { boot.ready },
                start: boot.start,
            },
            _ => Boot { ready: is_ready(kind).then_some(at), ..fresh },
        };
        self.boot.insert(boot)
    }
}

/// Whether a boot begins with this event: with an offer to firmware or iPXE that was further already, or silent for
/// long. An operating system that asks again has not booted again.
fn begins(boot: &Boot, at: Timestamp, kind: &EventKind) -> bool {
    match (kind, stage(kind)) {
        (EventKind::Discovered { .. }, _) => true,
        (EventKind::Dhcp { message, .. }, Some(stage @ (Stage::Firmware | Stage::Ipxe)))
            if message == "offer" =>
        {
            stage < boot.stage || at.since(boot.last).as_millis() > PAUSE_MS
        }
        _ => false,
    }
}

/// How far a boot is that comes to this event; `None` when it says nothing of that.
fn stage(kind: &EventKind) -> Option<Stage> {
    match kind {
        // As `boot::firmware` describes its clients.
        EventKind::Dhcp { client, .. } if client.starts_with("iPXE") => Some(Stage::Ipxe),
        EventKind::Dhcp { client, .. }
            if client.starts_with("PXE firmware") || client.starts_with("HTTP boot firmware") =>
        {
            Some(Stage::Firmware)
        }
        EventKind::Dhcp { .. } | EventKind::Report { .. } => Some(Stage::System),
        EventKind::Script { action, .. } if matches!(action.as_str(), "boot" | "discover") => {
            Some(Stage::Image)
        }
        EventKind::Script { .. } => Some(Stage::Ipxe),
        _ => None,
    }
}

fn is_ready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::State { to, .. } if to == "ready")
}

fn seconds(at: Timestamp, since: Timestamp) -> String {
    let millis = at.since(since).as_millis();
    format!("{}.{:03} s", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests;
