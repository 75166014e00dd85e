//! One producer, some workers, one consumer; results come in the order of the jobs, memory is bounded.
//!
//! Job `n` goes to worker `n % workers`, over channels of a fixed depth, so the order needs no reordering and at most
//! `workers × (2 × DEPTH + 2)` jobs exist at once.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

const DEPTH: usize = 1;
/// More workers than this outrun any disk.
const MAX_WORKERS: usize = 16;

/// How many workers this machine's cores are worth.
pub fn workers() -> usize {
    thread::available_parallelism().map_or(2, usize::from).clamp(2, MAX_WORKERS)
}

/// The results, in order.
pub struct Ordered<'a, R, E> {
    from: Vec<Receiver<Result<R, E>>>,
    next: usize,
    producer: &'a Mutex<Option<E>>,
}

impl<R, E> Ordered<'_, R, E> {
    #[expect(clippy::should_implement_trait, reason = "it borrows and fails; Iterator would hide both")]
    /// The next result; waits for it. `None` when all jobs are done.
    pub fn next(&mut self) -> Result<Option<R>, E> {
        let Some(from) = self.from.get(self.next) else { return Ok(None) };
        self.next = (self.next + 1) % self.from.len();
        match from.recv() {
            Ok(result) => result.map(Some),
            Err(_) => {
                self.producer.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(None), Err)
            }
        }
    }
}

/// Runs `produce`, `work` and `consume` at once.
///
/// `produce` hands jobs to its argument, which answers false when nobody wants more. `worker` is called once a
/// thread and makes its state. The first error ends all, whoever had it.
pub fn run<J, R, T, E, W>(
    workers: usize,
    produce: impl FnOnce(&mut dyn FnMut(J) -> bool) -> Result<(), E> + Send,
    worker: impl Fn() -> W + Sync,
    consume: impl FnOnce(&mut Ordered<'_, R, E>) -> Result<T, E>,
) -> Result<T, E>
where
    J: Send,
    R: Send,
    E: Send,
    W: FnMut(J) -> Result<R, E>,
{
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        let mut to: Vec<SyncSender<J>> = Vec::with_capacity(workers);
        let mut from = Vec::with_capacity(workers);
        for _ in 0..workers.max(1) {
            let (job_in, job_out) = sync_channel::<J>(DEPTH);
            let (result_in, result_out) = sync_channel(DEPTH);
            to.push(job_in);
            from.push(result_out);
            let worker = &worker;
            scope.spawn(move || {
                let mut work = worker();
                for job in job_out {
                    if result_in.send(work(job)).is_err() {
                        break;
                    }
                }
            });
        }
        let failed = &failed;
        scope.spawn(move || {
            let mut next = 0;
            let result = produce(&mut |job| {
                let sent = to.get(next).is_some_and(|to| to.send(job).is_ok());
                next = (next + 1) % to.len().max(1);
                sent
            });
            // Written before the channels close, so that whoever sees them closed sees it.
            if let Err(error) = result {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            drop(to);
        });
        let mut ordered = Ordered { from, next: 0, producer: failed };
        consume(&mut ordered)
    })
}
