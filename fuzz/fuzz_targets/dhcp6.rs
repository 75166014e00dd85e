//! What comes to the DHCPv6 server, and what it answers.
#![no_main]

use std::net::Ipv6Addr;
use std::time::Duration;

use firstlight::boot::FirmwareTable;
use firstlight::dhcp6::message::open;
use firstlight::dhcp6::{Request, View, respond};
use firstlight::model::{Duid, Network6, Subnet6, Timestamp, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, 1);
    let Ok(request) = Request::parse(bytes, source) else { return };
    let subnet: Subnet6 = "fd00:77::/64".parse().expect("a prefix");
    let network = Network6 { subnet, range: subnet.usual_range(), dns: Vec::new(), advertise: true };
    // What the client calls us is us, so that more than the first check is tried.
    let named = request.server.as_deref().and_then(Duid::new);
    let duid = named.or_else(|| Duid::new(&[0, 4, 1])).expect("a DUID");
    let view = View {
        world: &World::default(),
        network: &network,
        lease: Duration::from_secs(3600),
        server: "fd00:77::1".parse().expect("an address"),
        duid: &duid,
        firmware: &FirmwareTable::default(),
        domain: Some("a.b"),
        names: true,
        http_port: 8080,
        script: true,
        serves_strangers: true,
    };
    let mut world = World::default();
    let decision = respond(&request, &view, Timestamp(1));
    decision.changes.iter().for_each(|change| world.apply(change));
    if let Some(reply) = decision.reply {
        assert_eq!(open(&reply.encode(&[])).expect("our own answer is well-formed").1, reply);
    }
});
