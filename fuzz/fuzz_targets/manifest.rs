//! Files of the operator: manifests, firmware tables, script templates.
#![no_main]

use std::path::Path;

use firstlight::boot::{FirmwareTable, Scripts};
use firstlight::cli::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(manifest) = Manifest::parse(text, Path::new("images/demo.toml")) {
        assert!(!manifest.image.to_string().contains('/'));
    }
    if let Ok(table) = FirmwareTable::new(&[("x86_64.toml".into(), text.to_owned())]) {
        assert!(table.entries().iter().all(|entry| !entry.boot_file.contains('/')));
    }
    let _ = Scripts::new(&[("boot.ipxe".into(), text.to_owned())]);
});
