//! Real OpenSSH clients on the loopback. Needs root, as those who log in do.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;

use super::terminal::{Master, Size};
use super::*;

/// A server with one key that opens it and one that does not; stops when dropped.
struct Rig {
    directory: TempDir,
    port: u16,
    fingerprint: String,
    _stop: watch::Sender<bool>,
}

impl Rig {
    async fn new(kind: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        for (name, kind) in [("right", kind), ("wrong", "ed25519")] {
            let file = directory.path().join(name);
            let arguments = ["-q", "-t", kind, "-N", "", "-f"];
            let made =
                Command::new("ssh-keygen").args(arguments).arg(&file).status().await.expect("ssh-keygen");
            assert!(made.success());
        }
        let line = std::fs::read_to_string(directory.path().join("right.pub")).expect("the public key");
        let host_key = HostKey::generate().expect("a host key");
        let fingerprint = host_key.fingerprint();
        let host = host_key.public_line().expect("a line");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(listen, &[line], host_key, Path::new("/bin/sh")).await.expect("bind");
        let port = server.local_addr().expect("address").port();
        let known = format!("[127.0.0.1]:{port} {host}\n");
        std::fs::write(directory.path().join("known"), known).expect("written");
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped));
        Self { directory, port, fingerprint, _stop: stop }
    }

    fn ssh(&self, key: &str, user: &str, options: &[&str]) -> Command {
        let file = |name: &str| self.directory.path().join(name).to_string_lossy().into_owned();
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]);
        command.args(["-o", "BatchMode=yes", "-o", &format!("UserKnownHostsFile={}", file("known"))]);
        command.args(["-i", &file(key), "-p", &self.port.to_string(), "-l", user]);
        command.args(options).arg("127.0.0.1");
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, options: &[&str], command: &str) -> Output {
        let run = self.ssh("right", "root", options).arg(command).output();
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("in time").expect("ssh")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_their_streams_their_environment_and_their_status() {
    let rig = Rig::new("ed25519").await;
    let output = rig.run(&[], "echo out; echo err >&2; exit 42").await;
    assert_eq!((text(&output.stdout), output.status.code()), ("out".into(), Some(42)), "{output:?}");
    assert!(text(&output.stderr).contains("err"));
    let output =
        rig.run(&["-o", "SetEnv=LC_TEST=x LD_PRELOAD=y"], "echo $LC_TEST $LD_PRELOAD $HOME $TERM").await;
    assert_eq!(text(&output.stdout), "x /root");
    let output = rig.run(&[], "kill -9 $$").await;
    assert_eq!(output.status.code(), Some(137));
    let output = rig.run(&[], "tty").await;
    assert_eq!(text(&output.stdout), "not a tty");
    let output = rig.run(&["-s"], "sftp").await;
    assert!(!output.status.success());
    let output = rig.run(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], "true").await;
    assert!(!output.status.success(), "nothing is forwarded");
    assert!(rig.fingerprint.starts_with("SHA256:"), "{}", rig.fingerprint);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_of_keys_open_too() {
    for kind in ["ecdsa", "rsa"] {
        let rig = Rig::new(kind).await;
        let output = rig.run(&[], "echo in").await;
        assert_eq!(text(&output.stdout), "in", "{kind}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_stay_outside() {
    let rig = Rig::new("ed25519").await;
    for (name, key, user, options) in [
        ("wrong key", "wrong", "root", &[][..]),
        ("right key, other user", "right", "daemon", &[]),
        ("password", "wrong", "root", &["-o", "PreferredAuthentications=password,keyboard-interactive"]),
    ] {
        let output = rig.ssh(key, user, options).arg("echo in").output().await.expect("ssh");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(255), String::new()), "{name}");
        let told = text(&output.stderr);
        assert!(told.contains("Permission denied (publickey)"), "{name}: {told}");
    }
    let mut options = Vec::new();
    let names: Vec<String> =
        (0..4).map(|n| rig.directory.path().join(format!("k{n}")).display().to_string()).collect();
    for name in &names {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", name]).status().await;
        assert!(made.expect("ssh-keygen").success());
        options.extend(["-i", name.as_str()]);
    }
    let output = rig.ssh("wrong", "root", &options).arg("echo in").output().await.expect("ssh");
    assert_eq!(output.status.code(), Some(255));
    assert!(!text(&output.stderr).contains("Permission denied"), "cut off: {}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_comes_back_as_it_went() {
    let rig = Rig::new("ed25519").await;
    let data: Vec<u8> = (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut ssh = rig
        .ssh("right", "root", &[])
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh");
    let mut stdin = ssh.stdin.take().expect("stdin");
    let sent = data.clone();
    tokio::spawn(async move { stdin.write_all(&sent).await });
    let output = tokio::time::timeout(Duration::from_secs(60), ssh.wait_with_output()).await;
    let output = output.expect("in time").expect("ssh");
    assert!(output.status.success());
    assert!(output.stdout == data, "{} of {} bytes", output.stdout.len(), data.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_not_read_holds_up_no_output_and_fills_no_memory() {
    let rig = Rig::new("ed25519").await;
    let script = "head -c 100000000 /dev/zero | timeout 60 ssh \"$@\" 'head -c 20000000 /dev/zero | wc -c; sleep 2; head -c 9000000 | wc -c'";
    let ssh = rig.ssh("right", "root", &[]);
    let arguments: Vec<_> = ssh.as_std().get_args().map(ToOwned::to_owned).collect();
    let output = Command::new("sh").args(["-c", script, "sh"]).args(arguments).output().await.expect("sh");
    assert_eq!(
        text(&output.stdout).split_whitespace().collect::<Vec<_>>(),
        ["20000000", "9000000"],
        "{output:?}"
    );
}

/// What is on the screen of a client that has a terminal, once it holds `wanted`.
async fn screen(master: &Master, seen: &mut String, wanted: &str) {
    let mut buffer = [0; 4096];
    let until = async {
        while !seen.contains(wanted) {
            let length = master.read(&mut buffer).await.expect("read");
            assert!(length > 0, "{wanted:?} never came: {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(30), until).await.is_ok();
    assert!(came, "{wanted:?} never came: {seen:?}");
    seen.clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_has_a_terminal_that_follows_the_window() {
    let rig = Rig::new("ed25519").await;
    let (window, slave) = Master::open(Size::new(90, 30)).expect("a terminal");
    let mut ssh = rig.ssh("right", "root", &["-tt"]);
    ssh.env("TERM", "xterm-256color").stdin(slave.try_clone().expect("dup"));
    ssh.stdout(slave.try_clone().expect("dup")).stderr(slave);
    terminal::in_own_session(&mut ssh, Some(terminal::Steal::No));
    let mut child = ssh.spawn().expect("ssh");
    drop(ssh);
    let mut seen = String::new();
    window.write_all(b"echo \"<$(tty)> <$(stty size)> <$TERM> <$0>\"\r").await.expect("typed");
    screen(&window, &mut seen, "> <30 90> <xterm-256color> <-sh>").await;
    window.resize(Size::new(132, 50)).expect("resized");
    tokio::time::sleep(Duration::from_millis(500)).await;
    window.write_all(b"echo \"<$(stty size)>\"\r").await.expect("typed");
    screen(&window, &mut seen, "<50 132>").await;
    window.write_all(b"sleep 100\r").await.expect("typed");
    tokio::time::sleep(Duration::from_millis(500)).await;
    window.write_all(b"\x03").await.expect("control-C");
    window.write_all(b"echo $((6*7))\r").await.expect("typed");
    screen(&window, &mut seen, "42").await;
    window.write_all(b"exit 7\r").await.expect("typed");
    let (status, ()) =
        tokio::join!(child.wait(), async { while matches!(window.read(&mut [0; 64]).await, Ok(1..)) {} });
    assert_eq!(status.expect("it ends").code(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_ends_with_its_client_and_places_are_given_back() {
    let rig = Rig::new("ed25519").await;
    let marks: Vec<PathBuf> = (0..8).map(|n| rig.directory.path().join(format!("mark{n}"))).collect();
    let mut clients = Vec::new();
    for mark in &marks {
        let script = format!(
            "exec 2>/dev/null; trap 'rm {0}; exit' HUP; touch {0}; while :; do sleep 0.1; done",
            mark.display()
        );
        clients.push(rig.ssh("right", "root", &[]).arg(script).spawn().expect("ssh"));
    }
    wait("they run", || marks.iter().all(|mark| mark.exists())).await;
    let ninth = rig.run(&[], "echo in").await;
    assert_ne!(text(&ninth.stdout), "in", "a ninth session");
    for client in &mut clients {
        client.kill().await.expect("killed");
    }
    wait("they are hung up", || !marks.iter().any(|mark| mark.exists())).await;
    assert_eq!(text(&rig.run(&[], "echo in").await.stdout), "in");
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..300 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_has_a_shell_again_after_each_exit() {
    let (console, slave) = Master::open(Size::new(80, 24)).expect("a terminal");
    let name = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&slave)))
        .expect("a name");
    let (stop, stopped) = watch::channel(false);
    let (tty, shell) = (name.clone(), PathBuf::from("/bin/sh"));
    let keeper = tokio::spawn(async move { serial::keep(&tty, &shell, stopped).await });
    let mut seen = String::new();
    for _ in 0..2 {
        // Job control, so a terminal of its own: `ps` knows it by name.
        console.write_all(b"echo \"<$(tty)> <$(ps -o tty= -p $$)>\"\r").await.expect("typed");
        let short = name.strip_prefix("/dev").expect("a device").display();
        screen(
            &console,
            &mut seen,
            &format!("<{}> <{}", name.display(), short.to_string().trim_start_matches('/')),
        )
        .await;
        console.write_all(b"exit\r").await.expect("typed");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.send(true).expect("it listens");
    tokio::time::timeout(Duration::from_secs(10), keeper).await.expect("in time").expect("it ends");
    drop(slave);
    let error = serial::spawn(Path::new("/dev/null"), Path::new("/bin/sh")).expect_err("refused");
    assert!(error.to_string().contains("not a terminal"));
}
