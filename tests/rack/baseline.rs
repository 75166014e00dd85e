//! What people build by hand today: dnsmasq (DHCP and TFTP) and nginx (kernel, ramdisk and reports), to prove the rack
//! with and to compare with. Nothing of this computer's own configuration is read or written.

use super::error::{IoContext, RackError, Result};
use super::images::NetbootImage;
use super::netns::{BRIDGE, Rack};
use super::process::Process;
use super::serial::last_lines;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Port of nginx on the rack's bridge.
pub const PORT: u16 = 8081;

/// How the baseline is set up.
#[derive(Debug, Clone)]
pub struct BaselineSpec {
    /// What it boots.
    pub image: NetbootImage,
    /// Where booted machines report to; nginx itself (which answers 200 to all reports) unless given.
    pub report_url: Option<String>,
    /// Adds what few know to do, and what saves iPXE its waits. A router advertisement (iPXE sends solicitations for
    /// 15 s and goes on only then, unless one is answered) and the option `no-pxedhcp` (else it waits 3 s for a proxy
    /// DHCP server).
    pub tuned: bool,
}

/// dnsmasq and nginx, running in a rack; they end when this is dropped.
#[derive(Debug)]
pub struct Baseline {
    dir: PathBuf,
    dnsmasq: Process,
    nginx: Process,
}

impl Baseline {
    /// Starts both; returns when they answer.
    pub fn start(rack: &Rack, spec: &BaselineSpec) -> Result<Baseline> {
        let dir = rack.dir().join("baseline");
        for folder in ["tftp", "web", "temporary"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).while_doing(|| format!("make {}", folder.display()))?;
        }
        let url = format!("http://{}:{PORT}", rack.address());
        let copies = [
            (PathBuf::from("/usr/lib/ipxe/undionly.kpxe"), "tftp/undionly.kpxe"),
            (PathBuf::from("/usr/lib/ipxe/snponly.efi"), "tftp/snponly.efi"),
            (spec.image.kernel.clone(), "web/vmlinuz"),
            (spec.image.initrd.clone(), "web/initrd.img"),
        ];
        for (from, to) in copies {
            fs::copy(&from, dir.join(to)).while_doing(|| format!("copy {}", from.display()))?;
        }
        let report_url = spec.report_url.as_deref().unwrap_or(&url);
        let texts = [
            ("web/boot.ipxe", ipxe_script(&url, &spec.image.cmdline, report_url)),
            ("dnsmasq.conf", dnsmasq_conf(rack, &dir.display().to_string(), &url, spec.tuned)),
            ("nginx.conf", nginx_conf(rack, &dir.display().to_string())),
        ];
        for (name, text) in texts {
            fs::write(dir.join(name), text).while_doing(|| format!("write {name}"))?;
        }
        if spec.tuned {
            rack.add_address(BRIDGE, "fd77::1/64")?;
        }

        let mut dnsmasq = rack.command("dnsmasq");
        dnsmasq.arg("--keep-in-foreground").arg(format!("--conf-file={}/dnsmasq.conf", dir.display()));
        let mut nginx = rack.command("nginx");
        nginx.arg("-e").arg(dir.join("nginx.log")).arg("-c").arg(dir.join("nginx.conf"));
        let mut baseline = Baseline {
            dnsmasq: Process::spawn_logged(dnsmasq, &dir.join("dnsmasq.log"))?,
            nginx: Process::spawn_logged(nginx, &dir.join("nginx.log"))?,
            dir,
        };
        baseline.wait_until_up()?;
        Ok(baseline)
    }

    /// What nginx served: one line a request, `ADDRESS METHOD PATH STATUS BYTES SECONDS`.
    pub fn access_log(&self) -> Result<String> {
        self.read("access.log")
    }

    /// What dnsmasq said.
    pub fn dhcp_log(&self) -> Result<String> {
        self.read("dnsmasq.log")
    }

    /// Both tell when their sockets are open: dnsmasq in its log, nginx with its pid file.
    fn wait_until_up(&mut self) -> Result<()> {
        let limit = Duration::from_secs(5);
        let deadline = Instant::now() + limit;
        loop {
            if self.dhcp_log()?.contains("started, version") && self.dir.join("nginx.pid").exists() {
                return Ok(());
            }
            let ended = self.dnsmasq.status()?.or(self.nginx.status()?);
            if ended.is_some() || Instant::now() >= deadline {
                let logs = self.dhcp_log()? + &self.read("nginx.log")?;
                let what = "the start of dnsmasq and nginx".into();
                return Err(RackError::Timeout { what, limit, context: last_lines(&logs, 10) });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::read_to_string(&path).while_doing(|| format!("read {}", path.display()))
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // nginx's workers end with its master only when that is asked to end.
        let _ = self.nginx.terminate(Duration::from_secs(2));
    }
}

fn ipxe_script(url: &str, cmdline: &str, report_url: &str) -> String {
    format!(
        "#!ipxe\n\
         kernel {url}/vmlinuz initrd=initrd.img {cmdline} BOOTIF=01-${{net0/mac:hexhyp}} \
         firstlight.url={report_url} firstlight.token=00\n\
         initrd {url}/initrd.img\n\
         boot\n"
    )
}

fn dnsmasq_conf(rack: &Rack, dir: &str, url: &str, tuned: bool) -> String {
    let [a, b, c, _] = rack.address().octets();
    let tuning =
        if tuned { "enable-ra\ndhcp-range=fd77::,ra-only,64\ndhcp-option=encap:175,176,1b\n" } else { "" };
    format!(
        "port=0\n\
         interface={BRIDGE}\n\
         bind-interfaces\n\
         user=root\n\
         pid-file\n\
         log-facility=-\n\
         log-dhcp\n\
         dhcp-leasefile={dir}/leases\n\
         dhcp-authoritative\n\
         no-ping\n\
         dhcp-range={a}.{b}.{c}.100,{a}.{b}.{c}.200,1h\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-match=set:uefi,option:client-arch,7\n\
         dhcp-boot=tag:ipxe,{url}/boot.ipxe\n\
         dhcp-boot=tag:!ipxe,tag:uefi,snponly.efi\n\
         dhcp-boot=tag:!ipxe,tag:!uefi,undionly.kpxe\n\
         enable-tftp\n\
         tftp-root={dir}/tftp\n\
         {tuning}"
    )
}

fn nginx_conf(rack: &Rack, dir: &str) -> String {
    let address = rack.address();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/temporary/{kind};"))
        .join(" ");
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
         events {{ }}\n\
         http {{\n\
         log_format short '$remote_addr $request_method $uri $status $body_bytes_sent $request_time';\n\
         access_log {dir}/access.log short; sendfile on; {temporary}\n\
         server {{\n\
         listen {address}:{PORT}; root {dir}/web;\n\
         location = /agent/v1/report {{ return 200; }}\n\
         }}\n\
         }}\n"
    )
}
