//! Reads `bundle.toml`: every mistake at once, each with its line.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::manifest::{
    Ansible, File, Health, HookTemplates, Kind, Manifest, Package, ProbeTemplate, Protocol, Service, Unit,
    Variable,
};
use super::problem::{Collector, Problem, Problems, did_you_mean, shown};
use super::wire::{At, Table};
use super::words;

/// Its name within the folder.
pub const MANIFEST: &str = "bundle.toml";
/// Longest `bundle.toml`, bytes.
const LONGEST: usize = 256 << 10;
/// Most of each kind of part.
const PARTS: usize = 500;
/// Longest wait of a check, seconds.
const LONGEST_WITHIN: u32 = 1800;

/// Reads a manifest; `sources` are the other files of the folder.
///
/// # Errors
/// All mistakes in it.
pub fn read(text: &str, sources: &BTreeMap<String, Vec<u8>>) -> Result<Manifest, Problems> {
    if text.len() > LONGEST {
        let message = format!("it has {} bytes; {LONGEST} are the most", text.len());
        return Err(Problems(vec![Problem { file: MANIFEST.into(), line: 0, message }]));
    }
    let collector = Collector::new(MANIFEST, text);
    let parsed = DeTable::parse(text);
    let table = match &parsed {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(0, |span| collector.line(&span));
            collector.add(line, error.message().replace('\n', "; "));
            return Err(Problems(collector.into_problems()));
        }
    };
    let manifest = Reader { sources }.manifest(Table::new(&collector, "", table));
    let problems = collector.into_problems();
    if problems.is_empty() { Ok(manifest) } else { Err(Problems(problems)) }
}

struct Reader<'a> {
    sources: &'a BTreeMap<String, Vec<u8>>,
}

impl Reader<'_> {
    fn manifest(&self, mut top: Table<'_>) -> Manifest {
        let name = top.required_text("name", "\"etcd\"").unwrap_or_default();
        checked(&top, "name", &name, words::name);
        let version = top.required_text("version", "\"1.0\"").unwrap_or_default();
        checked(&top, "version", &version, words::version);
        let description = top.text("description").unwrap_or_default();
        let needs = top.texts("needs", "a list of bundles' names");
        for need in &needs {
            checked(&top, "needs", need, words::name);
            if need.value == name.value {
                top.wrong(need.line, "needs: a bundle does not need itself");
            }
        }
        let manifest = Manifest {
            name: name.value,
            version: version.value,
            description: description.value.lines().next().unwrap_or_default().to_owned(),
            needs: needs.into_iter().map(|need| need.value).collect(),
            variables: top
                .named("variables")
                .into_iter()
                .filter_map(|(name, table)| variable(name, table))
                .collect(),
            packages: bounded(&mut top, "package").into_iter().filter_map(package).collect(),
            files: self.files(&mut top),
            units: bounded(&mut top, "unit").into_iter().filter_map(|table| self.unit(table)).collect(),
            health: bounded(&mut top, "health").into_iter().filter_map(health).collect(),
            hooks: top.table("hooks").map(hooks).unwrap_or_default(),
            services: bounded(&mut top, "service").into_iter().filter_map(service).collect(),
            ansible: bounded(&mut top, "ansible")
                .into_iter()
                .filter_map(|table| self.playbook(table))
                .collect(),
        };
        top.finish();
        manifest
    }

    fn files(&self, top: &mut Table<'_>) -> Vec<File> {
        let tables = bounded(top, "file");
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut files = Vec::new();
        for mut table in tables {
            let path = table.required_text("path", "\"/etc/etcd.conf\"");
            let source = table.required_text("source", "\"files/etcd.conf.j2\"");
            let (owner, group) = (account(&mut table, "owner"), account(&mut table, "group"));
            let mode = table.text("mode").and_then(|mode| match words::mode(&mode.value) {
                Ok(mode) => Some(mode),
                Err(message) => {
                    table.wrong(mode.line, format!("mode: {message}"));
                    None
                }
            });
            let when = when(&mut table);
            let (restart, reload) = (units(&mut table, "restart"), units(&mut table, "reload"));
            let line = table.line;
            if let Some(path) = &path {
                if !words::is_template(&path.value) {
                    checked(&table, "path", path, words::path);
                }
                if when.is_none()
                    && let Some(first) = seen.insert(path.value.clone(), line)
                {
                    let path = shown(&path.value);
                    table.wrong(line, format!("{path} is written by the [[file]] of line {first} already"));
                }
            }
            self.source(&table, source.as_ref());
            table.finish();
            if let (Some(path), Some(source)) = (path, source) {
                let (path, source) = (path.value, source.value);
                files.push(File { path, source, owner, group, mode, when, restart, reload, line });
            }
        }
        files
    }

    fn source(&self, table: &Table<'_>, source: Option<&At<String>>) {
        let Some(source) = source else { return };
        if let Err(message) = words::source(&source.value) {
            table.wrong(source.line, format!("source '{}': {message}", shown(&source.value)));
        } else if !self.sources.contains_key(&source.value) {
            let near = did_you_mean(&source.value, self.sources.keys().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            table.wrong(
                source.line,
                format!("there is no file '{}' in the bundle{near}", shown(&source.value)),
            );
        }
    }

    fn unit(&self, mut table: Table<'_>) -> Option<Unit> {
        let name = table.required_text("name", "\"etcd.service\"");
        if let Some(name) = &name {
            checked(&table, "name", name, words::unit);
        }
        let (source, dropin) = (table.text("source"), table.text("dropin"));
        self.source(&table, source.as_ref());
        self.source(&table, dropin.as_ref());
        let (enabled, running) = (table.flag("enabled"), table.flag("running"));
        let when = when(&mut table);
        let line = table.line;
        let name = name?.value;
        if running == Some(true) && words::is_unit_template(&name) {
            table.wrong(line, format!("{name} is a pattern for units: it cannot run itself"));
        }
        table.finish();
        Some(Unit {
            running: running.unwrap_or(!words::is_unit_template(&name)),
            enabled: enabled.unwrap_or(!words::is_unit_template(&name)),
            name,
            source: source.map(|source| source.value),
            dropin: dropin.map(|dropin| dropin.value),
            when,
            line,
        })
    }

    fn playbook(&self, mut table: Table<'_>) -> Option<Ansible> {
        let playbook = table.required_text("playbook", "\"ansible/site.yml\"");
        self.source(&table, playbook.as_ref());
        let variables = table.flag("variables").unwrap_or(true);
        let when = when(&mut table);
        let line = table.line;
        let playbook = playbook?;
        let parts = playbook.value.split_once('/');
        if parts.is_none() {
            table.wrong(playbook.line, "playbook: put it into a folder; all of that folder comes along");
        }
        table.finish();
        let (folder, name) = parts?;
        Some(Ansible { folder: folder.into(), playbook: name.into(), variables, when, line })
    }
}

/// Checks a word, and notes what is wrong with it.
fn checked(table: &Table<'_>, key: &str, word: &At<String>, check: fn(&str) -> Result<(), String>) {
    if let Err(message) = check(&word.value)
        && word.line > 0
    {
        table.wrong(word.line, format!("{key} '{}': {message}", shown(&word.value)));
    }
}

fn bounded<'a>(top: &mut Table<'a>, key: &'static str) -> Vec<Table<'a>> {
    let mut tables = top.tables(key);
    if tables.len() > PARTS {
        top.wrong(top.line, format!("{} of [[{key}]]; {PARTS} are the most", tables.len()));
        tables.truncate(PARTS);
    }
    tables
}

fn when(table: &mut Table<'_>) -> Option<String> {
    let when = table.text("when")?;
    if let Err(message) = super::template::expression(&when.value) {
        table.wrong(when.line, format!("when: {message}"));
    }
    Some(when.value)
}

fn account(table: &mut Table<'_>, key: &'static str) -> String {
    let Some(account) = table.text(key) else { return "root".into() };
    checked(table, key, &account, words::account);
    account.value
}

fn units(table: &mut Table<'_>, key: &'static str) -> Vec<String> {
    let units = table.texts(key, "a list of units");
    for unit in &units {
        checked(table, key, unit, words::unit);
    }
    units.into_iter().map(|unit| unit.value).collect()
}

/// A command line, whose words may be templates.
fn argv(table: &mut Table<'_>, key: &'static str) -> Vec<String> {
    let found = table.texts(key, "an argv: a list of texts");
    let line = found.first().map_or(table.line, |word| word.line);
    let words: Vec<String> = found.into_iter().map(|word| word.value).collect();
    if let Err(message) = words::argv(&words)
        && !words.is_empty()
    {
        table.wrong(line, format!("{key}: {message}"));
    }
    words
}

fn variable(name: At<String>, mut table: Table<'_>) -> Option<(String, Variable)> {
    if let Err(message) = words::variable(&name.value) {
        table.wrong(name.line, message);
    }
    let kind = table.required_text("type", "\"string\"")?;
    let found = Kind::NAMES.iter().find(|(written, _)| *written == kind.value).map(|(_, kind)| *kind);
    if found.is_none() {
        let all = Kind::NAMES.map(|(written, _)| written).join(", ");
        table.wrong(kind.line, format!("'{}' is no type; use {all}", shown(&kind.value)));
    }
    let default = table.any("default");
    let description = table.text("description").unwrap_or_default().value;
    let line = table.line;
    if let (Some(kind), Some(default)) = (found, &default) {
        if kind == Kind::Secret && default.value != "" {
            table.wrong(
                default.line,
                "a secret has no default but \"\", for none: whoever reads the bundle would know it",
            );
        } else if !kind.holds(&default.value) {
            table.wrong(default.line, format!("default: {} is no {kind}", shown(&default.value.to_string())));
        }
    }
    table.finish();
    Some((name.value, Variable { kind: found?, default: default.map(|at| at.value), description, line }))
}

#[expect(clippy::unnecessary_wraps, reason = "as every reader of a part")]
fn package(mut table: Table<'_>) -> Option<Package> {
    let name = table.text("name");
    let (apt, dnf) = (table.text("apt"), table.text("dnf"));
    for word in [&name, &apt, &dnf].into_iter().flatten() {
        checked(&table, "package", word, words::package);
    }
    let version = table.text("version");
    if let Some(version) = version.as_ref().filter(|version| !words::is_template(&version.value)) {
        checked(&table, "version", version, words::package_version);
    }
    let when = when(&mut table);
    let line = table.line;
    if name.is_none() && apt.is_none() && dnf.is_none() {
        table.wrong(line, "a package has a name, or apt = and dnf = where the two differ");
    }
    if name.is_some() && apt.is_some() && dnf.is_some() {
        table.wrong(line, "name has no meaning beside apt and dnf: take it out");
    }
    table.finish();
    // One given name alone means: only there; beside `name`, it stands in for that.
    let only = name.is_none();
    let name = name.map(|name| name.value);
    let pick =
        |own: Option<At<String>>| own.map(|own| own.value).or_else(|| if only { None } else { name.clone() });
    Some(Package { apt: pick(apt), dnf: pick(dnf), version: version.map(|at| at.value), when, line })
}

fn health(mut table: Table<'_>) -> Option<Health> {
    let name = table.required_text("name", "\"etcd answers\"");
    let command = argv(&mut table, "command");
    let (tcp, http, unit) = (table.text("tcp"), table.text("http"), table.text("unit"));
    for (key, word, check) in [
        ("tcp", &tcp, words::address as fn(&str) -> Result<(), String>),
        ("http", &http, words::url),
        ("unit", &unit, words::unit),
    ] {
        if let Some(word) = word.as_ref().filter(|word| !words::is_template(&word.value)) {
            checked(&table, key, word, check);
        }
    }
    let contains = table.text("contains");
    let mut time = |key, default: u32, most| match table.text(key) {
        Some(text) => words::seconds(&text.value, most).unwrap_or_else(|message| {
            table.wrong(text.line, format!("{key}: {message}"));
            default
        }),
        None => default,
    };
    let (timeout, within, interval) =
        (time("timeout", 5, 600), time("within", 60, LONGEST_WITHIN), time("interval", 1, 600));
    let when = when(&mut table);
    let line = table.line;
    if contains.is_some() && http.is_none() {
        table.wrong(line, "contains goes with http only");
    }
    let probes = [!command.is_empty(), tcp.is_some(), http.is_some(), unit.is_some()];
    if probes.iter().filter(|given| **given).count() != 1 {
        table.wrong(line, "a check has exactly one of command, tcp, http and unit");
    }
    table.finish();
    let probe = if let Some(tcp) = tcp {
        ProbeTemplate::Tcp(tcp.value)
    } else if let Some(url) = http {
        ProbeTemplate::Http { url: url.value, contains: contains.map(|at| at.value).unwrap_or_default() }
    } else if let Some(unit) = unit {
        ProbeTemplate::Unit(unit.value)
    } else {
        ProbeTemplate::Command(command)
    };
    Some(Health {
        name: name?.value,
        probe,
        timeout_seconds: timeout,
        within_seconds: within,
        interval_seconds: interval,
        when,
        line,
    })
}

fn hooks(mut table: Table<'_>) -> HookTemplates {
    let (prepare, after) = (argv(&mut table, "prepare"), argv(&mut table, "after"));
    let (stop, drain, leave) =
        (argv(&mut table, "stop"), argv(&mut table, "drain"), argv(&mut table, "leave"));
    let line = table.line;
    table.finish();
    HookTemplates { prepare, after, stop, drain, leave, line }
}

fn service(mut table: Table<'_>) -> Option<Service> {
    let name = table.required_text("name", "\"etcd-client\"");
    if let Some(name) = &name {
        checked(&table, "name", name, words::service);
    }
    let port = table.number_or_text("port", "2379");
    if let Some(port) = port.as_ref().filter(|port| !words::is_template(&port.value))
        && port.value.parse::<u16>().map_or(true, |port| port == 0)
    {
        table.wrong(port.line, format!("port '{}': a port is a number from 1 to 65535", shown(&port.value)));
    }
    let protocol = match table.text("protocol") {
        None => Protocol::Tcp,
        Some(text) if text.value == "tcp" => Protocol::Tcp,
        Some(text) if text.value == "udp" => Protocol::Udp,
        Some(text) => {
            table.wrong(text.line, format!("protocol '{}': use tcp or udp", shown(&text.value)));
            Protocol::Tcp
        }
    };
    let when = when(&mut table);
    let line = table.line;
    table.finish();
    Some(Service { name: name?.value, port: port?.value, protocol, when, line })
}

/// Names of sources that a manifest does not name, for a hint.
pub fn unused<'a>(manifest: &Manifest, sources: &'a BTreeMap<String, Vec<u8>>) -> Vec<&'a str> {
    let used: BTreeSet<&str> = manifest.sources();
    let of_playbook = |path: &str| manifest.ansible.iter().any(|one| words::is_below(path, &one.folder));
    let own = |path: &str| path == "README.md" || path == MANIFEST;
    let names = sources.keys().map(String::as_str);
    names.filter(|path| !used.contains(path) && !own(path) && !of_playbook(path)).collect()
}
