//! The part of systemd's unit files (systemd.service(5), systemd.exec(5)) that the supervisor keeps to.

use super::super::error::{Error, Result};
use super::super::root::Root;

/// Where unit files lie, first found first (systemd.unit(5), table 1).
const FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Largest unit file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// How a service runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Type {
    /// It runs in front; also `exec`, `notify`, `idle`, which are told apart by nothing here.
    #[default]
    Simple,
    /// It starts a daemon and ends.
    Forking,
    /// It does something and ends.
    Oneshot,
}

/// A command line; failure of it may be allowed (`-` in front).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) argv: Vec<String>,
    pub(super) may_fail: bool,
}

/// A service, from its unit file and drop-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: Type,
    pub(super) before: Vec<Line>,
    pub(super) start: Vec<Line>,
    pub(super) after: Vec<Line>,
    pub(super) reload: Vec<Line>,
    pub(super) stop: Vec<Line>,
    pub(super) environment: Vec<(String, String)>,
    /// Paths; a missing one is an error unless marked.
    pub(super) environment_files: Vec<(String, bool)>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) folder: Option<String>,
    pub(super) restart: bool,
    pub(super) remain: bool,
    pub(super) pid_file: Option<String>,
    /// Folders made before the start, relative to /run and /var/lib, owned by the user.
    pub(super) folders: Vec<String>,
}

/// Where the unit's own file is.
pub(super) fn find(root: &Root, unit: &str) -> Result<Option<String>> {
    for folder in FOLDERS {
        for name in [Some(unit.to_owned()), template(unit).map(|(name, _)| name)].into_iter().flatten() {
            let path = format!("{folder}/{name}");
            if root.look(&path)?.is_some() {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// Reads a service with its drop-in of this program and `override.conf`; none where there is no such unit.
pub(super) fn read(root: &Root, unit: &str) -> Result<Option<Service>> {
    let Some(path) = find(root, unit)? else { return Ok(None) };
    let Some(text) = root.read(&path, LARGEST)? else {
        return Err(Error::place(
            path,
            "is a link: units that are links are masked or aliases; unmask it or name the unit itself",
        ));
    };
    let mut service = Service::default();
    take(&mut service, unit, &String::from_utf8_lossy(&text));
    for folder in FOLDERS.iter().rev() {
        for name in ["50-firstlight.conf", "override.conf"] {
            if let Some(text) = root.read(&format!("{folder}/{unit}.d/{name}"), LARGEST)? {
                take(&mut service, unit, &String::from_utf8_lossy(&text));
            }
        }
    }
    Ok(Some(service))
}

/// `a@.service` and `b` of `a@b.service`.
fn template(unit: &str) -> Option<(String, &str)> {
    let (name, rest) = unit.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    Some((format!("{name}@.{kind}"), instance))
}

/// Takes the settings of one file.
fn take(service: &mut Service, unit: &str, text: &str) {
    let joined = text.replace("\\\n", " ");
    let mut section = "";
    for line in joined.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| section == "Service") {
            set(service, unit, name.trim(), value.trim());
        }
    }
}

fn set(service: &mut Service, unit: &str, name: &str, value: &str) {
    let one = || (!value.is_empty()).then(|| specified(unit, value));
    let yes = || matches!(value, "1" | "yes" | "true" | "on");
    match name {
        "Type" => {
            service.kind = match value {
                "forking" => Type::Forking,
                "oneshot" => Type::Oneshot,
                _ => Type::Simple,
            }
        }
        "ExecStartPre" => lines(&mut service.before, unit, value),
        "ExecStart" => lines(&mut service.start, unit, value),
        "ExecStartPost" => lines(&mut service.after, unit, value),
        "ExecReload" => lines(&mut service.reload, unit, value),
        "ExecStop" => lines(&mut service.stop, unit, value),
        "Environment" if value.is_empty() => service.environment.clear(),
        "Environment" => service.environment.extend(
            split(&specified(unit, value))
                .iter()
                .filter_map(|word| word.split_once('=').map(|(a, b)| (a.into(), b.into()))),
        ),
        "EnvironmentFile" if value.is_empty() => service.environment_files.clear(),
        "EnvironmentFile" => {
            let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
            service.environment_files.push((specified(unit, path), optional));
        }
        "User" => service.user = one(),
        "Group" => service.group = one(),
        "WorkingDirectory" => service.folder = one().map(|folder| folder.trim_start_matches('-').to_owned()),
        "PIDFile" => service.pid_file = one(),
        "Restart" => service.restart = !matches!(value, "" | "no"),
        "RemainAfterExit" => service.remain = yes(),
        "RuntimeDirectory" => service.folders.extend(split(value).iter().map(|name| format!("/run/{name}"))),
        "StateDirectory" => {
            service.folders.extend(split(value).iter().map(|name| format!("/var/lib/{name}")));
        }
        _ => {}
    }
}

/// Adds a command line; an empty one clears those before.
fn lines(to: &mut Vec<Line>, unit: &str, value: &str) {
    if value.is_empty() {
        to.clear();
        return;
    }
    let plain = value.trim_start_matches(['-', '@', ':', '+', '!']);
    let may_fail = value.get(..value.len() - plain.len()).is_some_and(|marks| marks.contains('-'));
    to.push(Line { argv: split(&specified(unit, plain)), may_fail });
}

/// Fills in the specifiers (systemd.unit(5)) that service files use.
fn specified(unit: &str, text: &str) -> String {
    let instance = template(unit).map_or("", |(_, instance)| instance);
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let marked = text.replace("%%", "\0").replace("%i", instance).replace("%I", instance);
    let marked = marked.replace("%n", unit).replace("%N", stem).replace("%p", prefix);
    marked.replace("%t", "/run").replace("%S", "/var/lib").replace('\0', "%")
}

/// Words, with quotes as in systemd.syntax(7).
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut begun, mut quote) = (Vec::new(), String::new(), false, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', quote) if quote != Some('\'') => {
                word.extend(letters.next());
                begun = true;
            }
            (letter, Some(end)) if letter == end => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                begun = true;
            }
            (letter, None) if letter.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (letter, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// `$NAME` as a whole word becomes several words, `${NAME}` is replaced within one; `$$` is a dollar.
pub(super) fn expanded(argv: &[String], environment: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| {
        environment.iter().rev().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    };
    let mut words = Vec::new();
    for word in argv {
        match word.strip_prefix('$').filter(|name| !name.is_empty() && !name.starts_with(['{', '$'])) {
            Some(name) if !words.is_empty() => {
                words.extend(value(name).split_whitespace().map(str::to_owned));
            }
            _ => {
                let mut text = word.replace("$$", "\0");
                while let Some((before, rest)) = text.split_once("${") {
                    let Some((name, after)) = rest.split_once('}') else { break };
                    text = format!("{before}{}{after}", value(name).replace("${", "\u{1}"));
                }
                words.push(text.replace('\u{1}', "${").replace('\0', "$"));
            }
        }
    }
    words
}
