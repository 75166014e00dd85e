#!/bin/bash
# Builds a small netboot image from Debian packages, without installing any of them.
#
#   build.sh [--flavour net] [--version V] [--cache DIR] OUTDIR
#   build.sh --flavour disk [--payload FILE] [--payload-args 'A B'] [--cache DIR] OUTDIR
#
# `net` (default): kernel + initrd that get an address, report to the appliance and stay; see initrd/init.
#     Also writes two manifests over the same files: demo.toml and discovery.toml.
# `disk`: kernel + initrd that mount /dev/vda on /data and run /payload there; see initrd/init-disk.
#
# Needs: apt-get with package lists, dpkg, cpio. Needs no root. The same inputs give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
die() { echo "build.sh: $*" >&2; exit 1; }

flavour=net version=1 cache='' payload='' payload_args='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        --flavour | --version | --cache | --payload | --payload-args)
            [ $# -ge 2 ] || usage
            case $1 in
                --flavour) flavour=$2 ;;
                --version) version=$2 ;;
                --cache) cache=$2 ;;
                --payload) payload=$2 ;;
                --payload-args) payload_args=$2 ;;
            esac
            shift 2 ;;
        -*) usage ;;
        *) [ -z "$out" ] || usage; out=$1; shift ;;
    esac
done
[ -n "$out" ] || usage
case $flavour in net | disk) ;; *) die "no flavour '$flavour': net or disk" ;; esac
[[ $version =~ ^[A-Za-z0-9._+-]+$ ]] || die "version '$version': letters, digits and . _ + - only"
for tool in apt-get apt-cache dpkg-deb cpio gzip sha256sum; do
    command -v $tool >/dev/null || die "$tool is missing"
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
mkdir -p "${cache:=$out/.cache}"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/.lock"
flock 9 # two tests may build at once

# Unpacks the candidate version of a package below the cache, once; prints where.
unpacked() {
    local package=$1 candidate dir
    candidate=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ] || die "apt knows no $package: run apt-get update"
    dir=$cache/${package}_${candidate//[:~]/_}
    if [ ! -d "$dir" ]; then
        rm -rf "$dir.new"
        mkdir -p "$dir.new"
        (cd "$dir.new" && apt-get -qq download "$package=$candidate" 2>apt.log) \
            || die "cannot download $package: $(cat "$dir.new/apt.log")"
        dpkg-deb -x "$dir.new"/*.deb "$dir.new"
        rm "$dir.new"/*.deb
        mv "$dir.new" "$dir"
    fi
    echo "$dir"
}

kernel_package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
[ -n "$kernel_package" ] || die "linux-image-cloud-amd64 depends on no kernel: run apt-get update"
kernel_dir=$(unpacked "$kernel_package")
busybox_dir=$(unpacked busybox-static)
release=${kernel_package#linux-image-}
modules=$kernel_dir/lib/modules/$release/kernel

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,etc,lib/modules,proc,sys,run,tmp,data}
cp "$busybox_dir/bin/busybox" "$root/bin/busybox"
echo "$version" >"$root/etc/version"

# Copies a module and, before it, the modules that it depends on. What this kernel has built in, or lacks, is no
# file and is passed over. `order` is the load order.
add_module() {
    local name=$1 file dependency
    file=$(find "$modules" -name "${name//[-_]/[-_]}.ko" -print -quit)
    if [ -z "$file" ] || [ -e "$root/lib/modules/${file##*/}" ]; then return; fi
    for dependency in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do
        add_module "$dependency"
    done
    cp "$file" "$root/lib/modules/"
    echo "${file##*/}" >>"$root/lib/modules/order"
}
case $flavour in
    net) wanted='virtio_pci virtio_net virtio_rng e1000 e1000e' ;;
    disk) wanted='virtio_pci virtio_blk virtio_rng ext4' ;;
esac
for module in $wanted; do add_module "$module"; done

if [ "$flavour" = disk ]; then
    install -m 755 "$here/initrd/init-disk" "$root/init"
    printf '%s\n' "$payload_args" >"$root/etc/payload-args"
    if [ -n "$payload" ]; then install -m 755 "$payload" "$root/payload"; fi
else
    install -m 755 "$here/initrd/init" "$root/init"
    install -m 755 "$here/initrd/udhcpc.script" "$root/etc/udhcpc.script"
fi

find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . -print0 | LC_ALL=C sort -z \
    | cpio --quiet -0 -o -H newc -R 0:0 --reproducible) >"$work/initrd.cpio"
gzip -9n <"$work/initrd.cpio" >"$work/initrd.img"
# By renaming: somebody may be reading what was built before.
place() { install -m 644 "$1" "$out/.${2}.new" && mv "$out/.${2}.new" "$out/$2"; }
place "$work/initrd.img" initrd.img
place "$kernel_dir/boot/vmlinuz-$release" vmlinuz

if [ "$flavour" = net ]; then
    kernel_sum=$(sha256sum <"$out/vmlinuz" | cut -d' ' -f1)
    initrd_sum=$(sha256sum <"$out/initrd.img" | cut -d' ' -f1)
    manifest() { # name, words to add to the command line
        cat <<TOML
name = "$1"
version = "$version"
arch = "x86_64"
kind = "netboot"
kernel = { path = "vmlinuz", sha256 = "$kernel_sum" }
initrd = [{ path = "initrd.img", sha256 = "$initrd_sum" }]
cmdline = "console=tty0 console=ttyS0,115200n8 quiet${2:+ $2}"
TOML
    }
    manifest demo '' >"$work/demo.toml"
    manifest discovery firstlight.mode=discovery >"$work/discovery.toml"
    place "$work/demo.toml" demo.toml
    place "$work/discovery.toml" discovery.toml
fi
