//! The loader against a machine made of a table.

use super::super::elf::ModInfo;
use super::*;

/// A machine whose devices turn up as modules are loaded.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    devices: BTreeSet<String>,
    /// A module, and the device that it brings.
    brings: BTreeMap<String, String>,
    fails: BTreeMap<String, String>,
    hangs: BTreeSet<String>,
    order: Vec<String>,
}

impl Kernel for Fake {
    fn modaliases(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().devices.clone()
    }

    fn insert(&self, path: &str) -> Result<Inserted, String> {
        if self.0.lock().unwrap().hangs.contains(path) {
            std::thread::sleep(Duration::from_secs(3));
        }
        let mut state = self.0.lock().unwrap();
        state.order.push(path.to_owned());
        if let Some(reason) = state.fails.get(path) {
            return Err(reason.clone());
        }
        if let Some(device) = state.brings.get(path).cloned() {
            state.devices.insert(device);
        }
        Ok(if path == "old" { Inserted::Before } else { Inserted::Now })
    }
}

fn module(name: &str, depends: &[&str], aliases: &[&str]) -> Module {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let info = ModInfo { depends: words(depends), aliases: words(aliases), ..ModInfo::default() };
    Module {
        name: name.into(),
        path: name.into(),
        depends: info.depends,
        aliases: info.aliases,
        ..Module::default()
    }
}

fn machine() -> (Index, Fake) {
    let modules = vec![
        module("xhci", &["usbcore"], &["pci:xhci*"]),
        module("usbcore", &[], &[]),
        module("usb_storage", &["usbcore", "scsi"], &["usb:*ic08*"]),
        module("scsi", &[], &[]),
        module("sd", &["scsi"], &["scsi:t_0x00*"]),
        module("broken", &[], &["pci:nic*"]),
        module("old", &[], &["pci:nic*"]),
        module("slow", &[], &["pci:slow"]),
        module("unused", &[], &["pci:never"]),
    ];
    let fake = Fake::default();
    let mut state = fake.0.lock().unwrap();
    state.devices = ["pci:xhci1", "pci:nic7", "acpi:nothing"].iter().map(|name| (*name).to_owned()).collect();
    state.brings = [("xhci", "usb:v1ic08"), ("usb_storage", "scsi:t-0x00")]
        .iter()
        .map(|(module, device)| ((*module).to_owned(), (*device).to_owned()))
        .collect();
    state.fails.insert("broken".into(), "no device".into());
    drop(state);
    (Index::new("1", modules, ["ext4".to_owned()].into()), fake)
}

const PACE: Pace = Pace {
    limit: Duration::from_secs(20),
    quiet: Duration::from_millis(200),
    between: Duration::from_millis(10),
};

#[test]
fn devices_that_turn_up_step_by_step_all_get_their_modules() {
    let (index, fake) = machine();
    let mut loader = Loader::new(index, fake.clone()).unwrap();
    let report = loader.load_for_devices(&PACE);
    assert_eq!(report.loaded, ["scsi", "sd", "usb_storage", "usbcore", "xhci"]);
    assert_eq!(report.before, ["old"]);
    assert_eq!(report.failed, [("broken".to_owned(), "no device".to_owned())]);
    assert_eq!((report.devices, report.timed_out), (5, false));
    let order = fake.0.lock().unwrap().order.clone();
    let place = |name: &str| order.iter().position(|loaded| loaded == name).unwrap();
    assert!(place("usbcore") < place("xhci") && place("scsi") < place("sd"), "{order:?}");
    assert_eq!(order.len(), 7, "each is tried once: {order:?}");

    fake.0.lock().unwrap().devices.insert("pci:never".into());
    assert!(
        loader.load_for_devices(&PACE).loaded.contains(&"unused".to_owned()),
        "a device plugged in later"
    );
}

#[test]
fn a_driver_that_hangs_holds_up_neither_the_others_nor_the_caller() {
    let (index, fake) = machine();
    fake.0.lock().unwrap().devices.insert("pci:slow".into());
    fake.0.lock().unwrap().hangs.insert("slow".into());
    let mut loader = Loader::new(index, fake).unwrap();
    let begun = Instant::now();
    let report = loader.load_for_devices(&Pace { limit: Duration::from_millis(700), ..PACE });
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
    assert!(report.timed_out);
    assert_eq!(report.unfinished, ["slow"]);
    assert!(report.loaded.contains(&"sd".to_owned()), "{report:?}");
}

#[test]
fn modules_are_loaded_by_name() {
    let (index, fake) = machine();
    let mut loader = Loader::new(index, fake).unwrap();
    let report = loader.load(&["sd", "ext4", "nowhere"], Duration::from_secs(5));
    assert_eq!(report.loaded, ["scsi", "sd"]);
    assert_eq!(report.unknown, ["nowhere"]);
    assert!(!report.timed_out);
}
