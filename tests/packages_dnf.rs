//! Real dnf against the repository on loopback.

mod repositories;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use firstlight::packages::mirror::{MirrorConfig, Mirrors, Settings};
use firstlight::packages::sources::{dnf, dnf_mirror};
use firstlight::packages::state::Kind;
use repositories::{build_rpm, must, name, now, repository, run, serve_repository};

#[expect(clippy::ptr_arg, reason = "the kind of function that changes bodies")]
fn flip_middle(bytes: &mut Vec<u8>) {
    let at = bytes.len() / 2;
    bytes[at] ^= 0x20;
}

fn client(root: &Path, sources: &str, arguments: &[&str]) -> (bool, String) {
    for folder in ["repos", "log"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("repos/firstlight.repo"), sources).unwrap();
    fs::write(root.join("dnf.conf"), "[main]\nplugins=0\nretries=1\ntimeout=10\n").unwrap();
    run(Command::new("dnf")
        .env("HOME", root)
        .arg("-y")
        .arg(format!("--config={}", root.join("dnf.conf").display()))
        .arg(format!("--installroot={}", root.join("root").display()))
        .arg(format!("--setopt=reposdir={}", root.join("repos").display()))
        .arg(format!("--setopt=cachedir={}", root.join("cache").display()))
        .arg(format!("--setopt=logdir={}", root.join("log").display()))
        .args(["--releasever=9", "--forcearch=x86_64"])
        .args(arguments))
}

#[test]
fn dnf_installs_and_refuses_what_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let repository = repository(&work.join("state"));
    let (suite, main) = (name("el9"), name("main"));
    repository.declare(Kind::Dnf, &suite, &[], std::slice::from_ref(&main), now() - 10).unwrap();
    let server = serve_repository(&repository, None);
    let key = work.join("key.asc");
    fs::write(&key, repository.key().public_key()).unwrap();
    let sources =
        dnf(&format!("{}/packages", server.url), &suite, std::slice::from_ref(&main), key.to_str().unwrap())
            .unwrap();
    let fresh = |name: &str, arguments: &[&str]| client(&work.join(name), &sources, arguments);

    let rpm = build_rpm(work, "fl-hello", "1.0", "one");
    let pushed = repository.push(&rpm, &suite, &main, now()).unwrap();
    assert_eq!(pushed.listed.package.version, "2:1.0-1");
    let (good, text) = fresh("a", &["install", "fl-hello"]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(work.join("a/root/etc/fl-hello/text")).unwrap(), "one\n");
    for (query, expected) in [
        (&["--whatprovides", "capability(fl-hello) >= 3"][..], "fl-hello-2:1.0-1.noarch"),
        (&["--whatprovides", "/etc/fl-hello/text"], "fl-hello-2:1.0-1.noarch"),
        (&["--qf", "%{summary}", "fl-hello"], "a <b> & \"c\""),
        (&["--changelogs", "fl-hello"], "made & done"),
        (&["--recommends", "fl-hello"], "nothing-at-all"),
        (&["-l", "fl-hello"], "/etc/fl-hello/text"),
    ] {
        let arguments = [&["repoquery", "--available"], query].concat();
        let (good, text) = fresh("a", &arguments);
        assert!(good && text.contains(expected), "{query:?}: {text}");
    }

    // Those that began before still get what belongs together.
    let before = repository.snapshot();
    let newer = build_rpm(work, "fl-hello", "1.1", "two");
    repository.push(&newer, &suite, &main, now()).unwrap();
    for path in before.metadata().keys().filter(|path| path.contains("/repodata/")) {
        assert!(repository.snapshot().find(path).is_some(), "{path}");
    }
    let (good, text) = fresh("a", &["--refresh", "upgrade", "fl-hello"]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(work.join("a/root/etc/fl-hello/text")).unwrap(), "two\n");

    for (part, expected) in [
        (".rpm", "hecksum"),
        ("primary.xml.gz", "hecksum"),
        ("repomd.xml.asc", "GPG"),
        ("repodata/repomd.xml", "GPG"),
    ] {
        *server.tamper.lock().unwrap() = Some((part.to_owned(), flip_middle));
        let (good, text) = fresh(&format!("b{}", part.replace('/', "_")), &["install", "fl-hello"]);
        assert!(!good && text.contains(expected), "{part}: {text}");
    }
    *server.tamper.lock().unwrap() = None;
    let (good, text) = fresh("c", &["install", "fl-hello"]);
    assert!(good, "{text}");
}

#[test]
fn dnf_installs_from_the_cache_when_upstream_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let (suite, main) = (name("el9"), name("main"));
    let source = repository(&work.join("upstream"));
    source.push(&build_rpm(work, "fl-hello", "1.0", "one"), &suite, &main, now()).unwrap();
    let upstream = serve_repository(&source, None);
    let config = MirrorConfig {
        name: name("up"),
        url: format!("{}/packages/dnf", upstream.url),
        kind: Kind::Dnf,
        suites: Vec::new(),
        components: Vec::new(),
        paths: Vec::new(),
        keyring: None,
        redirect_hosts: Vec::new(),
    };
    let settings = Settings { fresh: Duration::ZERO, ..Settings::default() };
    let mirrors = Mirrors::open(&[config], settings, &work.join("cache")).unwrap();
    let server = serve_repository(&repository(&work.join("own")), Some(mirrors));
    let key = work.join("key.asc");
    fs::write(&key, source.key().public_key()).unwrap();
    let base = format!("{}/packages", server.url);
    // Our upstream signs its metadata and not its packages, other than distributions do.
    let sources = dnf_mirror(&base, &name("up"), "el9/main", key.to_str().unwrap())
        .unwrap()
        .replace("repo_gpgcheck=0\ngpgcheck=1", "repo_gpgcheck=1\ngpgcheck=0");
    *upstream.tamper.lock().unwrap() = Some((".rpm".to_owned(), flip_middle));
    let (good, text) = client(&work.join("a"), &sources, &["install", "fl-hello"]);
    assert!(!good, "{text}");
    *upstream.tamper.lock().unwrap() = None;
    let (good, text) = client(&work.join("b"), &sources, &["install", "fl-hello"]);
    assert!(good, "{text}");
    drop(upstream);
    let (good, text) = client(&work.join("c"), &sources, &["install", "fl-hello"]);
    assert!(good, "{text}");
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("repomd.xml stale") && log.contains(".rpm hit"), "{log}");
}

/// What we say of a package is what createrepo says.
#[test]
fn createrepo_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let repository = repository(&work.join("state"));
    let rpm = build_rpm(work, "fl-hello", "1.0", "one");
    repository.push(&rpm, &name("el9"), &name("main"), now()).unwrap();
    must(Command::new("createrepo_c").args(["-q", "--general-compress-type=gz"]).arg(work.join("noarch")));
    let zcat = |path: &Path| must(Command::new("zcat").arg(path));
    for kind in ["primary", "filelists", "other"] {
        let theirs = fs::read_dir(work.join("noarch/repodata")).unwrap().map(|entry| entry.unwrap().path());
        let theirs = zcat(
            &theirs.into_iter().find(|p| p.to_str().unwrap().ends_with(&format!("-{kind}.xml.gz"))).unwrap(),
        );
        let snapshot = repository.snapshot();
        let ours =
            snapshot.metadata().iter().find(|(path, _)| path.ends_with(&format!("-{kind}.xml.gz"))).unwrap();
        let file = work.join("ours.gz");
        fs::write(&file, &ours.1.bytes).unwrap();
        let lines = |text: &str| {
            let mut lines: Vec<String> = text
                .lines()
                .map(|line| {
                    line.trim()
                        .replace("/>", ">")
                        .replace("&quot;", "\"")
                        .replace("&apos;", "'")
                        .replace(" >", ">")
                })
                .filter(|line| !line.is_empty() && !line.contains("<time ") && !line.contains("<location"))
                .collect();
            lines.sort();
            lines
        };
        let (ours, theirs) = (lines(&zcat(&file)), lines(&theirs));
        let differ = |a: &[String], b: &[String]| {
            a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>()
        };
        assert_eq!((differ(&ours, &theirs), differ(&theirs, &ours)), (Vec::new(), Vec::new()), "{kind}");
    }
}
