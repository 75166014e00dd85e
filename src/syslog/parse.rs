//! One syslog datagram read: RFC 5424, RFC 3164, and the shorter forms that boot firmware sends.
//!
//! iPXE sends `<pri>host.domain ipxe: text`, or `<pri>ipxe: text` while it has no host name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a message that are kept.
pub const MESSAGE_CHARS: usize = 512;
/// Characters of a host name and of an application's name that are kept (RFC 5424 section 6).
const HOST_CHARS: usize = 255;
/// See [`HOST_CHARS`].
const APP_CHARS: usize = 48;
/// Bytes of a datagram that are looked at: more than 512 characters with their header can need.
const LOOKED_AT: usize = 8192;
/// The facility `user`.
const USER: u8 = 1;

/// How bad it is; RFC 5424 section 6.2.1, table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// 0: the system is unusable.
    Emergency,
    /// 1: something must be done at once.
    Alert,
    /// 2
    Critical,
    /// 3
    Error,
    /// 4
    Warning,
    /// 5: normal but significant.
    Notice,
    /// 6
    Info,
    /// 7
    Debug,
}

impl Severity {
    /// From the lowest three bits of a PRI.
    fn of(pri: u8) -> Self {
        match pri & 7 {
            0 => Self::Emergency,
            1 => Self::Alert,
            2 => Self::Critical,
            3 => Self::Error,
            4 => Self::Warning,
            5 => Self::Notice,
            6 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// One line of a log: printable, bounded, and otherwise as hostile as who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// 0 (kernel) to 23 (local7); RFC 5424 section 6.2.1, table 1.
    pub facility: u8,
    /// How bad it is.
    pub severity: Severity,
    /// The name that the sender gives itself. At most 255 characters.
    pub host: Option<String>,
    /// The program that speaks: RFC 5424's APP-NAME, RFC 3164's TAG without the process id. At most 48 characters.
    pub app: Option<String>,
    /// What it says, without control characters. At most [`MESSAGE_CHARS`] characters; may be empty.
    pub message: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(app) = &self.app {
            write!(f, "{app}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a datagram. Whatever it holds, it is a line: what no format explains is the message.
pub fn parse(datagram: &[u8]) -> Line {
    let text = String::from_utf8_lossy(datagram.get(..LOOKED_AT).unwrap_or(datagram));
    // Without a PRI that can be identified, all is message, of user.notice: RFC 3164 section 4.3.3.
    let Some((pri, content)) = pri(&text) else {
        let head = Head { host: None, app: None, message: &text };
        return head.into_line(USER, Severity::Notice);
    };
    let head = rfc5424(content).unwrap_or_else(|| rfc3164(content));
    head.into_line(pri >> 3, Severity::of(pri))
}

/// The parts of a line before they are cleaned.
struct Head<'a> {
    host: Option<&'a str>,
    app: Option<&'a str>,
    message: &'a str,
}

impl Head<'_> {
    fn into_line(self, facility: u8, severity: Severity) -> Line {
        let name =
            |name: Option<&str>, chars| name.map(|name| printable(name, chars)).filter(|n| !n.is_empty());
        Line {
            facility,
            severity,
            host: name(self.host, HOST_CHARS),
            app: name(self.app, APP_CHARS),
            message: printable(self.message, MESSAGE_CHARS),
        }
    }
}

/// `<0>` to `<191>`, without leading zeros, and what follows.
fn pri(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let plain = matches!(digits.len(), 1..=3) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let padded = digits.len() > 1 && digits.starts_with('0');
    let value: u8 = digits.parse().ok()?;
    (plain && !padded && value <= 191).then_some((value, rest))
}

/// `VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]`: RFC 5424 section 6.
fn rfc5424(content: &str) -> Option<Head<'_>> {
    let rest = content.strip_prefix("1 ")?;
    let (timestamp, rest) = rest.split_once(' ')?;
    if timestamp != "-" && !is_rfc3339(timestamp) {
        return None;
    }
    let (host, rest) = rest.split_once(' ')?;
    let (app, rest) = rest.split_once(' ')?;
    let (_procid, rest) = rest.split_once(' ')?;
    let (_msgid, rest) = rest.split_once(' ')?;
    let end = structured_data(rest)?;
    let (data, message) = rest.split_at_checked(end)?;
    let message = message.trim_start_matches(' ').trim_start_matches('\u{feff}');
    // Some say everything in their structured data.
    let message = if message.trim().is_empty() && data != "-" { data } else { message };
    let given = |name: &'_ str| name != "-" && !name.is_empty();
    Some(Head { host: Some(host).filter(|h| given(h)), app: Some(app).filter(|a| given(a)), message })
}

/// How many bytes the structured data takes: `-`, or elements in brackets, where `\` guards the next
/// character within quotes (RFC 5424 section 6.3).
fn structured_data(text: &str) -> Option<usize> {
    if text == "-" || text.starts_with("- ") {
        return Some(1);
    }
    let (mut inside, mut quoted, mut guarded, mut end) = (false, false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if guarded => guarded = false,
            b'\\' if quoted => guarded = true,
            b'"' if inside => quoted = !quoted,
            b']' if inside && !quoted => inside = false,
            b'[' if !inside => inside = true,
            _ if inside => {}
            _ => break,
        }
        end = at + 1;
    }
    (!inside && end > 0).then_some(end)
}

/// `TIMESTAMP HOSTNAME TAG: CONTENT`, of which any part may be missing: RFC 3164 section 4.1.
fn rfc3164(content: &str) -> Head<'_> {
    let (stamped, rest) = match after_timestamp(content) {
        Some(rest) => (true, rest),
        None => (false, content),
    };
    if let Some((app, message)) = tag(rest) {
        return Head { host: None, app: Some(app), message };
    }
    if let Some((host, rest)) = rest.split_once(' ').filter(|(host, _)| is_host(host)) {
        match tag(rest.trim_start_matches(' ')) {
            // Without a timestamp, only iPXE is known to begin with its name; others begin with a word.
            Some((app, message)) if stamped || app == "ipxe" => {
                return Head { host: Some(host), app: Some(app), message };
            }
            None if stamped => return Head { host: Some(host), app: None, message: rest },
            _ => {}
        }
    }
    Head { host: None, app: None, message: rest }
}

/// What follows `Mmm dd hh:mm:ss `, or the RFC 3339 timestamp that newer senders put in its place.
fn after_timestamp(content: &str) -> Option<&str> {
    if let Some((first, rest)) = content.split_once(' ')
        && is_rfc3339(first)
    {
        return Some(rest.trim_start_matches(' '));
    }
    let (stamp, rest) = content.split_at_checked(15)?;
    // `d`: a digit, `D`: a digit or a space, `A`: a letter; all else is itself.
    let fits = stamp.bytes().zip(b"AAA Dd dd:dd:dd").all(|(byte, want)| match want {
        b'A' => byte.is_ascii_alphabetic(),
        b'd' => byte.is_ascii_digit(),
        b'D' => byte.is_ascii_digit() || byte == b' ',
        other => byte == *other,
    });
    let rest = rest.strip_prefix(' ')?;
    fits.then(|| rest.trim_start_matches(' '))
}

/// Whether it begins as `2026-01-31T12:34:56` does.
fn is_rfc3339(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    text.len() >= shape.len()
        && text.bytes().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// `name: `, `name[pid]: ` and what follows.
fn tag(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(':')?;
    let name = match word.split_once('[') {
        Some((name, pid)) if pid.ends_with(']') => name,
        Some(_) => return None,
        None => word,
    };
    let fits = matches!(name.len(), 1..=APP_CHARS)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./@+()".contains(&byte));
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    (fits && ends).then(|| (name, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// Whether it can be a host name or an address.
fn is_host(word: &str) -> bool {
    matches!(word.len(), 1..=HOST_CHARS)
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

/// The first `chars` characters without terminal sequences, control characters, and characters that
/// turn a line's direction round or break it; blank space at both ends is cut.
fn printable(text: &str, chars: usize) -> String {
    let mut kept = String::new();
    let mut count = 0;
    let mut characters = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').chars();
    while let Some(character) = characters.next() {
        if count == chars {
            break;
        }
        let shown = match character {
            '\u{1b}' => {
                let mut ahead = characters.clone();
                // A control sequence, ECMA-48 section 5.4: up to its final byte.
                if ahead.next() == Some('[') && ahead.by_ref().take(32).any(|c| matches!(c, '@'..='~')) {
                    characters = ahead;
                }
                continue;
            }
            '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                continue;
            }
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        };
        kept.push(shown);
        count += 1;
    }
    kept.truncate(kept.trim_end().len());
    kept
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
