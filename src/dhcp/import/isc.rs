//! ISC dhcpd: its lease file (dhcpd.leases(5); the last block of an address counts), and `host` blocks of its configuration.

use std::net::Ipv4Addr;

use super::{Found, Imported, hostname, octets};
use crate::model::MacAddr;

/// What a block said so far.
enum Block {
    Lease { ip: Ipv4Addr, mac: Option<MacAddr>, name: Option<String>, ends: Option<u64>, active: bool },
    Host { ip: Option<Ipv4Addr>, mac: Option<MacAddr>, name: Option<String>, other: Option<Other> },
}

/// By what else than a MAC a host is known: the configuration's key, and its value.
type Other = (&'static str, Vec<u8>);

/// Reads either.
pub fn read(text: &str) -> Found {
    let mut found = Found::default();
    let mut block: Option<(usize, Block)> = None;
    // Blocks of other kinds around (subnets, groups, pools) do not count; those within (`on expiry {`, `if … {`) do, and what they
    // say holds only at times.
    let mut within = 0_usize;
    for (number, statement) in statements(text) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        if let (["lease" | "host", _, "{"], Some((unfinished, _))) = (words.as_slice(), &block) {
            found.problem(*unfinished, "another block begins in the middle of this one");
            (block, within) = (None, 0);
        }
        match words.as_slice() {
            ["lease", ip, "{"] => match ip.parse() {
                Ok(ip) => {
                    let lease = Block::Lease { ip, mac: None, name: None, ends: None, active: false };
                    block = Some((number, lease));
                }
                Err(_) => found.problem(number, format!("'{ip}' is not an IPv4 address")),
            },
            ["host", name, "{"] => {
                let name = hostname(name.trim_matches('"'));
                block = Some((number, Block::Host { ip: None, mac: None, name, other: None }));
            }
            ["}"] if within > 0 => within -= 1,
            [.., "{"] if block.is_some() => within += 1,
            _ if within > 0 => {}
            ["}"] => {
                if let Some((started, block)) = block.take() {
                    finish(started, block, &mut found);
                }
            }
            words => {
                if let Some((_, block)) = &mut block
                    && let Err(message) = take(block, words)
                {
                    found.problem(number, message);
                }
            }
        }
    }
    if let Some((started, _)) = block {
        found.problem(started, "the file ends in the middle of this block");
    }
    found
}

fn take(block: &mut Block, words: &[&str]) -> Result<(), String> {
    let hardware = |address: &str| address.parse().map_err(|error| format!("{error}"));
    match (block, words) {
        (Block::Lease { mac, .. } | Block::Host { mac, .. }, ["hardware", "ethernet", address]) => {
            *mac = Some(hardware(address)?);
        }
        (Block::Lease { name, .. }, ["client-hostname", text @ ..]) => {
            *name = hostname(text.join("-").trim_matches('"'));
        }
        (Block::Lease { ends, .. }, ["ends", "never"]) => *ends = None,
        (Block::Lease { ends, .. }, ["ends", "epoch", seconds, ..]) => {
            *ends = Some(seconds.parse().map_err(|_| format!("'{seconds}' is not a time"))?);
        }
        (Block::Lease { ends, .. }, ["ends", _weekday, date, time]) => *ends = Some(moment(date, time)?),
        (Block::Lease { active, .. }, ["binding", "state", state]) => *active = *state == "active",
        (Block::Host { ip, .. }, ["fixed-address", address]) => {
            let wrong = || format!("'{address}' is not an IPv4 address; names are not looked up");
            *ip = Some(address.trim_end_matches(',').parse().map_err(|_| wrong())?);
        }
        (
            Block::Host { other, .. },
            ["option", "dhcp-client-identifier", value @ ..] | ["uid", value @ ..],
        ) => *other = Some(("client_id", bytes(&value.join(" ")))),
        (Block::Host { other, .. }, ["host-identifier", "option", "agent.circuit-id", value @ ..]) => {
            *other = Some(("circuit_id", bytes(&value.join(" "))));
        }
        (Block::Host { name, .. }, ["option", "host-name", text]) => {
            *name = hostname(text.trim_matches('"')).or(name.take());
        }
        _ => {}
    }
    Ok(())
}

fn finish(started: usize, block: Block, found: &mut Found) {
    match block {
        Block::Lease { ip, active: false, .. } => drop(found.leases.remove(&ip)),
        Block::Lease { ip, mac: Some(mac), name, ends, .. } => {
            found.add(Imported { ip, mac, hostname: name, expires: ends, reserved: false });
        }
        Block::Lease { ip, .. } => found.problem(started, format!("{ip} has no hardware address")),
        Block::Host { ip: Some(ip), mac: Some(mac), name, .. } => {
            found.add(Imported { ip, mac, hostname: name, expires: None, reserved: true });
        }
        Block::Host { ip: Some(ip), name, other: Some((key, value)), .. } => {
            found.configure(started, ip, name.as_deref(), key, &value);
        }
        Block::Host { ip: Some(ip), .. } => {
            found.problem(
                started,
                format!("{ip} is reserved, but for no hardware address; reserve it in the configuration"),
            );
        }
        Block::Host { .. } => {}
    }
}

/// A data expression: `01:52:54:00`, or a text in quotes with `\001` for a byte that is none (dhcp-eval(5)).
fn bytes(value: &str) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return octets(value);
    };
    let (mut bytes, mut rest) = (Vec::new(), quoted.as_bytes());
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// Statements with the number of the line that each begins in: up to `;`, `{` (which stays) or `}`, without comments.
fn statements(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut rest = text.char_indices().peekable();
    let mut line = 1;
    std::iter::from_fn(move || {
        let (mut statement, mut started, mut quoted) = (String::new(), line, false);
        while let Some((_, c)) = rest.next() {
            if c == '\n' {
                line += 1;
            }
            match c {
                '"' => {
                    quoted = !quoted;
                    statement.push(c);
                }
                '\\' if quoted => {
                    statement.push(c);
                    statement.extend(rest.next().map(|(_, next)| next));
                }
                '#' if !quoted => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
                ';' if !quoted => return Some((started, statement.trim().to_owned())),
                '{' if !quoted => {
                    statement.push_str(" {");
                    return Some((started, statement.trim().to_owned()));
                }
                '}' if !quoted => return Some((started, "}".to_owned())),
                _ => {
                    if statement.trim().is_empty() {
                        started = line;
                    }
                    statement.push(c);
                }
            }
        }
        None
    })
}

/// `2026/11/24 05:00:00`, UTC, in seconds since 1970.
fn moment(date: &str, time: &str) -> Result<u64, String> {
    let text = format!("{}T{time}Z", date.replace('/', "-"));
    let moment = humantime::parse_rfc3339(&text).map_err(|_| format!("'{date} {time}' is not a time"))?;
    moment
        .duration_since(std::time::UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|_| format!("'{date}' is before 1970"))
}
