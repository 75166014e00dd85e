//! Real apt against the repository on loopback.

mod repositories;

use std::fs;
use std::process::Command;

use firstlight::packages::repository_error::RepositoryError;
use firstlight::packages::sources::{SignedBy, apt};
use firstlight::packages::state::Kind;
use repositories::{Apt, build_deb, must, name, now, repository, run, serve_repository};

#[expect(clippy::ptr_arg, reason = "the kind of function that changes bodies")]
fn flip_last(bytes: &mut Vec<u8>) {
    let at = bytes.len() / 2;
    bytes[at] ^= 0x20;
}

#[test]
fn apt_installs_upgrades_and_refuses_what_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let repository = repository(&work.join("state"));
    let (suite, main, lab) = (name("bookworm"), name("main"), name("lab"));
    let archs = [name("amd64"), name("arm64")];
    repository.declare(Kind::Apt, &suite, &archs, &[main.clone(), lab.clone()], now() - 10).unwrap();
    let server = serve_repository(&repository, None);
    let base = format!("{}/packages", server.url);
    let key = repository.key().public_key().to_owned();
    let sources =
        apt(&base, std::slice::from_ref(&suite), &[main.clone(), lab.clone()], SignedBy::Inline(&key))
            .unwrap();

    // An empty suite is one too.
    let client = Apt::new(&work.join("client"), &sources);
    let (good, text) = client.get(&["update"]);
    assert!(good && !text.contains("W:"), "{text}");

    let hello = build_deb(work, "fl-hello", "1:1.0~rc1+x-1", "one");
    let other = build_deb(work, "fl-other", "2.0", "other");
    let pushed = repository.push(&hello, &suite, &main, now()).unwrap();
    assert!(pushed.new && !repository.push(&hello, &suite, &main, now()).unwrap().new);
    repository.push(&other, &suite, &lab, now()).unwrap();
    let (good, text) = client.get(&["update"]);
    assert!(good && !text.contains("W:"), "{text}");
    let (good, text) = client.get(&["install", "fl-hello", "fl-other"]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(client.root.join("usr/share/fl-hello/text")).unwrap(), "one");
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("/by-hash/SHA256/"), "{log}");

    // Other bytes under the same version.
    fs::create_dir_all(work.join("again")).unwrap();
    let again = build_deb(&work.join("again"), "fl-hello", "1:1.0~rc1+x-1", "two");
    let error = repository.push(&again, &suite, &lab, now()).unwrap_err();
    assert!(matches!(error, RepositoryError::Conflict(_)), "{error}");

    // One that fetched the Release of before still gets its indexes.
    let before = repository.snapshot();
    let newer = build_deb(work, "fl-hello", "1:1.0-1", "newer");
    repository.push(&newer, &suite, &main, now()).unwrap();
    let after = repository.snapshot();
    for path in before.metadata().keys().filter(|path| path.contains("/by-hash/")) {
        assert!(after.find(path).is_some(), "{path}");
    }
    let (good, text) = client.get(&["update"]);
    assert!(good, "{text}");

    // A changed package.
    *server.tamper.lock().unwrap() = Some((".deb".to_owned(), flip_last));
    let (good, text) = client.get(&["install", "fl-hello"]);
    assert!(!good && text.contains("Hash Sum mismatch"), "{text}");
    *server.tamper.lock().unwrap() = None;
    let (good, text) = client.get(&["install", "fl-hello"]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(client.root.join("usr/share/fl-hello/text")).unwrap(), "newer");

    // Changed indexes and signatures, each for a client that knows nothing yet.
    for (index, (part, expected)) in
        [("by-hash", "Hash Sum mismatch"), ("InRelease", "signature"), ("Packages", "")]
            .into_iter()
            .enumerate()
    {
        let fresh = Apt::new(&work.join(format!("fresh{index}")), &sources);
        *server.tamper.lock().unwrap() = Some((part.to_owned(), flip_last));
        let (_, text) = fresh.get(&["update"]);
        let (installed, _) = fresh.get(&["install", "fl-hello"]);
        // The plain Packages is never asked for, because there is by-hash.
        assert_eq!(installed, part == "Packages", "{part}: {text}");
        assert!(text.contains(expected), "{part}: {text}");
    }
    *server.tamper.lock().unwrap() = None;

    // A signature by another key.
    let other = repositories::repository(&work.join("other"));
    let (suites, components) = ([suite.clone()], [main.clone()]);
    let wrong = apt(&base, &suites, &components, SignedBy::Inline(other.key().public_key())).unwrap();
    let (good, text) = Apt::new(&work.join("wrong"), &wrong).get(&["update"]);
    assert!(!good && text.contains("NO_PUBKEY"), "{text}");

    // Taken out: gone from the index, kept for those that began before.
    let digest = repository.push(&newer, &suite, &main, now()).unwrap().listed.digest;
    repository.remove(Kind::Apt, &suite, &main, digest, now()).unwrap();
    assert!(repository.list().iter().all(|listed| listed.digest != digest));
    assert_eq!(repository.collect_garbage().unwrap(), (0, 0));
    assert!(repository.backing().path(digest).exists());

    // The same bytes after a restart.
    let metadata = repository.snapshot().metadata().clone();
    let restarted = repositories::repository(&work.join("state"));
    assert_eq!(*restarted.snapshot().metadata(), metadata);

    // Nobody is at it any more: it goes from the disk, with what a crash left, and nothing else does.
    let left = work.join("state/.incoming-left");
    fs::write(&left, "x").unwrap();
    let kept: Vec<_> =
        restarted.list().iter().map(|listed| restarted.backing().path(listed.digest)).collect();
    let (files, bytes) = restarted.collect_garbage().unwrap();
    assert!(files >= 2 && bytes > 100, "{files} {bytes}");
    assert!(!restarted.backing().path(digest).exists() && !left.exists());
    assert!(!kept.is_empty() && kept.iter().all(|path| path.exists()), "{kept:?}");
    assert_eq!(restarted.collect_garbage().unwrap(), (0, 0));
}

#[test]
fn gpgv_accepts_every_signature() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let repository = repository(&work.join("state"));
    repository.declare(Kind::Apt, &name("a"), &[name("amd64")], &[name("main")], now()).unwrap();
    repository.declare(Kind::Dnf, &name("el9"), &[], &[name("main")], now()).unwrap();
    let snapshot = repository.snapshot();
    for (path, text) in snapshot.metadata() {
        fs::write(work.join(path.rsplit('/').next().unwrap()), &text.bytes).unwrap();
    }
    must(
        Command::new("gpg")
            .args(["--homedir"])
            .arg(work)
            .args(["--dearmor", "-o"])
            .arg(work.join("key.gpg"))
            .arg(work.join("key.asc")),
    );
    let verify = |files: &[&str]| {
        let files = files.iter().map(|file| work.join(file));
        run(Command::new("gpgv").arg("--keyring").arg(work.join("key.gpg")).args(files))
    };
    for files in [&["InRelease"][..], &["Release.gpg", "Release"], &["repomd.xml.asc", "repomd.xml"]] {
        let (good, text) = verify(files);
        assert!(good && text.contains("Good signature"), "{files:?}: {text}");
    }
    // The apt of Debian 13 verifies with sqv, whose policy is stricter.
    if Command::new("sqv").arg("--version").output().is_ok() {
        let (good, text) = run(Command::new("sqv")
            .arg("--keyring")
            .arg(work.join("key.asc"))
            .arg(work.join("Release.gpg"))
            .arg(work.join("Release")));
        assert!(good, "{text}");
    }
    // rpm takes the key.
    let database = work.join("rpm");
    must(Command::new("rpm").arg("--dbpath").arg(&database).arg("--import").arg(work.join("key.asc")));
    fs::write(work.join("Release"), "changed").unwrap();
    assert!(!verify(&["Release.gpg", "Release"]).0);
}

/// Nodes update while packages come in, one after another.
#[test]
fn apt_updates_while_packages_are_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let repository = repository(&work.join("state"));
    let (suite, main) = (name("bookworm"), name("main"));
    let debs: Vec<_> = (0..24).map(|i| build_deb(work, &format!("fl-p{i}"), "1", "x")).collect();
    let first: Vec<_> = debs[..4].iter().map(std::path::PathBuf::as_path).collect();
    assert_eq!(repository.push_all(&first, &suite, &main, now()).unwrap().len(), 4);
    repository.declare(Kind::Apt, &suite, &[name("amd64")], &[], now()).unwrap();
    let server = serve_repository(&repository, None);
    let key = repository.key().public_key().to_owned();
    let names = [main.clone()];
    let base = format!("{}/packages", server.url);
    let sources = apt(&base, std::slice::from_ref(&suite), &names, SignedBy::Inline(&key)).unwrap();
    let pushing = std::sync::Arc::clone(&repository);
    let pusher = std::thread::spawn(move || {
        for deb in debs.iter().skip(4) {
            pushing.push(deb, &suite, &main, now()).unwrap();
        }
    });
    let mut round = 0;
    while round < 3 || !pusher.is_finished() {
        let (good, text) = Apt::new(&work.join(format!("client{round}")), &sources).get(&["update"]);
        assert!(good && !text.contains("W:"), "{text}");
        round += 1;
    }
    pusher.join().unwrap();
    assert_eq!(repository.list().len(), 24);
}

/// Packages of the distribution: every field that dpkg-deb sees is in the index. Skipped where none can be fetched.
#[test]
fn real_packages_keep_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let mut fetch = Command::new("apt-get");
    fetch.current_dir(work).args([
        "download",
        "-o",
        "APT::Sandbox::User=root",
        "bash",
        "libc6",
        "apt",
        "tzdata",
    ]);
    if !run(&mut fetch).0 {
        return;
    }
    let files: Vec<_> = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    let repository = repository(&work.join("state"));
    assert_eq!(repository.push_all(&files, &name("a"), &name("main"), now()).unwrap().len(), 4);
    let snapshot = repository.snapshot();
    let index = &snapshot.metadata()["apt/dists/a/main/binary-amd64/Packages"].bytes;
    let index = String::from_utf8_lossy(index);
    for file in files {
        let control = must(Command::new("dpkg-deb").arg("-f").arg(file));
        let package = control.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap();
        let stanza =
            index.split("\n\n").find(|text| text.starts_with(&format!("Package: {package}\n"))).unwrap();
        for line in control.lines() {
            assert!(stanza.lines().any(|other| other == line), "{package}: {line}");
        }
    }
}
