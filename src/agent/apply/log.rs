//! Where the lines of an attempt go.

use super::mask::Mask;

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
