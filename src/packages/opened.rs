//! Opens a package file of either kind.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::repository_error::{RepositoryError, failed};
use super::snapshot::Details;
use super::state::{Kind, Package};
use super::{deb, rpm};
use crate::model::Sha256Digest;

/// The digest and the bytes of a file.
pub(super) fn hashed(file: &mut File) -> Result<(Sha256Digest, u64), RepositoryError> {
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut buffer).map_err(failed("read the package"))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        size = size.saturating_add(bytes.len() as u64);
    }
    Ok((Sha256Digest(hasher.finalize().into()), size))
}

/// Opens a package of either kind. Size and time are left 0.
pub(super) fn look(file: &mut File) -> Result<(Details, Package), RepositoryError> {
    file.rewind().map_err(failed("read the package"))?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(|_| RepositoryError::Unknown)?;
    file.rewind().map_err(failed("read the package"))?;
    match &magic {
        b"!<ar" => {
            let deb = deb::read(&mut io::BufReader::new(file))?;
            let (name, version) = (deb.name.clone(), deb.version.clone());
            let architecture = deb.architecture.clone();
            let package = Package { kind: Kind::Apt, name, version, architecture, size: 0, pushed: 0 };
            Ok((Details::Deb(Arc::new(deb)), package))
        }
        [0xed, 0xab, 0xee, 0xdb] => {
            let rpm = rpm::read(file)?;
            let release = rpm.version.release.as_deref().unwrap_or_default();
            let version = match rpm.version.epoch.as_str() {
                "0" => format!("{}-{release}", rpm.version.version),
                epoch => format!("{epoch}:{}-{release}", rpm.version.version),
            };
            let (name, architecture) = (rpm.name.clone(), rpm.architecture.clone());
            let package = Package { kind: Kind::Dnf, name, version, architecture, size: 0, pushed: 0 };
            Ok((Details::Rpm(Arc::new(rpm)), package))
        }
        _ => Err(RepositoryError::Unknown),
    }
}
