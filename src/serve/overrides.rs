//! Files of the operator that take the place of those within the program.

use std::io;
use std::path::Path;

use super::ServeError;

/// Longest that an override may be, bytes.
const OVERRIDE_BYTES: u64 = 1 << 20;

/// The operator's files with this ending in `folder`: name and text. No folder, no files.
pub fn read(folder: &Path, ending: &str) -> Result<Vec<(String, String)>, ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| ServeError::Override { path, cause }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_none_or(|extension| extension != ending) {
            continue;
        }
        let length = std::fs::metadata(&path).map_err(failed(&path))?.len();
        if length > OVERRIDE_BYTES {
            let cause = io::Error::other(format!(
                "it has {length} bytes; {OVERRIDE_BYTES} are enough for such a file"
            ));
            return Err(failed(&path)(cause));
        }
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        files.push((name.to_owned(), text));
    }
    files.sort();
    Ok(files)
}
