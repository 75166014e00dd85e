#!/bin/bash
# Builds a Debian disk image: GPT, BIOS and UEFI boot, one ext4 root, systemd. Needs root (loop devices, chroot).
#
#   build.sh [--version V] [--suite bookworm] [--size 1500M] [--packages 'A B'] [--root-key FILE] [--address A.B.C.D/N] [--tar FILE] OUTDIR
#
# Writes disk.raw and disk.toml, the manifest for `firstlight image import`. The image has no network configuration, host
# name or SSH key of its own: the installer writes them. `--root-key` and `--address` make one that needs no installer. `--tar` keeps the unpacked system there, and takes it from there
# when the file exists, so that a second version takes seconds.
set -euo pipefail

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
die() { echo "build.sh: $*" >&2; exit 1; }

version=1 suite=bookworm size=1500M packages='' root_key='' address='' tar='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        --version | --suite | --size | --packages | --root-key | --address | --tar)
            [ $# -ge 2 ] || usage
            name=${1#--}
            printf -v "${name//-/_}" '%s' "$2"
            shift 2 ;;
        -*) usage ;;
        *) [ -z "$out" ] || usage; out=$1; shift ;;
    esac
done
[ -n "$out" ] || usage
[ "$(id -u)" = 0 ] || die "this needs root"
[[ $version =~ ^[A-Za-z0-9._+-]+$ ]] || die "version '$version': letters, digits and . _ + - only"
for tool in mmdebstrap sgdisk mkfs.ext4 mkfs.vfat mcopy losetup; do
    command -v $tool >/dev/null || die "$tool is missing (packages mmdebstrap gdisk e2fsprogs dosfstools mtools mount)"
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

work=$(mktemp -d)
root_loop=''
cleanup() {
    for path in dev/pts dev proc sys ''; do
        if mountpoint -q "$work/root/$path"; then umount "$work/root/$path" || umount -l "$work/root/$path"; fi
    done
    [ -z "$root_loop" ] || losetup -d "$root_loop" || true
    rm -rf "$work"
}
trap cleanup EXIT

if [ -z "$tar" ] || [ ! -s "$tar" ]; then
    system=${tar:-$work/system.tar}
    include=systemd-sysv,systemd-resolved,udev,iproute2,dbus,linux-image-cloud-amd64,grub-pc-bin,grub-efi-amd64-bin,grub2-common
    include=$include${packages:+,${packages// /,}}
    mmdebstrap --quiet --format=tar --variant=minbase --include="$include" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$suite" "$system.new" </dev/null
    mv "$system.new" "$system"
    tar=$system
fi

truncate -s 0 "$out/disk.raw"
truncate -s "$size" "$out/disk.raw"
sgdisk --clear \
    --new=1:2048:+1M --typecode=1:ef02 --change-name=1:bios \
    --new=2:0:+48M --typecode=2:ef00 --change-name=2:esp \
    --new=3:0:0 --typecode=3:8300 --change-name=3:root "$out/disk.raw" >/dev/null
# Each partition as a device of its own: not every kernel shows the partitions of a loop device.
start() { sgdisk --info="$1" "$out/disk.raw" | sed -n 's/^First sector: \([0-9]*\).*/\1/p'; }
sectors() { sgdisk --info="$1" "$out/disk.raw" | sed -n 's/^Partition size: \([0-9]*\).*/\1/p'; }
attach() { losetup --find --show --offset $(($(start "$1") * 512)) --sizelimit $(($(sectors "$1") * 512)) "$out/disk.raw"; }
root_loop=$(attach 3)
truncate -s $(($(sectors 2) * 512)) "$work/esp"
mkfs.vfat -F 32 -n ESP "$work/esp" >/dev/null
mkfs.ext4 -q -L root -O ^orphan_file "$root_loop" 2>/dev/null || mkfs.ext4 -q -L root "$root_loop"
mkdir "$work/root"
mount "$root_loop" "$work/root"
tar -C "$work/root" -xf "$tar"
mkdir -p "$work/root/boot/efi"
for path in dev dev/pts proc sys; do mount --bind "/$path" "$work/root/$path"; done

root=$(blkid -s UUID -o value "$root_loop")
esp=$(blkid -s UUID -o value "$work/esp")
printf 'UUID=%s / ext4 errors=remount-ro 0 1\nUUID=%s /boot/efi vfat umask=0077,nofail 0 2\n' "$root" "$esp" >"$work/root/etc/fstab"
echo "$version" >"$work/root/etc/image-version"
: >"$work/root/etc/machine-id"
rm -f "$work/root/etc/resolv.conf" "$work/root/etc/hostname"
ln -s ../run/systemd/resolve/stub-resolv.conf "$work/root/etc/resolv.conf"
if [ -n "$root_key" ]; then
    install -d -m 700 "$work/root/root/.ssh"
    install -m 600 "$root_key" "$work/root/root/.ssh/authorized_keys"
fi
if [ -n "$address" ]; then
    printf '[Match]\nType=ether\n[Network]\nAddress=%s\n' "$address" >"$work/root/etc/systemd/network/50-fixed.network"
fi
chroot "$work/root" systemctl --quiet enable systemd-networkd systemd-resolved
chroot "$work/root" systemctl --quiet mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer
kernel=$(cd "$work/root/boot" && ls vmlinuz-* | sort -V | tail -n1)
mkdir -p "$work/root/boot/grub"
cat >"$work/root/boot/grub/grub.cfg" <<CFG
set timeout=0
search --no-floppy --fs-uuid --set=root $root
linux /boot/$kernel root=UUID=$root ro console=tty0 console=ttyS0,115200n8 quiet
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
CFG
# What grub-install does, without a device that has partitions: BIOS code in the first sector and in the BIOS boot
# partition, which find each other by sector numbers (GRUB's boot.S, offset 0x5c, and diskboot.S, offset 0x1f4).
mkdir -p "$work/root/tmp/grub"
echo "search.fs_uuid $root root
set prefix=(\$root)/boot/grub" >"$work/root/tmp/grub/early.cfg"
modules='part_gpt ext2 fat normal linux search search_fs_uuid configfile echo test'
# shellcheck disable=SC2086  # a word each
chroot "$work/root" grub-mkimage -O i386-pc -o /tmp/grub/core.img -p /boot/grub -c /tmp/grub/early.cfg biosdisk $modules
# shellcheck disable=SC2086
chroot "$work/root" grub-mkimage -O x86_64-efi -o /tmp/grub/BOOTX64.EFI -p /boot/grub -c /tmp/grub/early.cfg $modules
mkdir -p "$work/root/boot/grub/i386-pc" "$work/root/boot/grub/x86_64-efi"
cp "$work/root/tmp/grub/core.img" "$work/core.img"
# By mtools: not every kernel can mount FAT.
mmd -i "$work/esp" ::EFI ::EFI/BOOT
mcopy -i "$work/esp" "$work/root/tmp/grub/BOOTX64.EFI" ::EFI/BOOT/BOOTX64.EFI
cp "$work/root/usr/lib/grub/i386-pc/boot.img" "$work/boot.img"
rm -r "$work/root/tmp/grub"
dd if="$work/esp" of="$out/disk.raw" bs=512 seek="$(start 2)" conv=notrunc,sparse status=none
bytes() { local n=$1 i; for ((i = 0; i < $2; i++)); do printf '%b' "\\x$(printf %02x $((n & 255)))"; n=$((n >> 8)); done; }
put() { bytes "$2" "$3" | dd of="$1" bs=1 seek=$(($4)) conv=notrunc status=none; }
first=$(start 1)
put "$work/boot.img" "$first" 8 0x5c
put "$work/core.img" $((first + 1)) 8 0x1f4
put "$work/core.img" $((($(stat -c %s "$work/core.img") + 511) / 512 - 1)) 2 0x1fc
dd if="$work/boot.img" of="$out/disk.raw" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$out/disk.raw" bs=512 seek="$first" conv=notrunc status=none
rm -rf "$work/root"/var/cache/apt/*.bin "$work/root"/var/lib/apt/lists/*
for path in dev/pts dev proc sys; do umount "$work/root/$path"; done
fstrim "$work/root" 2>/dev/null || true
umount "$work/root"
losetup -d "$root_loop"
root_loop=''

cat >"$out/disk.toml" <<TOML
name = "debian"
version = "$version"
arch = "x86_64"
kind = "disk"
disk = { path = "disk.raw" }

[install]
root = 3
TOML
