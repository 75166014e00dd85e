//! Choosing from folders of small modules.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::modules::elf::tests::module;

/// A folder with `files` in it.
pub(crate) fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn source(root: &Path) -> Source {
    Source::open(&[root.to_owned()], root, &mut |_| {}).unwrap()
}

/// The modules of a small kernel.
pub(crate) fn modules() -> Vec<(&'static str, Vec<u8>)> {
    let packed = |modinfo: &[u8]| zstd::encode_all(&module(modinfo)[..], 1).unwrap();
    vec![
        ("lib/modules/6.1/kernel/drivers/net/ethernet/x/nic.ko.zst", packed(b"name=nic\0depends=core\0alias=pci:v1*\0firmware=nic/a.bin\0firmware=nic/b.bin\0firmware=nic/c-*.bin\0")),
        ("lib/modules/6.1/kernel/drivers/net/ethernet/x/alone.ko", module(b"name=alone\0depends=gone\0")),
        ("lib/modules/6.1/kernel/drivers/net/ethernet/x/bad.ko", b"no module".to_vec()),
        ("lib/modules/6.1/kernel/drivers/net/wireless/wifi.ko", module(b"name=wifi\0firmware=wifi.bin\0")),
        ("lib/modules/6.1/kernel/drivers/mfd/core.ko", module(b"name=core\0")),
        ("lib/modules/6.1/kernel/crypto/sum_generic.ko", module(b"name=sum_generic\0alias=sum\0")),
        ("lib/modules/6.1/kernel/crypto/half.ko", module(b"name=half\0alias=sum\0depends=gone\0")),
        ("lib/modules/6.1/kernel/fs/ext4/ext4.ko", module(b"name=ext4\0softdep=pre: sum nowhere\0depends=jbd2\0alias=fs-ext4\0")),
        ("lib/modules/6.1/modules.order", b"kernel/fs/ext4/ext4.ko\nkernel/drivers/net/ethernet/x/nic.ko\nkernel/crypto/sum_generic.ko\n".to_vec()),
        ("lib/modules/6.1/modules.builtin", b"kernel/fs/jbd2/jbd2.ko\n".to_vec()),
        ("lib/firmware/nic/a.bin.xz", b"a".to_vec()),
        ("lib/firmware/nic/c-1.bin", b"c1".to_vec()),
        ("lib/firmware/nic/c-2.bin.zst", zstd::encode_all(&b"c2"[..], 1).unwrap()),
        ("lib/firmware/wifi.bin", b"w".to_vec()),
    ]
}

#[test]
fn the_table_its_dependencies_and_their_firmware_are_chosen() {
    let root = folder(&modules());
    let source = source(root.path());
    let chosen = select(&source, &source, "6.1").unwrap();
    let names: Vec<&str> = chosen.index.modules().iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["ext4", "nic", "sum_generic", "core"], "listed ones first, as modules.order has them");
    assert_eq!(chosen.modules.len(), 4);
    assert!(chosen.modules.contains_key("lib/modules/6.1/kernel/drivers/net/ethernet/x/nic.ko"));
    let firmware: Vec<&str> = chosen.firmware.keys().map(String::as_str).collect();
    assert_eq!(firmware, ["lib/firmware/nic/a.bin", "lib/firmware/nic/c-1.bin", "lib/firmware/nic/c-2.bin"]);
    assert_eq!(chosen.missing_firmware, ["nic/b.bin"]);
    let left: Vec<&str> = chosen.left_out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["bad", "alone"]);
    assert!(chosen.left_out[1].1.contains("it needs gone"), "{:?}", chosen.left_out);
    assert!(chosen.index.is_builtin("jbd2"));
    assert!(chosen.index.missing().is_empty());
}

#[test]
fn firmware_names_do_not_lead_out() {
    let root = folder(&[("lib/firmware/a", vec![1])]);
    for name in ["../firmware/a", "/a", "", "./a", "*/../a"] {
        assert!(firmware_files(&source(root.path()), name).is_empty(), "{name}");
    }
    assert_eq!(firmware_files(&source(root.path()), "a").len(), 1);
}
