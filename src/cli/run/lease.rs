//! Does `firstlight lease …`.

use std::io::Read;
use std::path::Path;

use hyper::Method;
use indicatif::ProgressBar;

use crate::appliance::leases::{ImportLeases, ImportReport};
use crate::appliance::views::LeaseView;
use crate::dhcp::import::{Found, dnsmasq, isc, kea};

use super::super::CliError;
use super::super::args::{ImportFrom, Lease};
use super::super::client::Client;
use super::super::show::{self, answer};
use super::Context;

/// Largest file that is read, bytes: two million leases.
const LARGEST: u64 = 256 << 20;
/// Leases that are sent at once.
const CHUNK: usize = 1000;
/// Lines that are told of what was left; a file of another network would fill the screen.
const TOLD: usize = 20;

pub async fn lease(client: &Client, command: Lease, context: Context) -> Result<(), CliError> {
    match command {
        Lease::List => {
            let leases: Vec<LeaseView> = client.get("/leases").await?;
            answer(context.output, &leases, |leases| show::leases(leases))
        }
        Lease::Show { ip } => {
            let lease: LeaseView = client.get(&format!("/leases/{ip}")).await?;
            answer(context.output, &lease, |lease| show::leases(std::slice::from_ref(lease)))
        }
        Lease::Release { ip } => {
            client.order(Method::DELETE, &format!("/leases/{ip}")).await?;
            context.done(&format!("released {ip}"))
        }
        Lease::Import { from, file, dry_run } => import(client, from, &file, dry_run, context).await,
    }
}

async fn import(
    client: &Client,
    from: ImportFrom,
    file: &Path,
    dry_run: bool,
    context: Context,
) -> Result<(), CliError> {
    let text =
        read(file).map_err(|error| CliError::Local(format!("cannot read {}: {error}", file.display())))?;
    let Found { leases, problems, configure } = match from {
        ImportFrom::Dnsmasq => dnsmasq::read(&text),
        ImportFrom::Kea => kea::read(&text),
        ImportFrom::Isc => isc::read(&text),
    };
    for problem in problems.iter().take(TOLD) {
        eprintln!("{}: line {}: {}", file.display(), problem.line, problem.message);
    }
    if problems.len() > TOLD {
        eprintln!("… and {} more lines that cannot be used", problems.len() - TOLD);
    }
    if !configure.is_empty() {
        eprintln!("reservations that are not by MAC, for the configuration of their network:");
        eprintln!("reservation = [\n  {},\n]", configure.join(",\n  "));
    }
    if leases.is_empty() {
        return Err(CliError::Local(format!("{} has no lease that could be taken over", file.display())));
    }
    let leases: Vec<_> = leases.into_values().collect();
    if dry_run {
        return answer(context.output, &leases, |leases| {
            format!("{} leases would be taken over", leases.len())
        });
    }
    let bar = ProgressBar::new(u64::try_from(leases.len()).unwrap_or(u64::MAX));
    let mut report = ImportReport::default();
    for chunk in leases.chunks(CHUNK) {
        let part = ImportLeases { leases: chunk.to_vec() };
        let done: ImportReport = client.call(Method::POST, "/leases/import", &part).await?;
        report.imported += done.imported;
        report.left.extend(done.left);
        bar.inc(u64::try_from(chunk.len()).unwrap_or_default());
    }
    bar.finish_and_clear();
    answer(context.output, &report, |report| {
        let mut lines = vec![format!("{} leases taken over, {} left", report.imported, report.left.len())];
        lines.extend(report.left.iter().take(TOLD).map(|left| format!("{}: {}", left.ip, left.why)));
        lines.join("\n")
    })
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file)?)
    };
    source.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::other("it is larger than 256 MiB"));
    }
    Ok(text)
}
