# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# virtio: an attachment as a guest's disk: qemu opens the export, the guest knows a virtio-blk disk only.
# A file system on it is written with fsync while the pool's runner is killed and sluiced too.

KILLS=2

s volume create disk --pool p --size 64M || die "a volume" "$SAID"
attach p:disk
guest_start -drive "file=$NBD_URI,if=virtio,format=raw,cache=none,discard=unmap" <<'SCRIPT'
fail() { echo "failed: $*"; dmesg; exit 1; }

modprobe ext4 || fail "modules"
[ "$(cat /sys/block/vda/size)" = 131072 ] || fail "the size"
/bin/mke2fs -q -t ext4 /dev/vda || fail "mke2fs"
mount -t ext4 /dev/vda /mnt || fail "mount"
i=0
until=$(($(date +%s) + 3)) # long enough for the deaths, which take 0.2 s each
while [ $i -lt 40 ] || [ "$(date +%s)" -lt $until ]; do
    dd if=/dev/urandom of=/mnt/file.$((i % 40)) bs=32k count=8 conv=fsync 2>/dev/null || fail "write $i"
    i=$((i + 1))
    [ $i -ne 8 ] || echo "some is written"
done
(cd /mnt && md5sum file.*) >/tmp/sums
umount /mnt || fail "umount"
echo "reading"
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/vda /mnt || fail "mount again"
(cd /mnt && md5sum -c /tmp/sums) >/tmp/checked || fail "sums: $(cat /tmp/checked)"
[ "$(grep -c OK /tmp/checked)" = 40 ] || fail "not all files are there"
rm /mnt/file.1*
fstrim -v /mnt || fail "fstrim"
umount /mnt || fail "umount again"
dmesg
SCRIPT
killed=0
if guest_wait 60 "some is written"; then
    daemon_kill
    wait_until "$GATEWAY_READY_S" gateway_ready
    while [ "$killed" -lt "$KILLS" ] && ! guest_said "reading" && runner_kill p; do
        killed=$((killed + 1))
    done
fi
guest_judge "virtio"
within "virtio: the runner was killed meanwhile" 1 "$KILLS" "$killed"
has "virtio: what was trimmed takes no space" "hole" "$(nbdinfo --map "$NBD_URI" 2>&1)"
s attachment delete "$ATTACHMENT"
is "virtio: detached" 0 "$STATUS"
