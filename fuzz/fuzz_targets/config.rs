//! The configuration file and the identifiers that people type.
#![no_main]

use std::path::Path;

use firstlight::config::Config;
use firstlight::model::{ImageRef, MacAddr, NodeId, Selector, Sha256Digest, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("firstlight.toml")) {
        assert!(!error.to_string().is_empty());
    }
    let _ = Selector::new(text).find(&World::default());
    if let Ok(mac) = text.parse::<MacAddr>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Ok(image) = text.parse::<ImageRef>() {
        assert_eq!(image.to_string(), text);
        assert!(!text.contains('/'));
    }
    let _ = (text.parse::<NodeId>(), text.parse::<Sha256Digest>());
});
