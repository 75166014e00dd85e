//! Which methods a disk allows, in which order; and why others are left out.

use super::certificate::Method;
use super::nvme::Capabilities as Nvme;

/// What a disk can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What its controller says, when it is an `NVMe` namespace.
    pub nvme: Option<Nvme>,
    /// It takes discards: `discard_max_bytes` is not 0.
    pub discard: bool,
}

/// The methods to try, best first. Those whose result can be read back come before those where it cannot.
pub fn methods(disk: &Capabilities) -> Vec<Method> {
    use Method::{
        Discard, NvmeFormatCrypto, NvmeFormatUserData, NvmeSanitizeBlock, NvmeSanitizeCrypto, Overwrite,
        SecureDiscard,
    };
    [
        NvmeSanitizeBlock,
        NvmeSanitizeCrypto,
        NvmeFormatUserData,
        NvmeFormatCrypto,
        SecureDiscard,
        Discard,
        Overwrite,
    ]
    .into_iter()
    .filter(|method| obstacle(*method, disk).is_none())
    .collect()
}

/// Why a method is out of the question.
pub fn obstacle(method: Method, disk: &Capabilities) -> Option<&'static str> {
    let nvme = |able: fn(&Nvme) -> bool, safe: fn(&Nvme) -> bool| match &disk.nvme {
        None => Some("it is not an NVMe disk"),
        Some(nvme) if !able(nvme) => Some("its controller does not offer it"),
        Some(nvme) if !safe(nvme) => Some("it would erase the controller's other namespaces too"),
        Some(_) => None,
    };
    let discard = (!disk.discard).then_some("the disk takes no discards");
    match method {
        Method::NvmeSanitizeBlock => nvme(|n| n.sanitize_block, |n| n.alone),
        Method::NvmeSanitizeCrypto => nvme(|n| n.sanitize_crypto, |n| n.alone),
        Method::NvmeFormatUserData => nvme(|n| n.format, |n| n.alone || !n.format_reaches_all),
        Method::NvmeFormatCrypto => {
            nvme(|n| n.format && n.format_crypto, |n| n.alone || !n.format_reaches_all)
        }
        Method::SecureDiscard | Method::Discard => discard,
        Method::Overwrite => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Method::{
        Discard, NvmeFormatCrypto, NvmeFormatUserData, NvmeSanitizeBlock, NvmeSanitizeCrypto, Overwrite,
        SecureDiscard,
    };

    #[test]
    fn each_disk_has_its_order() {
        let all = Nvme {
            sanitize_block: true,
            sanitize_crypto: true,
            format: true,
            format_crypto: true,
            format_reaches_all: true,
            alone: true,
            ..Nvme::default()
        };
        for (name, nvme, discard, want) in [
            ("hard disk", None, false, vec![Overwrite]),
            ("SATA flash", None, true, vec![SecureDiscard, Discard, Overwrite]),
            (
                "NVMe with everything",
                Some(all.clone()),
                true,
                vec![
                    NvmeSanitizeBlock,
                    NvmeSanitizeCrypto,
                    NvmeFormatUserData,
                    NvmeFormatCrypto,
                    SecureDiscard,
                    Discard,
                    Overwrite,
                ],
            ),
            (
                "NVMe with other namespaces",
                Some(Nvme { alone: false, ..all.clone() }),
                true,
                vec![SecureDiscard, Discard, Overwrite],
            ),
            (
                "NVMe with other namespaces, formatted one by one",
                Some(Nvme { alone: false, format_reaches_all: false, ..all.clone() }),
                false,
                vec![NvmeFormatUserData, NvmeFormatCrypto, Overwrite],
            ),
            (
                "NVMe that can only format",
                Some(Nvme { format: true, alone: true, ..Nvme::default() }),
                false,
                vec![NvmeFormatUserData, Overwrite],
            ),
            (
                "NVMe that changes keys with Sanitize only",
                Some(Nvme { sanitize_crypto: true, alone: true, ..Nvme::default() }),
                false,
                vec![NvmeSanitizeCrypto, Overwrite],
            ),
        ] {
            assert_eq!(methods(&Capabilities { nvme, discard }), want, "{name}");
        }
    }
}
