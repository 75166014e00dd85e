//! Who is let in: clients are told apart by their MAC, relays' ports by circuit id (option 82).

use std::time::Instant;

use super::request::Request;
use crate::gate::Rank;
use crate::model::MacAddr;

/// What all strangers together may send in a second: more than any hall that is powered on at once, and no more than leaves time
/// for nodes.
const TOGETHER: u32 = 20_000;

/// Counts what each client sends.
pub type Gate = crate::gate::Gate<MacAddr>;

impl Gate {
    /// Nobody has sent anything yet.
    pub fn new(now: Instant) -> Self {
        Self::of("requests", Some(TOGETHER), now)
    }

    /// Whether a request that was read is looked at: a port of a relay has its pace, too.
    pub fn admit_port(&mut self, request: &Request, rank: Rank, now: Instant) -> bool {
        let port = request.client.relay.circuit_id.as_ref();
        self.admit_from(port.map(|port| (request.message.giaddr(), port)), rank, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dhcproto::v4::{DhcpOption, Message, MessageType};

    use super::*;

    #[test]
    fn a_port_is_its_relays_own() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let of = |relay: u8, port: &[u8]| {
            let mut message = Message::default();
            message.set_chaddr(&[2, 0, 0, 0, 0, 1]).set_giaddr(Ipv4Addr::new(10, 77, relay, 1));
            message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
            let mut request = Request::new(message).expect("a request");
            request.client.relay.circuit_id = Some(port.to_vec());
            request
        };
        let mut taken =
            |request| (0..1000).filter(|_| gate.admit_port(&request, Rank::Stranger, start)).count();
        for (rule, request, expected) in [
            ("a port", of(1, b"e1"), 400),
            ("the same", of(1, b"e1"), 0),
            ("another", of(1, b"e2"), 400),
            ("another relay's of the same name", of(2, b"e1"), 400),
        ] {
            assert_eq!(taken(request), expected, "{rule}");
        }
    }
}
