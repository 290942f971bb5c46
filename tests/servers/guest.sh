#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# guest.sh: a small Linux guest in qemu, for tests that need a real kernel as a client.
#
#     guest.sh build STATE                          fetches a kernel and makes an initramfs, once
#     guest.sh run STATE SCRIPT [QEMU-OPTION...]    boots, runs SCRIPT (for busybox's sh) in the guest,
#                                                   powers off; prints what the guest prints and exits
#                                                   with SCRIPT's status, or 125 when it did not end
#
# Both exit with 77 when the guest cannot be had here: a program or the kernel's package is missing.
#
# In the guest there are busybox, modprobe, and the programs of GUEST_PROGRAMS with their libraries.
# Its network is qemu's own: the guest is 10.0.2.15 and the host's 127.0.0.1 is 10.0.2.2 there.
# GUEST_BRIDGE makes a Unix socket of the host reachable too: for each connection to 10.0.2.100 port
# 10809 qemu starts a socat to that socket, so nothing listens on the host meanwhile.
#
# Environment:
#   GUEST_TIMEOUT_S  the guest is ended then (default 120)
#   GUEST_BRIDGE     path of a Unix socket; it must not have a comma or a space
#
# What is peculiar, and what is done about it:
#   - Hardware virtualisation may be offered and still hang early in the boot where the host is itself
#     a guest. So the processor is emulated; that boots in a few seconds, and is the same everywhere.
#   - The kernel's package is unpacked and never installed: installing would want to make the host
#     bootable with it.
#   - Ciphers and hashes are asked for by name when the guest runs, so no module names them as what it
#     needs: all of them are put in.
#   - busybox's sh prefers its own commands to files of the same name: mke2fs is called as /bin/mke2fs.
#   - The initramfs is made once; the script comes in a second archive behind it, which the kernel
#     unpacks over the first.
#   - The serial console writes CR LF, and the kernel shares it: what the init says about the
#     script is on a line that begins with GUEST-EXIT.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

KERNEL_PACKAGE=linux-image-cloud-amd64 # without drivers of real hardware: a fifth of the size
MODULES="virtio_pci virtio_net virtio_blk nbd ext4 nfsv3"
GUEST_PROGRAMS="mke2fs nbd-client setpriv"
MEMORY_MIB=384
NOT_HERE=77

# shellcheck source=tests/servers/common.sh
. "$here/common.sh"

not_here() {
    echo "guest.sh: $*" >&2
    exit "$NOT_HERE"
}

wants() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || not_here "no $1 here (package $2)"
}

init_script() {
    cat <<'INIT'
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in virtio_pci virtio_net virtio_blk; do modprobe "$module"; done
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up && route add default gw 10.0.2.2
sh /script </dev/null 2>&1
echo "GUEST-EXIT $?"
sync
poweroff -f
INIT
}

# Sets VERSION; the package is below STATE/kernel.
fetch_kernel() {
    local package
    package=$(apt-cache depends "$KERNEL_PACKAGE" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$package" ] || not_here "$KERNEL_PACKAGE is not known here (apt-get update would tell of it)"
    VERSION=${package#linux-image-}
    (cd "$STATE" && apt-get -q download "$package" && dpkg-deb -x "$package"_*.deb kernel) >/dev/null 2>&1 ||
        not_here "$package cannot be fetched"
    depmod -b "$STATE/kernel" "$VERSION" || die "depmod of the kernel's modules fails"
}

# The wanted modules with all that they need, by paths below the folder of modules.
module_files() {
    local module
    for module in $MODULES; do
        modprobe -d "$STATE/kernel" -S "$VERSION" -D "$module" || die "the kernel has no module $module"
    done | awk '$1 == "insmod" { print $2 }' | sed "s|^.*/lib/modules/$VERSION/||"
    (cd "$STATE/kernel/lib/modules/$VERSION" && find kernel/crypto kernel/lib kernel/arch/x86/crypto -name '*.ko')
}

copy_modules() {
    local from=$STATE/kernel/lib/modules/$VERSION to=$STATE/root/lib/modules/$VERSION
    mkdir -p "$to"
    module_files | sort -u | (cd "$from" && cpio -pdm --quiet "$to") || die "the modules cannot be copied"
    cp "$from"/modules.{order,builtin,builtin.modinfo} "$to"
    depmod -b "$STATE/root" "$VERSION"
}

copy_programs() {
    local program path library
    for program in $GUEST_PROGRAMS; do
        path=$(command -v "$program") || not_here "no $program here"
        cp "$path" "$STATE/root/bin/" || die "$path cannot be copied"
        while read -r library; do
            mkdir -p "$STATE/root/$(dirname "$library")"
            cp -L "$library" "$STATE/root/$library" || die "$library cannot be copied"
        done < <(ldd "$path" | grep -o '/[^ ]*')
    done
}

build() {
    local made_of="$MODULES; $GUEST_PROGRAMS"
    [ ! -s "$STATE/initramfs" ] || [ ! -s "$STATE/vmlinuz" ] || [ "$(cat "$STATE/made-of" 2>/dev/null)" != "$made_of" ] || return 0
    wants qemu-system-x86_64 qemu-system-x86
    wants busybox busybox-static
    wants cpio cpio
    wants depmod kmod
    wants socat socat
    rm -rf "$STATE/kernel" "$STATE/root"
    mkdir -p "$STATE/kernel" "$STATE/root"/{bin,dev,proc,sys,tmp,mnt,etc}
    fetch_kernel
    ln -s bin "$STATE/root/sbin"
    cp "$(command -v busybox)" "$STATE/root/bin/busybox"
    ln -s busybox "$STATE/root/bin/sh"
    init_script >"$STATE/root/init"
    chmod 755 "$STATE/root/init"
    copy_modules
    copy_programs
    (cd "$STATE/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$STATE/initramfs.new" || die "no initramfs"
    cp "$STATE/kernel/boot/vmlinuz-$VERSION" "$STATE/vmlinuz"
    mv "$STATE/initramfs.new" "$STATE/initramfs"
    echo "$made_of" >"$STATE/made-of"
    rm -rf "$STATE/kernel" "$STATE/root" "$STATE"/*.deb
}

run() { # SCRIPT [QEMU-OPTION...]
    local script=$1 folder network=user,model=virtio-net-pci
    shift
    [ -s "$STATE/initramfs" ] || die "no initramfs: guest.sh build $STATE first"
    [ -z "${GUEST_BRIDGE:-}" ] ||
        network="$network,guestfwd=tcp:10.0.2.100:10809-cmd:$(command -v socat) - UNIX-CONNECT:$GUEST_BRIDGE"
    folder=$(mktemp -d "$STATE/run.XXXXXX") || exit 1
    mkdir "$folder/add"
    cp "$script" "$folder/add/script" || die "no script $script"
    {
        cat "$STATE/initramfs"
        (cd "$folder/add" && find . | cpio -o -H newc --quiet | gzip -1)
    } >"$folder/initramfs"
    timeout --foreground "${GUEST_TIMEOUT_S:-120}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 \
        -m "$MEMORY_MIB" -display none -no-reboot -monitor none -serial stdio -kernel "$STATE/vmlinuz" \
        -initrd "$folder/initramfs" -append "console=ttyS0 quiet panic=-1" -nic "$network" "$@" </dev/null |
        sed -u 's/\r//g' | tee "$folder/said"
    local status
    status=$(sed -n 's/^GUEST-EXIT \([0-9]*\)$/\1/p' "$folder/said" | tail -n 1)
    rm -rf "$folder"
    exit "${status:-125}"
}

case ${1:-} in
build)
    state_dir "${2:-}"
    build
    ;;
run)
    state_dir "${2:-}"
    [ -r "${3:-}" ] || die "no script given"
    shift 2
    run "$@"
    ;;
*) die "usage: guest.sh build STATE | guest.sh run STATE SCRIPT [QEMU-OPTION...]" ;;
esac
