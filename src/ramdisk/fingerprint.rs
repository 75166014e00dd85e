//! What a ramdisk is made of, as one number: the same inputs need no second build.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::source::Source;
use super::{Inputs, RamdiskError};

/// Goes up whenever the same inputs give another ramdisk.
const FORMAT: &str = "firstlight ramdisk 1";

/// The SHA-256, in hex, over the content of all inputs and over our own format. Names and times of
/// the inputs do not count, those of files within folders do.
pub fn fingerprint(inputs: &Inputs) -> Result<String, RamdiskError> {
    let mut sum = Sum(Sha256::new());
    sum.text(FORMAT);
    sum.text(env!("CARGO_PKG_VERSION"));
    for (kind, paths) in [("kernel", &inputs.kernel), ("firmware", &inputs.firmware)] {
        for path in paths {
            sum.text(kind);
            sum.input(path)?;
        }
    }
    sum.text("agent");
    sum.file(&inputs.agent)?;
    if let Some(busybox) = &inputs.busybox {
        sum.text("busybox");
        sum.file(busybox)?;
    }
    for (place, path, mode) in &inputs.files {
        sum.text("file");
        sum.text(place);
        sum.text(&mode.to_string());
        sum.file(path)?;
    }
    for (place, target) in &inputs.links {
        sum.text("link");
        sum.text(place);
        sum.text(target);
    }
    Ok(hex::encode(sum.0.finalize()))
}

struct Sum(Sha256);

impl Sum {
    /// A length goes before each part, so that no two lists of parts look the same.
    fn text(&mut self, text: &str) {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
    }

    fn input(&mut self, path: &PathBuf) -> Result<(), RamdiskError> {
        if !fs::metadata(path).map_err(RamdiskError::io(path))?.is_dir() {
            return self.file(path);
        }
        // Nothing is unpacked for a folder.
        let source = Source::open(std::slice::from_ref(path), path, &mut |_| {})?;
        for place in source.places() {
            if let Some(file) = source.get(place) {
                self.text(place);
                self.file(file)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), RamdiskError> {
        let mut own = Sha256::new();
        let mut file = File::open(path).map_err(RamdiskError::io(path))?;
        let mut part = vec![0; 1 << 20];
        loop {
            match file.read(&mut part) {
                Ok(0) => break,
                Ok(length) => own.update(part.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RamdiskError::Io { path: path.to_owned(), error }),
            }
        }
        self.0.update(own.finalize());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_changes_with_any_content_and_with_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("folder/lib/firmware")).unwrap();
        for name in ["kernel", "agent", "busybox", "extra", "folder/lib/firmware/x"] {
            fs::write(path(name), name).unwrap();
        }
        let inputs = Inputs {
            kernel: vec![path("kernel")],
            firmware: vec![path("folder")],
            agent: path("agent"),
            busybox: Some(path("busybox")),
            files: vec![("etc/x".into(), path("extra"), 0o644)],
            links: vec![("sbin/modprobe".into(), "/init".into())],
        };
        let first = fingerprint(&inputs).unwrap();
        assert_eq!(first.len(), 64);
        fs::write(path("folder/README"), "no part of a ramdisk").unwrap();
        fs::write(path("kernel"), "kernel").unwrap();
        assert_eq!(fingerprint(&inputs).unwrap(), first);
        let mut seen = vec![first];
        for name in ["kernel", "agent", "busybox", "extra", "folder/lib/firmware/x"] {
            fs::write(path(name), "another").unwrap();
            seen.push(fingerprint(&inputs).unwrap());
        }
        for change in [
            Inputs { busybox: None, ..inputs.clone() },
            Inputs { files: vec![("etc/x".into(), path("extra"), 0o600)], ..inputs.clone() },
            Inputs { links: Vec::new(), ..inputs.clone() },
            Inputs { firmware: Vec::new(), ..inputs.clone() },
        ] {
            seen.push(fingerprint(&change).unwrap());
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "each change is seen");
        fs::remove_file(path("agent")).unwrap();
        assert!(fingerprint(&inputs).expect_err("no agent").to_string().contains("agent"));
    }
}
