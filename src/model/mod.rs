//! The domain: what a node, a group, an image, a lease and an event *are*. No I/O, no clock, no async.
//!
//! Read in this order: [`ids`], [`hardware`], [`time`] (the small types everything else is made of), [`lifecycle`] (the state
//! machine), [`network`], [`node`], [`group`], [`image`], [`lease`], [`invitation`], [`event`], and last [`world`], the whole state of
//! an appliance as one value that can be cloned for nothing and changed by [`world::Change`]s.

pub mod disk_rule;
pub mod event;
pub mod filter;
pub mod group;
pub mod hardware;
pub mod ids;
pub mod image;
pub mod inventory;
pub mod invitation;
pub mod lease;
pub mod lifecycle;
pub mod network;
pub mod node;
pub mod placeholder;
pub mod selector;
pub mod time;
pub mod world;

pub use event::{Event, EventKind};
pub use group::Group;
pub use hardware::{Arch, Firmware};
pub use ids::{GroupName, IdError, ImageName, ImageRef, MacAddr, NodeId, NodeName, Sha256Digest};
pub use image::{Artifact, Build, DataPartition, DiskBuild, DiskPlan, Image, Netboot};
pub use invitation::Invitation;
pub use lease::{Lease, LeaseState};
pub use lifecycle::{Signal, State};
pub use network::{AddressRange, DhcpMode, Network, Subnet};
pub use node::{
    BootAttempt, Certificate, Facts, Identity, InstallRule, Installed, NextBoot, Node, Observed, Order,
    Purpose,
};
pub use selector::{Selector, SelectorError};
pub use time::Timestamp;
pub use world::{Change, World};
