//! Which modules go into a ramdisk. Places are below `kernel/`; one that ends in `/` is a folder with
//! all in it, another is one module without `.ko`. What they depend on comes along by itself.

/// Modules that go in.
pub const WANTED: &[&str] = &[
    // Network: every wired adapter a server may have, and what links and VLANs are made of.
    "drivers/net/ethernet/",
    "drivers/net/phy/",
    "drivers/net/mdio/",
    "drivers/net/pcs/",
    "drivers/net/bonding/",
    "drivers/net/vmxnet3/",
    "drivers/net/hyperv/",
    "drivers/net/usb/",
    "drivers/net/mdio",
    "drivers/net/mii",
    "drivers/net/virtio_net",
    "drivers/net/xen-netfront",
    "net/8021q/",
    "net/llc/",
    "net/packet/",
    // Storage.
    "drivers/acpi/nfit/",
    "drivers/ata/",
    "drivers/block/",
    "drivers/firmware/iscsi_ibft",
    "drivers/hv/",
    "drivers/md/",
    "drivers/memstick/core/",
    "drivers/message/",
    "drivers/mmc/",
    "drivers/nvdimm/",
    "drivers/nvme/host/",
    "drivers/scsi/",
    "drivers/ufs/",
    "drivers/virtio/",
    // Buses: Intel VMD hides NVMe disks, Hyper-V and ARM64 boards have PCI hosts of their own.
    "drivers/pci/controller/",
    "drivers/usb/chipidea/",
    "drivers/usb/common/",
    "drivers/usb/core/",
    "drivers/usb/dwc2/",
    "drivers/usb/dwc3/",
    "drivers/usb/host/",
    "drivers/usb/storage/",
    // The console: keyboards of BMCs and of people.
    "drivers/hid/hid",
    "drivers/hid/hid-generic",
    "drivers/hid/hid-hyperv",
    "drivers/hid/usbhid/usbhid",
    "drivers/input/evdev",
    "drivers/input/keyboard/atkbd",
    "drivers/input/serio/",
    "drivers/char/virtio_console",
    // What a server is managed and trusted by.
    "drivers/char/hw_random/",
    "drivers/char/ipmi/",
    "drivers/char/tpm/",
    "drivers/firmware/qemu_fw_cfg",
    "fs/efivarfs/",
    // File systems, and what they ask the kernel's crypto for.
    "fs/btrfs/",
    "fs/ext4/",
    "fs/fat/",
    "fs/isofs/",
    "fs/nls/",
    "fs/overlayfs/",
    "fs/squashfs/",
    "fs/xfs/",
    "arch/x86/crypto/crc32c-intel",
    "arch/x86/crypto/crct10dif-pclmul",
    "arch/arm64/crypto/crct10dif-ce",
    "crypto/crc32c_generic",
    "crypto/crct10dif_generic",
];

/// Modules of these places that stay out unless another depends on them: no server boots by them.
pub const UNWANTED: &[&str] = &[
    "drivers/block/aoe/",
    "drivers/block/drbd/",
    "drivers/block/floppy",
    "drivers/block/nbd",
    "drivers/block/null_blk/",
    "drivers/block/pktcdvd",
    "drivers/block/rbd",
    "drivers/block/rnbd/",
    "drivers/block/ublk_drv",
    "drivers/block/zram/",
    "drivers/md/bcache/",
    "drivers/md/dm-vdo/",
    "drivers/net/ethernet/8390/pcnet_cs",
    "drivers/net/ethernet/8390/axnet_cs",
    "drivers/net/ethernet/mellanox/mlxsw/",
    "drivers/net/usb/cdc_mbim",
    "drivers/net/usb/cdc-phonet",
    "drivers/net/usb/hso",
    "drivers/net/usb/huawei_cdc_ncm",
    "drivers/net/usb/ipheth",
    "drivers/net/usb/kalmia",
    "drivers/net/usb/qmi_wwan",
    "drivers/net/usb/sierra_net",
    "drivers/net/usb/rndis_wlan",
    "drivers/scsi/pcmcia/",
    "drivers/scsi/scsi_debug",
];

/// Whether the table takes the module at `place`, such as `kernel/fs/ext4/ext4.ko.xz`. Where the
/// package manager of the distribution puts it (`kernel`, `updates`, `extra`) makes no difference.
pub fn takes(place: &str) -> bool {
    let Some((_, place)) = place.split_once('/') else { return false };
    let stem = place.rsplit_once(".ko").map_or(place, |(stem, _)| stem);
    let within = |rows: &[&str]| {
        rows.iter().any(|row| if row.ends_with('/') { stem.starts_with(row) } else { stem == *row })
    };
    within(WANTED) && !within(UNWANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_their_drivers_and_nothing_else() {
        for (place, taken) in [
            ("kernel/drivers/net/ethernet/intel/igb/igb.ko", true),
            ("kernel/drivers/net/virtio_net.ko.xz", true),
            ("updates/drivers/net/ethernet/intel/ice/ice.ko.zst", true),
            ("kernel/drivers/scsi/scsi_debug.ko", false),
            ("kernel/drivers/block/nbd.ko", false),
            ("kernel/drivers/block/loop.ko", true),
            ("kernel/drivers/net/wireless/ath/ath.ko", false),
            ("kernel/drivers/gpu/drm/drm.ko", false),
            ("kernel/drivers/hwmon/coretemp.ko", false),
            ("kernel/drivers/hid/hid-sony.ko", false),
            ("kernel/drivers/hid/hid.ko", true),
            ("modules.order", false),
        ] {
            assert_eq!(takes(place), taken, "{place}");
        }
    }

    #[test]
    fn no_row_is_there_twice() {
        let mut rows: Vec<&str> = WANTED.iter().chain(UNWANTED).copied().collect();
        rows.sort_unstable();
        assert!(rows.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
