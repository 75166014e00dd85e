//! Debian and its kin: `apt-get`, and dpkg's own record of what is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::desired::PackageSource;
use super::super::error::{Error, Result};
use super::super::fault::step;
use super::super::process::{Done, Place, argv};
use super::super::root::{New, Root};
use super::{LIMIT, Packages, Told, Wanted};

/// dpkg's record; it may be large.
const STATUS: (&str, u64) = ("/var/lib/dpkg/status", 256 << 20);
/// Which packages are there only because others need them (apt-mark(8)).
const MARKS: (&str, u64) = ("/var/lib/apt/extended_states", 64 << 20);
/// A copy of it in which what bundles asked for is marked so too; only for a question.
const SUPPOSED: &str = "/var/lib/apt/extended_states.firstlight";
/// How long others at work are waited for.
const OTHERS: Duration = Duration::from_secs(10 * 60);

/// apt of one host.
#[derive(Debug)]
pub struct Apt {
    root: Root,
    place: Place,
}

impl Apt {
    /// Files are read from `root`, programs run in `place`.
    pub fn new(root: Root, place: Place) -> Self {
        Self { root, place }
    }

    fn end(&self, words: &[&str], more: &[String], told: Told<'_>) -> Result<Done> {
        let mut command = argv(&[
            "apt-get",
            "-y",
            "--no-install-recommends",
            "--allow-downgrades",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
            "DPkg::Lock::Timeout=600",
            "-o",
            "Acquire::Retries=2",
            "-o",
            "Acquire::http::Timeout=30",
            "-o",
            "Dpkg::Use-Pty=0",
            "-q",
        ]);
        command.extend(argv(words));
        command.extend_from_slice(more);
        let environment = [
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("APT_LISTCHANGES_FRONTEND", "none"),
            ("NEEDRESTART_SUSPEND", "1"),
        ];
        self.place.end(&command, &environment, LIMIT, told)
    }

    fn run(&self, what: &str, words: &[&str], more: &[String], told: Told<'_>) -> Result<Vec<String>> {
        self.end(words, more, told)?.good(what)
    }

    /// What a simulated run would touch, and what of it it would take away.
    fn simulated(&self, words: &[&str], more: &[String]) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let (mut touched, mut removed) = (BTreeSet::new(), BTreeSet::new());
        // Line by line: of a large installation only the last lines are kept.
        self.run("looking what apt would do", words, more, &mut |line| {
            let mut parts = line.split_whitespace();
            if let (Some(verb @ ("Inst" | "Remv" | "Purg")), Some(name)) = (parts.next(), parts.next()) {
                touched.insert(name.to_owned());
                if verb != "Inst" {
                    removed.insert(name.to_owned());
                }
            }
        })?;
        Ok((touched, removed))
    }

    /// Packages of a status (dpkg(1), "package states"): version by name, with the architecture where it is not the host's.
    fn with_status(&self, good: impl Fn(&str) -> bool) -> Result<BTreeMap<String, String>> {
        let text = self.root.read(STATUS.0, STATUS.1)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = paragraphs(&text, ["Package", "Architecture", "Version", "Status"]).collect();
        let native =
            all.iter().find(|[name, ..]| *name == "dpkg").map_or("", |[_, architecture, ..]| architecture);
        let there = all.iter().filter(|[.., status]| status.split_whitespace().nth(2).is_some_and(&good));
        Ok(there
            .map(|[name, architecture, version, _]| {
                let own = *architecture == native || *architecture == "all";
                let name = if own { (*name).to_owned() } else { format!("{name}:{architecture}") };
                (name, (*version).to_owned())
            })
            .collect())
    }

    /// A package in apt's own cache of what it fetched.
    fn archive(&self, one: &Wanted) -> Option<String> {
        let version = one.version.as_deref()?.replace(':', "%3a");
        let name = one.name.split_once(':').map_or(one.name.as_str(), |(name, _)| name);
        let architectures = ["all", "amd64", "arm64", "i386", "armhf", "riscv64", "ppc64el", "s390x"];
        architectures.iter().find_map(|architecture| {
            let path = format!("/var/cache/apt/archives/{name}_{version}_{architecture}.deb");
            self.root.look(&path).ok().flatten().map(|_| path)
        })
    }

    /// Without those whose removal would take others along.
    fn alone(&self, mut names: BTreeSet<String>) -> Result<BTreeSet<String>> {
        loop {
            if names.is_empty() {
                return Ok(names);
            }
            let remove =
                |names: &[String]| self.simulated(&["-s", "purge", "--"], names).map(|(_, removed)| removed);
            let all: Vec<String> = names.iter().cloned().collect();
            if remove(&all)?.is_subset(&names) {
                return Ok(names);
            }
            let before = names.len();
            for name in all {
                if !remove(std::slice::from_ref(&name))?.is_subset(&names) {
                    names.remove(&name);
                }
            }
            if names.len() == before {
                return Ok(BTreeSet::new());
            }
        }
    }
}

/// `name` or `name=version`.
fn asked(wanted: &[Wanted]) -> Vec<String> {
    let one = |wanted: &Wanted| match &wanted.version {
        Some(version) => format!("{}={version}", wanted.name),
        None => wanted.name.clone(),
    };
    wanted.iter().map(one).collect()
}

/// The fields of each paragraph of a Debian control file (deb822(5)); only those in `names`.
fn paragraphs<'a, const N: usize>(
    text: &'a str,
    names: [&'a str; N],
) -> impl Iterator<Item = [&'a str; N]> + 'a {
    text.split("\n\n").map(move |paragraph| {
        names.map(|name| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim()
        })
    })
}

impl Packages for Apt {
    fn manager(&self) -> &'static str {
        "apt"
    }

    fn installed(&self) -> Result<BTreeMap<String, String>> {
        self.with_status(|status| status == "installed")
    }

    fn present(&self) -> Result<BTreeMap<String, String>> {
        self.with_status(|status| !matches!(status, "not-installed" | "config-files"))
    }

    fn refresh(&self, sources: &[PackageSource], told: Told<'_>) -> Result<()> {
        let mut lists: Vec<Vec<String>> = Vec::new();
        for source in sources.iter().filter(|source| source.manager == "apt") {
            let list = format!("Dir::Etc::sourcelist=/etc/apt/sources.list.d/{}.sources", source.name);
            lists.push(argv(&[
                "-o",
                &list,
                "-o",
                "Dir::Etc::sourceparts=/dev/null",
                "-o",
                "APT::Get::List-Cleanup=0",
            ]));
        }
        if lists.is_empty() {
            lists.push(Vec::new());
        }
        for list in lists {
            // Without this apt calls a source that it could not reach a success.
            let strict = ["update", "-o", "APT::Update::Error-Mode=any"];
            self.run("apt-get update", &strict, &list, told)?;
        }
        Ok(())
    }

    fn plan(&self, wanted: &[Wanted]) -> Result<Option<BTreeSet<String>>> {
        self.simulated(&["-s", "install", "--"], &asked(wanted)).map(|(touched, _)| Some(touched))
    }

    fn keep(&self, versions: &BTreeMap<String, String>, told: Told<'_>) {
        for (name, version) in versions {
            let one = [format!("{name}={version}")];
            if let Err(error) = self.run("fetch", &["-d", "--reinstall", "install", "--"], &one, &mut |_| ())
            {
                told(&format!(
                    "the way back to {name} {version} may be shut, its package can't be fetched: {error}"
                ));
            }
        }
    }

    fn install(&self, wanted: &[Wanted], told: Told<'_>) -> Result<()> {
        step();
        let done = self.run("apt-get install", &["install", "--"], &asked(wanted), told);
        step();
        done.map(drop)
    }

    fn unneeded(&self, brought: &BTreeSet<String>, asked: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let text = self.root.read(STATUS.0, STATUS.1)?.unwrap_or_default();
        let status = String::from_utf8_lossy(&text);
        let marks = self.root.read(MARKS.0, MARKS.1)?.unwrap_or_default();
        let marks = String::from_utf8_lossy(&marks);
        let supposed = brought.intersection(asked).collect::<BTreeSet<_>>();
        let kept = marks.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).filter(|paragraph| {
            paragraphs(paragraph, ["Package"])
                .next()
                .is_none_or(|[name]| !supposed.contains(&name.to_owned()))
        });
        let mut supposition: Vec<String> = kept.map(|paragraph| paragraph.trim().to_owned()).collect();
        for [name, architecture] in paragraphs(&status, ["Package", "Architecture"]) {
            if supposed.contains(&name.to_owned()) {
                supposition.push(format!("Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1"));
            }
        }
        let text = supposition.join("\n\n") + "\n\n";
        self.root.put(SUPPOSED, New::File(text.as_bytes(), 0o644), 0, 0)?;
        let instead = format!("Dir::State::extended_states={SUPPOSED}");
        let weak = "APT::AutoRemove::RecommendsImportant=false";
        let weaker = "APT::AutoRemove::SuggestsImportant=false";
        let words = ["-s", "-o", &instead, "-o", weak, "-o", weaker, "autoremove"];
        let found = self.simulated(&words, &[]);
        self.root.remove(SUPPOSED)?;
        let (_, removed) = found?;
        self.alone(removed.intersection(brought).cloned().collect())
    }

    fn remove(&self, names: &BTreeSet<String>, told: Told<'_>) -> Result<()> {
        let names: Vec<String> = names.iter().cloned().collect();
        step();
        self.run("apt-get purge", &["purge", "--"], &names, told)?;
        step();
        Ok(())
    }

    fn back(&self, versions: &[Wanted], gone: &BTreeSet<String>, told: Told<'_>) -> Result<()> {
        let gone: Vec<String> = gone.iter().map(|name| format!("{name}-")).collect();
        let all = |names: Vec<String>| names.into_iter().chain(gone.iter().cloned()).collect::<Vec<_>>();
        step();
        let done = self.end(&["--purge", "install", "--"], &all(asked(versions)), told)?;
        step();
        // Versions that no source has any more may still lie in apt's own cache.
        let archives: Option<Vec<String>> = versions.iter().map(|one| self.archive(one)).collect();
        match archives.filter(|archives| !done.success() && !archives.is_empty()) {
            Some(archives) => {
                self.run("apt-get install", &["--purge", "install", "--"], &all(archives), told).map(drop)
            }
            None => done.good("apt-get install").map(drop),
        }
    }

    fn settle(&self, told: Told<'_>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let command = argv(&["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"]);
            let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
            let done = self.place.end(&command, &quiet, LIMIT, told)?;
            let locked = done
                .lines
                .iter()
                .any(|line| line.contains("frontend lock") || line.contains("database lock"));
            if done.success() || !locked || begun.elapsed() > OTHERS {
                done.good("dpkg --configure -a").map_err(|error| match error {
                    Error::Failed { how, output, .. } => {
                        Error::Failed { what: "putting right what dpkg left half done".into(), how, output }
                    }
                    other => other,
                })?;
                break;
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        self.run("apt-get --fix-broken install", &["-f", "install"], &[], told).map(drop)
    }
}
