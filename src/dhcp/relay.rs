//! What a relay says of a client (option 82).

use std::net::Ipv4Addr;

/// RFC 3046 section 3.1.
const CIRCUIT_ID: u8 = 1;
/// RFC 3046 section 3.2.
const REMOTE_ID: u8 = 2;
/// RFC 3527 section 3.
const LINK_SELECTION: u8 = 5;
/// RFC 5107 section 4.
const SERVER_OVERRIDE: u8 = 11;

/// The sub-options that matter here. The option as a whole goes back as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayAgent {
    /// The port the client is on.
    pub circuit_id: Option<Vec<u8>>,
    /// Who is at the other end of it.
    pub remote_id: Option<Vec<u8>>,
    /// The client's link, where it is not that of `giaddr` (RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// What the server is to call itself, so that renewals pass the relay too (RFC 5107).
    pub server: Option<Ipv4Addr>,
}

impl RelayAgent {
    /// Reads the option's bytes. Of a sub-option that stands twice the first counts; behind one that is cut off nothing is read.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut agent = Self::default();
        while let [code, length, rest @ ..] = bytes {
            let Some((data, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
            match *code {
                CIRCUIT_ID if !data.is_empty() => {
                    agent.circuit_id.get_or_insert_with(|| data.to_vec());
                }
                REMOTE_ID if !data.is_empty() => {
                    agent.remote_id.get_or_insert_with(|| data.to_vec());
                }
                LINK_SELECTION => agent.link = agent.link.or(address(data)),
                SERVER_OVERRIDE => agent.server = agent.server.or(address(data)),
                _ => {}
            }
            bytes = rest;
        }
        agent
    }
}

/// An address that a host can have.
fn address(data: &[u8]) -> Option<Ipv4Addr> {
    let ip = Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?);
    (!ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_options_are_read() {
        let link = Ipv4Addr::new(10, 78, 0, 1);
        for (name, bytes, expected) in [
            ("nothing", vec![], RelayAgent::default()),
            (
                "port and switch (RFC 3046)",
                vec![1, 2, b'e', b'1', 2, 1, 9],
                RelayAgent {
                    circuit_id: Some(b"e1".to_vec()),
                    remote_id: Some(vec![9]),
                    ..RelayAgent::default()
                },
            ),
            (
                "link selection (RFC 3527)",
                vec![5, 4, 10, 78, 0, 1],
                RelayAgent { link: Some(link), ..RelayAgent::default() },
            ),
            (
                "server override (RFC 5107)",
                vec![11, 4, 10, 78, 0, 1],
                RelayAgent { server: Some(link), ..RelayAgent::default() },
            ),
            ("an address of three bytes", vec![5, 3, 10, 78, 0], RelayAgent::default()),
            ("an address that no host has", vec![11, 4, 255, 255, 255, 255], RelayAgent::default()),
            ("cut off", vec![1, 9, b'e'], RelayAgent::default()),
            (
                "twice: the first counts",
                vec![1, 1, 7, 1, 1, 8],
                RelayAgent { circuit_id: Some(vec![7]), ..RelayAgent::default() },
            ),
            (
                "unknown ones between",
                vec![151, 1, 0, 1, 1, 7],
                RelayAgent { circuit_id: Some(vec![7]), ..RelayAgent::default() },
            ),
        ] {
            assert_eq!(RelayAgent::parse(&bytes), expected, "{name}");
        }
    }
}
