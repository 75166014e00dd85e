//! Processors, as the kernel counts them.

use std::collections::BTreeSet;
use std::path::Path;

use super::read;
use crate::model::inventory::Cpus;

/// More hardware threads than Linux supports (`NR_CPUS`).
const THREADS: usize = 8192;

/// Reads `/proc/cpuinfo` and the topology in sysfs (Documentation/admin-guide/cputopology.rst).
pub fn read(root: &Path) -> Cpus {
    let cpus = root.join("sys/devices/system/cpu");
    let (mut sockets, mut cores, mut threads) = (BTreeSet::new(), BTreeSet::new(), 0u32);
    for name in read::names(&cpus, THREADS + 64) {
        if name.strip_prefix("cpu").is_none_or(|number| number.parse::<u32>().is_err()) {
            continue;
        }
        let topology = cpus.join(&name).join("topology");
        // A processor that is switched off has no topology.
        let Some(core) = read::number::<i64>(&topology.join("core_id")) else { continue };
        // Negative where the platform does not tell: then it is one.
        let socket = read::number::<i64>(&topology.join("physical_package_id")).unwrap_or(0);
        let die = read::number::<i64>(&topology.join("die_id")).unwrap_or(0);
        let cluster = read::number::<i64>(&topology.join("cluster_id")).unwrap_or(0);
        sockets.insert(socket);
        cores.insert((socket, die, cluster, core));
        threads = threads.saturating_add(1);
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let model = model(root).unwrap_or_default();
    Cpus { model, sockets: count(sockets.len()), cores: count(cores.len()), threads }
}

/// The first processor's name; Arm kernels tell none.
fn model(root: &Path) -> Option<String> {
    let bytes = read::bytes(&root.join("proc/cpuinfo"), 64 << 10)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let words: Vec<&str> = line.split_once(':')?.1.split_whitespace().collect();
    Some(words.join(" "))
}

/// The memory that the kernel has for itself and all programs, in bytes.
pub fn usable_memory(root: &Path) -> Option<u64> {
    let bytes = read::bytes(&root.join("proc/meminfo"), 64 << 10)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
