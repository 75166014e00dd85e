//! Which boot file which firmware gets: the tables of `firmware-cfg/`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use crate::model::{Arch, Firmware, MacAddr};

/// The tables that come with the program: file name and text.
const BUILT_IN: [(&str, &str); 2] = [
    ("x86_64.toml", include_str!("../../firmware-cfg/x86_64.toml")),
    ("aarch64.toml", include_str!("../../firmware-cfg/aarch64.toml")),
];

/// How a firmware fetches its boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// PXE: TFTP (RFC 1350).
    Tftp,
    /// UEFI HTTP boot (UEFI specification 2.10, section 24.7).
    Http,
}

/// One row of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareEntry {
    /// What people call it.
    pub name: String,
    /// Client architectures (option 93, RFC 4578 section 2.1) that mean it.
    pub architectures: Vec<u16>,
    /// What images it can run.
    pub arch: Arch,
    /// What kind of firmware it is.
    pub firmware: Firmware,
    /// How it fetches its boot file.
    pub transport: Transport,
    /// The boot file's name on the wire.
    pub boot_file: String,
    /// Where the boot file lies on the appliance.
    pub path: PathBuf,
    /// The distribution's package that brings it.
    pub package: String,
    /// What the boot file is told, over IPv6 (`DHCPv6` option 60, RFC 5970 section 3.2); what comes with the program needs nothing.
    #[serde(default)]
    pub parameters: Vec<String>,
}

/// A program that a machine boots in place of a system, once; there only where its package is installed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What people call it.
    pub name: String,
    /// Machines that can run it.
    pub arch: Arch,
    /// Firmware that can start it.
    pub firmware: Firmware,
    /// Its name on the wire.
    pub boot_file: String,
    /// Where it lies on the appliance.
    pub path: PathBuf,
    /// The distribution's package that brings it.
    pub package: String,
}

/// All rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirmwareTable {
    entries: Vec<FirmwareEntry>,
    tools: Vec<Tool>,
}

/// A table that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("firmware-cfg/{file}: {message}")]
pub struct FirmwareError {
    file: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    firmware: Vec<FirmwareEntry>,
    #[serde(default)]
    tool: Vec<Tool>,
}

impl FirmwareTable {
    /// Reads the built-in tables; `overrides` (file name, text) stand in for those of the same name and add others.
    ///
    /// # Errors
    /// When a table does not parse, or an architecture stands in two rows.
    pub fn new(overrides: &[(String, String)]) -> Result<Self, FirmwareError> {
        let built_in = BUILT_IN
            .iter()
            .filter(|(name, _)| !overrides.iter().any(|(other, _)| other == name))
            .map(|(name, text)| (*name, *text));
        let texts = built_in.chain(overrides.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let (mut entries, mut tools) = (Vec::<FirmwareEntry>::new(), Vec::new());
        for (file, text) in texts {
            let wrong = |message: String| FirmwareError { file: file.to_owned(), message };
            let table: TableFile = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
            let names = table.firmware.iter().map(|entry| &entry.boot_file);
            if let Some(name) = names
                .chain(table.tool.iter().map(|tool| &tool.boot_file))
                .find(|name| name.is_empty() || name.contains(['/', '\\']))
            {
                return Err(wrong(format!("boot_file '{name}' must be a plain file name")));
            }
            tools.extend(table.tool);
            for entry in table.firmware {
                let twice = entry
                    .architectures
                    .iter()
                    .find(|code| entries.iter().any(|e| e.architectures.contains(code)));
                if let Some(code) = twice {
                    return Err(wrong(format!("architecture {code} stands in two rows")));
                }
                entries.push(entry);
            }
        }
        Ok(Self { entries, tools })
    }

    /// The programs that a machine may boot in place of a system.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The row for a client architecture.
    pub fn of_architecture(&self, code: u16) -> Option<&FirmwareEntry> {
        self.entries.iter().find(|entry| entry.architectures.contains(&code))
    }

    /// The row whose boot file has this name.
    pub fn of_boot_file(&self, name: &str) -> Option<&FirmwareEntry> {
        self.entries.iter().find(|entry| entry.boot_file == name)
    }

    /// All rows.
    pub fn entries(&self) -> &[FirmwareEntry] {
        &self.entries
    }
}

/// Who a DHCP client says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKind {
    /// iPXE: user class "iPXE" (option 77) or its encapsulated options (175). Holds option 93, where given.
    Ipxe(Option<u16>),
    /// PXE firmware: vendor class `PXEClient…` (option 60), with option 93.
    Pxe(u16),
    /// UEFI HTTP boot: vendor class `HTTPClient…`, with option 93.
    HttpBoot(u16),
    /// Anything else: an operating system. Holds its vendor class, cut to printable characters.
    Other(String),
}

impl ClientKind {
    /// The client architecture, where one was told.
    pub fn architecture(&self) -> Option<u16> {
        match self {
            Self::Ipxe(code) => *code,
            Self::Pxe(code) | Self::HttpBoot(code) => Some(*code),
            Self::Other(_) => None,
        }
    }

    /// Whether it boots over HTTP by itself.
    pub fn is_http_boot(&self) -> bool {
        matches!(self, Self::HttpBoot(_))
    }

    /// A few words for the timeline.
    pub fn describe(&self, table: &FirmwareTable) -> String {
        let name = |code| {
            table.of_architecture(code).map_or_else(|| format!("architecture {code}"), |e| e.name.clone())
        };
        match self {
            Self::Ipxe(Some(code)) => format!("iPXE ({})", name(*code)),
            Self::Ipxe(None) => "iPXE".into(),
            Self::Pxe(code) => format!("PXE firmware ({})", name(*code)),
            Self::HttpBoot(code) => format!("HTTP boot firmware ({})", name(*code)),
            Self::Other(class) if class.is_empty() => "an operating system".into(),
            Self::Other(class) => class.clone(),
        }
    }
}

/// What a DHCP reply names as boot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// The file's name or URL (option 67 and the `file` field).
    pub name: String,
    /// The server's address (`siaddr`, option 66).
    pub next_server: Ipv4Addr,
    /// Whether option 60 must be answered with `HTTPClient` (UEFI specification 2.10, section 24.7.2).
    pub http_client: bool,
}

/// The boot file for a client, or `None` when it wants none or its architecture is unknown.
pub fn boot_file(
    table: &FirmwareTable,
    client: &ClientKind,
    mac: MacAddr,
    server: Ipv4Addr,
    http_port: u16,
) -> Option<BootFile> {
    let http = || format!("http://{server}:{http_port}");
    let file = |name: String, http_client| Some(BootFile { name, next_server: server, http_client });
    match client {
        ClientKind::Ipxe(_) => file(format!("{}/boot/{}/script.ipxe", http(), mac.hyphenated()), false),
        ClientKind::Pxe(code) | ClientKind::HttpBoot(code) => {
            let entry = table.of_architecture(*code)?;
            match (client, entry.transport) {
                (ClientKind::HttpBoot(_), Transport::Http) => {
                    file(format!("{}/boot/files/{}", http(), entry.boot_file), true)
                }
                (ClientKind::Pxe(_), Transport::Tftp) => file(entry.boot_file.clone(), false),
                _ => None,
            }
        }
        ClientKind::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_gets_its_file() {
        let table = FirmwareTable::new(&[]).expect("the built-in tables are valid");
        let mac = MacAddr([2, 0, 0, 0, 0, 0xab]);
        let server = Ipv4Addr::new(10, 77, 0, 1);
        for (name, client, expected) in [
            ("BIOS", ClientKind::Pxe(0), Some("undionly.kpxe")),
            ("x64 UEFI", ClientKind::Pxe(7), Some("ipxe.efi")),
            ("x64 UEFI, other number", ClientKind::Pxe(9), Some("ipxe.efi")),
            ("x64 HTTP", ClientKind::HttpBoot(16), Some("http://10.77.0.1:8080/boot/files/ipxe.efi")),
            ("arm64 UEFI", ClientKind::Pxe(11), Some("ipxe-arm64.efi")),
            ("arm64 HTTP", ClientKind::HttpBoot(19), Some("http://10.77.0.1:8080/boot/files/ipxe-arm64.efi")),
            (
                "iPXE",
                ClientKind::Ipxe(Some(7)),
                Some("http://10.77.0.1:8080/boot/02-00-00-00-00-ab/script.ipxe"),
            ),
            ("an HTTP client with a PXE number", ClientKind::HttpBoot(7), None),
            ("RISC-V", ClientKind::Pxe(27), None),
            ("Linux", ClientKind::Other("udhcp 1.35".into()), None),
        ] {
            let file = boot_file(&table, &client, mac, server, 8080);
            assert_eq!(file.as_ref().map(|file| file.name.as_str()), expected, "{name}");
            assert_eq!(
                file.is_some_and(|file| file.http_client),
                matches!(client, ClientKind::HttpBoot(16 | 19)),
                "{name}"
            );
        }
    }

    #[test]
    fn overrides_replace_and_are_checked() {
        let text = r#"
            [[firmware]]
            name = "x86_64-bios"
            architectures = [0]
            arch = "x86_64"
            firmware = "bios"
            transport = "tftp"
            boot_file = "mine.kpxe"
            path = "/srv/mine.kpxe"
            package = "mine"
        "#;
        let with = |name: &str, text: &str| FirmwareTable::new(&[(name.to_owned(), text.to_owned())]);
        let table = with("x86_64.toml", text).expect("a valid override");
        assert_eq!(table.of_architecture(0).map(|entry| entry.boot_file.as_str()), Some("mine.kpxe"));
        assert_eq!(table.of_architecture(7), None, "the whole file is replaced");
        for (name, file, text, message) in [
            ("an architecture twice", "more.toml", text.to_owned(), "architecture 0 stands in two rows"),
            ("a path as name", "x86_64.toml", text.replace("mine.kpxe", "../x"), "plain file name"),
            ("an unknown key", "x86_64.toml", text.replace("package", "pakage"), "unknown field"),
        ] {
            let error = with(file, &text).expect_err(name).to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }
}
