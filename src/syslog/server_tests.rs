//! Real clients on the loopback, a flood, and a sink that hangs.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Kept {
    lines: Arc<Mutex<Vec<(Ipv4Addr, Line)>>>,
    delay: Duration,
}

impl Sink for Kept {
    async fn line(&self, from: Ipv4Addr, line: Line) {
        tokio::time::sleep(self.delay).await;
        self.lines.lock().expect("lock").push((from, line));
    }
}

impl Kept {
    async fn until(&self, done: impl Fn(&[(Ipv4Addr, Line)]) -> bool) -> Vec<(Ipv4Addr, Line)> {
        for _ in 0..200 {
            if done(&self.lines.lock().expect("lock")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.lines.lock().expect("lock").clone()
    }
}

async fn start(limits: Limits, kept: &Kept) -> (u16, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let receiver = Receiver::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), limits).await.expect("bind");
    let port = receiver.local_addr().expect("address").port();
    let (stop, stopped) = watch::channel(false);
    (port, stop, tokio::spawn(receiver.run(kept.clone(), stopped)))
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_are_understood() {
    let kept = Kept::default();
    let (port, stop, task) = start(Limits::default(), &kept).await;
    for (format, text) in [("--rfc3164", "old words"), ("--rfc5424", "new words: é")] {
        let status = Command::new("logger")
            .args([
                "-n",
                "127.0.0.1",
                "-d",
                "-P",
                &port.to_string(),
                format,
                "-p",
                "daemon.err",
                "-t",
                "unit",
                text,
            ])
            .status()
            .expect("logger");
        assert!(status.success());
    }
    let lines = kept.until(|lines| lines.len() >= 2).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for ((from, line), text) in lines.iter().zip(["old words", "new words: é"]) {
        assert_eq!(
            (*from, line.facility, line.severity),
            (Ipv4Addr::LOCALHOST, 3, Severity::Error),
            "{line:?}"
        );
        assert!(line.host.as_ref().is_some_and(|h| host.trim().starts_with(h.as_str())), "{line:?}");
        assert_eq!((line.app.as_deref(), line.message.as_str()), (Some("unit"), text));
    }
    assert_eq!(lines.len(), 2);
    stop.send(true).expect("it listens");
    task.await.expect("it ends");
}

/// In a mount namespace of its own, so that `/dev/log` is not the machine's.
#[tokio::test(flavor = "multi_thread")]
async fn busybox_syslogd_is_understood() {
    let kept = Kept::default();
    let (port, stop, task) = start(Limits::default(), &kept).await;
    let script = format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/d && mount --bind /mnt/d /dev && \
         busybox syslogd -n -O /mnt/l -R 127.0.0.1:{port} & pid=$!; \
         for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /dev/log ] && break; sleep 0.2; done; \
         busybox logger -p kern.warn -t boot 'from busybox'; sleep 0.5; kill $pid; wait $pid 2>&1"
    );
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare");
    let said = |line: &Line| line.message.ends_with("from busybox");
    let lines = kept.until(|lines| lines.iter().any(|(_, line)| said(line))).await;
    child.wait().expect("it ends");
    let (_, line) = lines.iter().find(|(_, line)| said(line)).expect("the line");
    // busybox takes the kernel's facility from nobody but the kernel.
    assert_eq!((line.severity, line.app.as_deref()), (Severity::Warning, Some("boot")), "{line:?}");
    stop.send(true).expect("it listens");
    task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_and_told_in_one_line() {
    let kept = Kept::default();
    let limits = Limits { calm: Duration::from_millis(500), ..Limits::default() };
    let (port, stop, task) = start(limits, &kept).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    for n in 0..600 {
        client.send_to(format!("<13>a: {n}").as_bytes(), ("127.0.0.1", port)).await.expect("send");
    }
    let told = |line: &Line| line.app.as_deref() == Some("firstlight");
    let lines = kept.until(|lines| lines.iter().any(|(_, line)| told(line))).await;
    let taken = lines.iter().filter(|(_, line)| !told(line)).count();
    let notes: Vec<_> = lines.iter().filter(|(_, line)| told(line)).collect();
    assert!((200..300).contains(&taken), "{taken}");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0].1.message, format!("{} lines were dropped here: too many at once", 600 - taken));
    stop.send(true).expect("it listens");
    task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_holds_up_neither_memory_nor_the_end() {
    let kept = Kept { delay: Duration::from_secs(3600), ..Kept::default() };
    let limits = Limits { queue: 4, ..Limits::default() };
    let (port, stop, task) = start(limits, &kept).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    for _ in 0..100 {
        client.send_to(b"<13>x", ("127.0.0.1", port)).await.expect("send");
    }
    stop.send(true).expect("it listens");
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("in time").expect("it ends");
    assert!(kept.lines.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_so() {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let first = Receiver::bind(address, Limits::default()).await.expect("bind");
    let SocketAddr::V4(taken) = first.local_addr().expect("address") else { panic!("not IPv4") };
    let error = Receiver::bind(taken, Limits::default()).await.expect_err("it is taken");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
