//! Which devices the kernel has found: the `modalias` of each, from `/sys/devices`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Folders looked at in a pass. A large server has some 20,000 below `/sys/devices`.
const MOST_FOLDERS: usize = 262_144;
/// Folders within folders.
const DEEPEST: usize = 48;
/// Bytes of a file that count; sysfs files end at a page.
const LONGEST_FILE: u64 = 4_096;

/// The modaliases of all devices below `devices` (`/sys/devices`). A folder that cannot be read, as
/// of a device that was just unplugged, is left out.
pub fn modaliases(devices: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<(PathBuf, usize)> = vec![(devices.to_owned(), 0)];
    let mut looked = 0;
    while let Some((folder, depth)) = folders.pop() {
        looked += 1;
        if looked > MOST_FOLDERS {
            break;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let (mut modalias, mut uevent) = (false, false);
        for entry in entries.flatten() {
            let name = entry.file_name();
            // Not followed: links lead to where the walk comes anyway, or in circles.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEEPEST && !is_barren(&name) => {
                    folders.push((entry.path(), depth + 1));
                }
                Ok(kind) if kind.is_file() => {
                    modalias |= name == "modalias";
                    uevent |= name == "uevent";
                }
                _ => {}
            }
        }
        if modalias {
            found.extend(read(&folder.join("modalias")).map(|text| text.trim().to_owned()));
        } else if uevent && let Some(text) = read(&folder.join("uevent")) {
            found.extend(text.lines().find_map(|line| line.strip_prefix("MODALIAS=")).map(str::to_owned));
        }
    }
    found.remove("");
    found
}

/// Folders without devices, of which there are many.
fn is_barren(name: &std::ffi::OsStr) -> bool {
    ["power", "msi_irqs", "statistics", "queues", "wakeup", "cache", "cpuidle", "trace"]
        .iter()
        .any(|barren| name == *barren)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modaliases_are_found_in_both_files_and_links_are_not_followed() {
        let sys = tempfile::tempdir().unwrap();
        let device = |path: &str, file: &str, text: &str| {
            let folder = sys.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        };
        device("pci0/0000:00:01.0", "modalias", "pci:v1\n");
        device("pci0/0000:00:01.0/virtio0", "uevent", "DRIVER=x\nMODALIAS=virtio:d1\n");
        device("pci0/0000:00:02.0", "modalias", "pci:v1\n");
        device("pci0/0000:00:03.0", "modalias", "\n");
        device("pci0/power", "modalias", "never");
        std::os::unix::fs::symlink(sys.path(), sys.path().join("pci0/subsystem")).unwrap();
        let found = modaliases(sys.path());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["pci:v1", "virtio:d1"]);
        assert!(modaliases(Path::new("/nowhere")).is_empty());
    }
}
