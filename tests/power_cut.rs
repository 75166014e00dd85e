//! Power cuts: nothing that was acknowledged is lost, and the state opens every time.
//!
//! The store's writer runs in a virtual server on a virtual disk (ext4) and prints what was acknowledged on the serial
//! line. Its QEMU is killed at a random moment. The disk is then what a drive with a volatile write cache would hold:
//! everything up to the guest's last flush, and in every second round some 4 KiB of the rest, in random order. It is
//! mounted, the store is opened, and every acknowledged record is looked for. The same disk goes into the next round.
//!
//! `ROUNDS` and `SEED` in the environment. Needs root, and the example `store-writer` built in the same profile.

#[path = "power/drive.rs"]
mod drive;
mod rack;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rack::{DirectBoot, Disk, DiskImage, MachineSpec, Rack};

const BOOT: Duration = Duration::from_secs(90);
const DISK_BYTES: u64 = 1536 << 20;
/// Fewest and most milliseconds of writing before the cut.
const WORK: (u64, u64) = (300, 2_500);

/// xorshift64*: enough for choosing moments, and the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn run(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn writer() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let profile = own.parent().and_then(Path::parent).expect("it lies in PROFILE/deps");
    let path = profile.join("examples/store-writer");
    assert!(path.exists(), "{} is missing: cargo build --release --example store-writer", path.display());
    path
}

/// One disk, and what was acknowledged while it was written.
struct Bench<'r> {
    rack: &'r Rack,
    image: DiskImage,
    disk: PathBuf,
    acknowledged: Vec<u64>,
    random: Random,
}

impl<'r> Bench<'r> {
    fn new(rack: &'r Rack, seed: u64) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        let image =
            DiskImage::build(&cache, "power", &writer()).expect("a kernel and a ramdisk with the writer");
        let disk = rack.dir().join("disk.raw");
        fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)).expect("make a disk");
        run(
            "mkfs.ext4",
            &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &disk.display().to_string()],
        );
        Self { rack, image, disk, acknowledged: Vec::new(), random: Random(seed | 1) }
    }

    /// Boots, writes, cuts the power; what was acknowledged in this round, and what became of the drive's writes.
    fn round(&mut self, round: u64, mode: &str) -> (usize, drive::Cut) {
        let (scratch, log) = (self.rack.dir().join("scratch.raw"), self.rack.dir().join("writes.log"));
        run("cp", &["--sparse=always", &self.disk.display().to_string(), &scratch.display().to_string()]);
        fs::write(&log, b"").expect("make a write log");
        let first = self.acknowledged.iter().max().map_or(1, |last| last + 10_000);
        let boot = DirectBoot {
            kernel: self.image.kernel.clone(),
            initrd: self.image.initrd.clone(),
            append: DiskImage::append(&format!("{mode} /data/state {first}")),
        };
        let drive = format!(
            "driver=blklogwrites,log-sector-size=512,file.driver=file,file.filename={},log.driver=file,log.filename={}",
            scratch.display(),
            log.display()
        );
        let spec = MachineSpec::direct(&format!("power-{round}"), boot, vec![Disk::Blockdev(drive)]);
        let mut machine = self.rack.machine(spec).expect("a machine");
        machine.power_on().expect("power on");
        machine.wait_serial("WRITING", BOOT).expect("the writer starts");
        std::thread::sleep(Duration::from_millis(WORK.0 + self.random.next() % (WORK.1 - WORK.0)));
        machine.kill().expect("cut the power");

        let text = machine.serial_text().expect("read the serial log");
        // A line that was cut off in the middle tells of nothing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        assert!(!whole.contains("FAILED"), "round {round}: {whole}");
        let before = self.acknowledged.len();
        self.acknowledged
            .extend(whole.lines().filter_map(|line| line.trim().strip_prefix("A ")?.parse::<u64>().ok()));

        let random = &mut self.random;
        let luck = (round % 2 == 1).then_some(move || random.next());
        let cut = drive::cut(&log, &self.disk, luck).expect("lay the log onto the disk");
        (self.acknowledged.len() - before, cut)
    }

    /// Mounts the disk and looks for every acknowledged record; what the verifier said.
    fn verify(&self) -> Result<String, String> {
        let (file, mount) = (self.rack.dir().join("acknowledged"), self.rack.dir().join("mount"));
        let ids: Vec<String> = self.acknowledged.iter().map(u64::to_string).collect();
        fs::write(&file, ids.join("\n")).expect("write down what was acknowledged");
        fs::create_dir_all(&mount).expect("make a mount point");
        // The mount is seen by this command alone, and goes with it.
        let script =
            r#"mount -o loop "$1" "$2" && "$3" verify "$2/state" "$4"; code=$?; umount "$2"; exit $code"#;
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .args([&self.disk, &mount, &writer(), &file])
            .output()
            .expect("run the verifier");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let rounds = from_environment("ROUNDS").unwrap_or(20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
    let seed = from_environment("SEED").unwrap_or_else(|| u64::try_from(now & 0xffff_ffff).expect("32 bits"));
    println!("SEED={seed} ROUNDS={rounds}");
    let rack = Rack::new("power").expect("a rack");
    let mut bench = Bench::new(&rack, seed);
    let (mut dropped, mut with_blobs) = (0, 0);
    // A commit is one write and a flush: most cuts find nothing in the drive's cache. A few more, where none did.
    for round in 0..2 * rounds {
        if round >= rounds && dropped > 0 {
            break;
        }
        let start = Instant::now();
        let (new, cut) = bench.round(round, "write");
        let verified =
            bench.verify().unwrap_or_else(|lost| panic!("SEED={seed}, round {round}, {cut:?}:\n{lost}"));
        dropped += cut.volatile - cut.lucky;
        with_blobs += usize::from(!verified.contains(", 0 blob files"));
        println!(
            "round {round}: {new} acknowledged, {cut:?}; {verified}; {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
    assert!(bench.acknowledged.len() > 100, "only {} records were acknowledged", bench.acknowledged.len());
    assert!(with_blobs > 0, "no record was large enough for a file of its own");
    assert!(dropped > 0, "the cuts never took anything from the drive: they prove nothing");
}

/// The check bites: a writer that acknowledges before the commit is durable loses records in the same cuts.
#[test]
fn a_writer_that_acknowledges_too_early_is_caught() {
    let rack = Rack::new("careless").expect("a rack");
    let mut bench = Bench::new(&rack, 42);
    for round in 0..6 {
        bench.round(round, "write-careless");
        if let Err(lost) = bench.verify() {
            println!("caught in round {round}: {lost}");
            assert!(lost.contains("LOST"), "{lost}");
            return;
        }
    }
    panic!("6 power cuts, and a careless writer lost nothing: the test would not see a loss");
}
