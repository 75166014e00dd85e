//! A datagram on port 69: our server on loopback gets it, and still serves afterwards.
#![no_main]

use firstlight_fuzz::plane;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| plane::datagram(bytes));
