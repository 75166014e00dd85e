//! Where the lines of an attempt go, and what must never be in them.

use std::collections::BTreeSet;

use super::check::Checked;

/// Takes the lines of an attempt, e.g. into the log of a job.
pub trait Log: Send {
    /// One line: whose bundle (empty: of none), which step (`file`, `package`, `unit`, `health`, a hook's name), and the text.
    fn line(&mut self, bundle: &str, step: &str, text: &str);
}

/// A log for where nobody listens: it goes to `tracing`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Traced;

impl Log for Traced {
    fn line(&mut self, bundle: &str, step: &str, text: &str) {
        tracing::info!(bundle, step, "{text}");
    }
}

/// A log that keeps its lines, for tests and short jobs.
impl Log for Vec<String> {
    fn line(&mut self, bundle: &str, step: &str, text: &str) {
        self.push(format!("{bundle}: {step}: {text}"));
    }
}

/// What stands in place of a secret.
const MASKED: &str = "••••••";
/// Shorter pieces would mask half of any text.
const SHORTEST: usize = 6;
/// A secret file has at most so many pieces that are looked for.
const PIECES: usize = 4096;

/// Takes the contents of secret files out of text that goes to a log or into a reason.
#[derive(Debug, Default, Clone)]
pub struct Mask {
    pieces: Vec<String>,
}

impl Mask {
    /// Of all secret files of `generations`: each line, and what stands behind the first `=` or `:` of it.
    pub fn of<'a>(generations: impl IntoIterator<Item = &'a Checked>) -> Self {
        let mut pieces = BTreeSet::new();
        let files = generations.into_iter().flat_map(|one| one.files.iter()).filter(|file| file.secret);
        for file in files {
            let text = String::from_utf8_lossy(&file.content);
            for line in text.lines() {
                let quotes: &[_] = &['"', '\'', ' ', '\t', ',', ';'];
                let value = line.split_once(['=', ':']).map_or("", |(_, value)| value);
                for piece in [line.trim(), value.trim_matches(quotes)] {
                    if piece.len() >= SHORTEST && pieces.len() < PIECES {
                        pieces.insert(piece.to_owned());
                    }
                }
            }
        }
        let mut pieces: Vec<_> = pieces.into_iter().collect();
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        Self { pieces }
    }

    /// `text` without what is secret.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for piece in &self.pieces {
            if text.contains(piece.as_str()) {
                text = text.replace(piece.as_str(), MASKED);
            }
        }
        text
    }
}

/// A log with its mask: what the rooms of this folder write to.
pub(super) struct Lines<'a> {
    log: &'a mut dyn Log,
    mask: Mask,
}

impl<'a> Lines<'a> {
    pub(super) fn new(log: &'a mut dyn Log, mask: Mask) -> Self {
        Self { log, mask }
    }

    /// See [`Log::line`].
    pub(super) fn say(&mut self, bundle: &str, step: &str, text: &str) {
        self.log.line(bundle, step, &self.mask.clean(text));
    }

    /// `text` without what is secret.
    pub(super) fn clean(&self, text: &str) -> String {
        self.mask.clean(text)
    }
}
