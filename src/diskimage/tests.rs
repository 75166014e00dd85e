//! The same disk in every dress packs to the same bytes; what is broken or hostile is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn shell(script: &str, folder: &Path) {
    let status = Command::new("bash").args(["-ec", script]).current_dir(folder).status().unwrap();
    assert!(status.success(), "{script}");
}

/// 41 MiB and a sector: noise, text, holes, a last chunk that is not whole.
fn raw(folder: &Path) -> PathBuf {
    let path = folder.join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len((41 << 20) + 512).unwrap();
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..5 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    file.write_all_at(&noise, 3 << 20).unwrap();
    file.write_all_at(&b"the same line again and again\n".repeat(50_000), 20 << 20).unwrap();
    file.write_all_at(b"end", (41 << 20) + 509).unwrap();
    path
}

fn packed(source: &Path) -> (Vec<u8>, Vec<u8>, Packed) {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let packed = pack(source, &mut index, &mut data, &mut |done, total| assert!(done <= total)).unwrap();
    (index, data, packed)
}

#[test]
fn every_dress_packs_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let source = raw(folder.path());
    shell(
        "zstd -q disk.raw -o a.zst; (head -c 9000000 disk.raw | gzip; tail -c +9000001 disk.raw | gzip) > a.gz
         xz -0 -k -c disk.raw > a.xz; cp --sparse=never disk.raw full.raw
         qemu-img convert -O qcow2 disk.raw a.qcow2; qemu-img convert -c -O qcow2 disk.raw c.qcow2
         qemu-img convert -c -O qcow2 -o compression_type=zstd disk.raw z.qcow2
         qemu-img convert -O qcow2 -o compat=0.10 disk.raw old.qcow2
         qemu-img convert -O qcow2 -o cluster_size=512 disk.raw small.qcow2
         qemu-img convert -c -O qcow2 -o cluster_size=2M disk.raw big.qcow2
         qemu-img convert -O qcow2 -o preallocation=metadata disk.raw pre.qcow2; xz -0 -k a.qcow2; gzip -k c.qcow2",
        folder.path(),
    );
    let want = packed(&source);
    assert_eq!(want.2.raw_size, (41 << 20) + 512);
    // Noise from 3 to 8 MiB, text from 20, the last sector.
    assert_eq!(want.2.chunks, 4);
    for name in [
        "a.zst",
        "a.gz",
        "a.xz",
        "full.raw",
        "a.qcow2",
        "c.qcow2",
        "z.qcow2",
        "old.qcow2",
        "small.qcow2",
        "big.qcow2",
        "pre.qcow2",
        "a.qcow2.xz",
        "c.qcow2.gz",
    ] {
        assert!(packed(&folder.path().join(name)) == want, "{name}");
    }
    let (index, data) = (folder.path().join("i"), folder.path().join("d"));
    pack_files(&source, &index, &data, &mut |_, _| ()).unwrap();
    assert!(fs::read(index).unwrap() == want.0 && fs::read(data).unwrap() == want.1);
}

#[test]
fn images_that_name_other_files_or_are_broken_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    raw(folder.path());
    shell(
        "qemu-img create -q -f qcow2 -b disk.raw -F raw backing.qcow2
         qemu-img create -q -f qcow2 -o data_file=ext.raw,data_file_raw=on ext.qcow2 8M
         qemu-img create -q -f qcow2 -o extended_l2=on sub.qcow2 8M
         qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 enc.qcow2 8M
         qemu-img convert -O vmdk disk.raw a.vmdk; qemu-img convert -c -O qcow2 disk.raw c.qcow2
         zstd -q disk.raw -o cut.zst; truncate -s -1000 cut.zst; gzip -c disk.raw > cut.gz; truncate -s -100 cut.gz
         xz -0 -c disk.raw > cut.xz; truncate -s -100 cut.xz; : > empty; head -c 50 c.qcow2 > short.qcow2
         cp c.qcow2 holed.qcow2; truncate -s 400000 holed.qcow2",
        folder.path(),
    );
    let table = [
        ("backing.qcow2", "backing file"),
        ("ext.qcow2", "another file"),
        ("sub.qcow2", "features"),
        ("enc.qcow2", "encrypted"),
        ("a.vmdk", "VMDK"),
        ("cut.zst", "unpacking"),
        ("cut.gz", "unpacking"),
        ("cut.xz", "unpacking"),
        ("empty", "empty"),
        ("short.qcow2", "cut off"),
        ("holed.qcow2", "cut off"),
        (".", "neither"),
    ];
    for (name, why) in table {
        let error = pack(&folder.path().join(name), &mut Vec::new(), &mut Vec::new(), &mut |_, _| ());
        let error = error.expect_err(name).to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
    // Whatever a bit is changed to, there is an answer and no panic.
    let good = fs::read(folder.path().join("c.qcow2")).unwrap();
    for at in (0..112).chain((65_536..200_000).step_by(1_777)) {
        let mut bad = good.clone();
        bad[at] ^= 0xa5;
        fs::write(folder.path().join("bad"), bad).unwrap();
        let file = File::open(folder.path().join("bad")).unwrap();
        let mut target = vec![0; 4 << 20];
        let _ = qcow2::Qcow2::open(file).and_then(|image| image.read_at(4 << 20, &mut target));
    }
}

#[test]
fn a_hostile_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _, _) = packed(&raw(folder.path()));
    let index = Index::parse(&good).unwrap();
    assert_eq!(index.encode(), good);
    assert_eq!(index.holes().len(), 2);
    for length in 0..good.len() {
        assert!(Index::parse(&good[..length]).is_err(), "cut to {length}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x81;
        let is_frame_digest = at >= 72 && (24..56).contains(&((at - 72) % 88));
        assert_eq!(Index::parse(&bad).is_ok(), is_frame_digest, "byte {at}");
    }
    let chunk = index.chunks()[0].clone();
    let cases: [(&str, u64, Vec<Chunk>); 6] = [
        ("two at one place", 8 << 20, vec![chunk.clone(), chunk.clone()]),
        ("behind the end", 4 << 20, vec![Chunk { raw_offset: 8 << 20, ..chunk.clone() }]),
        ("not aligned", 16 << 20, vec![Chunk { raw_offset: 512, ..chunk.clone() }]),
        ("a huge frame", 16 << 20, vec![Chunk { data_length: u32::MAX, ..chunk.clone() }]),
        ("too large", MAX_RAW_SIZE + 512, vec![]),
        ("half a sector", 700, vec![]),
    ];
    for (name, size, chunks) in cases {
        assert!(Index::new(size, chunks).is_err(), "{name}");
    }
}
