//! What holds for any bytes, and for any sequence of packets.

use std::collections::BTreeMap;

use dhcproto::v4::{DhcpOption as O, MessageType as M};
use proptest::prelude::*;

use super::*;
use crate::model::Change;

/// A step of a client on a pool of six addresses.
#[derive(Debug, Clone, Copy)]
enum Step {
    Discover,
    /// Takes the last offer.
    Select,
    /// Asks for an address of the pool, its own or not.
    Reboot(u8),
    Renew(u8),
    Release,
    Decline,
    Wait(u64),
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let kind = prop_oneof![
        3 => Just(Step::Discover),
        3 => Just(Step::Select),
        1 => (0..7_u8).prop_map(Step::Reboot),
        1 => (0..7_u8).prop_map(Step::Renew),
        1 => Just(Step::Release),
        1 => Just(Step::Decline),
        1 => (0..5_000_000_u64).prop_map(Step::Wait),
    ];
    (0..9_u8, kind)
}

/// Plays the steps; every reply, and the world at the end.
fn play(steps: &[(u8, Step)]) -> (Vec<(u64, u8, Decision)>, World) {
    let (mut world, mut now, mut log) = (World::default(), 1_000_000_u64, Vec::new());
    let mut known: BTreeMap<u8, Ipv4Addr> = BTreeMap::new();
    for (client, step) in steps {
        now += 10;
        let own = known.get(client).copied().unwrap_or(ip(0));
        let id = O::ServerIdentifier(SERVER);
        let renew = |ip: Ipv4Addr, kind, options| {
            let mut message = message(*client, kind, options);
            message.set_ciaddr(ip);
            message
        };
        let asked = match step {
            Step::Wait(millis) => {
                now += millis;
                continue;
            }
            Step::Discover => message(*client, M::Discover, vec![]),
            Step::Select => message(*client, M::Request, vec![id, O::RequestedIpAddress(own)]),
            Step::Reboot(n) => message(*client, M::Request, vec![O::RequestedIpAddress(ip(*n))]),
            Step::Renew(n) => renew(ip(*n), M::Request, vec![]),
            Step::Release => renew(own, M::Release, vec![id]),
            Step::Decline => message(*client, M::Decline, vec![id, O::RequestedIpAddress(own)]),
        };
        let decision = decide(&world, asked, now);
        for change in &decision.changes {
            world.apply(change);
        }
        if let Some(reply) = decision.reply.as_ref().filter(|reply| !reply.message.yiaddr().is_unspecified())
        {
            known.insert(*client, reply.message.yiaddr());
        }
        log.push((now, *client, decision));
    }
    (log, world)
}

proptest! {
    #[test]
    fn no_address_is_held_by_two(steps in prop::collection::vec(step(), 1..120)) {
        let (log, _) = play(&steps);
        // Who was told "it is yours until then".
        let mut holders: BTreeMap<Ipv4Addr, (u8, u64)> = BTreeMap::new();
        for (now, client, decision) in log {
            if let Some(Change::PutLease(lease)) = decision.changes.first()
                && matches!(lease.state, LeaseState::Released | LeaseState::Declined)
            {
                holders.remove(&lease.ip);
            }
            let Some(reply) = decision.reply else { continue };
            let given = reply.message.yiaddr();
            let kind = reply.message.opts().msg_type();
            if kind == Some(M::Nak) {
                continue;
            }
            prop_assert!((ip(0)..=ip(5)).contains(&given), "{given} is not of the pool");
            let held = holders.get(&given).filter(|(_, until)| *until > now);
            prop_assert!(held.is_none_or(|(holder, _)| *holder == client), "{given} is held by {held:?}, given to {client}");
            if kind == Some(M::Ack) {
                holders.insert(given, (client, now + 3_600_000));
            }
        }
    }

    #[test]
    fn the_same_packets_give_the_same_leases(steps in prop::collection::vec(step(), 1..80)) {
        let (first, second) = (play(&steps), play(&steps));
        prop_assert_eq!(first.0, second.0);
        let leases = |world: &World| world.leases().cloned().collect::<Vec<_>>();
        prop_assert_eq!(leases(&first.1), leases(&second.1));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), cut in 0..400_usize) {
        use dhcproto::{Encodable, Encoder};
        let _ = Request::parse(&bytes);
        // Noise behind a good header reaches the options.
        let mut good = Vec::new();
        message(1, M::Discover, vec![]).encode(&mut Encoder::new(&mut good)).expect("it encodes");
        good.truncate(240);
        good.extend_from_slice(&bytes);
        good.truncate(240 + cut);
        if let Ok(request) = Request::parse(&good) {
            let decision = decide(&World::default(), request.message, 1);
            if let Some(reply) = decision.reply {
                prop_assert!(reply.encode().is_some());
            }
        }
    }
}
