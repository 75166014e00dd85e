//! The three TPM commands that are needed, and their answers (TPM 2.0 Library part 3; EK Credential Profile 2.x).

use std::io;

use super::super::read;

/// `TPM_ST_NO_SESSIONS`.
const NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
const SESSIONS: u16 = 0x8002;
/// Where the certificate of the RSA 2048 key is stored (EK Credential Profile section 2.2.1.4).
const CERTIFICATE_INDEX: u32 = 0x01c0_0002;
/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;
/// `TPM_RH_ENDORSEMENT`.
const ENDORSEMENT: u32 = 0x4000_000b;
/// `TPM_RS_PW` as a session: no nonce, no attributes, the empty password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 0x09, 0, 0, 0, 0, 0];
/// The policy of the low-range template L-1: `PolicySecret(TPM_RH_ENDORSEMENT)`.
const POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Why the TPM tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The system failed; mostly the device is missing or used by somebody else.
    #[error("/dev/tpmrm0 cannot be used: {0}; load the driver (tpm_tis, tpm_crb), or stop who uses it")]
    Device(#[from] io::Error),
    /// It answered with an error (part 2 section 6.6).
    #[error("the TPM refused the command with {0:#05x}; a password may be set, or it is locked out")]
    Refused(u32),
    /// The answer ends before what it should hold.
    #[error("the TPM's answer is too short")]
    Short,
    /// What is stored as a certificate is none.
    #[error("what the TPM stores as its certificate is none")]
    NoCertificate,
}

/// Whose password allows a read.
#[derive(Clone, Copy)]
pub(super) enum Authority {
    /// The index's own.
    Index,
    /// The owner's.
    Owner,
}

/// `TPM2_NV_ReadPublic` of the certificate.
pub(super) fn nv_read_public() -> Vec<u8> {
    command(NO_SESSIONS, 0x169, &[&CERTIFICATE_INDEX.to_be_bytes()])
}

/// `TPM2_NV_Read` of a part of the certificate.
pub(super) fn nv_read(authority: Authority, length: u16, offset: u16) -> Vec<u8> {
    let authority = match authority {
        Authority::Index => CERTIFICATE_INDEX,
        Authority::Owner => OWNER,
    };
    command(
        SESSIONS,
        0x14e,
        &[
            &authority.to_be_bytes(),
            &CERTIFICATE_INDEX.to_be_bytes(),
            &9u32.to_be_bytes(),
            &EMPTY_PASSWORD,
            &length.to_be_bytes(),
            &offset.to_be_bytes(),
        ],
    )
}

/// `TPM2_CreatePrimary` of the RSA 2048 endorsement key, by the template L-1 (EK Credential Profile, annex B.3.3).
pub(super) fn create_primary() -> Vec<u8> {
    let sensitive: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let public = [
        // TPM_ALG_RSA, named by SHA-256.
        &[0x00, 0x01, 0x00, 0x0b][..],
        // fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
        &0x0003_00b2u32.to_be_bytes(),
        &[0, 32],
        &POLICY,
        // AES, 128 bits, CFB; no scheme; 2048 bits; the default exponent.
        &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0],
        &[1, 0],
        &[0; 256],
    ]
    .concat();
    let size = u16::try_from(public.len()).unwrap_or(u16::MAX).to_be_bytes();
    // No outside information, no PCRs.
    let tail = [0; 6];
    let authority = ENDORSEMENT.to_be_bytes();
    command(
        SESSIONS,
        0x131,
        &[&authority, &9u32.to_be_bytes(), &EMPTY_PASSWORD, &sensitive, &size, &public, &tail],
    )
}

/// Tag, size and code before the parts (part 1 section 18).
fn command(tag: u16, code: u32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = u32::try_from(body.len().saturating_add(10)).unwrap_or(u32::MAX);
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

/// What follows the header of an answer that says success.
pub fn parameters(answer: &[u8]) -> Result<&[u8], TpmError> {
    let size = u32::from_be_bytes(read::array(answer, 2).ok_or(TpmError::Short)?);
    let code = u32::from_be_bytes(read::array(answer, 6).ok_or(TpmError::Short)?);
    if code != 0 {
        return Err(TpmError::Refused(code));
    }
    let size = usize::try_from(size).map_err(|_| TpmError::Short)?;
    answer.get(10..size).ok_or(TpmError::Short)
}

/// Cuts a `TPM2B` from the front.
fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(read::array(bytes, 0)?));
    bytes.get(2..)?.get(..length)
}

/// The size of an index, from the answer to `TPM2_NV_ReadPublic`.
pub fn nv_size(answer: &[u8]) -> Result<u16, TpmError> {
    let public = sized(parameters(answer)?).ok_or(TpmError::Short)?;
    // Index, hash, attributes, then the policy, then the size (TPMS_NV_PUBLIC).
    let policy = public.get(10..).and_then(sized).ok_or(TpmError::Short)?;
    let at = policy.len().checked_add(12).ok_or(TpmError::Short)?;
    read::array(public, at).map(u16::from_be_bytes).ok_or(TpmError::Short)
}

/// The data, from the answer to `TPM2_NV_Read`.
pub fn nv_data(answer: &[u8]) -> Result<&[u8], TpmError> {
    // Behind the size of the parameters.
    parameters(answer)?.get(4..).and_then(sized).ok_or(TpmError::Short)
}

/// The key's public area, from the answer to `TPM2_CreatePrimary`.
pub fn created_public(answer: &[u8]) -> Result<Vec<u8>, TpmError> {
    // Behind the handle and the size of the parameters.
    let public = parameters(answer)?.get(8..).and_then(sized).filter(|public| !public.is_empty());
    public.map(<[u8]>::to_vec).ok_or(TpmError::Short)
}

/// The certificate without the padding behind it: a DER sequence with a length of two bytes.
pub fn certificate(stored: &[u8]) -> Result<Vec<u8>, TpmError> {
    let [0x30, 0x82, high, low] = read::array(stored, 0).ok_or(TpmError::NoCertificate)? else {
        return Err(TpmError::NoCertificate);
    };
    let end = usize::from(u16::from_be_bytes([high, low])).saturating_add(4);
    stored.get(..end).map(<[u8]>::to_vec).ok_or(TpmError::NoCertificate)
}
