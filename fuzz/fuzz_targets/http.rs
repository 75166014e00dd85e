//! HTTP: raw bytes on a connection of the boot plane, and the range header.
#![no_main]

use firstlight::http::range::{Wanted, wanted};
use firstlight_fuzz::plane;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for size in [0, 1, 1000] {
            if let Wanted::Part { first, last } = wanted(Some(text), size) {
                assert!(first <= last && last < size);
            }
        }
    }
    plane::connection(bytes);
});
