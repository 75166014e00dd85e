//! What the tests with real clients share: a server on loopback, packages, and a proxy-less environment.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use axum::middleware::{Next, from_fn};
use firstlight::packages::backing::Folder;
use firstlight::packages::mirror::Mirrors;
use firstlight::packages::names::Name;
use firstlight::packages::repository::Repository;
use firstlight::packages::serve::{Service, router};
use firstlight::packages::sign::SigningKey;
use tokio::runtime::Runtime;

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Changes the body at paths that end so, if any.
pub type Tamper = Arc<std::sync::Mutex<Option<(String, fn(&mut Vec<u8>))>>>;

/// A server on loopback; it ends with the value.
pub struct Server {
    pub url: String,
    pub tamper: Tamper,
    pub log: Arc<std::sync::Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn serve(make: impl FnOnce() -> Router) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (tamper, log) = (Tamper::default(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (changes, lines) = (Arc::clone(&tamper), Arc::clone(&log));
    let url = runtime.block_on(async {
        let layer = from_fn(move |request: Request, next: Next| {
            let (changes, lines) = (Arc::clone(&changes), Arc::clone(&lines));
            async move {
                let path = request.uri().path().to_owned();
                let response = next.run(request).await;
                let cache =
                    response.headers().get("x-firstlight-cache").map(|v| v.to_str().unwrap().to_owned());
                lines.lock().unwrap().push(format!(
                    "{} {path} {}",
                    response.status(),
                    cache.unwrap_or_default()
                ));
                let change = changes.lock().unwrap().clone().filter(|(part, _)| path.contains(part.as_str()));
                let Some((_, change)) = change else { return response };
                let (mut parts, body) = response.into_parts();
                let mut bytes = to_bytes(body, 1 << 30).await.unwrap().to_vec();
                change(&mut bytes);
                parts.headers.insert("content-length", bytes.len().into());
                Response::from_parts(parts, Body::from(bytes))
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = make().layer(layer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    });
    Server { url, tamper, log, runtime: Some(runtime) }
}

pub fn repository(folder: &Path) -> Arc<Repository> {
    let backing = Folder::open(folder).unwrap();
    let state = backing.load().unwrap();
    let key =
        SigningKey::open(&folder.join("signing.pgp"), "firstlight repositories <root@localhost>").unwrap();
    Arc::new(Repository::open(Arc::new(backing), state, key, "firstlight").unwrap())
}

pub fn serve_repository(repository: &Arc<Repository>, mirrors: Option<Mirrors>) -> Server {
    let repository = Arc::clone(repository);
    serve(move || router(Arc::new(Service { repository, mirrors })))
}

pub fn run(command: &mut Command) -> (bool, String) {
    let command = command.env("LC_ALL", "C.UTF-8").env_remove("http_proxy").env_remove("https_proxy");
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

pub fn must(command: &mut Command) -> String {
    let (good, text) = run(command);
    assert!(good, "{command:?}: {text}");
    text
}

/// Builds a package with one script.
pub fn build_deb(folder: &Path, package: &str, version: &str, text: &str) -> PathBuf {
    let root = folder.join(format!("{package}-{version}-root"));
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/share").join(package)).unwrap();
    let control = format!(
        "Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: made by a test\n with a long\n .\n description\n"
    );
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("usr/share").join(package).join("text"), text).unwrap();
    let file = folder.join(format!("{package}_{}_all.deb", version.replace(':', "%3a")));
    must(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&root).arg(&file));
    fs::remove_dir_all(root).unwrap();
    file
}

/// Builds an RPM with one file.
pub fn build_rpm(folder: &Path, package: &str, version: &str, text: &str) -> PathBuf {
    let top = folder.join(format!("{package}-{version}-top"));
    fs::create_dir_all(&top).unwrap();
    let spec = format!(
        "Name: {package}\nVersion: {version}\nRelease: 1\nEpoch: 2\nSummary: a <b> & \"c\"\nLicense: MIT\nBuildArch: noarch\nProvides: capability({package}) = 3\nRecommends: nothing-at-all\n%description\nLine & <line>\n%install\nmkdir -p %{{buildroot}}/etc/{package} %{{buildroot}}/usr/bin\necho '{text}' > %{{buildroot}}/etc/{package}/text\n%files\n/etc/{package}\n%changelog\n* Mon Nov 23 2026 T <t@example.org> - {version}-1\n- made & done\n"
    );
    fs::write(top.join("a.spec"), spec).unwrap();
    must(
        Command::new("rpmbuild")
            .args(["-bb", "--define", &format!("_topdir {}", top.display()), "--define"])
            .arg(format!("_rpmdir {}", folder.display()))
            .arg(top.join("a.spec")),
    );
    fs::remove_dir_all(top).unwrap();
    folder.join(format!("noarch/{package}-{version}-1.noarch.rpm"))
}

/// An apt with a root of its own, which knows nothing of this machine's configuration and packages.
pub struct Apt {
    pub root: PathBuf,
}

impl Apt {
    pub fn new(root: &Path, sources: &str) -> Self {
        for folder in [
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "var/log/apt",
            "tmp",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        fs::write(root.join("etc/apt/sources.list.d/firstlight.sources"), sources).unwrap();
        let config = format!(
            "Dir \"{root}\";\nDir::Etc::trustedparts \"{root}/etc/apt/trusted.gpg.d\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nDir::Bin::methods \"/usr/lib/apt/methods\";\nDir::Bin::dpkg \"/usr/bin/dpkg\";\nDPkg::Options {{ \"--root={root}\"; \"--force-not-root\"; \"--force-script-chrootless\"; \"--log=/dev/null\"; }};\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\nAcquire::Retries \"0\";\nAcquire::Languages \"none\";\nAPT::Install-Recommends \"false\";\n",
            root = root.display()
        );
        fs::write(root.join("apt.conf"), config).unwrap();
        Self { root: root.to_owned() }
    }

    pub fn get(&self, arguments: &[&str]) -> (bool, String) {
        run(Command::new("apt-get").env("APT_CONFIG", self.root.join("apt.conf")).arg("-y").args(arguments))
    }
}
