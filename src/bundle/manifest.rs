//! What a bundle says of itself: `bundle.toml`, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A manifest in which every value was checked; made by [`Bundle::new`](super::folder::Bundle::new).
///
/// `line` in its parts is the line in `bundle.toml`, from 1, for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is, in a line.
    pub description: String,
    /// Names of bundles that are applied before.
    pub needs: Vec<String>,
    /// What can be set, by name.
    pub variables: BTreeMap<String, Variable>,
    /// Packages.
    pub packages: Vec<Package>,
    /// Files.
    pub files: Vec<File>,
    /// systemd units.
    pub units: Vec<Unit>,
    /// What must hold afterwards.
    pub health: Vec<Health>,
    /// What is run on the way.
    pub hooks: HookTemplates,
    /// What it offers to others.
    pub services: Vec<Service>,
    /// Playbooks.
    pub ansible: Vec<Ansible>,
}

impl Manifest {
    /// `name@version`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Every file of the folder that it names, except playbooks.
    pub fn sources(&self) -> BTreeSet<&str> {
        let files = self.files.iter().map(|file| file.source.as_str());
        let units =
            self.units.iter().flat_map(|unit| [unit.source.as_deref(), unit.dropin.as_deref()]).flatten();
        files.chain(units).collect()
    }
}

/// What can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Of what type.
    pub kind: Kind,
    /// Its value when nobody sets it; none: it must be set.
    pub default: Option<Value>,
    /// What it is for.
    pub description: String,
    /// Where it stands.
    pub line: usize,
}

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list of anything.
    List,
    /// Keys and values of anything; merged key by key.
    Map,
    /// A text that is kept encrypted, and shown to nobody.
    Secret,
}

impl Kind {
    /// All, as they are written.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("map", Self::Map),
        ("secret", Self::Secret),
    ];

    /// Whether `value` is of this type; a secret is one as long as it is a text.
    pub fn holds(self, value: &Value) -> bool {
        match self {
            Self::String | Self::Secret => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name for apt.
    pub apt: Option<String>,
    /// Its name for dnf.
    pub dnf: Option<String>,
    /// Its exact version, a template.
    pub version: Option<String>,
    /// Expression; false: it is not there.
    pub when: Option<String>,
    /// Where it stands.
    pub line: usize,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it goes, a template.
    pub path: String,
    /// Where it lies in the folder; a template when it ends in `.j2`.
    pub source: String,
    /// User that owns it.
    pub owner: String,
    /// Group that owns it.
    pub group: String,
    /// Permission bits, four octal digits; none: 0644, or 0600 with a secret in it.
    pub mode: Option<String>,
    /// Expression; false: it is not there.
    pub when: Option<String>,
    /// Units restarted when it changes.
    pub restart: Vec<String>,
    /// Units reloaded when it changes.
    pub reload: Vec<String>,
    /// Where it stands.
    pub line: usize,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its own file, in the folder.
    pub source: Option<String>,
    /// A drop-in for it, in the folder.
    pub dropin: Option<String>,
    /// Whether it starts with the system.
    pub enabled: bool,
    /// Whether it runs.
    pub running: bool,
    /// Expression; false: it is not there.
    pub when: Option<String>,
    /// Where it stands.
    pub line: usize,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// For a person.
    pub name: String,
    /// What is looked at; its texts are templates.
    pub probe: ProbeTemplate,
    /// Longest of one try, seconds.
    pub timeout_seconds: u32,
    /// Until when it must hold, seconds.
    pub within_seconds: u32,
    /// Between tries, seconds.
    pub interval_seconds: u32,
    /// Expression; false: it is not there.
    pub when: Option<String>,
    /// Where it stands.
    pub line: usize,
}

/// What a check looks at, with templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTemplate {
    /// Ends with 0.
    Command(Vec<String>),
    /// `ADDRESS:PORT` takes a connection.
    Tcp(String),
    /// Answers 2xx to GET, with `contains` in it.
    Http {
        /// `http://…`.
        url: String,
        /// Text in the body; empty: any.
        contains: String,
    },
    /// The unit is active.
    Unit(String),
}

/// What is run on the way: argvs of templates. One that fails fails the change, and the former generation comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookTemplates {
    /// After files and packages, before units.
    pub prepare: Vec<String>,
    /// After health holds.
    pub after: Vec<String>,
    /// Before units of the bundle are stopped or restarted, whether for a new version, for another bundle's file or because the
    /// bundle goes (then after `leave`, by the version that goes): once for all of them, while they still run. Not on the way
    /// back from a change that failed. A leader hands over here.
    pub stop: Vec<String>,
    /// Before the host gives up its work.
    pub drain: Vec<String>,
    /// Before the bundle is taken away.
    pub leave: Vec<String>,
    /// Where they stand.
    pub line: usize,
}

impl HookTemplates {
    /// Each hook and its argv.
    pub fn each(&self) -> [(&'static str, &[String]); 5] {
        [
            ("prepare", &self.prepare),
            ("after", &self.after),
            ("stop", &self.stop),
            ("drain", &self.drain),
            ("leave", &self.leave),
        ]
    }
}

/// What a bundle offers to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its port, a template.
    pub port: String,
    /// How it is reached.
    pub protocol: Protocol,
    /// Expression; false: it is not there.
    pub when: Option<String>,
    /// Where it stands.
    pub line: usize,
}

/// How a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}

/// A playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ansible {
    /// The folder that comes along, within the bundle's.
    pub folder: String,
    /// The playbook, within `folder`.
    pub playbook: String,
    /// Whether it is given the variables.
    pub variables: bool,
    /// Expression; false: it is not run.
    pub when: Option<String>,
    /// Where it stands.
    pub line: usize,
}
