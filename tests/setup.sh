#!/usr/bin/env bash
# Installs what `make run`, `make test` and `make bench` need, from Debian's or Ubuntu's packages.
# Does nothing, and needs no network, when all of it is there.
set -euo pipefail

what=${1:?usage: tests/setup.sh run|test|bench}

run=(qemu-system-x86 ovmf ipxe ipxe-qemu iproute2 util-linux busybox-static cpio zstd kmod curl e2fsprogs)
test=("${run[@]}" nftables socat udhcpc isc-dhcp-client isc-dhcp-relay ndisc6 dhcpcd5 tftp-hpa atftp dnsmasq-base nginx-light tcpdump man-db bash-completion
  openssl openssh-client mmdebstrap gdisk dosfstools mtools xz-utils qemu-utils xfsprogs btrfs-progs fdisk memtest86+ lldpd swtpm ansible-core bind9-dnsutils kea-admin dnf rpm createrepo-c gnupg)
bench=("${test[@]}" kea-admin kea-dhcp4-server)

case $what in
  run) wanted=("${run[@]}") ;;
  test) wanted=("${test[@]}") ;;
  bench) wanted=("${bench[@]}") ;;
  *) echo "tests/setup.sh: '$what' is not one of run, test, bench" >&2; exit 2 ;;
esac

if [[ $(id -u) != 0 ]]; then
  echo "tests/setup.sh: network namespaces and packages need root; run 'sudo make ...'" >&2
  exit 1
fi
if ! command -v cargo > /dev/null; then
  echo "tests/setup.sh: no Rust toolchain; install one with rustup (https://rustup.rs), 1.90 or later" >&2
  exit 1
fi

missing() {
  local package state
  for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    [[ $state == installed ]] || echo "$package"
  done
}

mapfile -t packages < <(missing)
# The boot image is made of a kernel package that is taken apart; its name has to be looked up.
if [[ ${#packages[@]} -gt 0 || ! -d /var/lib/apt/lists || -z $(ls -A /var/lib/apt/lists) ]]; then
  export DEBIAN_FRONTEND=noninteractive
  echo "updating the package lists"
  apt-get update -qq
  # Twice: where a package of another release is there already (qemu-utils of the backports), apt takes it away for the ones that
  # are asked for, and it has to be installed anew.
  for _ in 1 2; do
    [[ ${#packages[@]} -gt 0 ]] || break
    echo "installing ${packages[*]}"
    apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
    mapfile -t packages < <(missing)
  done
  if [[ ${#packages[@]} -gt 0 ]]; then
    echo "tests/setup.sh: these packages cannot be installed beside the others: ${packages[*]}" >&2
    exit 1
  fi
fi
