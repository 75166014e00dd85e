//! Writes a packed disk image to a disk with the installer's own code, and nothing else of it; for `make bench-install`.
//!
//! `disk-writer URL SHA256 DISK`: the folder with `disk.index` and `disk.data`, the index's digest, the disk.

use std::path::Path;

use firstlight::agent::install::{Order, Plan, Retry, Source, install_on};
use firstlight::model::Sha256Digest;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, digest, disk] = words.as_slice() else {
        eprintln!("usage: disk-writer URL SHA256 DISK");
        std::process::exit(2);
    };
    let digest: Sha256Digest = digest.parse().expect("a digest");
    let source = Source::new(url.clone());
    let index = source.index(digest).expect("the index");
    let order = Order {
        index: &index,
        index_sha256: digest.0,
        fetch: &source,
        retry: Retry::default(),
        plan: Plan { root: Some(u32::MAX), data: None },
        identity: None,
        boot: None,
    };
    let installed = install_on(Path::new(disk), &order, &mut |_| {}).expect("it installs");
    println!("{} bytes written", installed.written_bytes);
}
