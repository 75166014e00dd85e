//! Does `firstlight node adopt`: takes in hosts that were installed by others, over SSH.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::{StreamExt, stream};
use hyper::Method;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::appliance::{Invite, Invited};

use super::super::CliError;
use super::super::args::Adopt;
use super::super::client::Client;
use super::Context;

/// Hosts that are adopted at once.
const AT_ONCE: usize = 8;
/// Where the binary goes on the host.
const BINARY: &str = "/usr/local/bin/firstlight";

/// Adopts each host; one that fails does not keep the others from it.
pub async fn adopt(client: &Client, wanted: &Adopt, context: Context) -> Result<(), CliError> {
    let known_hosts = known_hosts()?;
    let binary = std::fs::read("/proc/self/exe")
        .map_err(|error| CliError::Local(format!("cannot read this program: {error}")))?;
    let (known_hosts, binary) = (&known_hosts, &binary);
    let adopted = stream::iter(&wanted.hosts).map(|host| async move {
        let ssh = Ssh { host, wanted, known_hosts };
        (host, one(client, &ssh, binary).await)
    });
    let results: Vec<_> = adopted.buffer_unordered(AT_ONCE).collect().await;
    let mut failed = Vec::new();
    for (host, result) in results {
        match result {
            Ok((key, said)) => context.done(&format!("{host}: {said} (host key {key})"))?,
            Err(error) => failed.push(format!("{host}: {error}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(CliError::Local(failed.join("\n"))) }
}

/// The host's key and what its agent said.
async fn one(client: &Client, ssh: &Ssh<'_>, binary: &[u8]) -> Result<(String, String), CliError> {
    let machine = ssh.run("uname -m", &[]).await?;
    if machine.trim() != std::env::consts::ARCH {
        return Err(CliError::Local(format!(
            "it is a {} machine, and this program is for {}; run the command from such a one",
            machine.trim(),
            std::env::consts::ARCH
        )));
    }
    let key = ssh.host_key().await?;
    let invite = Invite { group: ssh.wanted.group.clone(), ..Invite::default() };
    let invited: Invited = client.call(Method::POST, "/invitations", &invite).await?;
    let servers = ssh.wanted.agent_url.as_ref().map_or(invited.servers, |url| vec![url.clone()]);
    let sudo = if ssh.wanted.user == "root" { "" } else { "sudo -n " };
    // Beside its place, so that a copy that breaks off replaces nothing.
    let copy = format!(
        "{sudo}sh -c 'umask 022; cat > {BINARY}.new && chmod 755 {BINARY}.new && mv {BINARY}.new {BINARY}'"
    );
    ssh.run(&copy, binary).await?;
    let servers: Vec<String> =
        servers.iter().map(|server| format!("--server '{}'", quoted(server))).collect();
    let enrol = format!("{sudo}{BINARY} agent enrol {} --token -", servers.join(" "));
    let said = ssh.run(&enrol, invited.token.as_bytes()).await?;
    Ok((key, said.trim().to_owned()))
}

/// Text within single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// The OpenSSH client towards one host.
struct Ssh<'a> {
    host: &'a str,
    wanted: &'a Adopt,
    known_hosts: &'a Path,
}

impl Ssh<'_> {
    /// Runs a command there with this standard input; what it printed.
    async fn run(&self, command: &str, input: &[u8]) -> Result<String, CliError> {
        let mut ssh = Command::new("ssh");
        // Whoever answers first is believed, and nobody else after that.
        ssh.args([
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "ConnectTimeout=10",
        ]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        ssh.args(["-o", "LogLevel=ERROR", "-p", &self.wanted.port.to_string(), "-l", &self.wanted.user]);
        if let Some(key) = &self.wanted.key {
            ssh.arg("-i").arg(key).args(["-o", "IdentitiesOnly=yes"]);
        }
        ssh.arg("--").arg(self.host).arg(command);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let failed = |error: std::io::Error| CliError::Local(format!("cannot run ssh: {error}"));
        let mut child = ssh.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that reads nothing closes its end; its exit code tells.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let line = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(CliError::Local(format!("ssh {}@{}: {}", self.wanted.user, self.host, line.trim())))
    }

    /// The fingerprint of the host's key, as it was pinned.
    async fn host_key(&self) -> Result<String, CliError> {
        let name = match self.wanted.port {
            22 => self.host.to_owned(),
            port => format!("[{}]:{port}", self.host),
        };
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-l", "-F", &name, "-f"]).arg(self.known_hosts).kill_on_drop(true);
        let output = keygen
            .output()
            .await
            .map_err(|error| CliError::Local(format!("cannot run ssh-keygen: {error}")))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let fingerprint = told.split_ascii_whitespace().find(|word| word.starts_with("SHA256:"));
        Ok(fingerprint.unwrap_or("unknown").to_owned())
    }
}

/// Where the keys of adopted hosts are pinned.
fn known_hosts() -> Result<PathBuf, CliError> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder = state.or_else(home).unwrap_or_else(|| "/var/lib".into()).join("firstlight");
    std::fs::create_dir_all(&folder)
        .map_err(|error| CliError::Local(format!("cannot make {}: {error}", folder.display())))?;
    Ok(folder.join("known_hosts"))
}
