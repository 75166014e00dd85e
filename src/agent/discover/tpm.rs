//! The trusted platform module: its version, and the identity of its endorsement key.

mod commands;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::read;
use crate::model::inventory::Tpm;
use commands::{Authority, create_primary, nv_read, nv_read_public};
pub use commands::{TpmError, certificate, created_public, nv_data, nv_size, parameters};

/// The longest answer that is read: `TPM2_MAX_RESPONSE_SIZE` of every TPM known.
const ANSWER: usize = 4096;
/// The largest certificate that is read.
const CERTIFICATE: u16 = 8192;
/// What every TPM gives at once (`TPM_PT_NV_BUFFER_MAX` is 512 at least).
const CHUNK: u16 = 512;

/// The TPM that the kernel knows of; with `ask`, also its endorsement key, which may take it several seconds to make.
pub fn read(root: &Path, ask: bool) -> Option<Tpm> {
    let class = root.join("sys/class/tpm/tpm0");
    if !class.exists() {
        return None;
    }
    let version = match read::number::<u8>(&class.join("tpm_version_major")) {
        Some(1) => "1.2",
        Some(2) => "2.0",
        // Kernels before 5.6 tell it only of the older kind.
        _ if class.join("caps").exists() || class.join("device/caps").exists() => "1.2",
        _ => "2.0",
    };
    let mut tpm = Tpm { version: version.into(), ek_sha256: None };
    if ask && version == "2.0" {
        match endorsement_key(root) {
            Ok(key) => tpm.ek_sha256 = Some(hex::encode(Sha256::digest(key))),
            Err(error) => tracing::debug!(%error, "the TPM does not tell its endorsement key"),
        }
    }
    Some(tpm)
}

/// The endorsement key's certificate, or else the public area of the key itself, made from the well-known template.
fn endorsement_key(root: &Path) -> Result<Vec<u8>, TpmError> {
    // Through the resource manager, which removes what was made when this is closed.
    let mut device = OpenOptions::new().read(true).write(true).open(root.join("dev/tpmrm0"))?;
    match stored_certificate(&mut device) {
        Ok(certificate) => return Ok(certificate),
        Err(error) => tracing::debug!(%error, "the TPM has no certificate; its key is made"),
    }
    created_public(&run(&mut device, &create_primary())?)
}

fn stored_certificate(device: &mut File) -> Result<Vec<u8>, TpmError> {
    let size = nv_size(&run(device, &nv_read_public())?)?.min(CERTIFICATE);
    // Mostly anybody may read it, with the empty password of the index; else the owner may.
    let mut result = Err(TpmError::Short);
    for authority in [Authority::Index, Authority::Owner] {
        result = stored(device, authority, size);
        if result.is_ok() {
            break;
        }
    }
    certificate(&result?)
}

fn stored(device: &mut File, authority: Authority, size: u16) -> Result<Vec<u8>, TpmError> {
    let mut data = Vec::new();
    let mut offset = 0;
    while offset < size {
        let length = CHUNK.min(size - offset);
        let answer = run(device, &nv_read(authority, length, offset))?;
        let chunk = nv_data(&answer)?;
        if chunk.len() != usize::from(length) {
            return Err(TpmError::Short);
        }
        data.extend(chunk);
        offset += length;
    }
    Ok(data)
}

/// Sends a command, and returns its whole answer. The kernel bounds how long that takes.
fn run(device: &mut File, command: &[u8]) -> Result<Vec<u8>, TpmError> {
    if device.write(command)? != command.len() {
        return Err(io::Error::from(io::ErrorKind::WriteZero).into());
    }
    let mut answer = vec![0; ANSWER];
    let length = device.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests;
