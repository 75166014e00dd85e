//! Loop devices erased for real. Needs root; without, these tests say so and do nothing.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::disk::Disk;
use super::verify::{Extent, verify, witnesses};
use super::*;

const MIB: u64 = 1 << 20;
const SECRET: &[u8] = b"the operator's secret";

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not run: needs root");
    }
    root
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// A loop device; detached when dropped, and whatever is mounted goes first.
struct Loop {
    device: PathBuf,
    file: PathBuf,
    mounts: Vec<PathBuf>,
    _directory: TempDir,
}

impl Loop {
    fn new(size: u64, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("disk");
        fs::File::create(&file).and_then(|file| file.set_len(size)).expect("a file");
        Self::on(directory, file, options, Vec::new())
    }

    /// On a tmpfs of `space` bytes.
    fn on_tmpfs(size: u64, space: u64) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let at = directory.path().to_owned();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={space}"), "none", at.to_str().expect("UTF-8")]);
        let file = at.join("disk");
        fs::File::create(&file).and_then(|file| file.set_len(size)).expect("a file");
        Self::on(directory, file, &[], vec![at])
    }

    fn on(directory: TempDir, file: PathBuf, options: &[&str], mounts: Vec<PathBuf>) -> Self {
        let mut arguments = vec!["-f", "--show"];
        arguments.extend(options);
        arguments.push(file.to_str().expect("UTF-8"));
        let device = PathBuf::from(run("losetup", &arguments));
        Self { device, file, mounts, _directory: directory }
    }

    fn path(&self) -> &str {
        self.device.to_str().expect("UTF-8")
    }

    fn put(&self, bytes: &[u8], at: u64) {
        let disk = OpenOptions::new().write(true).open(&self.device).expect("open");
        disk.write_all_at(bytes, at).expect("written");
        disk.sync_all().expect("synced");
    }

    fn holds(&self, needle: &[u8]) -> bool {
        let needle = std::str::from_utf8(needle).expect("UTF-8");
        Command::new("grep").args(["-qaF", needle]).arg(&self.file).status().expect("grep").success()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let tmpfs = self.mounts.iter().position(|at| self.file.starts_with(at));
        for (n, at) in self.mounts.iter().enumerate() {
            if Some(n) != tmpfs {
                let _ = Command::new("umount").arg(at).status();
            }
        }
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
        if let Some(at) = tmpfs.and_then(|n| self.mounts.get(n)) {
            let _ = Command::new("umount").args(["-l"]).arg(at).status();
        }
    }
}

fn erase(disk: &Path, method: Option<Method>) -> Result<Certificate, WipeError> {
    let now = Cell::new(1000);
    let clock = || now.replace(now.get() + 500);
    wipe(disk, &Options { method, ..Options::default() }, &clock, &mut |_| ())
}

#[test]
fn a_file_system_is_discarded() {
    if !is_root() {
        return;
    }
    let disk = Loop::new(64 * MIB, &[]);
    run("mkfs.ext4", &["-q", disk.path()]);
    disk.put(SECRET, 40 * MIB + 77);
    assert!(disk.holds(SECRET));
    let certificate = erase(&disk.device, None).expect("erased");
    assert!(!disk.holds(SECRET));
    assert_eq!((certificate.method, certificate.standard), (Method::Discard, Standard::Clear));
    assert_eq!(certificate.attempts.len(), 1, "{:?}", certificate.attempts);
    assert_eq!(certificate.attempts[0].method, Method::SecureDiscard);
    assert_eq!((certificate.started_ms, certificate.finished_ms), (1000, 1500));
    assert_eq!(certificate.disk, disk.device.file_name().expect("a name").to_string_lossy());
    let verification = &certificate.verification;
    assert_eq!((verification.coverage, verification.verified_bytes), (Coverage::Full, 64 * MIB));
    assert_eq!(verification.sha256, hex::encode(Sha256::digest(vec![0; 64 << 20])));
    assert!(verification.witnesses > 0, "the superblock at least");
    let json = serde_json::to_string(&certificate).expect("JSON");
    assert_eq!(serde_json::from_str::<Certificate>(&json).expect("read again"), certificate);
}

#[test]
fn every_block_is_overwritten_also_the_odd_last_one() {
    if !is_root() {
        return;
    }
    let disk = Loop::new(9 * MIB + 512, &[]);
    disk.put(SECRET, 5 * MIB);
    disk.put(SECRET, 9 * MIB + 400);
    let mut seen = Vec::new();
    let options = Options { method: Some(Method::Overwrite), ..Options::default() };
    let certificate = wipe(&disk.device, &options, &|| 0, &mut |p| seen.push(p)).expect("erased");
    assert!(!disk.holds(SECRET));
    assert_eq!(certificate.size_bytes, 9 * MIB + 512);
    assert!(certificate.statement.contains("Clear, by one pass of zeros"), "{}", certificate.statement);
    let last = |phase| seen.iter().rfind(|p| p.phase == phase).map(|p| (p.done, p.total));
    let all = Some((9 * MIB + 512, 9 * MIB + 512));
    assert_eq!((last(Phase::Erasing), last(Phase::Verifying)), (all, all));
}

#[test]
fn partitions_are_gone_afterwards_and_are_no_disks_themselves() {
    if !is_root() {
        return;
    }
    let disk = Loop::new(32 * MIB, &["-P"]);
    let script = format!("printf 'label: gpt\\n,8M\\n,\\n' | sfdisk -q {}", disk.path());
    run("sh", &["-c", &script]);
    let sysfs = PathBuf::from("/sys/class/block").join(disk.device.file_name().expect("a name"));
    let first = format!("{}p1", disk.device.file_name().expect("a name").to_string_lossy());
    if !sysfs.join(&first).exists() {
        // A kernel that does not read partition tables by itself.
        run("partx", &["-a", disk.path()]);
    }
    assert!(sysfs.join(&first).exists());
    let partition = Path::new("/dev").join(&first);
    if partition.exists() {
        let error = erase(&partition, None).expect_err("refused").to_string();
        assert!(error.contains("a partition"), "{error}");
    }
    erase(&disk.device, Some(Method::Overwrite)).expect("erased");
    assert!(!sysfs.join(&first).exists());
}

#[test]
fn disks_in_use_are_refused_and_stay_as_they_are() {
    if !is_root() {
        return;
    }
    let mut disk = Loop::new(32 * MIB, &[]);
    run("mkfs.ext4", &["-q", disk.path()]);
    disk.put(SECRET, 20 * MIB);
    let at = tempfile::tempdir().expect("directory");
    run("mount", &[disk.path(), at.path().to_str().expect("UTF-8")]);
    disk.mounts.push(at.path().to_owned());
    let error = erase(&disk.device, None).expect_err("refused").to_string();
    assert!(error.contains(&format!("mounted at {}", at.path().display())), "{error}");
    run("umount", &[at.path().to_str().expect("UTF-8")]);
    disk.mounts.clear();

    let held =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(&disk.device).expect("open");
    let error = erase(&disk.device, None).expect_err("refused");
    assert!(matches!(error, WipeError::InUse { .. }), "{error}");
    drop(held);
    assert!(disk.holds(SECRET));

    let running = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = running.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
        (fields.get(4) == Some(&"/") && Path::new(source).exists()).then(|| source.to_owned())
    });
    if let Some(root) = root {
        // Never erased by this test: it is asked only whether it may be opened.
        let error = Disk::open(Path::new(&root)).expect_err("refused");
        assert!(matches!(error, WipeError::InUse { .. } | WipeError::NotADisk { .. }), "{error}");
    }
}

#[test]
fn what_cannot_be_erased_says_so() {
    if !is_root() {
        return;
    }
    let disk = Loop::new(MIB, &["-r"]);
    let error = erase(&disk.device, None).expect_err("refused").to_string();
    assert!(error.contains("read-only"), "{error}");
    let disk = Loop::new(MIB, &[]);
    let error = erase(&disk.device, Some(Method::NvmeFormatCrypto)).expect_err("refused").to_string();
    assert!(error.contains("not an NVMe disk"), "{error}");
    let error = erase(&disk.device, Some(Method::SecureDiscard)).expect_err("failed").to_string();
    assert!(error.contains("secure discard failed: EOPNOTSUPP"), "{error}");
}

#[test]
fn bad_blocks_are_listed() {
    if !is_root() {
        return;
    }
    for (missing, count, given_up) in [(MIB, 256, false), (16 * MIB, 1024, true)] {
        let disk = Loop::on_tmpfs(24 * MIB, 24 * MIB - missing);
        let error = erase(&disk.device, Some(Method::Overwrite)).expect_err("no space");
        let WipeError::BadBlocks { count: counted, offsets, block_bytes: 4096, given_up: gave } = error
        else {
            panic!("{error}");
        };
        assert_eq!((counted, gave), (count, given_up));
        assert_eq!(offsets.len() as u64, count);
        assert!(offsets.is_sorted() && offsets.iter().all(|at| at % 4096 == 0));
    }
}

#[test]
fn what_is_left_is_found() {
    if !is_root() {
        return;
    }
    let disk = Loop::new(64 * MIB, &[]);
    let noise: Vec<u8> = (0..8 << 10).flat_map(|n: u64| Sha256::digest(n.to_le_bytes()).to_vec()).collect();
    let other: Vec<u8> = noise.iter().map(|byte| !byte).collect();
    let extent = Extent { full_up_to: 0, end_bytes: MIB, samples: 4 };
    let check = |method, extent: &Extent, witnesses: &[_]| {
        let disk = Disk::open(&disk.device).expect("open");
        verify(&disk, method, witnesses, extent, 7, &mut |_, _| ())
    };
    let empty = check(Method::Discard, &extent, &[]).expect("clean");
    assert_eq!((empty.coverage, empty.content), (Coverage::Sampled, Content::Zeros));
    assert!((3 * MIB..=6 * MIB).contains(&empty.verified_bytes), "{empty:?}");

    disk.put(&[1], 64 * MIB - 1);
    let error = check(Method::Discard, &extent, &[]).expect_err("a byte is left").to_string();
    assert!(error.contains(&format!("at byte {}", 64 * MIB - 1)), "{error}");

    let full = Extent::default();
    disk.put(&vec![0xff; 64 << 20], 0);
    assert!(check(Method::Overwrite, &full, &[]).is_err(), "ones are not zeros");
    let ones = check(Method::NvmeFormatUserData, &full, &[]).expect("erased flash");
    assert_eq!(ones.content, Content::Ones);
    disk.put(&[0; 4096], 32 * MIB);
    assert!(check(Method::NvmeFormatUserData, &full, &[]).is_err(), "both");

    disk.put(&noise, 0);
    let known = witnesses(&Disk::open(&disk.device).expect("open"), 7);
    assert!(known.len() >= 3, "{known:?}");
    let error = check(Method::NvmeSanitizeCrypto, &full, &known).expect_err("nothing happened").to_string();
    assert!(error.contains("what was there before at byte 0"), "{error}");
    disk.put(&other, 0);
    disk.put(&other, MIB);
    let done = check(Method::NvmeSanitizeCrypto, &full, &known).expect("another key");
    assert_eq!((done.content, done.witnesses as usize), (Content::Unintelligible, known.len()));
    for (at, magic, name) in
        [(512, &b"EFI PART"[..], "GUID"), (0, b"XFSB", "XFS"), (64 * MIB - 512, b"EFI PART", "GUID")]
    {
        disk.put(magic, at);
        let error = check(Method::NvmeSanitizeCrypto, &full, &[]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(&at.to_string()), "{error}");
        disk.put(&[0; 8], at);
    }
}
