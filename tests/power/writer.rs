//! The store under load, in a virtual server whose power is cut; and its verification afterwards.
//!
//! `store-writer write DIR FIRST` opens the store in DIR, commits records from several producers at once, and prints
//! `A ID` only when a commit was acknowledged. `store-writer write-careless DIR FIRST` prints it when the commit was
//! only asked for: the control that shows that losses are found. `store-writer verify DIR FILE` opens the store and
//! looks for every ID that stands in FILE.

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firstlight::model::{Change, EventKind, Lease, LeaseState, MacAddr, Timestamp};
use firstlight::store::{EventQuery, Store, StoreError};

/// Producers at once.
const PRODUCERS: usize = 8;
/// Every so many records, one is so large that sled puts it into a file of its own.
const LARGE_EVERY: u64 = 64;
/// Bytes of a journal: the database takes it over many times before the power is cut. A large record hardly fits.
const JOURNAL: u64 = 1 << 20;
/// Bytes of a small and of a large record.
const SIZES: (usize, usize) = (64, 600 << 10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["write", dir, first] => write(Path::new(dir), first, true),
        ["write-careless", dir, first] => write(Path::new(dir), first, false),
        ["verify", dir, acknowledged] => verify(Path::new(dir), Path::new(acknowledged)),
        _ => Err("usage: store-writer write|write-careless DIR FIRST | verify DIR FILE".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What record `id` holds: its own number again and again, so that a torn one is seen.
fn content(id: u64) -> String {
    let size = if id.is_multiple_of(LARGE_EVERY) { SIZES.1 } else { SIZES.0 };
    format!("{id:016x}").repeat(size / 16)
}

fn lease(id: u64) -> Lease {
    let low = u32::try_from(id % 60_000).unwrap_or(0);
    let [_, _, a, b] = low.to_be_bytes();
    Lease {
        ip: Ipv4Addr::new(10, 0, a, b),
        mac: MacAddr([2, 0, 0, 0, a, b]),
        state: LeaseState::Bound,
        expires: Timestamp(id),
        reserved: false,
        hostname: None,
    }
}

fn write(dir: &Path, first: &str, careful: bool) -> Outcome {
    let next = Arc::new(AtomicU64::new(first.parse()?));
    let store = Arc::new(Store::open_with(dir, JOURNAL)?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    println!("WRITING");
    runtime.block_on(async move {
        let mut producers = tokio::task::JoinSet::new();
        for _ in 0..PRODUCERS {
            producers.spawn(produce(Arc::clone(&store), Arc::clone(&next), careful));
        }
        while let Some(ended) = producers.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn produce(store: Arc<Store>, next: Arc<AtomicU64>, careful: bool) -> Result<(), StoreError> {
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let commit = store.transact(move |tx| {
            tx.put(Change::PutLease(lease(id)));
            let kind = EventKind::Report { phase: id.to_string(), message: content(id) };
            tx.append(Timestamp(id), None, None, kind);
            Ok::<(), StoreError>(())
        });
        if careful {
            commit.await?;
            acknowledge(id);
        } else {
            acknowledge(id);
            commit.await?;
        }
    }
}

/// One write for each line, so that what is on the wire is whole.
fn acknowledge(id: u64) {
    let line = format!("A {id}\n");
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn verify(dir: &Path, acknowledged: &Path) -> Outcome {
    let store = Store::open(dir)?;
    let mut found: HashMap<u64, bool> = HashMap::new();
    let mut after = None;
    loop {
        let events = store.events(&EventQuery { node: None, after: after.or(Some(0)), limit: 1000 })?;
        let Some(last) = events.last() else { break };
        after = Some(last.seq);
        for event in events {
            if let EventKind::Report { phase, message } = event.kind {
                let id: u64 = phase.parse()?;
                found.insert(id, message == content(id));
            }
        }
    }
    let world = store.view();
    let text = std::fs::read_to_string(acknowledged)?;
    let ids: Vec<u64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    let mut lost = 0;
    for id in &ids {
        let event = found.get(id).copied();
        // A later record with the same address may have taken the lease's place.
        let leased = world.lease(lease(*id).ip).is_some_and(|lease| lease.expires >= Timestamp(*id));
        if event != Some(true) || !leased {
            lost += 1;
            if lost <= 10 {
                println!("LOST {id}: event {event:?}, lease {leased}");
            }
        }
    }
    // Large records lie in files of their own, which sled does not sync by itself: the test wants to have seen some.
    let blobs = std::fs::read_dir(dir.join("db/blobs"))?.count();
    println!("VERIFIED {} of {}, {blobs} blob files", ids.len() - lost, ids.len());
    store.close();
    if lost == 0 { Ok(()) } else { Err(format!("{lost} acknowledged records are lost").into()) }
}
