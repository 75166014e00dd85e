//! Which suites a node uses: those that its variables name, else those that fit its operating system.

use std::collections::BTreeSet;

use serde_json::Value;
use thiserror::Error;

use super::names::{Name, NameError};
use crate::model::OsRelease;

/// The variable that names a node's suites.
pub const VARIABLE: &str = "firstlight_suites";

/// Releases of Debian and Ubuntu: a suite of such a name is for that release alone.
const CODENAMES: [&str; 22] = [
    "stretch", "buster", "bullseye", "bookworm", "trixie", "forky", "duke", "xenial", "bionic", "focal",
    "groovy", "hirsute", "impish", "jammy", "kinetic", "lunar", "mantic", "noble", "oracular", "plucky",
    "questing", "sid",
];
/// What stands before a release's number in the names of suites, as in `el9`.
const FAMILIES: [&str; 14] = [
    "el",
    "rhel",
    "centos",
    "rocky",
    "alma",
    "almalinux",
    "ol",
    "fc",
    "f",
    "fedora",
    "amzn",
    "debian",
    "ubuntu",
    "opensuse",
];

/// Why a value of [`VARIABLE`] is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SuitesError {
    /// Neither a list nor a text.
    #[error("{0} names no suites; give a list of names, or one text with commas between them")]
    Kind(String),
    /// Something that cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A suite that the appliance does not have.
    #[error("there is no suite '{name}' here{}; push a package to it first, or mirror it", only(.known))]
    Unknown {
        /// Its name.
        name: Name,
        /// Those that there are.
        known: BTreeSet<Name>,
    },
}

fn only(known: &BTreeSet<Name>) -> String {
    let names: Vec<&str> = known.iter().map(Name::as_str).collect();
    if names.is_empty() { String::new() } else { format!(", only {}", names.join(", ")) }
}

/// Looks whether a value of [`VARIABLE`] names suites that there are; where nothing is known of them, it may name any.
///
/// # Errors
/// When it does not.
pub fn check(value: &Value, known: Option<&BTreeSet<Name>>) -> Result<(), SuitesError> {
    let words =
        words(value).ok_or_else(|| SuitesError::Kind(value.to_string().chars().take(80).collect()))?;
    let names: Vec<Name> = words.into_iter().map(str::parse).collect::<Result<_, _>>()?;
    let Some(known) = known else { return Ok(()) };
    match names.into_iter().find(|name| !known.contains(name)) {
        Some(name) => Err(SuitesError::Unknown { name, known: known.clone() }),
        None => Ok(()),
    }
}

/// The names within a list of them, or one text of them.
fn words(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(text.split([' ', ',']).filter(|word| !word.is_empty()).collect()),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Which suites a node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suites {
    /// All: nothing is known of it.
    All,
    /// These, and no others.
    Named(Vec<String>),
    /// Those called as its system is, and those whose name is of no system.
    Of(Vec<String>),
}

impl Suites {
    /// Those that `named` (a list of names, or one text of them) says, else those of the system.
    pub fn of(named: Option<&Value>, os: Option<&OsRelease>) -> Self {
        if let Some(names) = named.and_then(words) {
            return Self::Named(names.into_iter().map(str::to_owned).collect());
        }
        let system = os.map(called).unwrap_or_default();
        if system.is_empty() { Self::All } else { Self::Of(system) }
    }

    /// Whether a suite is among them: `bookworm-backports` is where `bookworm` is, unless suites are named.
    pub fn have(&self, suite: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == suite.as_str()),
            Self::Of(names) => {
                let whole = suite.as_str().to_ascii_lowercase();
                let system = whole.split(['-', '_', '+']).next().unwrap_or_default();
                names.iter().any(|name| name == system) || !is_system(system)
            }
        }
    }
}

/// Whether a name is that of a release.
fn is_system(name: &str) -> bool {
    let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    CODENAMES.contains(&name) || (family.len() < name.len() && FAMILIES.contains(&family))
}

/// What suites for a system may be called.
fn called(os: &OsRelease) -> Vec<String> {
    let mut families = vec![os.id.as_str()];
    let like =
        |family: &str| os.id == family || os.id_like.split_ascii_whitespace().any(|like| like == family);
    if like("rhel") || (like("centos") && os.id != "fedora") {
        families.extend(["el", "rhel"]);
    }
    if os.id == "fedora" {
        families.push("fc");
    }
    if os.id == "almalinux" {
        families.push("alma");
    }
    let major = os.version_id.split('.').next().unwrap_or_default();
    let versions = [os.version_id.as_str(), major].into_iter().filter(|version| !version.is_empty());
    let numbered =
        versions.flat_map(|version| families.iter().map(move |family| format!("{family}{version}")));
    let platform = os.platform_id.strip_prefix("platform:").unwrap_or_default();
    let mut names: Vec<String> = [os.version_codename.as_str(), platform]
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .chain(numbered)
        .map(|name| name.to_ascii_lowercase())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: [&str; 9] =
        ["bookworm", "bookworm-backports", "trixie", "noble", "el8", "el9", "rocky9.4", "fc40", "lab"];

    #[test]
    fn suites_of_systems() {
        let os = |text: &str| OsRelease::parse(text);
        let debian = os("ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n");
        let rocky =
            os("ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\nPLATFORM_ID=platform:el9\n");
        let fedora = os("ID=fedora\nVERSION_ID=40\nPLATFORM_ID=platform:f40\n");
        let named = json!(["el9", "trixie"]);
        let text = json!("noble, lab");
        for (name, variable, os, expected) in [
            ("Debian 12", None, debian.as_ref(), &["bookworm", "bookworm-backports", "lab"][..]),
            ("Rocky 9.4", None, rocky.as_ref(), &["el9", "rocky9.4", "lab"]),
            ("Fedora 40", None, fedora.as_ref(), &["fc40", "lab"]),
            ("a system without versions", None, os("ID=arch\n").as_ref(), &ALL),
            ("one that does not tell", None, None, &ALL),
            ("a list of names beats the system", Some(&named), debian.as_ref(), &["trixie", "el9"]),
            ("a text of names", Some(&text), None, &["noble", "lab"]),
        ] {
            let suites = Suites::of(variable, os);
            let found: Vec<&str> =
                ALL.into_iter().filter(|suite| suites.have(&suite.parse().expect("a name"))).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_names_no_suite_is_refused() {
        let known: BTreeSet<Name> = ["el9", "lab"].iter().map(|name| name.parse().expect("a name")).collect();
        let none = BTreeSet::new();
        for (name, value, known, expected) in [
            ("a text of names", json!("el9, lab"), Some(&known), ""),
            ("a list of names", json!(["lab"]), Some(&known), ""),
            ("no suite at all", json!([]), Some(&known), ""),
            ("where nothing is known yet", json!("trixie"), None, ""),
            (
                "one that is not there",
                json!("el9 trixie"),
                Some(&known),
                "no suite 'trixie' here, only el9, lab; push",
            ),
            ("where there are none", json!(["trixie"]), Some(&none), "no suite 'trixie' here; push"),
            ("a number", json!(9), Some(&known), "9 names no suites"),
            ("a list of other things", json!(["el9", 9]), Some(&known), "[\"el9\",9] names no suites"),
            ("a path", json!("../el9"), None, "\"../el9\" is not a name"),
            ("a blank name", json!([""]), None, "\"\" is not a name"),
        ] {
            let told = check(&value, known).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{name}: {told}");
        }
    }
}
