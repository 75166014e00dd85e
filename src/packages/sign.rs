//! The key that signs the repositories: made once, kept in the state folder.
//!
//! It is RSA with 3072 bits and SHA-512: what every apt since Debian 9, and dnf and rpm of EL 8 and 9 (also under FIPS
//! 140) verify. Signatures are the same bytes for the same text and time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable as _, DetachedSignature, KeyType,
    SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, Timestamp};
use thiserror::Error;

/// Bits of a new key.
const BITS: u32 = 3072;
/// Bytes of a key file.
const KEY_FILE: u64 = 64 << 10;

/// Why there is no key, or no signature.
#[derive(Debug, Error)]
pub enum SignError {
    /// The file system failed.
    #[error("cannot {action} the repositories' signing key {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Others could have read it.
    #[error(
        "the repositories' signing key {0} can be read by others; `chmod 600` it, and make a new one when it may have leaked"
    )]
    Permissions(PathBuf),
    /// The file is broken.
    #[error(
        "{path} is no OpenPGP secret key: {cause}; restore it from a backup, or remove it to make a new one (every node must then get the new public key)"
    )]
    Broken {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        cause: String,
    },
    /// The cryptography failed.
    #[error("the OpenPGP key cannot be made or cannot sign: {0}")]
    Pgp(String),
}

/// The signing key.
pub struct SigningKey {
    secret: SignedSecretKey,
    public: String,
}

impl SigningKey {
    /// Reads the key at `path`, or makes one and writes it there, readable for the owner alone. Making one takes
    /// seconds.
    pub fn open(path: &Path, user_id: &str) -> Result<Self, SignError> {
        match File::open(path) {
            Ok(file) => {
                let key = Self::read(path, &file)?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
                if key.created() > now.saturating_add(60) {
                    let path = path.display();
                    tracing::warn!(%path, "the signing key is from the future, so that clients refuse it: set the clock, or remove the key to make a new one");
                }
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate(user_id, BITS)?;
                key.write(path)?;
                Ok(key)
            }
            Err(cause) => Err(failed("open", path)(cause)),
        }
    }

    /// Makes a key of so many bits and keeps it nowhere.
    pub fn generate(user_id: &str, bits: u32) -> Result<Self, SignError> {
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Rsa(bits))
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(user_id.to_owned())
            .build()
            .map_err(|error| SignError::Pgp(error.to_string()))?;
        Self::new(parameters.generate(rand::rngs::OsRng).map_err(pgp_error)?)
    }

    fn new(secret: SignedSecretKey) -> Result<Self, SignError> {
        let public = SignedPublicKey::from(secret.clone())
            .to_armored_string(ArmorOptions::default())
            .map_err(pgp_error)?;
        Ok(Self { secret, public })
    }

    fn read(path: &Path, file: &File) -> Result<Self, SignError> {
        let metadata = file.metadata().map_err(failed("read", path))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(SignError::Permissions(path.to_owned()));
        }
        let bytes = super::compress::read_bounded(file, KEY_FILE).map_err(failed("read", path))?;
        let broken = |cause: String| SignError::Broken { path: path.to_owned(), cause };
        let bytes = bytes.ok_or_else(|| broken("it is too long".to_owned()))?;
        let secret =
            SignedSecretKey::from_bytes(bytes.as_slice()).map_err(|error| broken(error.to_string()))?;
        secret.verify_bindings().map_err(|error| broken(error.to_string()))?;
        Self::new(secret)
    }

    /// Writes durably: what lies at `path` is whole or not there.
    fn write(&self, path: &Path) -> Result<(), SignError> {
        let bytes = self.secret.to_bytes().map_err(pgp_error)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed("make the folder of", path))?;
        // Such files have mode 0600 from the beginning.
        let mut file = tempfile::Builder::new()
            .prefix(".signing-key-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(failed("write", path))?;
        file.write_all(&bytes).map_err(failed("write", path))?;
        file.as_file().sync_all().map_err(failed("sync", path))?;
        file.persist_noclobber(path).map_err(|error| failed("write", path)(error.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of", path))
    }

    /// The public key, armored (RFC 9580 section 6.2).
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// The fingerprint: 40 upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode_upper(self.secret.fingerprint().as_bytes())
    }

    /// When the key was made, seconds since 1970.
    pub fn created(&self) -> u64 {
        self.secret.primary_key.created_at().as_secs().into()
    }

    /// `text` with its signature around it (RFC 9580 section 7). `time` is in seconds since 1970; one before the key
    /// was made is taken as that moment, because no client would accept it.
    pub fn clear_sign(&self, text: &str, time: u64) -> Result<String, SignError> {
        let config = self.config(SignatureType::Text, time)?;
        CleartextSignedMessage::new(text, config, &self.secret.primary_key, &Password::empty())
            .and_then(|message| message.to_armored_string(ArmorOptions::default()))
            .map_err(pgp_error)
    }

    /// A signature apart from its text, armored.
    pub fn detached(&self, bytes: &[u8], time: u64) -> Result<String, SignError> {
        let config = self.config(SignatureType::Binary, time)?;
        let signature =
            config.sign(&self.secret.primary_key, &Password::empty(), bytes).map_err(pgp_error)?;
        DetachedSignature::new(signature).to_armored_string(ArmorOptions::default()).map_err(pgp_error)
    }

    fn config(&self, kind: SignatureType, time: u64) -> Result<SignatureConfig, SignError> {
        let key = &self.secret.primary_key;
        let time = u32::try_from(time).unwrap_or(u32::MAX).max(key.created_at().as_secs());
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(time)))
                .map_err(pgp_error)?,
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).map_err(pgp_error)?,
        ];
        config.unhashed_subpackets =
            vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).map_err(pgp_error)?];
        Ok(config)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn pgp_error(error: pgp::errors::Error) -> SignError {
    SignError::Pgp(error.to_string())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SignError {
    let path = path.to_owned();
    move |cause| SignError::Io { action, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/signing.pgp");
        let key = SigningKey::generate("Test <test@example.org>", 2048).unwrap();
        key.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = SigningKey::open(&path, "Other").unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_eq!(again.public_key(), key.public_key());
        let time = 4_000_000_000;
        assert_eq!(key.clear_sign("a\n- b\n", time).unwrap(), again.clear_sign("a\n- b\n", time).unwrap());
        assert_eq!(key.detached(b"a", time).unwrap(), again.detached(b"a", time).unwrap());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::open(&path, "x"), Err(SignError::Permissions(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"no key").unwrap();
        assert!(matches!(SigningKey::open(&path, "x"), Err(SignError::Broken { .. })));
    }
}
