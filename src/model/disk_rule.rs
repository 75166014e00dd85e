//! Which disk a system is installed on: a rule, what the machine has, one disk or a refusal that says why.
//!
//! A rule is a line of words: conditions (`nvme`, `ssd`, `hdd`, `virtio`, `serial=…`, `wwn=…`, `model=…`, `path=…`,
//! `size>=200GiB`, `size<=…`, `size=…`) that all must hold, and at most one choice (`smallest`, `largest`, `first`,
//! `only`). Without a choice it is `only`. `ssd` means any disk without platters that is not `nvme`; a `virtio` disk
//! is one of its own kind.

use std::fmt;
use std::str::FromStr;

/// How a disk is attached, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On PCI Express.
    Nvme,
    /// SATA or SAS without platters.
    Ssd,
    /// Platters.
    Hdd,
    /// A virtual machine's.
    Virtio,
    /// On USB.
    Usb,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
            Self::Virtio => "virtio",
            Self::Usb => "usb",
        }
    }
}

/// A disk that the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The kernel's name: `nvme0n1`.
    pub name: String,
    /// What its maker calls it.
    pub model: String,
    /// Its serial number, empty when it has none.
    pub serial: String,
    /// Its World Wide Name (`naa.…`, `eui.…`), empty when it has none.
    pub wwn: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it is.
    pub kind: Kind,
    /// A stick, a card, a disc.
    pub removable: bool,
    /// It can't be written.
    pub read_only: bool,
    /// The running system lives on it.
    pub running: bool,
    /// What was found on it (see [`super::holds`]).
    pub holds_data: Option<String>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} ({}, {}", self.name, self.kind.name(), Size(self.size_bytes))?;
        for (what, value) in [("model", &self.model), ("serial", &self.serial)] {
            if !value.is_empty() {
                write!(to, ", {what} {value}")?;
            }
        }
        to.write_str(")")
    }
}

/// Bytes as a person reads them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(bits, _)| self.0 >> bits > 0) {
            Some((bits, unit)) => {
                let tenths = (u128::from(self.0) * 10) >> bits;
                write!(to, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(to, "{} bytes", self.0),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Kind(Kind),
    Serial(String),
    Wwn(String),
    Model(String),
    Path(String),
    AtLeast(u64),
    AtMost(u64),
    Exactly(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Smallest,
    Largest,
    First,
    Only,
}

/// A parsed rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    conditions: Vec<Condition>,
    choice: Choice,
}

/// Why a rule can't be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the disk rule {rule:?} is not understood: {why}; examples: \"smallest nvme\", \"only\", \"size>=200GiB smallest ssd\", \"serial=S4EVNX0R\""
)]
pub struct RuleError {
    rule: String,
    why: String,
}

/// Why no disk was chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no disk fits the rule {rule:?}: {why}")]
pub struct Refusal {
    /// The rule.
    pub rule: String,
    /// What was there, and why it was not taken.
    pub why: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refuse = |why: String| RuleError { rule: text.to_owned(), why };
        if text.len() > 512 {
            return Err(RuleError { rule: text.chars().take(64).collect(), why: "it is too long".into() });
        }
        let (mut conditions, mut choice) = (Vec::new(), None);
        for word in text.split_whitespace() {
            let chosen = match word {
                "smallest" => Some(Choice::Smallest),
                "largest" => Some(Choice::Largest),
                "first" => Some(Choice::First),
                "only" => Some(Choice::Only),
                _ => None,
            };
            if let Some(chosen) = chosen {
                if choice.replace(chosen).is_some() {
                    return Err(refuse(format!("{word:?} is a second choice")));
                }
                continue;
            }
            conditions.push(condition(word).map_err(refuse)?);
        }
        if conditions.is_empty() && choice.is_none() {
            return Err(refuse("it is empty".into()));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { text, conditions, choice: choice.unwrap_or(Choice::Only) })
    }
}

fn condition(word: &str) -> Result<Condition, String> {
    for kind in [Kind::Nvme, Kind::Ssd, Kind::Hdd, Kind::Virtio] {
        if word == kind.name() {
            return Ok(Condition::Kind(kind));
        }
    }
    let sized = |text: &str| size(text).ok_or_else(|| format!("{text:?} is no size such as 200GiB or 480GB"));
    if let Some(text) = word.strip_prefix("size>=") {
        return sized(text).map(Condition::AtLeast);
    }
    if let Some(text) = word.strip_prefix("size<=") {
        return sized(text).map(Condition::AtMost);
    }
    let Some((key, value)) = word.split_once('=').filter(|(_, value)| !value.is_empty()) else {
        return Err(format!("{word:?} is no word of it"));
    };
    match key {
        "serial" => Ok(Condition::Serial(value.into())),
        "wwn" => Ok(Condition::Wwn(value.into())),
        "model" => Ok(Condition::Model(value.into())),
        "path" => match value.strip_prefix("/dev/") {
            Some(name) => Ok(Condition::Path(name.into())),
            None => Err(format!("{value:?} does not begin with /dev/")),
        },
        "size" => sized(value).map(Condition::Exactly),
        _ => Err(format!("{word:?} is no word of it")),
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn holds(condition: &Condition, disk: &Candidate) -> bool {
    let same = |left: &str, right: &str| left.trim().eq_ignore_ascii_case(right.trim());
    match condition {
        Condition::Kind(kind) => disk.kind == *kind,
        Condition::Serial(serial) => same(serial, &disk.serial),
        Condition::Wwn(wwn) => {
            let bare = |text: &str| {
                let text = text.trim().to_ascii_lowercase();
                ["naa.", "eui.", "uuid.", "0x"]
                    .iter()
                    .find_map(|p| text.strip_prefix(p).map(str::to_owned))
                    .unwrap_or(text)
            };
            !disk.wwn.is_empty() && bare(wwn) == bare(&disk.wwn)
        }
        // A rule has no blanks inside a word: `_` stands for one.
        Condition::Model(model) => same(&model.replace('_', " "), &disk.model.replace('_', " ")),
        Condition::Path(name) => *name == disk.name,
        Condition::AtLeast(bytes) => disk.size_bytes >= *bytes,
        Condition::AtMost(bytes) => disk.size_bytes <= *bytes,
        // A "480 GB" disk has some more: within one percent.
        Condition::Exactly(bytes) => disk.size_bytes.abs_diff(*bytes) <= bytes / 100,
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl Rule {
    /// Chooses. `image` is the image's size in bytes. Disks that hold data are taken with `allow_wipe` only, and they
    /// are never passed over for another one: a rule means the same disk today and tomorrow.
    pub fn choose<'a>(
        &self,
        disks: &'a [Candidate],
        image: u64,
        allow_wipe: bool,
    ) -> Result<&'a Candidate, Refusal> {
        let refuse = |why: String| Refusal { rule: self.text.clone(), why };
        let mut passed_over = Vec::new();
        let mut fitting: Vec<&Candidate> = Vec::new();
        for disk in disks {
            let why = if disk.running {
                Some("the running system lives on it".into())
            } else if disk.removable || disk.kind == Kind::Usb {
                Some("it is removable".into())
            } else if disk.read_only {
                Some("it is read-only".into())
            } else if !self.conditions.iter().all(|condition| holds(condition, disk)) {
                Some("the rule does not mean it".into())
            } else if disk.size_bytes < image {
                Some(format!("the image needs {}", Size(image)))
            } else {
                None
            };
            match why {
                Some(why) => passed_over.push(format!("{disk}: {why}")),
                None => fitting.push(disk),
            }
        }
        if fitting.is_empty() {
            let none =
                || "the machine has no disk, or the kernel lacks a driver for its controller".to_owned();
            let why = if passed_over.is_empty() { none() } else { passed_over.join("; ") };
            return Err(refuse(why));
        }
        let best = match self.choice {
            Choice::Smallest => fitting.iter().map(|disk| disk.size_bytes).min(),
            Choice::Largest => fitting.iter().map(|disk| disk.size_bytes).max(),
            Choice::First | Choice::Only => None,
        };
        if let Some(best) = best {
            fitting.retain(|disk| disk.size_bytes == best);
        }
        if self.choice == Choice::First {
            fitting.sort_by_key(|disk| (disk.name.len(), disk.name.clone()));
            fitting.truncate(1);
        }
        let [disk] = fitting.as_slice() else {
            let names = fitting.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            return Err(refuse(format!(
                "it means {names}; name one by serial=, wwn= or path=, or say \"first\""
            )));
        };
        match &disk.holds_data {
            Some(what) if !allow_wipe => {
                Err(refuse(format!("{disk} holds {what}; allow it to be wiped, or wipe it first")))
            }
            _ => Ok(disk),
        }
    }
}
