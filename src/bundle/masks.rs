//! The secrets that a node's files were made of, for whoever must not let them be seen.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Texts that must be in no log and no message. They go to the node that has them in its files, and print nowhere.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Masks(BTreeSet<String>);

impl Masks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds one; nothing is no secret.
    pub fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.insert(secret.to_owned());
        }
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}
