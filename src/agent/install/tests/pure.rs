//! What needs no device: rules, tables, signatures, boot entries, identity in a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::efi::{self, EspPartition, LoadOption, Position};
use super::super::gpt::{DataPartition, Plan, Table};
use super::super::identity::{self, Identity, Network};
use super::super::{holds, marker::Marker};
use super::shell;
use crate::model::disk_rule::{Candidate, Kind, Rule};

const GIB: u64 = 1 << 30;

fn disk(name: &str, kind: Kind, gib: u64) -> Candidate {
    Candidate {
        name: name.into(),
        model: "M 1".into(),
        serial: format!("S-{name}"),
        wwn: format!("naa.50{name}"),
        size_bytes: gib * GIB,
        kind,
        removable: false,
        read_only: false,
        running: false,
        holds_data: None,
    }
}

/// A rule, whether wiping is allowed, the disk or the words of the refusal.
type Row = (&'static str, bool, Result<&'static str, &'static [&'static str]>);

#[test]
fn rules_choose_one_disk_or_say_why_not() {
    let mut disks = vec![
        disk("sda", Kind::Ssd, 240),
        disk("sdb", Kind::Ssd, 480),
        disk("sdc", Kind::Hdd, 4000),
        disk("nvme0n1", Kind::Nvme, 960),
        disk("nvme1n1", Kind::Nvme, 960),
        disk("sdd", Kind::Usb, 16),
        disk("sde", Kind::Ssd, 1),
        disk("sdf", Kind::Hdd, 8000),
        disk("sdg", Kind::Ssd, 9000),
        disk("sdaa", Kind::Virtio, 50),
    ];
    disks[5].removable = true;
    disks[7].read_only = true;
    disks[8].running = true;
    disks[2].holds_data = Some("an XFS file system".into());
    let table: &[Row] = &[
        ("smallest ssd", false, Ok("sda")),
        ("largest ssd", false, Ok("sdb")),
        ("smallest", false, Ok("sdaa")),
        ("size>=200GiB smallest ssd", false, Ok("sda")),
        ("ssd size>=300GiB", false, Ok("sdb")),
        ("size=480GiB only", false, Ok("sdb")),
        ("first", false, Ok("sda")),
        ("first nvme", false, Ok("nvme0n1")),
        ("serial=s-nvme1n1", false, Ok("nvme1n1")),
        ("wwn=0x50sdb", false, Ok("sdb")),
        ("model=m_1 smallest ssd", false, Ok("sda")),
        ("path=/dev/sda", false, Ok("sda")),
        ("virtio", false, Ok("sdaa")),
        ("hdd", true, Ok("sdc")),
        ("hdd", false, Err(&["sdc", "XFS", "wiped"])),
        ("smallest nvme", false, Err(&["nvme0n1", "nvme1n1", "serial="])),
        ("only", false, Err(&["sda", "nvme0n1"])),
        ("path=/dev/sdd", true, Err(&["removable"])),
        ("path=/dev/sdf", true, Err(&["read-only"])),
        ("path=/dev/sdg", true, Err(&["running system"])),
        ("path=/dev/sde", true, Err(&["image needs 2.0 GiB"])),
        ("serial=none", true, Err(&["does not mean it"])),
    ];
    for (rule, wipe, want) in table {
        let rule: Rule = rule.parse().unwrap();
        match (rule.choose(&disks, 2 * GIB, *wipe), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.name, *want, "{rule}"),
            (Err(got), Err(want)) => {
                let got = got.to_string();
                assert!(want.iter().all(|word| got.contains(word)), "{rule}: {got}");
            }
            (got, want) => panic!("{rule}: {got:?}, not {want:?}"),
        }
    }
    for bad in
        ["", "biggest", "smallest largest", "path=sda", "size>=lots", "serial=", "size>=99999999999TiB"]
    {
        assert!(bad.parse::<Rule>().is_err(), "{bad}");
    }
    assert!("first".parse::<Rule>().unwrap().choose(&[], 0, true).unwrap_err().why.contains("no disk"));
}

#[test]
fn a_table_is_fitted_to_a_larger_disk_and_sgdisk_likes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    shell(
        "truncate -s 100M a; printf 'label: gpt\\nsize=10M,type=U\\nsize=50M,type=L,name=root\\n' | sfdisk -q a; sgdisk -v a",
        at,
    );
    let image = fs::read(at.join("a")).unwrap();
    for (name, size, data) in [
        ("alone", 300_u64 << 20, None),
        ("with data", 300 << 20, Some(40_u64 << 20)),
        ("odd", (777 << 20) + 512 * 3, Some(1)),
    ] {
        let data = data.map(|size| DataPartition { label: "node-data".into(), size });
        let plan = Plan { root: None, data };
        let mut table = Table::parse(&image[..4 << 20]).unwrap();
        table.fit(size, 100 << 20, &plan, None).unwrap();
        let mut head = image[..1 << 20].to_vec();
        let (backup_at, backup) = table.encode(&mut head).unwrap();
        assert_eq!(backup_at + backup.len() as u64, size);
        let file = fs::File::create(at.join("b")).unwrap();
        file.set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &head, 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &backup, backup_at).unwrap();
        let said = shell("sgdisk -v b; sfdisk --verify b; sfdisk -d b", at);
        assert!(said.contains("No problems found") && !said.contains("aution"), "{name}: {said}");
        assert_eq!(said.contains("node-data"), plan.data.is_some(), "{name}: {said}");
        let root = table.partition(2).unwrap();
        assert!(root.last() * 512 > 200 << 20, "{name}");
        if let Some(kept) = table.labelled("node-data").map(|(number, entry)| (number, *entry)) {
            let mut again = Table::parse(&image[..4 << 20]).unwrap();
            again.fit(size, 100 << 20, &plan, Some(kept)).unwrap();
            assert_eq!(again.labelled("node-data").map(|(n, e)| (n, *e)), Some(kept));
            let mut larger = Table::parse(&image[..4 << 20]).unwrap();
            assert!(larger.fit(size, size, &plan, Some(kept)).is_err(), "the image has grown over it");
        }
    }
    let mut small = Table::parse(&image[..4 << 20]).unwrap();
    assert!(small.fit(50 << 20, 100 << 20, &Plan::default(), None).is_err());
    // Any damage to header or entries is noticed.
    for byte in (512..604).chain(1024..1300) {
        let mut bad = image[..1 << 20].to_vec();
        bad[byte] ^= 1;
        assert!(Table::parse(&bad).is_none(), "byte {byte}");
    }
}

#[test]
fn what_a_disk_holds_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("true", None),
        ("mkfs.ext4 -q d", Some("ext2/3/4")),
        ("mkfs.xfs -q -f d", Some("XFS")),
        ("mkfs.btrfs -q d", Some("btrfs")),
        ("mkswap -q d", Some("swap")),
        ("echo 'label: gpt' | sfdisk -q d", Some("GPT")),
        (
            "echo 'label: gpt' | sfdisk -q d; dd if=/dev/zero of=d bs=1M count=1 conv=notrunc status=none",
            Some("backup"),
        ),
        ("printf 'label: dos\\nsize=10M\\n' | sfdisk -q d", Some("MBR) with 1")),
        ("printf x | dd of=d bs=1 seek=9999 conv=notrunc status=none", Some("first MiB")),
        ("truncate -s -1 d; printf x >> d", Some("last MiB")),
    ];
    for (make, want) in table {
        shell(&format!("rm -f d; truncate -s 320M d; {make}"), folder.path());
        let disk = super::super::disk::Disk::open(&folder.path().join("d")).unwrap();
        let got = holds::holds(&disk).unwrap();
        assert!(
            got.as_deref().unwrap_or("").contains(want.unwrap_or("")) && got.is_some() == want.is_some(),
            "{make}: {got:?}"
        );
    }
    assert!(Marker::parse(&[0; 4096]).is_none());
}

#[test]
fn boot_entries_are_renewed_and_others_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = |variable: &str| at.join(format!("{variable}-8be4df61-93ca-11d2-aa0d-00e098032b8c"));
    let other = LoadOption {
        attributes: 1,
        description: "PXE".into(),
        device_path: vec![0x7f, 0xff, 4, 0],
        optional_data: vec![1, 2],
    };
    let bytes = other.encode().unwrap();
    assert_eq!(LoadOption::parse(&bytes).unwrap(), other);
    fs::write(name("Boot0000"), [&[7, 0, 0, 0], bytes.as_slice()].concat()).unwrap();
    fs::write(name("BootOrder"), [7, 0, 0, 0, 0, 0, 5, 0]).unwrap();
    fs::write(name("Boot0005"), [7, 0]).unwrap();
    let esp = EspPartition { number: 2, first: 4096, sectors: 32768, guid: [9; 16] };
    let order = || fs::read(name("BootOrder")).unwrap()[4..].to_vec();
    let first = efi::entry("Firstlight", &esp, "\\EFI\\BOOT\\BOOTX64.EFI").unwrap();
    assert_eq!(efi::set_entry(at, &first, Position::Second).unwrap(), 1);
    assert_eq!(order(), [0, 0, 1, 0, 5, 0]);
    assert_eq!(efi::set_entry(at, &first, Position::First).unwrap(), 1, "the same is kept");
    assert_eq!(order(), [1, 0, 0, 0, 5, 0]);
    let second =
        efi::entry("Firstlight", &EspPartition { guid: [8; 16], ..esp }, "\\EFI\\debian\\shimx64.efi")
            .unwrap();
    assert_eq!(efi::set_entry(at, &second, Position::First).unwrap(), 2);
    assert_eq!(order(), [2, 0, 0, 0, 5, 0]);
    assert!(!name("Boot0001").exists() && name("Boot0000").exists());
    assert_eq!(LoadOption::parse(&fs::read(name("Boot0002")).unwrap()[4..]).unwrap(), second);
    fs::create_dir_all(at.join("efi/debian")).unwrap();
    fs::create_dir_all(at.join("efi/Boot")).unwrap();
    fs::write(at.join("efi/Boot/bootx64.efi"), "").unwrap();
    assert_eq!(efi::find_loader(at, "x64").unwrap(), "\\efi\\Boot\\bootx64.efi");
    fs::write(at.join("efi/debian/grubx64.efi"), "").unwrap();
    assert_eq!(efi::find_loader(at, "x64").unwrap(), "\\efi\\debian\\grubx64.efi");
    for length in 0..bytes.len() {
        let _ = LoadOption::parse(&bytes[..length]);
    }
}

#[test]
fn the_next_boot_is_over_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = |variable: &str| at.join(format!("{variable}-8be4df61-93ca-11d2-aa0d-00e098032b8c"));
    let put = |number: u16, attributes: u32, device_path: &[u8]| {
        let option = LoadOption {
            attributes,
            description: "x".into(),
            device_path: device_path.to_vec(),
            optional_data: Vec::new(),
        };
        let value = [&[7, 0, 0, 0], option.encode().unwrap().as_slice()].concat();
        fs::write(name(&format!("Boot{number:04X}")), value).unwrap();
    };
    let card = [&[3, 0x0b, 37, 0][..], &[0; 33]].concat();
    let ipv4 = [&[3, 0x0c, 27, 0][..], &[0; 23]].concat();
    let ipv6 = [&[3, 0x0d, 60, 0][..], &[0; 56]].concat();
    let uri = [3, 0x18, 4, 0];
    let end = [0x7f, 0xff, 4, 0];
    put(0, 1, &[4, 4, 4, 0, 0x7f, 0xff, 4, 0]);
    put(1, 1, &[&card[..], &ipv6, &end].concat());
    put(2, 1, &[&card[..], &ipv4, &uri, &end].concat());
    put(3, 0, &[&card[..], &ipv4, &end].concat());
    put(4, 1, &[&card[..], &ipv4, &end].concat());
    put(5, 1, &[&card[..], &ipv4, &end].concat());
    fs::write(name("Boot0006"), [7, 0, 0, 0, 1, 0, 0, 0, 9]).unwrap();
    for (what, order, expected) in [
        ("no order", &[][..], None),
        ("a disk, IPv6, HTTP, switched off, and one that is missing", &[6, 9, 0, 1, 2, 3], None),
        ("the first that is on", &[0, 3, 5, 4], Some(5)),
    ] {
        let _ = fs::remove_file(name("BootNext"));
        let order: Vec<u8> = order.iter().flat_map(|number: &u16| number.to_le_bytes()).collect();
        fs::write(name("BootOrder"), [&[7, 0, 0, 0], order.as_slice()].concat()).unwrap();
        assert_eq!(efi::network_next(at).unwrap(), expected, "{what}");
        let next = fs::read(name("BootNext")).ok().map(|bytes| bytes[4..].to_vec());
        assert_eq!(next, expected.map(|number| number.to_le_bytes().to_vec()), "{what}");
    }
}

fn who() -> Identity {
    Identity {
        hostname: "n1".into(),
        domain: "rack.example".into(),
        network: Some(Network {
            mac: [2, 0, 0, 0, 0, 1],
            address: "10.0.0.5".parse().unwrap(),
            prefix: 24,
            gateway: Some("10.0.0.1".parse().unwrap()),
            dns: vec!["10.0.0.2".parse().unwrap()],
        }),
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA me".into()],
        files: vec![("/etc/deep/er/file".into(), 0o640, b"x".to_vec())],
        agent_unit: Some("[Service]\n".into()),
        ..Identity::default()
    }
}

#[test]
fn hostile_links_lead_nowhere_outside() {
    let folder = tempfile::tempdir().unwrap();
    let (outside, root) = (folder.path().join("outside"), folder.path().join("root"));
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("victim"), "old").unwrap();
    for path in ["etc/systemd", "usr/lib/systemd", "root"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("usr/lib/systemd/systemd-networkd"), "").unwrap();
    let victim = outside.join("victim");
    symlink(&victim, root.join("etc/hostname")).unwrap();
    symlink("../../../outside/victim", root.join("etc/hosts")).unwrap();
    symlink(&victim, root.join("etc/.firstlight.new")).unwrap();
    symlink("/proc/self/root", root.join("etc/deep")).unwrap();
    symlink("../../outside", root.join("etc/systemd/network")).unwrap();
    symlink(&outside, root.join("root/.ssh")).unwrap();
    // Links that lead nowhere inside the root: refused or resolved inside, never followed outside.
    let first = identity::write(&root, &who());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{first:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "old", "{first:?}");
    assert!(first.is_err());
    for link in ["etc/deep", "etc/systemd/network", "root/.ssh"] {
        fs::remove_file(root.join(link)).unwrap();
    }
    identity::write(&root, &who()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("etc/hostname"), "n1\n");
    assert!(read("etc/hosts").contains("10.0.0.5 n1.rack.example n1\n"), "{}", read("etc/hosts"));
    assert_eq!(read("etc/machine-id"), "");
    assert!(
        read("etc/systemd/network/10-firstlight.network").contains("Address=10.0.0.5/24\nGateway=10.0.0.1\n")
    );
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("root/.ssh"), mode("root/.ssh/authorized_keys"), mode("etc/deep/er/file")),
        (0o700, 0o600, 0o640)
    );
    let wants = root.join("etc/systemd/system/multi-user.target.wants/firstlight-agent.service");
    assert_eq!(fs::read_link(wants).unwrap().to_str(), Some("/etc/systemd/system/firstlight-agent.service"));
}

#[test]
fn the_network_is_written_for_what_the_image_uses() {
    let table = [
        ("usr/sbin/netplan", "etc/netplan/90-firstlight.yaml"),
        ("usr/sbin/NetworkManager", "etc/NetworkManager/system-connections/firstlight.nmconnection"),
        ("sbin/ifup", "etc/network/interfaces.d/firstlight"),
        ("lib/systemd/systemd-networkd", "etc/systemd/network/10-firstlight.network"),
        ("usr/bin/cloud-init", "var/lib/cloud/seed/nocloud/network-config"),
    ];
    for (program, want) in table {
        let root = tempfile::tempdir().unwrap();
        for path in [program, "etc/network/interfaces"] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), "").unwrap();
        }
        identity::write(root.path(), &who()).unwrap();
        let text = fs::read_to_string(root.path().join(want)).expect(want);
        assert!(text.contains("10.0.0.5/24") && text.contains("10.0.0.1"), "{want}: {text}");
    }
    let bad = [
        Identity { hostname: "a b".into(), ..who() },
        Identity { domain: "..".into(), ..who() },
        Identity { ssh_authorized_keys: vec!["a\nb".into()], ..who() },
    ];
    assert!(bad.iter().all(|bad| identity::write(std::path::Path::new("/nonexistent"), bad).is_err()));
}
