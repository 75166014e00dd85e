//! The domain: what a node, a group, an image, a lease and an event *are*. No I/O, no clock, no async.
//!
//! Read in this order: [`ids`], [`hardware`], [`time`] (the small types everything else is made of), [`lifecycle`] (the state
//! machine), [`network`], [`os_release`], [`node`], [`group`], [`image`], [`bundle`], [`lease`], [`job`], [`invitation`], [`event`], and last [`world`], the whole state of
//! an appliance as one value that can be cloned for nothing and changed by [`world::Change`]s.

pub mod addresses;
pub mod bundle;
pub mod disk_rule;
pub mod event;
pub mod filter;
pub mod group;
pub mod hardware;
pub mod ids;
pub mod image;
pub mod inventory;
pub mod invitation;
pub mod job;
pub mod lease;
pub mod lease6;
pub mod lifecycle;
pub mod network;
pub mod network6;
pub mod node;
pub mod os_release;
pub mod placeholder;
pub mod reservation;
pub mod selector;
pub mod strangers;
pub mod time;
pub mod world;

pub use bundle::{Bundle, Scope, Variables};
pub use event::{Event, EventKind};
pub use group::Group;
pub use hardware::{Arch, Firmware};
pub use ids::{
    BundleName, BundleRef, ClusterName, GroupName, IdError, ImageName, ImageRef, MacAddr, NodeId, NodeName,
    RoleName, Sha256Digest,
};
pub use image::{Artifact, Build, DataPartition, DiskBuild, DiskPlan, Image, Netboot};
pub use invitation::Invitation;
pub use job::Job;
pub use lease::{Lease, LeaseState};
pub use lease6::{Duid, Lease6};
pub use lifecycle::{Signal, State};
pub use network::{AddressRange, DhcpMode, Network, Subnet};
pub use network6::{AddressRange6, Network6, Subnet6};
pub use node::{
    BootAttempt, Certificate, Facts, Identity, InstallRule, Installed, NextBoot, Node, Observed, Order,
    Purpose,
};
pub use os_release::OsRelease;
pub use reservation::{ClientKey, Reservation, Reservations};
pub use selector::{Selector, SelectorError};
pub use time::Timestamp;
pub use world::{Change, World};
