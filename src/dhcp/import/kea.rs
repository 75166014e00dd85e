//! Kea: its lease file (memfile, CSV with a header; `kea-lfc` leaves several rows of one address, the last counts), and the
//! reservations of its configuration (JSON with comments).

use std::collections::HashMap;

use serde_json::Value;

use super::{Found, Imported, hostname, octets};

/// Reads either: a configuration begins with a brace.
pub fn read(text: &str) -> Found {
    let start = text.trim_start();
    if start.starts_with('{') || start.starts_with("//") || start.starts_with('#') || start.starts_with("/*")
    {
        configuration(text)
    } else {
        leases(text)
    }
}

fn leases(text: &str) -> Found {
    let mut found = Found::default();
    let mut lines = text.lines().enumerate();
    let Some((_, header)) = lines.next() else { return found };
    let columns: HashMap<&str, usize> =
        header.trim().split(',').enumerate().map(|(index, name)| (name, index)).collect();
    for name in ["address", "hwaddr", "expire", "state"] {
        if !columns.contains_key(name) {
            found.problem(1, format!("there is no column '{name}'; is this a lease file of kea-dhcp4?"));
            return found;
        }
    }
    for (index, line) in lines {
        let fields: Vec<&str> = line.trim().split(',').collect();
        if fields == [""] || fields == header.trim().split(',').collect::<Vec<_>>() {
            continue;
        }
        let field =
            |name: &str| columns.get(name).and_then(|at| fields.get(*at)).copied().unwrap_or_default();
        let Ok(ip) = field("address").parse() else {
            found.problem(index + 1, format!("'{}' is not an IPv4 address", field("address")));
            continue;
        };
        // 1: declined, 2: expired and reclaimed; a lifetime of 0: released.
        if field("state") != "0" || field("valid_lifetime") == "0" {
            found.leases.remove(&ip);
            continue;
        }
        match (field("hwaddr").parse(), field("expire").parse::<u64>()) {
            (Ok(mac), Ok(expires)) => {
                let hostname = hostname(&unescaped(field("hostname")));
                let expires = (expires < u64::from(u32::MAX)).then_some(expires);
                found.add(Imported { ip, mac, hostname, expires, reserved: false });
            }
            (Err(_), _) => {
                found.problem(index + 1, format!("{ip} has no hardware address: '{}'", field("hwaddr")));
            }
            (_, Err(_)) => found.problem(index + 1, format!("'{}' is not a time", field("expire"))),
        }
    }
    found
}

/// Commas are written as `&#x2c`.
fn unescaped(text: &str) -> String {
    text.replace("&#x2c", ",")
}

fn configuration(text: &str) -> Found {
    let mut found = Found::default();
    match serde_json::from_str::<Value>(&without_comments(text)) {
        Ok(value) => reservations(&value, 0, &mut found),
        Err(error) => found.problem(error.line(), format!("this is no configuration of Kea: {error}")),
    }
    found
}

/// Reservations stand in subnets, in shared networks, or at the top.
fn reservations(value: &Value, depth: usize, found: &mut Found) {
    if depth > 16 {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| reservations(item, depth + 1, found)),
        Value::Object(table) => {
            for (key, value) in table {
                match (key.as_str(), value) {
                    ("reservations", Value::Array(all)) => {
                        for one in all {
                            reservation(one, found);
                        }
                    }
                    _ => reservations(value, depth + 1, found),
                }
            }
        }
        _ => {}
    }
}

fn reservation(one: &Value, found: &mut Found) {
    let text = |key: &str| one.get(key).and_then(Value::as_str);
    let Some(ip) = text("ip-address") else { return };
    let by = [("client-id", "client_id"), ("circuit-id", "circuit_id")];
    let other = by.iter().find_map(|(theirs, ours)| Some((*ours, octets(text(theirs)?))));
    let hostname = text("hostname").and_then(hostname);
    match (ip.parse(), text("hw-address").map(str::parse)) {
        (Ok(ip), None) if other.is_some() => {
            let (key, value) = other.unwrap_or_default();
            found.configure(0, ip, hostname.as_deref(), key, &value);
        }
        (Ok(ip), Some(Ok(mac))) => {
            found.add(Imported { ip, mac, hostname, expires: None, reserved: true });
        }
        (Err(_), _) => found.problem(0, format!("'{ip}' is not an IPv4 address")),
        _ => found.problem(
            0,
            format!("{ip} is reserved, but for no hardware address; reserve it in the configuration"),
        ),
    }
}

/// Kea takes `#`, `//` and `/* */` outside of texts.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match (quoted, c, rest.peek()) {
            (true, '\\', _) => {
                kept.push(c);
                kept.extend(rest.next());
            }
            (_, '"', _) => {
                quoted = !quoted;
                kept.push(c);
            }
            (false, '#', _) | (false, '/', Some('/')) => {
                for c in rest.by_ref() {
                    if c == '\n' {
                        kept.push(c);
                        break;
                    }
                }
            }
            (false, '/', Some('*')) => {
                rest.next();
                let mut last = ' ';
                for c in rest.by_ref() {
                    if c == '\n' {
                        kept.push(c);
                    }
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            _ => kept.push(c),
        }
    }
    kept
}
