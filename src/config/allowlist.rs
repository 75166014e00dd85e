//! The allow-list: what is known of the servers that were bought, as CSV or TOML.
//!
//! CSV has a header line with some of the columns `mac,serial,uuid,asset,switch,port,name,group`; TOML has
//! `[[server]]` tables with the same keys. A server is on the list when all that a line names of it is so.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::wire::syntax_error;
use crate::model::{GroupName, MacAddr, NodeName};

/// Most lines that are read.
const LINES: usize = 100_000;
/// Longest file, bytes.
const BYTES: u64 = 32 << 20;

/// Why the list cannot be used.
#[derive(Debug, Error)]
#[error("allow-list {path}{at}: {message}", at = line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct AllowlistError {
    path: PathBuf,
    line: Option<usize>,
    message: String,
}

/// One server on the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// Its boot interface.
    pub mac: Option<MacAddr>,
    /// SMBIOS serial number.
    pub serial: Option<String>,
    /// SMBIOS system UUID.
    pub uuid: Option<String>,
    /// SMBIOS asset tag.
    pub asset: Option<String>,
    /// The switch it is connected to (LLDP system name).
    pub switch: Option<String>,
    /// The switch's port (LLDP port identifier or description).
    pub port: Option<String>,
    /// What it is to be called.
    pub name: Option<NodeName>,
    /// The group that it joins.
    pub group: Option<GroupName>,
}

/// What is known of a server that asks to join.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// Its boot interfaces.
    pub macs: Vec<MacAddr>,
    /// SMBIOS serial number.
    pub serial: String,
    /// SMBIOS system UUID.
    pub uuid: String,
    /// SMBIOS asset tag.
    pub asset: String,
    /// Where its interfaces are connected: switch, and the names of the port.
    pub ports: Vec<(String, Vec<String>)>,
}

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist {
    entries: Vec<Entry>,
}

impl Allowlist {
    /// Reads the list at `path`; what ends in `.toml` is TOML, all else CSV.
    ///
    /// # Errors
    /// When it cannot be read, or a line makes no sense.
    pub fn read(path: &Path) -> Result<Self, AllowlistError> {
        let failed = |line, message: String| AllowlistError { path: path.to_owned(), line, message };
        let io = |error: std::io::Error| failed(None, error.to_string());
        let length = std::fs::metadata(path).map_err(io)?.len();
        if length > BYTES {
            return Err(failed(None, format!("it has {length} bytes; {BYTES} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let entries = if path.extension().is_some_and(|ending| ending == "toml") {
            from_toml(&text)
        } else {
            from_csv(&text)
        };
        let entries = entries.map_err(|(line, message)| failed(Some(line), message))?;
        if entries.len() > LINES {
            return Err(failed(None, format!("it has {} servers; {LINES} are read", entries.len())));
        }
        Ok(Self { entries })
    }

    /// The first entry that fits.
    pub fn find(&self, candidate: &Candidate) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.fits(candidate))
    }
}

impl Entry {
    fn fits(&self, candidate: &Candidate) -> bool {
        let text = |wanted: &Option<String>, told: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(told))
        };
        let connected = |(switch, ports): &(String, Vec<String>)| {
            text(&self.switch, switch)
                && (self.port.is_none() || ports.iter().any(|port| text(&self.port, port)))
        };
        self.mac.is_none_or(|mac| candidate.macs.contains(&mac))
            && text(&self.serial, &candidate.serial)
            && text(&self.uuid, &candidate.uuid)
            && text(&self.asset, &candidate.asset)
            && ((self.switch.is_none() && self.port.is_none()) || candidate.ports.iter().any(connected))
    }

    /// A line that names nothing would let everybody in.
    fn check(&self) -> Result<(), String> {
        let texts = [&self.serial, &self.uuid, &self.asset, &self.port];
        if self.mac.is_none() && texts.iter().all(|text| text.is_none()) {
            return Err("it names no server: give mac, serial, uuid, asset or port".into());
        }
        Ok(())
    }
}

type Wrong = (usize, String);

fn from_toml(text: &str) -> Result<Vec<Entry>, Wrong> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        server: Vec<toml::Spanned<Entry>>,
    }
    let file: File = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    file.server
        .into_iter()
        .map(|entry| {
            let line = text.bytes().take(entry.span().start).filter(|byte| *byte == b'\n').count() + 1;
            entry.get_ref().check().map_err(|message| (line, message))?;
            Ok(entry.into_inner())
        })
        .collect()
}

fn from_csv(text: &str) -> Result<Vec<Entry>, Wrong> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .flexible(false)
        .from_reader(text.as_bytes());
    let line_of = |error: &csv::Error| {
        error.position().map_or(1, |position| usize::try_from(position.line()).unwrap_or(usize::MAX))
    };
    let mut entries = Vec::new();
    for row in reader.deserialize::<Entry>() {
        let entry = row.map_err(|error| (line_of(&error), error.to_string()))?.without_empty();
        entry.check().map_err(|message| (entries.len() + 2, message))?;
        entries.push(entry);
    }
    Ok(entries)
}

impl Entry {
    /// An empty cell names nothing.
    fn without_empty(self) -> Self {
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            serial: text(self.serial),
            uuid: text(self.uuid),
            asset: text(self.asset),
            switch: text(self.switch),
            port: text(self.port),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\
mac,serial,uuid,asset,switch,port,name,group
52:54:00:00:00:01,,,,,,web-1,web
,SN-2,,,,,,
# the rack on the left
,,,,leaf-1,Ethernet7,,
,,11111111-2222-3333-4444-555555555555,A-9,,,,
";

    fn candidate() -> Candidate {
        Candidate { macs: vec![MacAddr([2, 0, 0, 0, 0, 9])], ..Candidate::default() }
    }

    #[test]
    fn who_is_on_the_list() {
        let list = Allowlist { entries: from_csv(CSV).expect("a good list") };
        let uuid = "11111111-2222-3333-4444-555555555555".to_owned();
        let port = |switch: &str, port: &str| vec![(switch.to_owned(), vec!["x".into(), port.to_owned()])];
        for (name, candidate, listed) in [
            ("its MAC", Candidate { macs: vec![MacAddr([0x52, 0x54, 0, 0, 0, 1])], ..candidate() }, true),
            ("another MAC", candidate(), false),
            ("its serial, in other letters", Candidate { serial: "sn-2".into(), ..candidate() }, true),
            ("its port", Candidate { ports: port("leaf-1", "Ethernet7"), ..candidate() }, true),
            (
                "the port of another switch",
                Candidate { ports: port("leaf-2", "Ethernet7"), ..candidate() },
                false,
            ),
            ("half of what is asked", Candidate { uuid: uuid.clone(), ..candidate() }, false),
            ("all of it", Candidate { uuid, asset: "A-9".into(), ..candidate() }, true),
        ] {
            assert_eq!(list.find(&candidate).is_some(), listed, "{name}");
        }
        let entry = list.find(&Candidate { macs: vec![MacAddr([0x52, 0x54, 0, 0, 0, 1])], ..candidate() });
        assert_eq!(entry.and_then(|entry| entry.name.clone()), Some("web-1".parse().expect("a name")));
    }

    #[test]
    fn toml_says_the_same() {
        let list = from_toml("[[server]]\nserial = \"SN-2\"\ngroup = \"web\"\n").expect("a good list");
        assert_eq!(list.len(), 1);
        assert_eq!(list.first().and_then(|entry| entry.serial.as_deref()), Some("SN-2"));
    }

    #[test]
    fn mistakes_are_named() {
        for (name, text, line, message) in [
            ("an empty line of commas", "mac,serial\n,\n", 2, "names no server"),
            ("no MAC", "mac,serial\nhello,\n", 2, "not a MAC address"),
            ("an unknown column", "mac,serail\n52:54:00:00:00:01,x\n", 2, "serail"),
            ("a cell too many", "mac,serial\n52:54:00:00:00:01,x,y\n", 2, "fields"),
            ("only a switch", "switch\nleaf-1\n", 2, "names no server"),
        ] {
            let (at, why) = from_csv(text).expect_err(name);
            assert!(why.contains(message) && at == line, "{name}: line {at}: {why}");
        }
        let (line, why) = from_toml("\n[[server]]\nname = \"x\"\n").expect_err("nothing named");
        assert!(why.contains("names no server") && line == 2, "line {line}: {why}");
    }
}
