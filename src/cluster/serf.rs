//! The text of `serf members -format=json`: who a node's serf agent sees.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest text that is read, bytes.
pub const LONGEST: usize = 4 << 20;
/// Most members that are read.
pub const MOST: usize = 8192;
/// Longest name that is read, bytes.
pub const LONGEST_NAME: usize = 128;

/// How serf sees a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It answers.
    Alive,
    /// It says that it goes.
    Leaving,
    /// It went and said so.
    Left,
    /// It does not answer.
    Failed,
    /// Serf says something else.
    Unknown,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The node's name.
    pub name: String,
    /// Where serf reaches it.
    pub address: IpAddr,
    /// How it is.
    pub status: Status,
}

/// Why a list can't be read.
#[derive(Debug, Error)]
pub enum SerfError {
    /// Too long.
    #[error(
        "serf's list of members has {0} bytes, and {LONGEST} are read at most; is another program answering?"
    )]
    Long(usize),
    /// Not what serf writes.
    #[error("serf's list of members can't be read: {0}; look at: serf members -format=json")]
    Json(#[from] serde_json::Error),
    /// Too many.
    #[error(
        "serf's list has {0} members, and {MOST} are read at most; remove the dead: serf force-leave -prune NAME"
    )]
    Many(usize),
    /// A bad name.
    #[error(
        "serf's list has a member named {0:?}, which is no node's name; remove it: serf force-leave -prune NAME"
    )]
    Name(String),
    /// A bad address.
    #[error("serf's list has {name} at {address:?}, which is no address and port; look at: serf members")]
    Address {
        /// Whose.
        name: String,
        /// What it says.
        address: String,
    },
    /// Twice the same.
    #[error("serf's list has {0} twice; two nodes have one name: change one")]
    Twice(String),
}

#[derive(Deserialize)]
struct List {
    members: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    addr: String,
    status: String,
}

/// Reads the list, sorted by name.
pub fn parse(text: &str) -> Result<Vec<Line>, SerfError> {
    if text.len() > LONGEST {
        return Err(SerfError::Long(text.len()));
    }
    let list: List = serde_json::from_str(text)?;
    if list.members.len() > MOST {
        return Err(SerfError::Many(list.members.len()));
    }
    let mut lines = list.members.into_iter().map(line).collect::<Result<Vec<_>, _>>()?;
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    let twice = lines.windows(2).find_map(|pair| match pair {
        [one, other] if one.name == other.name => Some(one.name.clone()),
        _ => None,
    });
    twice.map_or(Ok(lines), |name| Err(SerfError::Twice(name)))
}

fn line(entry: Entry) -> Result<Line, SerfError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if entry.name.is_empty() || entry.name.len() > LONGEST_NAME || !entry.name.bytes().all(good) {
        return Err(SerfError::Name(entry.name.chars().take(LONGEST_NAME).collect()));
    }
    let status = match entry.status.as_str() {
        "alive" => Status::Alive,
        "leaving" => Status::Leaving,
        "left" => Status::Left,
        "failed" => Status::Failed,
        _ => Status::Unknown,
    };
    let Ok(address) = entry.addr.parse::<SocketAddr>() else {
        let address = entry.addr.chars().take(64).collect();
        return Err(SerfError::Address { name: entry.name, address });
    };
    Ok(Line { name: entry.name, address: address.ip(), status })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, addr: &str, status: &str) -> String {
        format!(
            r#"{{"name":"{name}","addr":"{addr}","port":7946,"tags":{{"role":"control"}},"status":"{status}","protocol":{{"max":5,"min":2,"version":5}}}}"#
        )
    }

    fn list(members: &[String]) -> String {
        format!(r#"{{"members":[{}]}}"#, members.join(","))
    }

    #[test]
    fn lists_as_serf_writes_them_are_read() {
        let text = list(&[
            member("n2", "10.0.0.2:7946", "failed"),
            member("n1", "[fd00::1]:7946", "alive"),
            member("n3", "10.0.0.3:7946", "dozing"),
        ]);
        let lines = parse(&text).expect("it reads");
        let told: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.status)).collect();
        assert_eq!(told, [("n1", Status::Alive), ("n2", Status::Failed), ("n3", Status::Unknown)]);
        assert_eq!(lines[0].address.to_string(), "fd00::1");
        assert!(parse(r#"{"members":[]}"#).expect("it reads").is_empty());
    }

    #[test]
    fn broken_lists_are_refused_with_a_reason() {
        let long = "n".repeat(129);
        for (text, why) in [
            (String::new(), "can't be read"),
            ("{}".to_owned(), "can't be read"),
            ("Error connecting to Serf agent".to_owned(), "can't be read"),
            (list(&[member("", "10.0.0.1:1", "alive")]), "no node's name"),
            (list(&[member("a b", "10.0.0.1:1", "alive")]), "no node's name"),
            (list(&[member(&long, "10.0.0.1:1", "alive")]), "no node's name"),
            (list(&[member("n1", "nowhere", "alive")]), "no address"),
            (list(&[member("n1", "10.0.0.1:1", "alive"), member("n1", "10.0.0.2:1", "failed")]), "twice"),
            (" ".repeat(LONGEST + 1), "at most"),
            (list(&vec![member("n1", "10.0.0.1:1", "alive"); MOST + 1]), "at most"),
        ] {
            let error = parse(&text).expect_err("it is broken").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
