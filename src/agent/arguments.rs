//! What the appliance wrote on the kernel's command line.

use std::net::Ipv4Addr;
use std::str::FromStr;

use super::AgentError;
use crate::model::{MacAddr, Sha256Digest, Timestamp};

/// What the agent of the ramdisk knows before it has spoken to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Where the appliance listens for agents, `https://ADDRESS:PORT`.
    pub server: String,
    /// Where it serves files, `http://ADDRESS:PORT`.
    pub files: String,
    /// SHA-256 of its authority's certificate.
    pub authority: Sha256Digest,
    /// The one-time token of this boot.
    pub token: String,
    /// The interface that was booted from.
    pub mac: MacAddr,
    /// The node's address and prefix length.
    pub address: (Ipv4Addr, u8),
    /// The default router.
    pub gateway: Option<Ipv4Addr>,
    /// The appliance's clock when the script was written.
    pub time: Timestamp,
    /// Where log lines go.
    pub syslog: Option<std::net::SocketAddrV4>,
}

impl Arguments {
    /// Reads a command line (proc(5), `/proc/cmdline`).
    ///
    /// # Errors
    /// When something is missing or makes no sense.
    pub fn parse(cmdline: &str) -> Result<Self, AgentError> {
        let (address, prefix) = value(cmdline, "firstlight.ip")
            .and_then(|text| text.split_once('/'))
            .ok_or(AgentError::Argument("firstlight.ip"))?;
        let seconds: u64 = parsed(cmdline, "firstlight.time")?;
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= 32)
            .ok_or(AgentError::Argument("firstlight.ip"))?;
        Ok(Self {
            server: parsed(cmdline, "firstlight.agent")?,
            files: parsed(cmdline, "firstlight.url")?,
            authority: parsed(cmdline, "firstlight.ca")?,
            token: parsed(cmdline, "firstlight.token")?,
            mac: parsed(cmdline, "firstlight.mac")?,
            address: (address.parse().map_err(|_| AgentError::Argument("firstlight.ip"))?, prefix),
            gateway: value(cmdline, "firstlight.gateway").and_then(|text| text.parse().ok()),
            time: Timestamp(seconds.saturating_mul(1000)),
            syslog: value(cmdline, "firstlight.syslog").and_then(|text| text.parse().ok()),
        })
    }
}

fn parsed<T: FromStr>(cmdline: &str, key: &'static str) -> Result<T, AgentError> {
    value(cmdline, key).and_then(|text| text.parse().ok()).ok_or(AgentError::Argument(key))
}

/// The last value of a key, as the kernel itself does it.
fn value<'c>(cmdline: &'c str, key: &str) -> Option<&'c str> {
    let words = cmdline.split_ascii_whitespace().rev();
    words.filter_map(|word| word.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "initrd=initrd0 console=ttyS0 firstlight.url=http://10.77.0.1:8080 firstlight.node=n1 \
        firstlight.mac=02:00:00:00:00:01 firstlight.token=c0ffee firstlight.agent=https://10.77.0.1:8443 \
        firstlight.ca=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f firstlight.time=1700000000 \
        firstlight.ip=10.77.0.100/24 firstlight.gateway=10.77.0.1 firstlight.syslog=10.77.0.1:514\n";

    #[test]
    fn a_good_command_line() {
        let arguments = Arguments::parse(GOOD).expect("a good one");
        assert_eq!(arguments.address, (Ipv4Addr::new(10, 77, 0, 100), 24));
        assert_eq!(arguments.time, Timestamp(1_700_000_000_000));
        assert_eq!(arguments.syslog.map(|address| address.port()), Some(514));
        let last = Arguments::parse(&format!("{} firstlight.token=other", GOOD.trim())).expect("a good one");
        assert_eq!(last.token, "other", "the last one counts");
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in ["url", "mac", "token", "agent", "ca", "time", "ip"] {
            let key = format!("firstlight.{key}");
            let error = Arguments::parse(&GOOD.replace(&key, "x")).expect_err(&key).to_string();
            assert!(error.contains(&key), "{key}: {error}");
        }
        for (from, to) in [("/24", "/33"), ("/24", ""), ("1700000000", "x"), ("000102", "zz")] {
            assert!(Arguments::parse(&GOOD.replace(from, to)).is_err(), "{from} → {to}");
        }
    }
}
