//! What a host says of its operating system (os-release(5)).

use serde::{Deserialize, Serialize};

/// Longest of one value, bytes; real ones have a dozen.
const LONGEST: usize = 64;

/// The values of a host's `os-release` that tell which packages fit it; each empty where the file has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct OsRelease {
    /// `ID`: `debian`, `rocky`.
    pub id: String,
    /// `ID_LIKE`: `rhel centos fedora`.
    pub id_like: String,
    /// `VERSION_ID`: `12`, `9.4`.
    pub version_id: String,
    /// `VERSION_CODENAME`: `bookworm`.
    pub version_codename: String,
    /// `PLATFORM_ID`: `platform:el9`.
    pub platform_id: String,
}

impl OsRelease {
    /// Reads the file's text: lines of shell assignments, of which the last counts. `None` when it names no system.
    pub fn parse(text: &str) -> Option<Self> {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            if value.len() > LONGEST || value.chars().any(char::is_control) {
                continue;
            }
            let field = match name {
                "ID" => &mut found.id,
                "ID_LIKE" => &mut found.id_like,
                "VERSION_ID" => &mut found.version_id,
                "VERSION_CODENAME" => &mut found.version_codename,
                "PLATFORM_ID" => &mut found.platform_id,
                _ => continue,
            };
            value.clone_into(field);
        }
        (!found.id.is_empty()).then_some(found)
    }

    /// The same, with every value that is longer than a real one left empty.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let all = [
            &mut self.id,
            &mut self.id_like,
            &mut self.version_id,
            &mut self.version_codename,
            &mut self.platform_id,
        ];
        for value in all {
            if value.len() > LONGEST || value.chars().any(char::is_control) {
                value.clear();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_distributions() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let found = OsRelease::parse(debian).expect("a system");
        assert_eq!(
            (found.id.as_str(), found.version_id.as_str(), found.version_codename.as_str()),
            ("debian", "12", "bookworm")
        );
        let rocky =
            "ID='rocky'\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\nPLATFORM_ID=\"platform:el9\"\n";
        let found = OsRelease::parse(rocky).expect("a system");
        assert_eq!(
            (found.id_like.as_str(), found.platform_id.as_str()),
            ("rhel centos fedora", "platform:el9")
        );
        assert_eq!(OsRelease::parse("# nothing\nNAME=x\n"), None);
        let long = format!("ID=a\nVERSION_ID={}\n", "9".repeat(65));
        assert_eq!(OsRelease::parse(&long).expect("a system").version_id, "");
        let sent = OsRelease { id: "x".repeat(1000), version_id: "1\n2".into(), ..OsRelease::default() };
        assert_eq!(sent.bounded(), OsRelease::default());
    }
}
