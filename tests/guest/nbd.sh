# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# nbd: the kernel's own NBD client: a file system on an attachment, written with fsync while the pool's
# runner is killed, read back over a new connection; and what was trimmed reads as zeros.

KILLS=3

s volume create kernel --pool p --size 64M || die "a volume" "$SAID"
attach p:kernel
GUEST_BRIDGE=$NBD_SOCKET guest_start <<'SCRIPT'
fail() { echo "failed: $*"; dmesg; exit 1; }
connect() { nbd-client -N '' -C 2 10.0.2.100 10809 /dev/nbd0 || fail "connect"; }

modprobe nbd && modprobe ext4 || fail "modules"
connect
[ "$(cat /sys/block/nbd0/size)" = 131072 ] || fail "the size"
[ "$(cat /sys/block/nbd0/queue/write_cache)" = "write back" ] || fail "flushes are not offered"
[ "$(cat /sys/block/nbd0/queue/discard_granularity)" != 0 ] || fail "trims are not offered"
/bin/mke2fs -q -t ext4 /dev/nbd0 || fail "mke2fs"
mount -t ext4 /dev/nbd0 /mnt || fail "mount"
echo "writing"
i=0
until=$(($(date +%s) + 3)) # long enough for the deaths, which take 0.2 s each
while [ $i -lt 40 ] || [ "$(date +%s)" -lt $until ]; do
    dd if=/dev/urandom of=/mnt/file.$((i % 40)) bs=32k count=8 conv=fsync 2>/dev/null || fail "write $i"
    i=$((i + 1))
    [ $i -ne 8 ] || echo "some is written"
done
(cd /mnt && md5sum file.*) >/tmp/sums
umount /mnt || fail "umount"
nbd-client -d /dev/nbd0 || fail "disconnect"
echo "connecting anew"
connect
mount -t ext4 /dev/nbd0 /mnt || fail "mount again"
(cd /mnt && md5sum -c /tmp/sums) >/tmp/checked || fail "sums: $(cat /tmp/checked)"
[ "$(grep -c OK /tmp/checked)" = 40 ] || fail "not all files are there"
rm /mnt/file.1*
fstrim -v /mnt || fail "fstrim"
umount /mnt || fail "umount again"
blkdiscard -o 33554432 -l 1048576 /dev/nbd0 || fail "blkdiscard"
nbd-client -d /dev/nbd0 && connect
[ "$(dd if=/dev/nbd0 bs=1M skip=32 count=1 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] || fail "what was trimmed is not zero"
nbd-client -d /dev/nbd0
dmesg
SCRIPT
killed=0
if guest_wait 60 "some is written"; then
    while [ "$killed" -lt "$KILLS" ] && ! guest_said "connecting anew" && runner_kill p; do
        killed=$((killed + 1))
    done
fi
guest_judge "nbd"
is "nbd: the runner was killed meanwhile" "$KILLS" "$killed"
has "nbd: what was trimmed takes no space" "hole" "$(nbdinfo --map "$NBD_URI" 2>&1)"
s attachment delete "$ATTACHMENT"
is "nbd: detached" 0 "$STATUS"
