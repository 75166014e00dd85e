//! The pool against a model that looks at every address.

use proptest::prelude::*;

use super::*;
use crate::dhcp::pool::Pool;
use crate::model::{AddressRange, Change};

/// Around the end of a block of 256.
fn at(n: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a4d_00f0 + u32::from(n))
}

fn range() -> impl Strategy<Value = AddressRange> {
    (0..40_u8, 0..12_u8).prop_map(|(first, more)| AddressRange { first: at(first), last: at(first + more) })
}

fn state() -> impl Strategy<Value = LeaseState> {
    use LeaseState::{Bound, Declined, Offered, Released};
    prop_oneof![Just(Offered), Just(Bound), Just(Released), Just(Declined)]
}

proptest! {
    #[test]
    fn who_is_new_gets_what_is_free_else_what_ran_out_first(
        ranges in prop::collection::vec(range(), 1..3),
        exclude in prop::collection::vec(range(), 0..4),
        leases in prop::collection::btree_map(0..52_u8, (state(), 0..20_u64, any::<bool>()), 0..52),
        gateway in 0..52_u8,
        now in 0..20_u64,
    ) {
        let mut world = World::default();
        for (n, (state, expires, reserved)) in &leases {
            let (state, reserved) = (*state, *reserved);
            world.apply(&Change::PutLease(Lease { ip: at(*n), reserved, ..lease(*n, state, *expires) }));
        }
        let subnet = "10.77.0.0/23".parse().expect("a subnet");
        let network = Network { subnet, ranges, exclude, gateway: Some(at(gateway)), ..network() };
        let pool = Pool { world: &world, network: &network, server: SERVER };
        let client = Request::new(message(200, dhcproto::v4::MessageType::Discover, vec![])).expect("one").client;
        let chosen = pool.choose(&client, None, Timestamp(now));

        let within = |ranges: &[AddressRange], ip| ranges.iter().any(|range: &AddressRange| range.contains(ip));
        let ours: Vec<Ipv4Addr> = (0..=255)
            .map(at)
            .filter(|ip| within(&network.ranges, *ip) && !within(&network.exclude, *ip))
            .filter(|ip| *ip != SERVER && network.gateway != Some(*ip) && !network.dns.contains(ip))
            .collect();
        let free: Vec<Ipv4Addr> = ours.iter().copied().filter(|ip| world.lease(*ip).is_none()).collect();
        let mut ran_out: Vec<&Lease> = ours.iter().filter_map(|ip| world.lease(*ip)).collect();
        ran_out.retain(|lease| !lease.reserved && lease.expires <= Timestamp(now));
        ran_out.sort_by_key(|lease| (lease.expires, lease.ip));
        match chosen {
            Some(ip) if !free.is_empty() => prop_assert!(free.contains(&ip), "{ip} of {free:?}"),
            other => {
                prop_assert!(free.is_empty(), "free: {free:?}");
                prop_assert_eq!(other, ran_out.first().map(|lease| lease.ip));
            }
        }
    }
}

/// A client that asks for the last address there is must not make all others search from the first.
#[test]
fn behind_the_highest_then_the_lowest_gap() {
    let mut world = World::default();
    let ranges = vec![AddressRange { first: at(0), last: at(200) }];
    let exclude = vec![AddressRange { first: at(3), last: at(150) }];
    let network = Network { subnet: "10.77.0.0/23".parse().expect("a subnet"), ranges, exclude, ..network() };
    let mut given = Vec::new();
    for n in 0..6_u8 {
        let asked = message(100 + n, dhcproto::v4::MessageType::Discover, vec![]);
        let client = Request::new(asked).expect("a request").client;
        let wish = (n == 1).then(|| at(200));
        let pool = Pool { world: &world, network: &network, server: SERVER };
        let ip = pool.choose(&client, wish, Timestamp(0)).expect("an address");
        world.apply(&Change::PutLease(Lease { ip, mac: client.mac, ..lease(0, LeaseState::Bound, 9) }));
        given.push(ip);
    }
    assert_eq!(given, [at(0), at(200), at(1), at(2), at(151), at(152)]);
}
