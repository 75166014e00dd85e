//! Tests with loop devices, real partition tables and real file systems.

mod pure;
mod whole;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::diskimage::{self, Index};
use sha2::{Digest, Sha256};

/// Loop devices and mounts are few: one test with them at a time.
pub static ONE: Mutex<()> = Mutex::new(());

pub fn shell(script: &str, folder: &Path) -> String {
    let out = Command::new("bash").args(["-ec", script]).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{script}: {text}");
    text
}

/// A loop device; given back when dropped.
pub struct Loop(pub PathBuf);

impl Loop {
    pub fn new(file: &Path) -> Self {
        let out = Command::new("losetup").args(["-P", "-f", "--show"]).arg(file).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Self(PathBuf::from(String::from_utf8(out.stdout).unwrap().trim()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

pub struct Image {
    pub index: Index,
    pub digest: [u8; 32],
    pub data: PathBuf,
}

impl Image {
    pub fn pack(raw: &Path, folder: &Path) -> Self {
        let (index, data) = (folder.join("disk.index"), folder.join("disk.data"));
        diskimage::pack_files(raw, &index, &data, &mut |_, _| ()).unwrap();
        Self::open(folder)
    }

    pub fn open(folder: &Path) -> Self {
        let bytes = fs::read(folder.join("disk.index")).unwrap();
        let digest = Sha256::digest(&bytes).into();
        Self { index: Index::parse(&bytes).unwrap(), digest, data: folder.join("disk.data") }
    }

    pub fn fetch(&self) -> super::pipeline::FileFetch {
        super::pipeline::FileFetch(File::open(&self.data).unwrap())
    }
}

/// A disk of 400 MiB: BIOS partition, ESP, and a root of `kind` with an /etc.
pub fn system(kind: &str, folder: &Path) -> PathBuf {
    shell(
        &format!(
            "rm -rf tree root.fs; mkdir -p tree/etc tree/usr/bin tree/usr/lib/systemd tree/root
             echo image > tree/etc/hostname; echo 127.0.0.1 localhost > tree/etc/hosts
             ln -s /etc tree/usr/outside; touch tree/usr/lib/systemd/systemd-networkd
             head -c 3000000 /dev/urandom > tree/usr/bin/noise
             truncate -s 330M root.fs
             case {kind} in
               ext4) mkfs.ext4 -q -d tree root.fs;;
               btrfs) mkfs.btrfs -q --rootdir tree root.fs;;
               xfs) mkfs.xfs -q root.fs; mkdir -p m; mount -o loop root.fs m; cp -a tree/. m/; umount m; rmdir m;;
             esac
             rm -f disk.raw; truncate -s 400M disk.raw
             printf 'label: gpt\\nsize=1M,type=21686148-6449-6E6F-744E-656564454649,name=bios\\nsize=16M,type=U,name=esp\\nsize=330M,type=L,name=root\\n' | sfdisk -q disk.raw
             dd if=root.fs of=disk.raw bs=1M seek=18 conv=notrunc,sparse status=none
             head -c 440 /dev/urandom | dd of=disk.raw conv=notrunc status=none"
        ),
        folder,
    );
    folder.join("disk.raw")
}
