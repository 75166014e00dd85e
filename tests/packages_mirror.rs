//! Mirrors in front of an upstream on loopback, with real apt and with an upstream that misbehaves.

mod appliance;
mod rack;
mod repositories;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use firstlight::model::Sha256Digest;
use firstlight::packages::mirror::{MirrorConfig, MirrorError, Mirrors, Served, Settings};
use firstlight::packages::repository::Repository;
use firstlight::packages::snapshot::Found;
use firstlight::packages::sources::{SignedBy, apt, apt_mirror};
use firstlight::packages::state::Kind;
use rack::{Host, HostSpec, Rack};
use repositories::{Apt, Server, build_deb, name, now, repository, run, serve_repository};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn mirrors(url: &str, folder: &Path, change: impl FnOnce(&mut Settings)) -> Mirrors {
    let config = MirrorConfig {
        name: name("up"),
        url: url.to_owned(),
        kind: Kind::Apt,
        suites: Vec::new(),
        components: Vec::new(),
        paths: Vec::new(),
        keyring: None,
        redirect_hosts: Vec::new(),
    };
    let mut settings = Settings { fresh: Duration::ZERO, ..Settings::default() };
    change(&mut settings);
    Mirrors::open(&[config], settings, folder).unwrap()
}

fn curl(url: &str, more: &[&str]) -> (bool, String) {
    run(Command::new("curl")
        .args(["-sS", "--path-as-is", "-w", "\n%{http_code} %header{x-firstlight-cache}"])
        .args(more)
        .arg(url))
}

fn count(server: &Server, part: &str) -> usize {
    server.log.lock().unwrap().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn apt_installs_from_the_cache_when_upstream_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let source = repository(&work.join("upstream"));
    for package in ["fl-hello", "fl-other", "fl-third"] {
        source
            .push(&build_deb(work, package, "1.0", package), &name("stable"), &name("main"), now())
            .unwrap();
    }
    source.declare(Kind::Apt, &name("stable"), &[name("amd64")], &[], now()).unwrap();
    let upstream = serve_repository(&source, None);
    let cache = mirrors(&format!("{}/packages/apt", upstream.url), &work.join("cache"), |_| {});
    let own = repository(&work.join("own"));
    let server = serve_repository(&own, Some(cache.clone()));
    let key = work.join("key.asc");
    fs::write(&key, source.key().public_key()).unwrap();
    let sources = format!(
        "Types: deb\nURIs: {}/packages/mirror/up\nSuites: stable\nComponents: main\nSigned-By: {}\n",
        server.url,
        key.display()
    );

    // A package that was changed on its way to the mirror is not kept, and not handed on whole.
    let flip: fn(&mut Vec<u8>) = |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    let first = Apt::new(&work.join("first"), &sources);
    let (good, text) = first.get(&["update"]);
    assert!(good, "{text}");
    *upstream.tamper.lock().unwrap() = Some((".deb".to_owned(), flip));
    let kept = cache.cached_bytes();
    let (good, text) = first.get(&["install", "fl-hello"]);
    assert!(!good, "{text}");
    assert_eq!(cache.cached_bytes(), kept);
    *upstream.tamper.lock().unwrap() = None;

    let (good, text) = first.get(&["install", "fl-hello", "fl-other"]);
    assert!(good, "{text}");
    let fetched = count(&upstream, "fl-other_1.0_all.deb");
    let second = Apt::new(&work.join("second"), &sources);
    let (good, text) = second.get(&["update"]);
    assert!(good, "{text}");
    let (good, text) = second.get(&["install", "fl-other"]);
    assert!(good, "{text}");
    assert_eq!(count(&upstream, "fl-other_1.0_all.deb"), fetched);
    assert!(count(&upstream, "304 Not Modified /packages/apt/dists/stable/InRelease") > 0);

    // A new package is seen at once.
    source.push(&build_deb(work, "fl-hello", "1.1", "new"), &name("stable"), &name("main"), now()).unwrap();
    let (good, text) = second.get(&["update"]);
    assert!(good, "{text}");
    let (good, text) = second.get(&["install", "fl-hello"]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(second.root.join("usr/share/fl-hello/text")).unwrap(), "new");

    drop(upstream);
    let third = Apt::new(&work.join("third"), &sources);
    let (good, text) = third.get(&["update"]);
    assert!(good, "{text}");
    assert!(count(&server, "InRelease stale") > 0);
    let (good, text) = third.get(&["install", "fl-hello", "fl-other"]);
    assert!(good, "{text}");
    let (good, text) = third.get(&["install", "fl-third"]);
    assert!(!good && text.contains("504"), "{text}");

    // And after a restart of the appliance, still without upstream.
    drop(server);
    let cache = mirrors("http://127.0.0.1:9/packages/apt", &work.join("cache"), |_| {});
    let server = serve_repository(&own, Some(cache));
    let (good, text) = curl(&format!("{}/packages/mirror/up/dists/stable/InRelease", server.url), &[]);
    assert!(good && text.contains("BEGIN PGP SIGNED") && text.ends_with("200 stale"), "{text}");
}

/// An upstream made of answers, one for each request, by path.
fn raw(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, asked) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer, counter) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&counter));
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(first) = lines.next() else { return };
                let _ = lines.find(String::is_empty);
                counter.fetch_add(1, Ordering::SeqCst);
                answer(first.split(' ').nth(1).unwrap_or_default(), &mut stream);
            });
        }
    });
    (url, asked)
}

fn whole(stream: &mut TcpStream, body: &[u8]) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(body);
}

async fn read(served: Result<Served, MirrorError>) -> Result<Vec<u8>, String> {
    match served.map_err(|error| error.to_string())? {
        Served::File { mut file, .. } => {
            let mut bytes = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut file, &mut bytes).await.unwrap();
            Ok(bytes)
        }
        Served::Stream(stream) => {
            let body = stream.into_response(&axum::http::Method::GET).into_body();
            let bytes = axum::body::to_bytes(body, 1 << 30).await;
            bytes.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
        }
    }
}

/// Answers, by path, as an upstream should not.
fn misbehave(path: &str, stream: &mut TcpStream, body: &[u8]) {
    match path {
        "/pool/whole.deb" | "/pool/b%20c.deb" => {
            thread::sleep(Duration::from_millis(300));
            whole(stream, body);
        }
        "/pool/cut.deb" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&body[..2_000_000]);
        }
        "/pool/chunked-cut.deb" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n");
        }
        "/pool/no-length.deb" => {
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\nabc");
        }
        "/pool/large.deb" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        }
        "/pool/endless.deb" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = vec![b'x'; 0x10000];
            while write!(stream, "10000\r\n").and_then(|()| stream.write_all(&chunk)).is_ok()
                && stream.write_all(b"\r\n").is_ok()
            {}
        }
        "/pool/moved.deb" => {
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: /pool/whole.deb\r\nContent-Length: 0\r\n\r\n"
            );
        }
        "/pool/loop.deb" => {
            let _ =
                write!(stream, "HTTP/1.1 302 Found\r\nLocation: /pool/loop.deb\r\nContent-Length: 0\r\n\r\n");
        }
        "/pool/elsewhere.deb" => {
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/x\r\nContent-Length: 0\r\n\r\n"
            );
        }
        "/pool/broken.deb" => {
            let _ = write!(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
        }
        "/pool/slow.deb" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            for part in body.chunks(1_000_000) {
                let _ = stream.write_all(part);
                thread::sleep(Duration::from_millis(700));
            }
        }
        path if path.contains("/by-hash/SHA256/") => whole(stream, b"not what the name says"),
        _ => {
            let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_misbehaves() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    let copy = body.clone();
    let (url, asked) = raw(move |path, stream| misbehave(path, stream, &copy));
    let cache = mirrors(&url, &folder.path().join("cache"), |settings| settings.file_bytes = 8_000_000);
    let up = name("up");

    let zeros = format!("dists/a/main/binary-amd64/by-hash/SHA256/{}", "00".repeat(32));
    for (path, expected) in [
        ("pool/cut.deb", ""),
        ("pool/chunked-cut.deb", ""),
        ("pool/no-length.deb", "how long"),
        ("pool/large.deb", "more than 8000000 bytes"),
        ("pool/endless.deb", ""),
        ("pool/loop.deb", "more than 5 times"),
        ("pool/elsewhere.deb", "not allowed"),
        ("pool/broken.deb", "answered 500"),
        ("pool/missing.deb", "no such file"),
        (zeros.as_str(), "other bytes"),
        ("../etc/passwd", "not one of a file"),
        ("pool//a", "not one of a file"),
    ] {
        let error = read(cache.get(&up, path).await).await.unwrap_err();
        assert!(error.contains(expected), "{path}: {error}");
        assert_eq!(cache.cached_bytes(), 0, "{path}");
    }
    assert!(fs::read_dir(folder.path().join("cache/incoming")).unwrap().next().is_none());

    // Many want the same at once: upstream is asked once.
    let before = asked.load(Ordering::SeqCst);
    let all = (0..20).map(|_| {
        let (cache, up) = (cache.clone(), up.clone());
        tokio::spawn(async move { read(cache.get(&up, "pool/whole.deb").await).await })
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.unwrap().unwrap() == body);
    }
    assert_eq!(asked.load(Ordering::SeqCst) - before, 1);
    assert!(read(cache.get(&up, "pool/b c.deb").await).await.unwrap() == body);
    assert!(read(cache.get(&up, "pool/moved.deb").await).await.unwrap() == body);

    // The first bytes come before the last have left upstream.
    let Served::Stream(stream) = cache.get(&up, "pool/slow.deb").await.unwrap() else {
        panic!("not a stream")
    };
    let started = std::time::Instant::now();
    let body_stream = stream.into_response(&axum::http::Method::GET).into_body();
    let mut frames = http_body_util::BodyStream::new(body_stream);
    let first = futures_util::StreamExt::next(&mut frames).await;
    assert!(
        first.unwrap().is_ok() && started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_used_least_lately_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let (url, asked) = raw(|_, stream| whole(stream, &vec![7; 1_000_000]));
    let open = || mirrors(&url, folder.path(), |settings| settings.cache_bytes = 3_000_000);
    let (mut cache, up) = (open(), name("up"));
    for path in ["pool/a", "pool/b", "pool/c", "pool/a", "pool/d"] {
        read(cache.get(&up, path).await).await.unwrap();
    }
    assert_eq!((cache.cached_bytes(), asked.load(Ordering::SeqCst)), (3_000_000, 4));
    for (path, again) in [("pool/a", 0), ("pool/c", 0), ("pool/d", 0), ("pool/b", 1), ("pool/a", 1)] {
        let before = asked.load(Ordering::SeqCst);
        read(cache.get(&up, path).await).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst) - before, again, "{path}");
    }
    // A restart keeps what is whole, and clears what is not.
    drop(cache);
    let shard = fs::read_dir(folder.path().join("data")).unwrap().map(|shard| shard.unwrap().path());
    let files: Vec<_> =
        shard.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect();
    assert_eq!(files.len(), 3);
    fs::write(&files[0], "cut").unwrap();
    let shard = files[0].parent().unwrap();
    fs::write(shard.join("stray"), "x").unwrap();
    fs::write(folder.path().join("incoming/left"), "x").unwrap();
    cache = open();
    assert_eq!(cache.cached_bytes(), 2_000_000);
    assert!(
        !files[0].exists() && !shard.join("stray").exists() && !folder.path().join("incoming/left").exists()
    );
}

#[test]
fn requests_that_should_not_be_answered() {
    let folder = tempfile::tempdir().unwrap();
    let own = repository(&folder.path().join("own"));
    let (url, asked) = raw(|_, stream| whole(stream, b"0123456789"));
    let server = serve_repository(&own, Some(mirrors(&url, &folder.path().join("cache"), |_| {})));
    for (path, expected) in [
        ("/packages/mirror/up/pool/../../etc/passwd", "400"),
        ("/packages/mirror/up/%2e%2e/%2e%2e/etc/passwd", "400"),
        ("/packages/mirror/up/pool%2f..%2f..%2fetc", "400"),
        ("/packages/mirror/up/http://other/", "400"),
        ("/packages/mirror/up//127.0.0.1/", "400"),
        ("/packages/mirror/down/pool/a", "404"),
        ("/packages/mirror/up", "404"),
        ("/packages/apt/dists/none/InRelease", "404"),
        ("/packages/../state.json", "400"),
    ] {
        let (_, text) = curl(&format!("{}{path}", server.url), &[]);
        assert!(
            text.trim_end().ends_with(expected) || (path.contains("/../") && text.contains("404")),
            "{path}: {text}"
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let url = format!("{}/packages/mirror/up/pool/a.deb", server.url);
    assert_eq!(curl(&url, &[]).1, "0123456789\n200 miss");
    assert_eq!(curl(&url, &["-r", "2-4"]).1, "234\n206 hit");
    assert_eq!(curl(&url, &["-I", "-o", "/dev/null"]).1, "\n200 hit");
    let key = format!("{}/packages/key.asc", server.url);
    assert!(curl(&key, &[]).1.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
}

/// The distribution this machine is configured for, through a mirror. Skipped where there is none.
#[test]
fn a_real_distribution() {
    let Ok(text) = fs::read_to_string("/etc/apt/sources.list.d/debian.sources") else { return };
    let Some(url) = text.lines().find_map(|line| line.strip_prefix("URIs: ")) else { return };
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() || !url.starts_with("http") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let own = repository(&work.join("own"));
    let cache = mirrors(url.trim(), &work.join("cache"), |_| {});
    let server = serve_repository(&own, Some(cache));
    let sources = format!(
        "Types: deb\nURIs: {}/packages/mirror/up\nSuites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
        server.url
    );
    for client in ["first", "second"] {
        let client = Apt::new(&work.join(client), &sources);
        let (good, text) = client.get(&["update"]);
        assert!(good, "{text}");
        let (good, text) = client.get(&["install", "--download-only", "hello"]);
        assert!(good, "{text}");
    }
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains(".deb hit") && log.contains("/by-hash/SHA256/"), "{log}");
}

/// An upstream that accepts but does not answer: what is in the cache is served soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let times = AtomicUsize::new(0);
    let (url, _) = raw(move |_, stream| {
        if times.fetch_add(1, Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_secs(5));
        }
        whole(stream, b"Release");
    });
    let cache = mirrors(&url, folder.path(), |settings| settings.patience = Duration::from_millis(200));
    let up = name("up");
    read(cache.get(&up, "dists/a/InRelease").await).await.unwrap();
    let started = std::time::Instant::now();
    let Served::File { how, .. } = cache.get(&up, "dists/a/InRelease").await.unwrap() else {
        panic!("no file")
    };
    assert!(how == "stale" && started.elapsed() < Duration::from_secs(2), "{how} {:?}", started.elapsed());
}

/// Upstream with https, trusted by a CA file only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (key, cert) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let subject = [
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "extendedKeyUsage=serverAuth",
    ];
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    repositories::must(
        openssl
            .args(subject)
            .arg("-addext")
            .arg("basicConstraints=critical,CA:FALSE")
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert),
    );
    let certs = CertificateDer::pem_file_iter(&cert).unwrap().flatten().collect();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certs, PrivateKeyDer::from_pem_file(&key).unwrap())
            .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        }
    });
    let up = name("up");
    let trusting = mirrors(&url, &folder.path().join("a"), |settings| settings.ca_file = Some(cert));
    assert_eq!(read(trusting.get(&up, "pool/a.deb").await).await.unwrap(), b"abc");
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        let other = mirrors(&url, &folder.path().join("b"), |_| {});
        let error = read(other.get(&up, "pool/a.deb").await).await.unwrap_err();
        assert!(error.contains("certificate"), "{error}");
    }
}

/// A package that upstream replaced under its name is fetched again once the index tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let version = Arc::new(AtomicUsize::new(0));
    let current = Arc::clone(&version);
    let (url, asked) = raw(move |path, stream| {
        let text = format!("bytes of version {}", current.load(Ordering::SeqCst));
        let digest = Sha256Digest::of(text.as_bytes());
        let size = text.len();
        if path.ends_with("/Packages") {
            whole(
                stream,
                format!("Package: a\nFilename: pool/a.deb\nSize: {size}\nSHA256: {digest}\n").as_bytes(),
            );
        } else {
            whole(stream, text.as_bytes());
        }
    });
    let (cache, up) = (mirrors(&url, folder.path(), |_| {}), name("up"));
    for number in 0..3 {
        version.store(number, Ordering::SeqCst);
        read(cache.get(&up, "dists/a/main/binary-amd64/Packages").await).await.unwrap();
        // Learning goes on beside.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..2 {
            let bytes = read(cache.get(&up, "pool/a.deb").await).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), format!("bytes of version {number}"));
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

/// Lays a repository out as files, for a web server that knows nothing of it.
fn lay_out(repository: &Repository, folder: &Path) {
    let snapshot = repository.snapshot();
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for (path, text) in snapshot.metadata() {
        write(path, &text.bytes);
        let index = String::from_utf8_lossy(&text.bytes);
        let files = index.lines().filter_map(|line| line.strip_prefix("Filename: "));
        for path in files.map(|file| format!("apt/{file}")) {
            let Some(Found::Package(stored)) = snapshot.find(&path) else { panic!("no {path}") };
            write(&path, &fs::read(repository.backing().path(stored.digest)).unwrap());
        }
    }
}

/// The files in a tree of `STATE` whose names are digests.
fn digests(folder: &Path) -> Vec<String> {
    let shards = fs::read_dir(folder.join("sha256")).unwrap().map(|shard| shard.unwrap().path());
    let files = shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path()));
    files.map(|file| file.display().to_string()).collect()
}

/// The whole way: `[[mirror]]` and `package push` of a real appliance, a real apt on a host of its own. Needs root.
#[test]
fn apt_on_a_host_installs_through_the_appliance() {
    let rack = Rack::new("mirror").unwrap();
    let work = rack.dir().join("packages");
    fs::create_dir(&work).unwrap();
    let (suite, main) = (name("bookworm"), name("main"));
    let source = repository(&work.join("upstream"));
    for package in ["fl-up", "fl-later"] {
        source.push(&build_deb(&work, package, "1.0", package), &suite, &main, now()).unwrap();
    }
    source.declare(Kind::Apt, &suite, &[name("amd64")], &[], now()).unwrap();
    lay_out(&source, &work.join("www"));
    let mut command = rack.command("busybox");
    command.args(["httpd", "-f", "-p", "10.77.0.1:8081", "-h"]).arg(work.join("www"));
    let upstream = rack.spawn_logged(command, work.join("httpd.log")).unwrap();

    let tables = format!(
        "{NETWORK}\n[[mirror]]\nname = \"up\"\nkind = \"apt\"\nurl = \"http://10.77.0.1:8081/apt\"\nsuites = [\"bookworm\"]\n\
         components = [\"main\"]\nkeyring = \"/etc/up.asc\"\n[mirrors]\ncache_gib = 5\n"
    );
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), &tables);
    let debs = ["fl-own", "fl-more"].map(|package| build_deb(&work, package, "1.0", package));
    let paths = debs.each_ref().map(|path| path.to_str().unwrap());
    let push = [&["package", "push", "--suite", "bookworm"], &paths[..]].concat();
    let pushed = appliance.wait("the repositories' key", Duration::from_secs(300), || {
        let output = appliance.cli(&push);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    assert!(
        pushed.contains("fl-own 1.0 all pushed") && pushed.contains("fl-more 1.0 all pushed"),
        "{pushed}"
    );
    let (blobs, kept) = (appliance.dir().join("state/blobs"), appliance.dir().join("state/packages"));
    assert_eq!((digests(&blobs), digests(&kept).len()), (Vec::new(), 2), "what was uploaded is kept once");
    assert!(appliance.ok(&push).contains("fl-own 1.0 all is there already"));

    let spec = HostSpec { address: Some("10.77.0.50/24".into()), ..HostSpec::default() };
    let host = rack.host_with("h1", spec).unwrap();
    let base = "http://10.77.0.1:8080/packages";
    let (own_key, up_key) = (work.join("own.asc"), work.join("up.asc"));
    fs::write(&own_key, host.run("curl", &["-sSf", &format!("{base}/key.asc")]).unwrap()).unwrap();
    fs::write(&up_key, source.key().public_key()).unwrap();
    let (suites, components) = ([suite], [main]);
    let own = apt(base, &suites, &components, SignedBy::File(own_key.to_str().unwrap())).unwrap();
    let up = SignedBy::File(up_key.to_str().unwrap());
    let up = apt_mirror(base, &name("up"), &suites, &components, up).unwrap();
    let get = |host: &Host, root: &Apt, arguments: &[&str]| {
        run(host.command("apt-get").env("APT_CONFIG", root.root.join("apt.conf")).arg("-y").args(arguments))
    };
    let first = Apt::new(&work.join("first"), &format!("{own}\n{up}"));
    for arguments in [&["update"][..], &["install", "fl-up", "fl-own"]] {
        let (good, text) = get(&host, &first, arguments);
        assert!(good, "{text}\n{}", appliance.log());
    }
    for package in ["fl-up", "fl-own"] {
        assert!(first.root.join(format!("usr/share/{package}/text")).exists(), "{package}");
    }

    // Without upstream: what was fetched once is there for the next one, and the rest is not.
    drop(upstream);
    let second = Apt::new(&work.join("second"), &up);
    for arguments in [&["update"][..], &["install", "fl-up"]] {
        let (good, text) = get(&host, &second, arguments);
        assert!(good, "{text}\n{}", appliance.log());
    }
    let (good, text) = get(&host, &second, &["install", "fl-later"]);
    assert!(!good && text.contains("504"), "{text}");

    // What is removed stays for those that began before; after a restart there are none, and it goes from the disk.
    appliance.ok(&["package", "remove", "fl-more", "1.0"]);
    assert_eq!(digests(&kept).len(), 2);
    appliance.stop();
    appliance.power_on();
    appliance.wait("it to go", Duration::from_secs(60), || (digests(&kept).len() == 1).then_some(()));
}
