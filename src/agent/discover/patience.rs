//! Work on devices that may never answer: a failing disk can hold a system call for minutes.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

/// What such work needs for its stack, in bytes.
const STACK: usize = 256 << 10;

/// Work that was begun.
pub(super) struct Pending<T> {
    name: String,
    result: Option<Receiver<T>>,
}

/// Begins the work in a thread of its own.
pub(super) fn begin<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let started = thread::Builder::new().stack_size(STACK).spawn(move || {
        // Nobody waits any more: too late.
        let _ = sender.send(work());
    });
    let result =
        started.inspect_err(|error| tracing::debug!(%error, "no thread")).is_ok().then_some(receiver);
    Pending { name: name.into(), result }
}

impl<T> Pending<T> {
    /// Its result, if that comes in time. Work that takes longer goes on unseen and its result is lost.
    pub(super) fn wait(self, deadline: Instant) -> Option<T> {
        let left = deadline.saturating_duration_since(Instant::now());
        let result = self.result?.recv_timeout(left).ok();
        if result.is_none() {
            tracing::debug!(device = self.name, "no answer in time");
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_waits_for_a_device_that_does_not_answer() {
        let started = Instant::now();
        let deadline = started + Duration::from_millis(100);
        let slow = begin("slow", || thread::sleep(Duration::from_secs(5)));
        let fast = begin("fast", || 7);
        let broken = begin("broken", || -> u8 { panic!("a broken device") });
        assert_eq!((fast.wait(started + Duration::from_secs(5)), slow.wait(deadline)), (Some(7), None));
        assert_eq!(broken.wait(deadline), None);
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
