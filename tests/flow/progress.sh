#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# progress: what takes long tells how far it is. A copy takes no time; letting it go, which makes it a
# file of its own, does; so does a volume that takes its space at once, which can be cancelled in the
# middle and then leaves nothing.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

MIB=1048576
WRITTEN_MIB=768 # here and there in 8 GiB; what a disk copies in about two seconds
[ "$SLUICE_FULL" -eq 0 ] || WRITTEN_MIB=4096

gateway_new progress
gateway_environment SLUICE_SHARE_SLICE_NS=1000000 # a test is not to wait for 50 ms each time
gateway_start
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" --set overcommit_percent=0
s volume create big --pool p --size 8G
is "a volume of 8 GiB takes no time" available "$(get .state)"
disk="$directory/volumes/$(get .id)/g000001.raw"
for ((i = 0; i < WRITTEN_MIB; i += 16)); do
    dd if=/dev/zero of="$disk" bs=16M seek=$((i * 8192 / WRITTEN_MIB / 16)) count=1 conv=notrunc status=none
done
echo "the last bytes" | dd of="$disk" bs=1 seek=$((8192 * MIB - 15)) conv=notrunc status=none

blocks_of() { du -sk "$1" | cut -f 1; }
used_kib() { blocks_of "$directory"; }
alone_kib=$(used_kib)

far() { s operation show "$1" && [ "$(get '.done_bytes // 0')" -gt 0 ] || [ "$(get .state)" != running ]; }

# ---- cancelled in the middle ---------------------------------------------------------------------

thick=$(pool_directory thick $((UID_LOW + 1)))
s pool create t --driver posix --set "path=$thick" --uid $((UID_LOW + 1)) --set overcommit_percent=0 --set preallocate=true
s volume create half --pool t --size 16G --no-wait
operation=$(get .id)
half=$(get .object)
check "the volume is being made" wait_until 20 far "$operation"
# Stopped, it stays where it is while we look; the gateway waits some seconds before it doubts it.
kill -s STOP "$(pool_pid t)"
s operation show "$operation"
if [ "$(get .state)" = running ]; then
    within "it says how far it is" 1 "$(get .total_bytes)" "$(get .done_bytes)"
    is "of how much" $((16384 * MIB)) "$(get .total_bytes)"
    s volume show t:half
    is "the volume is being made" creating "$(get .state)"
    s volume delete t:half
    is "and cannot be used yet" 4 "$STATUS"
    s operation cancel "$operation" --no-wait
    is "it is cancelled" 0 "$STATUS"
    kill -s CONT "$(pool_pid t)"
    check "what was done is taken back" wait_until 20 operation_is "$operation" cancelled
    s operation show "$operation"
    has "by whom is said" "cancelled by uid:" "$(get .error_text)"
    s volume show t:half
    is "no volume is left" 3 "$STATUS"
    check "no file is left" test ! -e "$thick/volumes/$half"
    within "no space is left taken" 0 1024 "$(blocks_of "$thick")"
    s pool capacity t
    is "nor anything provisioned" 0 "$(get .provisioned_bytes)"
    s pool compare t
    is "the catalogue knows of nothing either" "0 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
else
    kill -s CONT "$(pool_pid t)"
    skip "it is cancelled in the middle" "this file system was faster than we"
    s volume delete t:half
fi

# ---- to the end ----------------------------------------------------------------------------------

begin=$(date +%s%N)
s volume copy p:big whole
is "a copy of it takes no time" available "$(get .state)"
within "and no space" 0 $((alone_kib + 1024)) "$(used_kib)"
whole=$(get .id)
s volume unmanage p:whole --no-wait
operation=$(get .id)
seen=() last=0 steady=1
while s operation show "$operation" && [ "$(get .state)" = running ]; do
    now=$(get '.done_bytes // 0')
    [ "$now" -ge "$last" ] || steady=0
    [ "$now" -eq "$last" ] || seen+=("$now")
    last=$now
done
took_ms=$((($(date +%s%N) - begin) / 1000000))
is "it ends well" "done" "$(get .state)"
is "its progress never goes back" 1 "$steady"
echo "# copied $WRITTEN_MIB MiB of 8 GiB in $took_ms ms, ${#seen[@]} different numbers seen"
copy="$directory/unmanaged/$whole.qcow2"
is "what was let go has the size" $((8192 * MIB)) "$(qemu-img info --output json "$copy" | jq '."virtual-size"')"
is "stands alone" null "$(qemu-img info --output json "$copy" | jq '."backing-filename"')"
is "has no errors" 0 "$(qemu-img check -q "$copy" && echo 0)"
within "and the holes" 1 $((WRITTEN_MIB * 1024 * 11 / 10)) "$(blocks_of "$copy")"
is "it has the last bytes" "the last bytes" "$(qemu-img convert -f qcow2 -O raw "$copy" "$GATEWAY/whole" && tail -c 15 "$GATEWAY/whole")"
if [ "$SLUICE_FULL" -eq 1 ]; then
    check "it equals the source, byte for byte" cmp "$disk" "$GATEWAY/whole"
fi
rm -f "$GATEWAY/whole"

# ---- several at once -----------------------------------------------------------------------------

begin=$(date +%s%N)
operations=()
for name in c1 c2; do
    s volume copy p:big "$name"
    s volume unmanage "p:$name" --no-wait
    operations+=("$(get .id)")
done
s volume create quick --pool p --size 1M --wait 10
is "a small change does not wait for large ones" "available" "$(get .state)"
echo "# a volume was made in $((($(date +%s%N) - begin) / 1000000)) ms beside two that are let go"
for operation in "${operations[@]}"; do
    check "it ends" wait_until 60 operation_is "$operation" "done"
done
s volume list
is "all that was let go is gone" "big quick" "$(get '[.items[].name] | sort | join(" ")')"
gateway_stop
finish
