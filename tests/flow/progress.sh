#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# progress: a large copy tells how far it is, can be cancelled in the middle, and then leaves nothing.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

MIB=1048576
WRITTEN_MIB=768 # here and there in 8 GiB; what a disk copies in about two seconds
[ "$SLUICE_FULL" -eq 0 ] || WRITTEN_MIB=4096

gateway_new progress
gateway_start
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" --set overcommit_percent=0
s volume create big --pool p --size 8G
is "a volume of 8 GiB takes no time" available "$(get .state)"
disk=$(echo "$directory/volumes/$(get .id)"/disk-*.raw)
for ((i = 0; i < WRITTEN_MIB; i += 16)); do
    dd if=/dev/zero of="$disk" bs=16M seek=$((i * 8192 / WRITTEN_MIB / 16)) count=1 conv=notrunc status=none
done
echo "the last bytes" | dd of="$disk" bs=1 seek=$((8192 * MIB - 15)) conv=notrunc status=none

blocks_of() { du -sk "$1" | cut -f 1; }
used_kib() { blocks_of "$directory"; }
alone_kib=$(used_kib)

far() { s operation show "$1" && [ "$(get '.done_bytes // 0')" -gt 0 ] || [ "$(get .state)" != running ]; }

# ---- cancelled in the middle ---------------------------------------------------------------------

s volume copy p:big half --no-wait
operation=$(get .id)
half=$(get .object)
check "the copy is under way" wait_until 20 far "$operation"
# Stopped, it stays where it is while we look; the gateway waits some seconds before it doubts it.
kill -s STOP "$(pool_pid p)"
s operation show "$operation"
if [ "$(get .state)" = running ]; then
    within "it says how far it is" 1 "$(get .total_bytes)" "$(get .done_bytes)"
    is "of how much" $((8192 * MIB)) "$(get .total_bytes)"
    s volume show p:half
    is "the volume is being made" creating "$(get .state)"
    s volume delete p:half
    is "and cannot be used yet" 4 "$STATUS"
    s operation cancel "$operation" --no-wait
    is "it is cancelled" 0 "$STATUS"
    kill -s CONT "$(pool_pid p)"
    check "what was done is taken back" wait_until 20 operation_is "$operation" cancelled
    s operation show "$operation"
    has "by whom is said" "cancelled by uid:" "$(get .error_text)"
    s volume show p:half
    is "no volume is left" 3 "$STATUS"
    check "no file is left" test ! -e "$directory/volumes/$half"
    within "no space is left taken" 0 $((alone_kib + 1024)) "$(used_kib)"
    s pool capacity p
    is "nor anything provisioned" $((8192 * MIB)) "$(get .provisioned_bytes)"
    s pool compare p
    is "the catalogue knows of nothing either" "1 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
else
    kill -s CONT "$(pool_pid p)"
    skip "a copy is cancelled in the middle" "this file system shares blocks: it is done at once"
    s volume delete p:half
fi

# ---- to the end ----------------------------------------------------------------------------------

begin=$(date +%s%N)
s volume copy p:big whole --no-wait
operation=$(get .id)
whole=$(get .object)
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
copy=$(echo "$directory/volumes/$whole"/disk-*.raw)
is "the copy has the size" $((8192 * MIB)) "$(stat -c %s "$copy")"
within "and the holes" 1 $((WRITTEN_MIB * 1024 * 11 / 10)) "$(blocks_of "$copy")"
is "it has the last bytes" "the last bytes" "$(tail -c 15 "$copy")"
if [ "$SLUICE_FULL" -eq 1 ]; then
    check "it equals the source, byte for byte" cmp "$disk" "$copy"
fi

# ---- several at once -----------------------------------------------------------------------------

begin=$(date +%s%N)
operations=()
for name in c1 c2; do
    s volume copy p:big "$name" --no-wait
    operations+=("$(get .id)")
done
s volume create quick --pool p --size 1M --wait 10
is "a small change does not wait for large ones" "available" "$(get .state)"
echo "# a volume was made in $((($(date +%s%N) - begin) / 1000000)) ms beside two copies"
for operation in "${operations[@]}"; do
    s operation cancel "$operation" || s volume delete "p:$(quietly operation show "$operation" | jq -r .object_name)"
done
s volume list
is "all that was cancelled is gone" "big quick whole" "$(get '[.items[].name] | sort | join(" ")')"
gateway_stop
finish
