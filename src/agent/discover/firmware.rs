//! BIOS or UEFI, and whether Secure Boot is enforced.

use std::path::Path;

use super::read;
use crate::model::inventory::Firmware;

/// The variable `SecureBoot` of the EFI global variable GUID (UEFI specification section 3.3).
const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What started this kernel; `None` where there is no sysfs.
pub fn read(root: &Path) -> Option<Firmware> {
    let firmware = root.join("sys/firmware");
    if firmware.join("efi").is_dir() {
        return Some(Firmware::Uefi);
    }
    firmware.is_dir().then_some(Firmware::Bios)
}

/// Whether Secure Boot is enforced. A UEFI without the variable has none; `None` on BIOS, or while efivarfs is not
/// mounted.
pub fn secure_boot(root: &Path) -> Option<bool> {
    let variable = root.join(SECURE_BOOT);
    if read::names(variable.parent()?, 1).is_empty() {
        return None;
    }
    if !variable.exists() {
        return Some(false);
    }
    // Four bytes of attributes, then the value (Documentation/filesystems/efivarfs.rst).
    Some(*read::bytes(&variable, 16)?.get(4)? == 1)
}
