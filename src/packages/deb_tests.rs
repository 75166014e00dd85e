//! Packages that dpkg-deb would build, and those that nobody should.

use std::io::Cursor;

use proptest::prelude::*;

use super::super::compress::{gzip, xz};
use super::*;

const CONTROL_TEXT: &str = "Package: hello\nVersion: 1:2.0-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: short\n long\n";

fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out =
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    if bytes.len() % 2 == 1 {
        out.push(b'\n');
    }
    out
}

fn tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, bytes).unwrap();
    builder.into_inner().unwrap()
}

fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    out.extend(members.iter().flat_map(|(name, bytes)| member(name, bytes)));
    out
}

fn with_control(text: &str) -> Vec<u8> {
    let control = gzip(&tar("./control", text.as_bytes())).unwrap();
    deb(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar", b"")])
}

fn parse(bytes: &[u8]) -> Result<Deb, DebError> {
    read(&mut Cursor::new(bytes))
}

#[test]
fn every_compression() {
    let plain = tar("./control", CONTROL_TEXT.as_bytes());
    let zst = zstd::encode_all(plain.as_slice(), 3).unwrap();
    for (name, control) in [
        ("control.tar", plain.clone()),
        ("control.tar.gz", gzip(&plain).unwrap()),
        ("control.tar.xz", xz(&plain).unwrap()),
        ("control.tar.zst", zst),
    ] {
        let bytes =
            deb(&[("debian-binary", b"2.0\n"), ("_extra", b"x"), (name, &control), ("data.tar.xz", b"abc")]);
        let deb = parse(&bytes).unwrap();
        assert_eq!((deb.name.as_str(), deb.version.as_str()), ("hello", "1:2.0-1"), "{name}");
        assert_eq!(deb.architecture.as_str(), "amd64");
        assert_eq!(deb.control.get("Description"), Some("short\n long"));
    }
}

#[test]
fn broken_packages() {
    let bomb = gzip(&vec![0; 5 << 20]).unwrap();
    let good = with_control(CONTROL_TEXT);
    let control = |change: (&str, &str)| with_control(&CONTROL_TEXT.replace(change.0, change.1));
    let binary: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    for (name, bytes, expected) in [
        ("nothing", Vec::new(), "does not begin with"),
        ("something else", b"#!/bin/sh\n".to_vec(), "does not begin with"),
        ("cut off", good[..good.len() - 80].to_vec(), "broken at byte"),
        ("no members", b"!<arch>\n".to_vec(), "no debian-binary"),
        ("format of tomorrow", deb(&[("debian-binary", b"3.0\n")]), "format \"3.0"),
        ("no control", deb(&[binary]), "no control.tar"),
        ("no data", deb(&[binary, ("control.tar", b"")]), "no data.tar"),
        ("bomb", deb(&[binary, ("control.tar.gz", &bomb), ("data.tar", b"")]), "more than 4194304 bytes"),
        ("bzip2", deb(&[binary, ("control.tar.bz2", b""), ("data.tar", b"")]), "not known"),
        (
            "no control file",
            deb(&[binary, ("control.tar", &tar("./md5sums", b"")), ("data.tar", b"")]),
            "no control file",
        ),
        ("path as name", control(("hello", "../../hello")), "field Package"),
        ("path as version", control(("1:2.0-1", "1/../../2")), "field Version"),
        ("path as architecture", control(("amd64", "../x")), "field Architecture"),
        ("no version", control(("Version: 1:2.0-1\n", "")), "field Version"),
        ("second paragraph", control(("Maintainer", "\nPackage")), "one paragraph"),
    ] {
        let error = parse(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
        let mut framed = b"!<arch>\n".to_vec();
        framed.extend(&bytes);
        let _ = parse(&framed);
        let _ = parse(&deb(&[("debian-binary", b"2.0\n"), ("control.tar", &bytes), ("data.tar", b"")]));
        let _ = parse(&deb(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &bytes), ("data.tar", b"")]));
    }

    #[test]
    fn no_control_text_panics(text in "(Package: [a-z./]{0,8}\n|Version: [0-9:.~/-]{0,8}\n|[ -~\n\t]{0,20}){0,6}") {
        let _ = parse(&with_control(&text));
    }

    #[test]
    fn no_changed_byte_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = with_control(CONTROL_TEXT);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = parse(&bytes);
    }
}
