//! Bundles: what their authors write, and what a node gets of them. Pure, but for reading a folder.
//!
//! Read in this order: [`manifest`] (what a bundle says of itself), [`check`] (how it is read from `bundle.toml`, with [`wire`] and
//! [`words`]; mistakes are [`problem`]s, all at once), [`folder`] (the files, packed into one archive), [`variables`] (whose
//! value counts), [`secret`], [`facts`] (what templates see), `template` (what they may
//! do, and how much of it), [`render`] (templates and variables become a [`desired`] state), [`rules`] (which that keeps), [`needs`], [`diff`].

pub mod check;
pub mod desired;
pub mod diff;
pub mod facts;
pub mod folder;
pub mod manifest;
mod masks;
pub mod needs;
pub mod problem;
pub mod render;
pub mod rules;
pub mod secret;
mod template;
#[cfg(test)]
mod tests;
pub mod variables;
mod wire;
mod words;

pub use desired::Desired;
pub use facts::{About, Member, NodeFacts};
pub use folder::Bundle;
pub use manifest::Manifest;
pub use problem::{Problem, Problems};
pub use render::{Rendered, render};
pub use variables::{Layer, Merged, Shown, lay_over, merge};
