//! Bundles: their manifest, their templates, and the archive that they are pushed as.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use firstlight::bundle::render::Secrets;
use firstlight::bundle::{About, Bundle, merge, render};
use firstlight::cluster::serf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Bundle::unpack(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = serf::parse(text);
    let files = |text: &str| BTreeMap::from([("f.j2".to_owned(), text.as_bytes().to_vec())]);
    let manifest = "name = \"a\"\nversion = \"1\"\n[[file]]\npath = \"/etc/x\"\nsource = \"f.j2\"\n";
    for bundle in [
        Bundle::new(text.to_owned(), files("{{ node.name }}")),
        Bundle::new(manifest.to_owned(), files(text)),
    ] {
        let Ok(bundle) = bundle else { continue };
        let again = Bundle::unpack(&bundle.pack().expect("it packs")).expect("it unpacks");
        assert_eq!(again, bundle);
        let merged = merge(&[&bundle.manifest], &[]);
        let _ = render(&[Arc::new(bundle)], &merged, &About::default(), Secrets::Masked);
    }
});
