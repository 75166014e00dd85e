//! What machines boot: built from Debian packages by `images/demo/build.sh`.

use super::error::{IoContext, RackError, Result};
use super::process::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel and ramdisk that report to an appliance; see `images/demo/initrd/init` for its command line.
#[derive(Debug, Clone)]
pub struct NetbootImage {
    /// The folder with all of it: `demo.toml`, `discovery.toml` and what they name.
    pub dir: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// Command line of the manifest `demo.toml`.
    pub cmdline: String,
}

impl NetbootImage {
    /// Builds below `dir` (into `demo-VERSION`), or refreshes it in a few seconds. Versions differ in their ramdisk.
    pub fn build(dir: &Path, version: &str) -> Result<NetbootImage> {
        let out = dir.join(format!("demo-{version}"));
        let mut script = build_script(dir);
        script.args(["--version", version]).arg(&out);
        run(script)?;
        let manifest = out.join("demo.toml");
        let text = fs::read_to_string(&manifest).while_doing(|| format!("read {}", manifest.display()))?;
        let parsed = text.parse::<toml::Table>().ok();
        let cmdline = parsed.as_ref().and_then(|table| table.get("cmdline")?.as_str());
        let cmdline = cmdline.ok_or_else(|| RackError::Invalid {
            what: "manifest",
            value: manifest.display().to_string(),
            why: "no TOML, or no string `cmdline` in it",
        })?;
        Ok(NetbootImage {
            kernel: out.join("vmlinuz"),
            initrd: out.join("initrd.img"),
            cmdline: cmdline.to_owned(),
            dir: out,
        })
    }

    /// The manifest of the image that reports what the machine is and waits for approval.
    pub fn discovery_manifest(&self) -> PathBuf {
        self.dir.join("discovery.toml")
    }

    /// The manifest of the image that reports `configuring` and `ready`.
    pub fn demo_manifest(&self) -> PathBuf {
        self.dir.join("demo.toml")
    }
}

/// A kernel and ramdisk that mount `/dev/vda` on `/data` and run a program there; see `initrd/init-disk`.
#[derive(Debug, Clone)]
pub struct DiskImage {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

impl DiskImage {
    /// Builds into `dir/disk-NAME` with a static program as `/payload`. Its arguments are the words after `--` on the
    /// kernel command line.
    pub fn build(dir: &Path, name: &str, payload: &Path) -> Result<DiskImage> {
        let out = dir.join(format!("disk-{name}"));
        let mut script = build_script(dir);
        script.args(["--flavour", "disk", "--payload"]).arg(payload).arg(&out);
        run(script)?;
        Ok(DiskImage { kernel: out.join("vmlinuz"), initrd: out.join("initrd.img") })
    }

    /// The kernel command line that runs the payload with these arguments.
    pub fn append(arguments: &str) -> String {
        format!("console=ttyS0,115200n8 quiet panic=-1 -- {arguments}")
    }
}

fn build_script(dir: &Path) -> Command {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/images/demo/build.sh"));
    script.arg("--cache").arg(dir.join("packages"));
    script
}
