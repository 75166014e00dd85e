//! Counts the steps that change a host, so that a test can let the power fail at each of them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps taken since the program started.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// The step at which the program ends itself without a word; 0: never.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Lets the program abort at its `step`-th change of the host from now on, counted from 1; 0: never. For tests.
#[doc(hidden)]
pub fn abort_at(step: u64) {
    TAKEN.store(0, Ordering::SeqCst);
    LAST.store(step, Ordering::SeqCst);
}

/// How many steps were taken since the last [`abort_at`]. For tests.
#[doc(hidden)]
pub fn taken() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

/// Stands before and after each change of the host that outlives the program.
pub(super) fn step() {
    let now = TAKEN.fetch_add(1, Ordering::SeqCst) + 1;
    if now == LAST.load(Ordering::SeqCst) {
        std::process::abort();
    }
}
