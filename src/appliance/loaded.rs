//! Bundles that were unpacked, kept for the next look; those used least lately make room.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::model::Sha256Digest;

/// Bytes of their files that are kept.
const BYTES: usize = 64 << 20;

/// Unpacked bundles, by the digest of their archive.
#[derive(Default)]
pub struct Loaded {
    entries: HashMap<Sha256Digest, Entry>,
    bytes: usize,
    turn: u64,
}

struct Entry {
    bundle: Arc<Bundle>,
    bytes: usize,
    used: u64,
}

impl Loaded {
    /// The bundle, if it is kept.
    pub fn get(&mut self, digest: Sha256Digest) -> Option<Arc<Bundle>> {
        self.turn = self.turn.wrapping_add(1);
        let entry = self.entries.get_mut(&digest)?;
        entry.used = self.turn;
        Some(Arc::clone(&entry.bundle))
    }

    /// Keeps a bundle.
    pub fn insert(&mut self, digest: Sha256Digest, bundle: Arc<Bundle>) {
        let sources = bundle.sources.values().map(Vec::len);
        let bytes = sources.fold(bundle.text.len(), usize::saturating_add);
        self.turn = self.turn.wrapping_add(1);
        let entry = Entry { bundle, bytes, used: self.turn };
        let old = self.entries.insert(digest, entry).map_or(0, |old| old.bytes);
        self.bytes = self.bytes.saturating_sub(old).saturating_add(bytes);
        while self.bytes > BYTES && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(digest, _)| *digest);
            let Some(gone) = oldest.and_then(|digest| self.entries.remove(&digest)) else { break };
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(version: u8, bytes: usize) -> (Sha256Digest, Arc<Bundle>) {
        let text = format!("name = \"x\"\nversion = \"{version}\"\n");
        let sources = [("files/a".to_owned(), vec![version; bytes])].into();
        (Sha256Digest([version; 32]), Arc::new(Bundle::new(text, sources).expect("a bundle")))
    }

    #[test]
    fn those_used_least_lately_make_room() {
        let mut loaded = Loaded::default();
        for version in 0..100 {
            let (digest, bundle) = bundle(version, 900 << 10);
            loaded.insert(digest, bundle);
            assert!(loaded.get(Sha256Digest([0; 32])).is_some(), "it is used all the time");
        }
        assert!(loaded.bytes <= BYTES && loaded.entries.len() > 60, "{}", loaded.entries.len());
        assert!(loaded.get(Sha256Digest([99; 32])).is_some());
        assert!(loaded.get(Sha256Digest([1; 32])).is_none());
        let held = loaded.bytes;
        let (digest, same) = bundle(99, 900 << 10);
        loaded.insert(digest, same);
        assert_eq!(loaded.bytes, held, "the same once more takes no room");
    }
}
