//! Timelines as a person reads them.

use std::net::Ipv4Addr;

use super::*;
use crate::appliance::views::event_view;
use crate::boot::{ClientKind, FirmwareTable};
use crate::model::{Event, MacAddr};

fn view(at: u64, kind: EventKind) -> EventView {
    event_view(Event { seq: at, at: Timestamp(at), node: None, name: None, actor: None, kind })
}

fn offer(client: &ClientKind) -> EventKind {
    EventKind::Dhcp {
        message: "offer".into(),
        ip: Ipv4Addr::new(10, 77, 0, 100).into(),
        client: client.describe(&FirmwareTable::new(&[]).expect("an empty table")),
        boot_file: None,
        reason: None,
    }
}

fn firmware() -> EventKind {
    offer(&ClientKind::Pxe(7))
}

fn ipxe() -> EventKind {
    offer(&ClientKind::Ipxe(Some(7)))
}

fn system() -> EventKind {
    offer(&ClientKind::Other("udhcp 1.35".into()))
}

fn discovered() -> EventKind {
    EventKind::Discovered { mac: MacAddr([2, 0, 0, 0, 0, 1]) }
}

fn script(action: &str) -> EventKind {
    EventKind::Script { action: action.into(), image: None, message: None }
}

fn state(to: &str) -> EventKind {
    EventKind::State { from: "x".into(), to: to.into(), after_ms: 0, reason: None }
}

fn whole(events: Vec<(u64, EventKind)>) -> String {
    let events: Vec<EventView> = events.into_iter().map(|(at, kind)| view(at, kind)).collect();
    Timeline::new(Clock::new(true), false).whole(&events, "n1")
}

/// Seconds since the start of its boot, of each line.
fn since(text: &str) -> Vec<&str> {
    let lines = text.lines().skip(1).take_while(|line| line.starts_with("1970"));
    lines.map(|line| line[38..49].trim()).collect()
}

#[test]
fn where_a_boot_begins() {
    let s = |text: &'static str| text;
    for (name, events, starts) in [
        (
            "firmware, iPXE, system",
            vec![
                (0, discovered()),
                (0, firmware()),
                (2_000, ipxe()),
                (3_000, script("boot")),
                (9_000, system()),
            ],
            vec!["0.000 s", "0.000 s", "2.000 s", "3.000 s", "9.000 s"],
        ),
        (
            "firmware that repeats itself",
            vec![(0, firmware()), (4_000, firmware()), (36_000, firmware())],
            vec!["0.000 s", "4.000 s", "36.000 s"],
        ),
        ("after a pause", vec![(0, firmware()), (60_001, firmware())], vec!["0.000 s", "0.000 s"]),
        (
            "a reset while it booted",
            vec![
                (0, firmware()),
                (2_000, ipxe()),
                (3_000, script("boot")),
                (5_000, firmware()),
                (7_000, ipxe()),
            ],
            vec!["0.000 s", "2.000 s", "3.000 s", "0.000 s", "2.000 s"],
        ),
        (
            "a reset of a card whose ROM is iPXE",
            vec![(0, ipxe()), (1_000, script("boot")), (5_000, ipxe())],
            vec!["0.000 s", "1.000 s", "0.000 s"],
        ),
        (
            "an operator who takes long",
            vec![(0, ipxe()), (1_000, script("wait")), (90_000, state("enrolled")), (91_000, script("boot"))],
            vec!["0.000 s", "1.000 s", "90.000 s", "91.000 s"],
        ),
        (
            "a lease asked for again by a running system",
            vec![(0, ipxe()), (1_000, script("boot")), (9_000, state("ready")), (900_000, system())],
            vec!["0.000 s", "1.000 s", "9.000 s", "900.000 s"],
        ),
        (
            "no boot at all",
            vec![(5_000, state("enrolled")), (6_000, state("retired"))],
            vec!["0.000 s", "1.000 s"],
        ),
    ] {
        let text = whole(events);
        assert_eq!(since(&text), starts.into_iter().map(s).collect::<Vec<_>>(), "{name}:\n{text}");
    }
}

#[test]
fn the_last_line_is_about_the_last_boot() {
    let boot = |at| [(at, firmware()), (at + 2_000, script("boot")), (at + 12_500, state("ready"))];
    let twice: Vec<_> = boot(0).into_iter().chain(boot(500_000)).collect();
    let text = whole(twice.clone());
    assert!(text.ends_with("\nready 12.500 s after the first packet of its last boot\n"), "{text}");
    let begun = twice.into_iter().chain([(900_000, firmware())]).collect();
    let text = whole(begun);
    assert!(text.ends_with("its last boot is not ready; `firstlight node explain n1` tells why\n"), "{text}");
    assert_eq!(whole(vec![]).lines().count(), 1, "nothing is said of no boot");
}

#[test]
fn lines_are_as_people_read_them() {
    let mut timeline = Timeline::new(Clock::new(true), true);
    assert_eq!(timeline.header(), "UTC                            AFTER  SINCE START  WHAT\n");
    let first = view(86_400_000, state("failed"));
    assert_eq!(
        timeline.line(&first),
        "\x1b[1;31m1970-01-02 00:00:00.000            -      0.000 s  x → failed after 0.0 s\x1b[0m\n"
    );
    let mut second = view(86_401_250, EventKind::Report { phase: "x".into(), message: "\x1b[2Ja\nb".into() });
    second.event.actor = Some("root".into());
    assert_eq!(
        timeline.line(&second),
        "1970-01-02 00:00:01.250      1.250 s      1.250 s  reports x: ?[2Ja?b (by root)\n",
        "what a node says cannot command the terminal, nor take a line of its own"
    );
    let far = view(u64::MAX, EventKind::Stopped);
    assert!(timeline.line(&far).starts_with("9999-12-31T23:59:59.999Z"), "a time that no calendar has");
}
