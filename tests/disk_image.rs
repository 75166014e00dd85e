//! Disk images, packed and installed: formats made by `qemu-img`, `zstd`, `gzip` and `xz`, tables read by `sgdisk`. The disk
//! is a file here; real disks are in `install.rs`.

mod programs;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use firstlight::agent::install::{DataPartition, Fetch, Order, Phase, Plan, Retry, install_on};
use firstlight::diskimage::{Index, pack_files};
use firstlight::model::Sha256Digest;
use programs::run;

const MIB: u64 = 1 << 20;
/// Bytes of the image.
const IMAGE: u64 = 64 * MIB;

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A disk with a GPT of two partitions, some bytes that do not compress, and holes.
fn raw_image(dir: &Path) -> PathBuf {
    let path = dir.join("disk.raw");
    let file = File::create(&path).expect("a file");
    file.set_len(IMAGE).expect("its size");
    run("sgdisk", &["--clear", "--new=1:2048:+1M", "--new=2:0:0", "--change-name=2:root", plain(&path)]);
    let mut random = vec![0; usize::try_from(9 * MIB).expect("it fits")];
    File::open("/dev/urandom").and_then(|mut urandom| urandom.read_exact(&mut random)).expect("random bytes");
    let file = File::options().write(true).open(&path).expect("the file");
    file.write_all_at(&random, 5 * MIB).expect("write");
    file.write_all_at(b"the end of the root", 40 * MIB + 17).expect("write");
    path
}

/// Index and data of a source.
fn pack(source: &Path, dir: &Path) -> Result<(Vec<u8>, PathBuf), String> {
    let (index, data) = (dir.join("disk.index"), dir.join("disk.data"));
    pack_files(source, &index, &data, &mut |_, _| {}).map_err(|error| error.to_string())?;
    Ok((std::fs::read(index).expect("the index"), data))
}

/// The data as a file, that breaks after so many bytes in all.
struct Source {
    path: PathBuf,
    breaks_after: u64,
    sent: AtomicU64,
}

impl Fetch for Source {
    fn open(&self, from: u64, to: u64) -> io::Result<Box<dyn Read + Send>> {
        let left = self.breaks_after.saturating_sub(self.sent.load(Ordering::Relaxed));
        if left == 0 {
            return Err(io::Error::other("the line is dead"));
        }
        let length = (to - from).min(left);
        self.sent.fetch_add(length, Ordering::Relaxed);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file.take(length)))
    }
}

/// Installs on the file `disk`; the bytes that were written, and the phases there were.
fn install(
    index: &[u8],
    source: &Source,
    disk: &Path,
    plan: Plan,
) -> Result<(u64, Vec<Phase>), firstlight::agent::install::Error> {
    let parsed = Index::parse(index).expect("a good index");
    let retry = Retry { attempts: 2, first_wait: std::time::Duration::from_millis(1), ..Retry::default() };
    let order = Order {
        index: &parsed,
        index_sha256: Sha256Digest::of(index).0,
        fetch: source,
        retry,
        plan,
        identity: None,
        boot: None,
    };
    let mut phases = Vec::new();
    let installed = install_on(disk, &order, &mut |progress| {
        if phases.last() != Some(&progress.phase) {
            phases.push(progress.phase);
        }
    })?;
    Ok((installed.written_bytes, phases))
}

fn source(path: &Path, breaks_after: u64) -> Source {
    Source { path: path.to_owned(), breaks_after, sent: AtomicU64::new(0) }
}

/// A disk full of what was there before.
fn used_disk(dir: &Path, size: u64) -> PathBuf {
    let path = dir.join("target");
    let file = File::create(&path).expect("a file");
    let old = vec![0xa5; usize::try_from(MIB).expect("it fits")];
    (0..size / MIB).for_each(|at| file.write_all_at(&old, at * MIB).expect("write"));
    path
}

#[test]
fn every_format_gives_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = raw_image(dir.path());
    let (index, data) = pack(&raw, dir.path()).expect("it packs");
    let data = std::fs::read(data).expect("the data");
    assert!((data.len() as u64) < 11 * MIB, "holes are not stored, and zeros compress: {}", data.len());
    let qcow2 = dir.path().join("disk.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", plain(&raw), plain(&qcow2)]);
    let packed = dir.path().join("packed.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", "-c", plain(&raw), plain(&packed)]);
    run("zstd", &["-q", "-k", plain(&raw)]);
    run("gzip", &["-k", plain(&raw)]);
    run("xz", &["-k", "-0", "-T2", plain(&raw)]);
    run("zstd", &["-q", "-k", plain(&qcow2)]);
    for name in ["disk.qcow2", "packed.qcow2", "disk.raw.zst", "disk.raw.gz", "disk.raw.xz", "disk.qcow2.zst"]
    {
        let into = tempfile::tempdir().expect("a folder");
        let (other, other_data) =
            pack(&dir.path().join(name), into.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(other, index, "{name}");
        assert!(std::fs::read(other_data).expect("the data") == data, "{name}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = raw_image(dir.path());
    let backed = dir.path().join("backed.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", plain(&raw), plain(&backed)]);
    let data_file = dir.path().join("external.qcow2");
    let option = format!("data_file={}", plain(&dir.path().join("external.raw")));
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &option, plain(&data_file), "1M"]);
    let cut = dir.path().join("cut.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", plain(&raw), plain(&cut)]);
    File::options().write(true).open(&cut).and_then(|file| file.set_len(MIB)).expect("cut it");
    let empty = dir.path().join("empty");
    File::create(&empty).expect("an empty file");
    for path in [&backed, &data_file, &cut, &empty] {
        let into = tempfile::tempdir().expect("a folder");
        let why = pack(path, into.path()).expect_err(plain(path));
        assert!(why.len() > 20, "{}: {why}", path.display());
    }
}

#[test]
fn a_disk_gets_the_image_and_a_table_of_its_own_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = raw_image(dir.path());
    let (index, data) = pack(&raw, dir.path()).expect("it packs");
    let disk = used_disk(dir.path(), 160 * MIB);
    let plan = || Plan { root: Some(2), data: Some(DataPartition { label: "data".into(), size: 16 * MIB }) };
    let (written, phases) = install(&index, &source(&data, u64::MAX), &disk, plan()).expect("it installs");
    assert!(written <= 24 * MIB, "holes are not fetched: {written}");
    assert!(phases.contains(&Phase::Verifying), "{phases:?}");
    let told = run("sgdisk", &["--verify", "--print", plain(&disk)]);
    assert!(told.contains("No problems found") && told.contains("data"), "{told}");
    // Behind the first mebibyte, up to the image's own backup table: byte by byte.
    let compare = |from: u64, to: u64| {
        let skip = from.to_string();
        let count = (to - from).to_string();
        run("cmp", &["--ignore-initial", &skip, "--bytes", &count, plain(&raw), plain(&disk)]);
    };
    compare(MIB, IMAGE - MIB);

    // Somebody's data, and a second image over the first: they stay where they are.
    let file = File::options().read(true).write(true).open(&disk).expect("the disk");
    let info = run("sgdisk", &["--info=3", plain(&disk)]);
    let first = info.lines().find_map(|line| line.strip_prefix("First sector: ")).expect("a partition");
    let at = first.split(' ').next().and_then(|text| text.parse::<u64>().ok()).expect("a number") * 512;
    file.write_all_at(b"precious", at).expect("write");
    install(&index, &source(&data, u64::MAX), &disk, plan()).expect("it installs again");
    let mut found = [0; 8];
    file.read_exact_at(&mut found, at).expect("read");
    assert_eq!(&found, b"precious");
    assert_eq!(run("sgdisk", &["--info=3", plain(&disk)]), info, "the same partition, byte for byte");

    let small = used_disk(dir.path(), 32 * MIB);
    let refused = install(&index, &source(&data, u64::MAX), &small, Plan::default()).expect_err("too small");
    assert!(refused.to_string().contains("larger disk"), "{refused}");
}

#[test]
fn what_is_broken_never_boots_and_is_gone_on_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = raw_image(dir.path());
    let (index, data) = pack(&raw, dir.path()).expect("it packs");
    let disk = used_disk(dir.path(), 96 * MIB);
    let boots = || {
        let mut head = [0; 1024];
        File::open(&disk).and_then(|file| file.read_exact_at(&mut head, 0)).expect("read");
        head[510..512] == [0x55, 0xaa] || &head[512..520] == b"EFI PART"
    };
    // The line dies on the way.
    install(&index, &source(&data, 6 * MIB), &disk, Plan::default()).expect_err("the line is dead");
    assert!(!boots(), "half an image must not boot");
    // One byte of the data is another one.
    let bad = dir.path().join("bad.data");
    std::fs::copy(&data, &bad).expect("copy");
    let file = File::options().read(true).write(true).open(&bad).expect("the copy");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 7 * MIB).expect("read");
    file.write_all_at(&[byte[0] ^ 1], 7 * MIB).expect("write");
    let error = install(&index, &source(&bad, u64::MAX), &disk, Plan::default()).expect_err("it is corrupt");
    assert!(error.to_string().contains("not what the index says"), "{error}");
    assert!(!boots(), "nor may a corrupt one");
    // A good one goes on: what was right is not fetched again.
    let good = source(&data, u64::MAX);
    install(&index, &good, &disk, Plan::default()).expect("it installs");
    assert!(boots());
    let all = std::fs::metadata(&data).expect("the data").len();
    assert!(
        good.sent.load(Ordering::Relaxed) < all,
        "{} of {all} were fetched",
        good.sent.load(Ordering::Relaxed)
    );
    let from = MIB.to_string();
    run(
        "cmp",
        &["--ignore-initial", &from, "--bytes", &(IMAGE - 2 * MIB).to_string(), plain(&raw), plain(&disk)],
    );
}

#[test]
fn hostile_indexes_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = raw_image(dir.path());
    let (index, _) = pack(&raw, dir.path()).expect("it packs");
    assert!(Index::parse(&index).is_ok());
    for at in 0..index.len() {
        let mut other = index.clone();
        other[at] ^= 0x80;
        // The digests of frames are the only bytes that another index could have, too.
        if let Ok(parsed) = Index::parse(&other) {
            assert_ne!(parsed, Index::parse(&index).expect("a good one"), "byte {at}");
        }
    }
    for length in 0..index.len() {
        assert!(Index::parse(&index[..length]).is_err(), "cut at {length}");
    }
}
