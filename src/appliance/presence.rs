//! Who was heard, and when: kept in memory only, since ten thousand agents say every half minute that they live.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::boot::Place;
use crate::model::{NodeId, Timestamp};

/// How far a long piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What an agent said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When.
    pub at: Timestamp,
    /// When it last came further: another phase, message or more bytes done.
    pub moved: Timestamp,
    /// Where it runs.
    pub place: Place,
    /// What it is doing.
    pub phase: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How far it is with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Whether its silence is on the timeline.
    #[serde(skip)]
    pub missed: bool,
}

/// The agents that were heard since the appliance started.
#[derive(Debug, Default)]
pub struct Presence {
    heard: Mutex<HashMap<NodeId, Heard>>,
}

impl Presence {
    /// Takes note of a sign of life; whether the agent had been missed.
    pub fn hear(&self, node: NodeId, mut heard: Heard) -> bool {
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&node);
        if let Some(before) = before {
            let same = (&before.phase, &before.message, before.progress, before.place)
                == (&heard.phase, &heard.message, heard.progress, heard.place);
            if same {
                heard.moved = before.moved;
            }
        }
        let missed = before.is_some_and(|before| before.missed);
        all.insert(node, heard);
        missed
    }

    /// What a node's agent said last.
    pub fn of(&self, node: NodeId) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Forgets a node.
    pub fn forget(&self, node: NodeId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// The nodes that were last heard before `limit` and are not missed yet; they are from now on.
    pub fn miss(&self, limit: Timestamp) -> Vec<NodeId> {
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = all.iter_mut().filter(|(_, heard)| heard.at < limit && !heard.missed);
        silent
            .map(|(node, heard)| {
                heard.missed = true;
                *node
            })
            .collect()
    }
}
