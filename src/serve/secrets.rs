//! The key that opens secrets: made at the first start, kept in a file that only root reads.

use std::path::Path;

use super::ServeError;
use crate::bundle::secret::SecretKey;
use crate::trust::write_durably;

/// Reads the key, or makes one.
///
/// # Errors
/// When the file cannot be read or written, or holds no key.
pub fn open(path: &Path) -> Result<SecretKey, ServeError> {
    let failed = |cause: String| ServeError::Secrets { path: path.to_owned(), cause };
    match std::fs::read_to_string(path) {
        Ok(text) => SecretKey::parse(&text).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            write_durably(path, key.text().expose().as_bytes(), 0o600)
                .map_err(|error| failed(error.to_string()))?;
            Ok(key)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
