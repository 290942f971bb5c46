#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# loopfs.sh - a small file system of its own on a loop device.
#
#   loopfs.sh start STATE [btrfs|xfs|ext4] [MEGABYTES]   default btrfs 512; idempotent
#   loopfs.sh stop STATE        unmounts; the image STATE/image stays
#   loopfs.sh status STATE
#
# Packages: btrfs-progs / xfsprogs / e2fsprogs, mount.  Needs root.
# Reach it: STATE/mnt.  xfs is made with reflink=1; btrfs's STATE/mnt/vol is a
#   subvolume, so that it can be snapshotted.
# Quirks: mkfs.xfs of Debian 12 wants at least 300 MB; btrfs at least 109 MB.
set -u
. "$(dirname "$(readlink -f "$0")")/common.sh"

mounted() { mountpoint -q "$STATE/mnt"; }

start() {
    if mounted; then echo "$STATE/mnt"; return; fi
    mkdir -p "$STATE/mnt"
    if [ ! -e "$STATE/image" ]; then
        need "mkfs.$FS" "$FS-progs"
        truncate -s "${MB}M" "$STATE/image.new" || die "cannot make the image"
        case $FS in
        xfs)   mkfs.xfs -q -m reflink=1 "$STATE/image.new" ;;
        btrfs) mkfs.btrfs -q "$STATE/image.new" ;;
        ext4)  mkfs.ext4 -q -F "$STATE/image.new" ;;
        *)     false ;;
        esac || die "mkfs.$FS failed"
        mv "$STATE/image.new" "$STATE/image"
    fi
    mount -o loop "$STATE/image" "$STATE/mnt" || die "mount failed"
    if [ "$(stat -f -c %T "$STATE/mnt")" = btrfs ] && [ ! -d "$STATE/mnt/vol" ]; then
        btrfs -q subvolume create "$STATE/mnt/vol" || die "btrfs subvolume create failed"
    fi
    echo "$STATE/mnt"
}

case ${1:-} in
start)  state_dir "${2:-}"; FS=${3:-btrfs} MB=${4:-512}; start ;;
stop)   state_dir "${2:-}"; ! mounted || umount "$STATE/mnt" || die "still in use" ;;
status) state_dir "${2:-}"; mounted && echo "$STATE/mnt" || { echo "not mounted"; exit 1; } ;;
*)      die "usage: $(basename "$0") start STATE [btrfs|xfs|ext4] [MEGABYTES] | stop STATE | status STATE" ;;
esac
