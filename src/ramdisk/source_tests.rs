//! Packages and folders, sound and hostile.

use super::*;

/// A Debian package; entries are (path, content, or the target of a link).
pub(crate) fn package(entries: &[(&str, Result<&[u8], &str>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        // Not `set_path`: that refuses what a hostile package holds.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        match content {
            Ok(content) => {
                header.set_size(content.len() as u64);
                header.set_cksum();
                archive.append(&header, *content).unwrap();
            }
            Err(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                header.set_size(0);
                header.set_cksum();
                archive.append(&header, io::empty()).unwrap();
            }
        }
    }
    let data = zstd::encode_all(&archive.into_inner().unwrap()[..], 1).unwrap();
    let mut package = ar::Builder::new(Vec::new());
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("data.tar.zst", &data)] {
        package.append(&ar::Header::new(name.as_bytes().to_vec(), content.len() as u64), content).unwrap();
    }
    package.into_inner().unwrap()
}

fn open(package: &[u8]) -> Result<(Source, TempDir), RamdiskError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.deb");
    fs::write(&path, package).unwrap();
    Source::open(&[path], scratch.path(), &mut |_| {}).map(|source| (source, scratch))
}

#[test]
fn a_package_is_a_tree_of_files_with_links() {
    let (source, scratch) = open(&package(&[
        ("./boot/vmlinuz-6.1", Ok(b"kernel")),
        ("./usr/lib/firmware/a/real.bin", Ok(b"firmware")),
        ("./usr/lib/firmware/a/link.bin", Err("real.bin")),
        ("./usr/lib/firmware/b", Err("a")),
        ("./lib/firmware/c.bin", Err("/usr/lib/firmware/b/link.bin")),
        ("./lib/firmware/loop1", Err("loop2")),
        ("./lib/firmware/loop2", Err("loop1")),
        ("./lib/firmware/out", Err("../../../../etc/shadow")),
        ("./usr/share/doc/x", Ok(b"never")),
    ]))
    .unwrap();
    for (place, content) in [
        ("boot/vmlinuz-6.1", Some("kernel")),
        ("lib/firmware/a/real.bin", Some("firmware")),
        ("lib/firmware/a/link.bin", Some("firmware")),
        ("lib/firmware/b/real.bin", Some("firmware")),
        ("lib/firmware/c.bin", Some("firmware")),
        ("lib/firmware/loop1", None),
        ("lib/firmware/out", None),
        ("usr/share/doc/x", None),
        ("lib/firmware/none", None),
    ] {
        let read = source.get(place).map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(read.as_deref(), content, "{place}");
    }
    let below: Vec<&str> = source.below("lib/firmware/").map(|(place, _)| place).collect();
    assert_eq!(below, ["a/real.bin"]);
    drop(source);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing unpacked stays");
}

#[test]
fn no_package_writes_outside_of_its_folder() {
    let (source, scratch) = open(&package(&[
        ("../boot/vmlinuz-1", Ok(b"x")),
        ("/boot/vmlinuz-2", Ok(b"x")),
        ("./lib/modules/../../../vmlinuz-3", Ok(b"x")),
        ("./lib/modules/1", Err("/etc")),
        ("./lib/modules/1/passwd", Ok(b"x")),
    ]))
    .unwrap();
    let places: Vec<&str> = source.places().collect();
    assert_eq!(places, ["boot/vmlinuz-2", "lib/modules/1/passwd", "lib/modules/1"]);
    for place in places.iter().filter(|place| **place != "lib/modules/1") {
        assert!(source.get(place).unwrap().starts_with(scratch.path()), "{place}");
    }
}

#[test]
fn what_is_no_package_is_told() {
    let sound = package(&[("./boot/vmlinuz-6.1", Ok(&vec![7; 100_000]))]);
    let empty = ar::Builder::new(Vec::new()).into_inner().unwrap();
    for (name, content) in [
        ("empty", Vec::new()),
        ("a script", b"#!/bin/sh\n".to_vec()),
        ("no data in it", empty),
        ("cut in the middle", sound[..sound.len() - 30].to_vec()),
    ] {
        let told = open(&content).expect_err(name).to_string();
        assert!(told.contains("x.deb"), "{name}: {told}");
    }
    let gone = Source::open(&["/nowhere.deb".into()], Path::new("/tmp"), &mut |_| {});
    assert!(gone.expect_err("no such file").to_string().contains("/nowhere.deb"));
}

#[test]
fn a_folder_is_a_tree_as_well() {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in [("vmlinuz", "k"), ("usr/lib/modules/6/kernel/a.ko", "m"), ("etc/passwd", "x")] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    std::os::unix::fs::symlink("vmlinuz", root.path().join("Image")).unwrap();
    std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).unwrap();
    let pipe = root.path().join("lib/modules/6/kernel/pipe.ko");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let source = Source::open(&[root.path().to_owned()], root.path(), &mut |_| {}).unwrap();
    assert_eq!(source.places().collect::<Vec<_>>(), ["lib/modules/6/kernel/a.ko", "vmlinuz"]);
}
