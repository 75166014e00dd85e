//! All modules of a ramdisk: which one serves a device, and what must be loaded before it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::elf::values;
use super::glob::{canonical_alias, is_pattern, matches};
use super::{canonical, name_of_file};

/// A module of a ramdisk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name, canonical.
    pub name: String,
    /// Its file, relative to the root of the ramdisk: `lib/modules/6.1.0/kernel/fs/ext4/ext4.ko`.
    pub path: String,
    /// Modules that must be loaded before it.
    pub depends: Vec<String>,
    /// Modules or aliases to load before it, when they are here.
    pub before: Vec<String>,
    /// Modules or aliases to load after it, when they are here.
    pub after: Vec<String>,
    /// What it serves, canonical.
    pub aliases: Vec<String>,
}

/// The modules of a ramdisk. Where several serve a device, the first in it is loaded first (`modules.order`).
#[derive(Debug, Clone, Default)]
pub struct Index {
    release: String,
    modules: Vec<Module>,
    builtin: BTreeSet<String>,
    by_name: HashMap<String, usize>,
    /// The bus (what stands before the first `:`) of an alias, to the modules and their aliases; "" when a pattern stands there.
    by_bus: HashMap<String, Vec<(usize, usize)>>,
}

/// What stands before the first `:`, or all of it.
fn bus(alias: &str) -> &str {
    alias.split(':').next().unwrap_or_default()
}

impl Index {
    /// An index of `modules` of the kernel `release`. `builtin` are the names of what is part of the kernel itself.
    /// Of two modules with one name the first counts.
    pub fn new(release: &str, modules: Vec<Module>, builtin: BTreeSet<String>) -> Self {
        let mut index = Self { release: release.to_owned(), builtin, ..Self::default() };
        for module in modules {
            if index.by_name.contains_key(&module.name) {
                continue;
            }
            let number = index.modules.len();
            index.by_name.insert(module.name.clone(), number);
            for (place, alias) in module.aliases.iter().enumerate() {
                let bus = if is_pattern(bus(alias)) { "" } else { bus(alias) };
                index.by_bus.entry(bus.to_owned()).or_default().push((number, place));
            }
            index.modules.push(module);
        }
        index
    }

    /// The kernel's release, as `uname -r` tells it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// All modules, in the order of `modules.order`.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// What is part of the kernel itself.
    pub fn builtin(&self) -> &BTreeSet<String> {
        &self.builtin
    }

    /// The module called `name`.
    pub fn get(&self, name: &str) -> Option<&Module> {
        self.modules.get(*self.by_name.get(&canonical(name))?)
    }

    /// What to load for a device with this `modalias`, in this order; nothing when no module serves it.
    pub fn for_modalias(&self, modalias: &str) -> Vec<&Module> {
        self.in_load_order(&self.serving(modalias))
    }

    /// What to load for the module or alias `name` (`ext4`, `fs-ext4`), in this order. Nothing when it
    /// is part of the kernel itself, `None` when it is not in the ramdisk.
    pub fn for_name(&self, name: &str) -> Option<Vec<&Module>> {
        let found = self.called(name);
        if found.is_empty() {
            return self.is_builtin(name).then(Vec::new);
        }
        Some(self.in_load_order(&found))
    }

    /// Whether `name` is part of the kernel itself.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&canonical(name))
    }

    /// What modules depend on and is neither in the ramdisk nor part of the kernel: `(module, what it needs)`.
    pub fn missing(&self) -> Vec<(&str, &str)> {
        let absent = |name: &&String| !self.by_name.contains_key(*name) && !self.builtin.contains(*name);
        self.modules
            .iter()
            .flat_map(|module| {
                module.depends.iter().filter(absent).map(|need| (module.name.as_str(), need.as_str()))
            })
            .collect()
    }

    /// The modules that go by `name`: the one of this name, or else those with this alias.
    pub(crate) fn called(&self, name: &str) -> Vec<usize> {
        match self.by_name.get(&canonical(name)) {
            Some(number) => vec![*number],
            None => self.serving(name),
        }
    }

    /// The modules with an alias that matches, each once, in the order of the index.
    fn serving(&self, modalias: &str) -> Vec<usize> {
        let modalias = canonical_alias(modalias);
        let mut found: Vec<usize> = [bus(&modalias), ""]
            .iter()
            .filter_map(|bus| self.by_bus.get(*bus))
            .flatten()
            .filter(|(number, place)| {
                let alias = self.modules.get(*number).and_then(|module| module.aliases.get(*place));
                alias.is_some_and(|alias| matches(alias, &modalias))
            })
            .map(|(number, _)| *number)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// `wanted` with all that belongs before and after: soft dependencies, dependencies, the module,
    /// what it wants after it. Cycles end where they begin; a hard dependency wins over a soft one.
    fn in_load_order(&self, wanted: &[usize]) -> Vec<&Module> {
        enum Step {
            Look(usize),
            Take(usize),
        }
        let mut steps: Vec<Step> = wanted.iter().rev().map(|number| Step::Look(*number)).collect();
        let mut seen = HashSet::new();
        let mut order = Order::default();
        while let Some(step) = steps.pop() {
            match step {
                Step::Take(number) => order.take(self, number),
                Step::Look(number) => {
                    let Some(module) = self.modules.get(number).filter(|_| seen.insert(number)) else {
                        continue;
                    };
                    // The last pushed is the first looked at.
                    let look = |names: &[String]| {
                        let found: Vec<usize> = names.iter().flat_map(|name| self.called(name)).collect();
                        found.into_iter().rev().map(Step::Look)
                    };
                    steps.extend(look(&module.after));
                    steps.push(Step::Take(number));
                    steps.extend(look(&module.depends));
                    steps.extend(look(&module.before));
                }
            }
        }
        order.taken.iter().filter_map(|number| self.modules.get(*number)).collect()
    }
}

/// Modules in the order of their hard dependencies.
#[derive(Default)]
struct Order {
    taken: Vec<usize>,
    seen: HashSet<usize>,
}

impl Order {
    /// Takes what `number` depends on, and then itself, unless they were taken.
    fn take(&mut self, index: &Index, number: usize) {
        let mut steps = vec![(number, false)];
        while let Some((number, complete)) = steps.pop() {
            if complete {
                self.taken.push(number);
            } else if self.seen.insert(number) {
                steps.push((number, true));
                let depends = index.modules.get(number).map(|module| module.depends.as_slice());
                for name in depends.unwrap_or_default().iter().rev() {
                    steps.extend(index.by_name.get(name).map(|number| (*number, false)));
                }
            }
        }
    }
}

/// What is part of the kernel itself: the names in `modules.builtin`, and the names and plain aliases
/// (`fs-ext4`) in `modules.builtin.modinfo`.
pub fn builtin(list: &str, modinfo: &[u8]) -> BTreeSet<String> {
    let listed = list.lines().filter_map(name_of_file);
    let told = values(modinfo).filter_map(|(key, value)| {
        let (module, key) = key.split_once('.')?;
        match key {
            "file" => Some(canonical(module)),
            "alias" if !is_pattern(value) => Some(canonical(value)),
            _ => None,
        }
    });
    listed.chain(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str) -> Vec<String> {
        words.split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn module(name: &str, depends: &str, before: &str, after: &str, aliases: &str) -> Module {
        let (depends, before, after, aliases) = (words(depends), words(before), words(after), words(aliases));
        Module { name: name.into(), path: format!("m/{name}.ko"), depends, before, after, aliases }
    }

    fn index() -> Index {
        let modules = vec![
            module("ahci", "libahci libata", "", "", "pci:v*d*sv*sd*bc01sc06i01*"),
            module("ata_generic", "libata", "", "", "pci:v*d*sv*sd*bc01sc0[16]*"),
            module("libahci", "libata scsi_mod", "", "", ""),
            module("libata", "scsi_mod", "", "", ""),
            module("scsi_mod", "", "", "", ""),
            module("sd_mod", "scsi_mod", "", "", "scsi:t_0x00*"),
            module("ext4", "mbcache jbd2", "crc32c nowhere", "", "fs_ext4"),
            module("mbcache", "", "", "", ""),
            module("jbd2", "", "", "", ""),
            module("crc32c_intel", "", "", "", "crc32c cpu:type:x86*feature:*0094*"),
            module("crc32c_generic", "", "", "", "crc32c"),
            module("driver", "gone core", "helper", "extra", "usb:v1*"),
            module("helper", "driver", "", "", ""),
            module("extra", "", "", "", ""),
            module("a", "b", "", "", ""),
            module("b", "a", "", "", ""),
            module("any", "", "", "", "*:weird"),
            module("ahci", "", "", "", ""),
        ];
        Index::new("6.1.0", modules, words("core vfat").into_iter().collect())
    }

    #[test]
    fn a_device_gets_its_modules_dependencies_first() {
        let index = index();
        for (name, modalias, expected) in [
            ("one driver", "scsi:t-0x00", "scsi_mod sd_mod"),
            (
                "two drivers, in the order of the index",
                "pci:v1d2sv3sd4bc01sc06i01",
                "scsi_mod libata libahci ahci ata_generic",
            ),
            ("a builtin and a gone dependency", "usb:v12", "driver helper extra"),
            ("a pattern for the bus", "odd:weird", "any"),
            ("nothing serves it", "pci:v1d2sv3sd4bc02sc00i00", ""),
            ("no modalias", "", ""),
            (
                "a feature of the processor",
                "cpu:type:x86,ven0000fam0006mod000F:feature:,0000,0094,",
                "crc32c_intel",
            ),
        ] {
            let names: Vec<&str> =
                index.for_modalias(modalias).iter().map(|module| module.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn names_and_aliases_are_found() {
        let index = index();
        for (name, expected) in [
            ("ext4", Some("crc32c_intel crc32c_generic mbcache jbd2 ext4")),
            ("fs-ext4", Some("crc32c_intel crc32c_generic mbcache jbd2 ext4")),
            ("crc32c-intel", Some("crc32c_intel")),
            ("vfat", Some("")),
            ("a", Some("a b")), // a cycle that no kernel has: both, in some order,
            ("nowhere", None),
        ] {
            let found = index.for_name(name).map(|modules| {
                modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert_eq!(index.missing(), [("driver", "gone")]);
        assert_eq!(index.get("ahci").unwrap().depends.len(), 2, "the first of a name counts");
    }

    #[test]
    fn what_is_built_in_is_read_from_both_lists() {
        let names = builtin(
            "kernel/fs/fat/vfat.ko\nkernel/lib/crc-x.ko\n\nrubbish\n",
            b"unix.alias=net-pf-1\0unix.file=net/unix/unix\0ehci_pci.alias=pci:v*d*\0x\0",
        );
        assert_eq!(names, words("crc_x net_pf_1 unix vfat").into_iter().collect());
    }
}
