//! The virtual rack: real firmware, real DHCP clients and a private network, for tests.
//!
//! Nothing here knows what is being tested: any program runs in the rack's namespace as a child.
//! Needs root and the Debian packages `iproute2 util-linux qemu-system-x86 ovmf ipxe ipxe-qemu` (and `dnsmasq
//! nginx` for the baseline).
//!
//! Read in this order: [`netns`] (the rack: a namespace with a bridge), [`host`] (a namespace plugged into it, for
//! DHCP clients), [`machine`] (a virtual server with firmware, plugged into it), [`machine_spec`] (what such a server
//! is made of), [`images`] (what they boot), [`baseline`] (dnsmasq + nginx, to compare with).
#![allow(dead_code, unused_imports, reason = "each test uses its part of the rack")]

pub mod accel;
pub mod baseline;
pub mod dnsmasq;
pub mod error;
pub mod guardian;
pub mod host;
pub mod images;
pub mod machine;
pub mod machine_spec;
pub mod netns;
pub mod process;
pub mod qmp;
pub mod serial;
pub mod ssh;
pub mod sweep;

pub use baseline::{Baseline, BaselineSpec};
pub use error::{RackError, Result};
pub use host::{Host, HostSpec};
pub use images::{DiskImage, NetbootImage};
pub use machine::Machine;
pub use machine_spec::{DirectBoot, Disk, Firmware, MachineSpec};
pub use netns::{BRIDGE, Rack};
pub use process::Process;
pub use ssh::{key_pair, ssh, wait_for_ssh};
pub use sweep::sweep;
