# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# nfs: the kernel's own NFS client mounts the export with the connection that the gateway gave, and a
# process of the host's group opens its volume: it writes, and the snapshot of the detached volume holds
# it. Another group cannot, nor the guest's root, nor the host after it was detached.

NFS=$TREE/tests/servers/nfs.sh
NFS_STATE=$TEMP/nfs
NFS_UID=64300
HOST_GID=64301

if [ "$ROOT" -ne 1 ] || ! command -v ganesha.nfsd >/dev/null; then
    skip "nfs: a kernel mounts an export" "no ganesha.nfsd, or not root"
else
    trap '"$NFS" stop "$NFS_STATE" >/dev/null 2>&1; cleanup' EXIT
    free_port && nfs_port=$PORT && mkdir -p "$NFS_STATE/squash" && chown "$NFS_UID:$NFS_UID" "$NFS_STATE/squash"
    said=$(NFS_EXPORTS="squash=$NFS_STATE/squash,root_squash" "$NFS" start "$NFS_STATE" "$nfs_port" 2>&1) || die "an NFS server" "$said"
    s pool create n --driver nfs --set server=127.0.0.1 --set export=/squash --set "port=$nfs_port" --set "mount_port=$((nfs_port + 1))" \
        --set "uid=$NFS_UID" --set "gid=$NFS_UID" || die "a pool on NFS" "$SAID"
    s host create guest --identity "gid=$HOST_GID" || die "a host" "$SAID"
    s volume create direct --pool n --size 16M --format raw || die "a raw volume" "$SAID"
    s volume attach n:direct guest || die "n:direct is attached" "$SAID"
    direct=$(get .id)
    # The guest knows the host's 127.0.0.1 by another address; addr and mountproto are what mount.nfs
    # adds, which busybox does not have.
    guest_start <<SCRIPT
fail() { echo "failed: \$*"; dmesg; exit 1; }
as() { gid=\$1; shift; /bin/setpriv --reuid 4711 --regid "\$gid" --clear-groups "\$@"; }
modprobe nfsv3 || fail "modules"
mount -t nfs -o $(get .connection.mount_options),addr=10.0.2.2,mountproto=tcp,mountaddr=10.0.2.2 10.0.2.2:$(get .connection.export) /mnt || fail "mount"
file=/mnt/$(get .connection.path)
[ "\$(stat -c %s "\$file")" = 16777216 ] || fail "the size"
dd if=/dev/urandom of=/tmp/wanted bs=64k count=32 2>/dev/null && chmod 644 /tmp/wanted
as $(get .connection.gid) dd if=/tmp/wanted of="\$file" bs=64k seek=16 conv=notrunc,fsync 2>/tmp/why || fail "its group cannot write: \$(cat /tmp/why) \$(ls -lnd /mnt /mnt/volumes \"\$file\" 2>&1)"
as $(get .connection.gid) dd if="\$file" of=/dev/null bs=64k 2>/dev/null || fail "its group cannot read"
as 64302 dd if="\$file" of=/dev/null bs=4k count=1 2>/dev/null && fail "another group reads"
as 64302 dd if=/tmp/wanted of="\$file" bs=4k count=1 conv=notrunc,fsync 2>/dev/null && fail "another group writes"
dd if=/tmp/wanted of="\$file" bs=4k count=1 conv=notrunc,fsync 2>/dev/null && fail "root writes"
as $(get .connection.gid) sh -c "echo mine >/mnt/volumes/mine" 2>/dev/null && fail "the host makes files of its own"
md5sum </tmp/wanted | sed 's/^/sum /'
as $(get .connection.gid) sh -c 'exec 4<>"\$0"; echo open; i=0; until ! dd if=/tmp/wanted bs=4k count=1 conv=notrunc,fsync 1>&4 2>/dev/null; do i=\$((i + 1)); [ \$i -lt 100 ] || exit 1; sleep 0.3; done' "\$file" || fail "it writes for ever"
echo "refused"
umount -l /mnt
dmesg
SCRIPT
    if guest_wait 60 open; then
        s attachment delete "$direct"
        is "nfs: detached" 0 "$STATUS"
    else
        not_ok "nfs: the host opens its volume"
    fi
    guest_judge "nfs"
    check "nfs: once detached, an open file is written no more" guest_said refused
    s snapshot create n:direct written || not_ok "nfs: a snapshot of what the host wrote" "$SAID"
    s snapshot attach n:direct@written h --protocol nbd || not_ok "nfs: the snapshot is attached" "$SAID"
    qemu-img dd -f raw -O raw bs=64k skip=16 count=48 if="$(get .connection.uri)" of="$TEMP/snapshot" >/dev/null 2>&1
    wanted=$(sed -n 's/^sum \([0-9a-f]*\).*/\1/p' "$GUEST_SAID")
    is "nfs: the snapshot holds what the host wrote" "${wanted:-a sum}" "$(md5sum 2>/dev/null <"$TEMP/snapshot" | cut -d' ' -f1)"
    s attachment delete "$(get .id)"
    s pool delete n >/dev/null
    "$NFS" stop "$NFS_STATE" >/dev/null 2>&1
    trap cleanup EXIT
fi
