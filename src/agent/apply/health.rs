//! Checks: whether what a bundle brought does its work.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::desired::{HealthCheck, Probe};
use super::error::{Error, Result};
use super::host::Host;

/// Largest part of an answer that is looked through, bytes.
const BODY: u64 = 256 << 10;
/// Checks that are tried side by side when only the state is asked for.
const BESIDE: usize = 8;

/// Waits until a check holds, at most as long as it says.
pub(super) fn hold(host: &Host, check: &HealthCheck) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(check.within_seconds.into());
    loop {
        let Err(error) = once(host, check) else { return Ok(()) };
        let pause = Duration::from_secs(check.interval_seconds.into()).max(Duration::from_millis(100));
        if Instant::now() + pause >= until {
            let within = check.within_seconds;
            return Err(Error::Plain(format!(
                "check `{}` did not hold within {within} s: {error}",
                check.name
            )));
        }
        std::thread::sleep(pause);
    }
}

/// Tries a check one time.
pub(super) fn once(host: &Host, check: &HealthCheck) -> Result<()> {
    let timeout = Duration::from_secs(check.timeout_seconds.into());
    match &check.probe {
        Probe::Command(argv) => host.place.run(&argv.join(" "), argv, timeout, &mut |_| ()).map(drop),
        Probe::Tcp(address) => connect(address, timeout),
        Probe::Http { url, contains } => get(url, contains, timeout),
        Probe::Unit(unit) if host.units.state(unit)?.active => Ok(()),
        Probe::Unit(unit) => {
            let output = host.units.last_lines(unit);
            Err(Error::Failed { what: unit.clone(), how: "is not active".into(), output })
        }
    }
}

/// Names of the checks that do not hold now, each tried once.
pub(super) fn failing(host: &Host, checks: &[(&str, &HealthCheck)]) -> Vec<String> {
    let mut names = Vec::new();
    for group in checks.chunks(BESIDE) {
        std::thread::scope(|scope| {
            let tried: Vec<_> =
                group.iter().map(|(_, check)| scope.spawn(|| once(host, check).is_ok())).collect();
            for (thread, (bundle, check)) in tried.into_iter().zip(group) {
                if !thread.join().unwrap_or(false) {
                    names.push(format!("{bundle}: {}", check.name));
                }
            }
        });
    }
    names
}

fn connect(address: &str, timeout: Duration) -> Result<()> {
    let refused = |source: std::io::Error| Error::Plain(format!("{address} takes no connection: {source}"));
    let mut last = None;
    for one in address.to_socket_addrs().map_err(refused)? {
        match TcpStream::connect_timeout(&one, timeout) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Error::Plain(format!("{address} is no address")), refused))
}

fn get(url: &str, contains: &str, timeout: Duration) -> Result<()> {
    let configured = ureq::Agent::config_builder().timeout_global(Some(timeout)).max_redirects(3);
    let agent: ureq::Agent = configured.http_status_as_error(false).proxy(None).build().into();
    let failed = |error: ureq::Error| Error::Plain(format!("{url} does not answer: {error}"));
    let mut answer = agent.get(url).call().map_err(failed)?;
    if !answer.status().is_success() {
        return Err(Error::Plain(format!("{url} answers {}", answer.status())));
    }
    if contains.is_empty() {
        return Ok(());
    }
    let mut body = Vec::new();
    let reader = answer.body_mut().as_reader();
    std::io::Read::read_to_end(&mut std::io::Read::take(reader, BODY), &mut body)
        .map_err(|error| Error::Plain(format!("{url} breaks off: {error}")))?;
    if String::from_utf8_lossy(&body).contains(contains) {
        return Ok(());
    }
    Err(Error::Plain(format!("{url} answers without `{contains}`")))
}
