//! Which modules and firmware files go in: those of the table, with all that they need.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::RamdiskError;
use super::source::Source;
use super::table;
use crate::modules::elf::{LARGEST_MODULE, ModInfo};
use crate::modules::glob::{self, canonical_alias};
use crate::modules::index::{self, Index, Module};
use crate::modules::{name_of_file, packed};

/// Bytes that `modules.order` and its like may have.
const LARGEST_LIST: u64 = 64 << 20;
/// How firmware files may be compressed (`CONFIG_FW_LOADER_COMPRESS`).
const FIRMWARE_PACKINGS: [&str; 3] = ["", ".xz", ".zst"];

/// What goes in.
#[derive(Debug, Default)]
pub struct Chosen {
    /// The modules by name, and those built in.
    pub index: Index,
    /// The modules' files: place in the ramdisk, file.
    pub modules: BTreeMap<String, PathBuf>,
    /// Firmware: place in the ramdisk, file. May be compressed.
    pub firmware: BTreeMap<String, PathBuf>,
    /// Firmware that a chosen module may ask for and that no input has.
    pub missing_firmware: Vec<String>,
    /// Modules of the table that are left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// All modules of a kernel.
struct Candidates {
    index: Index,
    /// By name.
    firmware: HashMap<String, Vec<String>>,
    files: HashMap<String, PathBuf>,
    /// Names that the table takes.
    wanted: BTreeSet<String>,
    broken: Vec<(String, String)>,
}

/// Chooses from the modules of the kernel `release` and from `firmware`.
pub fn select(kernel: &Source, firmware: &Source, release: &str) -> Result<Chosen, RamdiskError> {
    let all = candidates(kernel, release)?;
    let mut chosen = Chosen { left_out: all.broken.clone(), ..Chosen::default() };
    let mut taken = BTreeSet::new();
    for name in &all.wanted {
        let modules = all.index.for_name(name).unwrap_or_default();
        match unmet(&all.index, name) {
            Some(need) => {
                chosen.left_out.push((name.clone(), format!("it needs {need}, which no input has")));
            }
            None => taken.extend(modules.iter().map(|module| module.name.as_str())),
        }
    }
    // A soft dependency that lacks something itself was taken with the rest.
    taken.retain(|name| unmet(&all.index, name).is_none());
    let modules: Vec<Module> =
        all.index.modules().iter().filter(|module| taken.contains(module.name.as_str())).cloned().collect();
    for module in &modules {
        chosen.modules.extend(all.files.get(&module.name).map(|file| (module.path.clone(), file.clone())));
    }
    let asked: BTreeSet<&str> = modules
        .iter()
        .filter_map(|module| all.firmware.get(&module.name))
        .flatten()
        .map(String::as_str)
        .collect();
    for name in asked {
        let found = firmware_files(firmware, name);
        if found.is_empty() {
            chosen.missing_firmware.push(name.to_owned());
        }
        chosen.firmware.extend(found);
    }
    chosen.index = Index::new(release, modules, all.index.builtin().clone());
    Ok(chosen)
}

/// The first that `name` depends on, over all its dependencies, and that is not there.
fn unmet(index: &Index, name: &str) -> Option<String> {
    let (mut names, mut seen) = (vec![name.to_owned()], BTreeSet::new());
    while let Some(name) = names.pop() {
        match index.get(&name) {
            Some(module) => {
                if seen.insert(name) {
                    names.extend(module.depends.iter().cloned());
                }
            }
            None if index.is_builtin(&name) => {}
            None => return Some(name),
        }
    }
    None
}

/// Reads all modules of `release`, in the order of `modules.order`.
fn candidates(kernel: &Source, release: &str) -> Result<Candidates, RamdiskError> {
    let folder = format!("lib/modules/{release}/");
    let list = |name: &str| match kernel.get(&format!("{folder}{name}")) {
        Some(path) => read(path, LARGEST_LIST),
        None => Ok(Vec::new()),
    };
    let order = list("modules.order")?;
    let order = String::from_utf8_lossy(&order);
    // Newer kernels list `x.o` here, and packages may compress after the list is made.
    let stem = |place: &str| place.rsplit_once('.').map_or(place, |(stem, _)| stem).to_owned();
    let order: HashMap<String, usize> =
        order.lines().enumerate().map(|(at, line)| (stem(line), at)).collect();
    let mut places: Vec<(usize, String, &str, &Path)> = kernel
        .below(&folder)
        .filter_map(|(place, file)| {
            let name = name_of_file(place)?;
            let plain = place.rsplit_once(".ko").map_or(place, |(stem, _)| stem);
            Some((order.get(plain).copied().unwrap_or(usize::MAX), name, place, file))
        })
        .collect();
    places.sort();

    let builtin = index::builtin(
        &String::from_utf8_lossy(&list("modules.builtin")?),
        &list("modules.builtin.modinfo")?,
    );
    let (mut modules, mut firmware, mut files) = (Vec::new(), HashMap::new(), HashMap::new());
    let (mut wanted, mut broken) = (BTreeSet::new(), Vec::new());
    for (_, name, place, file) in places {
        let info = match ModInfo::read(&read(file, LARGEST_MODULE)?) {
            Ok(info) => info,
            Err(error) => {
                broken.push((name, error.to_string()));
                continue;
            }
        };
        let name =
            info.name.filter(|name| !name.is_empty() && !name.contains(char::is_whitespace)).unwrap_or(name);
        if files.contains_key(&name) {
            continue;
        }
        if table::takes(place) {
            wanted.insert(name.clone());
        }
        files.insert(name.clone(), file.to_owned());
        firmware.insert(name.clone(), info.firmware);
        modules.push(Module {
            path: format!("{folder}{}.ko", place.rsplit_once(".ko").map_or(place, |(stem, _)| stem)),
            name,
            depends: info.depends,
            before: info.before,
            after: info.after,
            aliases: info.aliases.iter().map(|alias| canonical_alias(alias)).collect(),
        });
    }
    Ok(Candidates { index: Index::new(release, modules, builtin), firmware, files, wanted, broken })
}

/// A file, decompressed.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, RamdiskError> {
    File::open(path).and_then(|file| packed::read(file, limit)).map_err(RamdiskError::io(path))
}

/// The files of the firmware `name`, which may be a pattern, and their places in the ramdisk.
fn firmware_files(source: &Source, name: &str) -> Vec<(String, PathBuf)> {
    let folder = "lib/firmware/";
    let found = |name: &str| {
        FIRMWARE_PACKINGS.iter().find_map(|packing| source.get(&format!("{folder}{name}{packing}")))
    };
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Vec::new();
    }
    if !glob::is_pattern(name) {
        return found(name).map(|file| (format!("{folder}{name}"), file.to_owned())).into_iter().collect();
    }
    let mut files: Vec<(String, PathBuf)> = source
        .places()
        .filter_map(|place| place.strip_prefix(folder))
        .map(|place| place.trim_end_matches(".xz").trim_end_matches(".zst"))
        .filter(|place| glob::matches(name, place))
        .filter_map(|place| Some((format!("{folder}{place}"), found(place)?.to_owned())))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
#[path = "select_tests.rs"]
pub(crate) mod tests;
