//! TFTP and HTTP with clients that nobody here wrote: `tftp` (tftp-hpa), `atftp` and `curl`. Needs root.

mod appliance;
mod rack;

use std::path::{Path, PathBuf};
use std::process::Output;

use appliance::{Appliance, NETWORK};
use rack::{Host, Rack};

const HTTP: &str = "http://10.77.0.1:8080";

fn run(host: &Host, program: &str, arguments: &[&str]) -> Output {
    host.command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs `curl` that must get an answer: status code and body.
fn curl(host: &Host, arguments: &[&str]) -> (u16, Vec<u8>) {
    let body = host.dir().join("body");
    let _ = std::fs::remove_file(&body);
    let body_path = body.display().to_string();
    let mut all = vec!["-sS", "-m", "20", "-o", &body_path, "-w", "%{http_code}"];
    all.extend(arguments);
    let output = run(host, "curl", &all);
    let code = String::from_utf8_lossy(&output.stdout).trim().parse();
    let code =
        code.unwrap_or_else(|_| panic!("curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    (code, std::fs::read(&body).unwrap_or_default())
}

/// An image whose kernel has known bytes; the URL of that kernel.
fn import_kernel(appliance: &Appliance<'_>, folder: &Path, size: usize) -> (String, Vec<u8>) {
    let kernel: Vec<u8> = (0..size).map(|n| (n % 251).to_le_bytes()[0]).collect();
    std::fs::write(folder.join("kernel"), &kernel).expect("write a kernel");
    std::fs::write(folder.join("initrd"), b"ramdisk").expect("write a ramdisk");
    let manifest = folder.join("plane.toml");
    std::fs::write(
        &manifest,
        "name = \"plane\"\nversion = \"1\"\narch = \"x86_64\"\nkernel = \"kernel\"\ninitrd = \"initrd\"\n",
    )
    .expect("write a manifest");
    appliance.ok(&["image", "import", &manifest.display().to_string()]);
    (format!("{HTTP}/images/plane/1/x86_64/kernel"), kernel)
}

#[test]
fn tftp_clients_get_boot_files_and_nothing_else() {
    let rack = Rack::new("tftp").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let host = rack.host("client").expect("a host");
    let original = std::fs::read("/usr/lib/ipxe/ipxe.efi").expect("package ipxe is installed");
    let target = host.dir().join("got");
    let got = || std::fs::read(&target).unwrap_or_default();
    let path = target.display().to_string();

    let hpa = |file: &str| run(&host, "tftp", &["-4", "-m", "binary", "10.77.0.1", "-c", "get", file, &path]);
    let atftp = |options: &[&str], file: &str| {
        let mut arguments: Vec<&str> = options.to_vec();
        arguments.extend(["--get", "-r", file, "-l", &path, "10.77.0.1"]);
        run(&host, "atftp", &arguments)
    };
    let cases: [(&str, &dyn Fn() -> Output); 6] = [
        ("tftp-hpa", &|| hpa("ipxe.efi")),
        ("a leading slash, as some firmware sends it", &|| hpa("/ipxe.efi")),
        ("atftp, plain", &|| atftp(&[], "ipxe.efi")),
        ("atftp, large blocks", &|| atftp(&["--option", "blksize 1468"], "ipxe.efi")),
        ("atftp, blocks that do not fit a frame", &|| atftp(&["--option", "blksize 9000"], "ipxe.efi")),
        ("curl, small blocks", &|| {
            run(&host, "curl", &["-sS", "--tftp-blksize", "512", "-o", &path, "tftp://10.77.0.1/ipxe.efi"])
        }),
    ];
    for (name, get) in cases {
        let _ = std::fs::remove_file(&target);
        let output = get();
        assert!(got() == original, "{name}: {} bytes, {output:?}", got().len());
    }
    for file in ["../../../etc/passwd", "/etc/passwd", "nothing.efi", "ipxe.efi/../ipxe.efi"] {
        let _ = std::fs::remove_file(&target);
        let output = hpa(file);
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(got().is_empty() && told.contains("File not found"), "{file}: {told}");
    }
    let put =
        run(&host, "tftp", &["-4", "-m", "binary", "10.77.0.1", "-c", "put", "/etc/hostname", "ipxe.efi"]);
    assert!(String::from_utf8_lossy(&put.stdout).contains("Error") || !put.status.success(), "{put:?}");
    assert!(hpa("ipxe.efi").status.success() && got() == original, "nothing was overwritten");
    appliance.stop();
}

#[test]
fn curl_gets_wholes_parts_and_nothing_twice() {
    let rack = Rack::new("http").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let host = rack.host("client").expect("a host");
    let size = 5 << 20;
    let (url, kernel) = import_kernel(&appliance, rack.dir(), size);
    let digest =
        appliance.json(&["image", "show", "plane@1"])["builds"]["x86_64"]["kernel"]["sha256"].clone();
    let etag = format!("\"{}\"", digest.as_str().expect("a digest"));
    let (last, behind) = (format!("{}-", size - 1), format!("{size}-"));
    let (tag, other) = (format!("If-None-Match: {etag}"), "If-None-Match: \"x\"".to_owned());
    let (if_range, if_other) = (format!("If-Range: {etag}"), "If-Range: \"x\"".to_owned());
    for (name, arguments, status, body) in [
        ("whole", vec![], 200, &kernel[..]),
        ("HTTP/1.0", vec!["--http1.0"], 200, &kernel[..]),
        ("first hundred", vec!["-r", "0-99"], 206, &kernel[..100]),
        ("middle", vec!["-r", "1000000-2999999"], 206, &kernel[1_000_000..3_000_000]),
        ("last hundred", vec!["-r", "-100"], 206, &kernel[size - 100..]),
        ("last byte", vec!["-r", &last], 206, &kernel[size - 1..]),
        ("behind the end", vec!["-r", &behind], 416, &[][..]),
        ("several parts: all of it", vec!["-r", "0-1,5-6"], 200, &kernel[..]),
        ("has it already", vec!["-H", &tag], 304, &[][..]),
        ("has another", vec!["-H", &other], 200, &kernel[..]),
        ("goes on with the same", vec!["-H", &if_range, "-r", "10-19"], 206, &kernel[10..20]),
        ("goes on with another", vec!["-H", &if_other, "-r", "10-19"], 200, &kernel[..]),
        ("headers only", vec!["-I"], 200, &[][..]),
    ] {
        let mut all = arguments;
        all.push(&url);
        let (code, got) = curl(&host, &all);
        assert_eq!(code, status, "{name}");
        // `-I` writes the headers to the body's file.
        assert!(name == "headers only" || got == body, "{name}: {} bytes", got.len());
    }
    let headers = run(&host, "curl", &["-sSI", &url]);
    let headers = String::from_utf8_lossy(&headers.stdout).to_lowercase();
    for line in [format!("etag: {etag}"), format!("content-length: {size}"), "accept-ranges: bytes".into()] {
        assert!(headers.contains(&line), "no '{line}' in {headers}");
    }

    // Resume: the first megabyte is there.
    let partial = host.dir().join("partial");
    std::fs::write(&partial, &kernel[..1 << 20]).expect("write a part");
    let resumed = run(&host, "curl", &["-sS", "-C", "-", "-o", &partial.display().to_string(), &url]);
    assert!(resumed.status.success() && std::fs::read(&partial).expect("read") == kernel, "{resumed:?}");

    for (path, status) in [
        ("/images/plane/1/x86_64/initrd0", 200),
        ("/images/plane/1/x86_64/initrd1", 404),
        ("/images/plane/1/aarch64/kernel", 404),
        ("/images/plane/2/x86_64/kernel", 404),
        ("/images/Plane/1/x86_64/kernel", 400),
        ("/boot/files/ipxe.efi", 200),
        ("/boot/files/other.efi", 404),
        ("/boot/zz/script.ipxe", 404),
        ("/api/v1/nodes", 404),
        ("/healthz", 200),
        ("/", 404),
    ] {
        assert_eq!(curl(&host, &[&format!("{HTTP}{path}")]).0, status, "{path}");
    }

    // A script is for the node that holds the address, and a report needs its token.
    let (code, script) = curl(&host, &[&format!("{HTTP}/boot/02-00-00-00-00-01/script.ipxe")]);
    let script = String::from_utf8_lossy(&script).into_owned();
    assert!(
        code == 200 && script.starts_with("#!ipxe") && script.contains("no node has the MAC"),
        "{script}"
    );
    let report = ["-d", r#"{"phase":"ready"}"#, &format!("{HTTP}/agent/v1/report")].map(str::to_owned);
    let report: Vec<&str> = report.iter().map(String::as_str).collect();
    assert_eq!(curl(&host, &report).0, 403, "without a token");
    assert_eq!(
        curl(&host, &[&["-H", "Authorization: Bearer 00"][..], &report].concat()).0,
        403,
        "with another's"
    );
    appliance.stop();
}

/// Held open, half sent or reset connections keep nobody else from being served.
#[test]
fn idle_and_broken_connections_do_not_hold_others_up() {
    let rack = Rack::new("idle").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let host = rack.host("client").expect("a host");
    let mut idle = Vec::new();
    for n in 0..80 {
        let mut command = host.command("socat");
        command.args(["-u", "TCP4:10.77.0.1:8080", "/dev/null"]);
        let log = PathBuf::from(rack.dir()).join(format!("idle-{n}.log"));
        idle.push(host.spawn_logged(command, log).expect("an idle connection"));
    }
    let other = rack.host("other").expect("a host");
    assert_eq!(curl(&other, &[&format!("{HTTP}/healthz")]).0, 200);
    drop(idle);
    assert_eq!(curl(&host, &[&format!("{HTTP}/healthz")]).0, 200);
    appliance.stop();
}
