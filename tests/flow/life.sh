#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# life: the whole life of a pool, its volumes and snapshots, on each driver; and of attachments on the
# one that has them, with bytes that are written and read back.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

MIB=1048576

gateway_new life
gateway_start
GUEST=$((UID_LOW + 90))
STRANGER=$((UID_LOW + 91))

# sum_of FILE: of the bytes that the image holds, with what lies below it.
sum_of() {
    case $1 in
    *.qcow2) qemu-img convert -U -f qcow2 -O raw "$1" "$TEMP/whole" && sha256sum <"$TEMP/whole" && rm "$TEMP/whole" ;;
    *) sha256sum <"$1" ;;
    esac
}

# volumes_of_pool POOL: all that does not need a host.
volumes_of_pool() {
    local p=$1 a_id snapshot

    s volume create a --pool "$p" --size 64M --label vm=one
    is "$p: a volume is made" "available 67108864 none one" "$(get '"\(.state) \(.size_bytes) \(.source_kind) \(.labels.vm)"')"
    a_id=$(get .id)
    is "$p: it uses nothing yet" true "$(get '.used_bytes < 65536')"
    s volume show "$p:a"
    is "$p: it is found by name" "$a_id" "$(get .id)"
    s volume create odd --pool "$p" --size 1000
    is "$p: sizes are rounded up to what the pool can" 1024 "$(get .size_bytes)"
    s pool capacity "$p"
    is "$p: what is provisioned is the sum of the sizes" $((64 * MIB + 1024)) "$(get .provisioned_bytes)"

    s snapshot create "$p:a" monday --label by=cron
    is "$p: a snapshot is taken" "available 67108864 $a_id cron" "$(get '"\(.state) \(.size_bytes) \(.volume) \(.labels.by)"')"
    snapshot=$(get .id)
    s volume show "$p:a"
    is "$p: the volume counts it" 1 "$(get .snapshots)"

    s volume clone "$p:a@monday" b
    is "$p: a clone knows its source" "available snapshot $snapshot" "$(get '"\(.state) \(.source_kind) \(.source)"')"
    s volume clone "$p:a@monday" larger --size 80M
    is "$p: a clone may be larger" $((80 * MIB)) "$(get .size_bytes)"
    s volume clone "$p:a@monday" smaller --size 1M
    is "$p: and never smaller" 4 "$STATUS"
    has "$p: that is said with the field" size_bytes "$SAID$OUT"
    s volume copy "$p:a" c
    is "$p: a copy knows its source" "available volume $a_id" "$(get '"\(.state) \(.source_kind) \(.source)"')"

    s volume resize "$p:a" --size 96M
    is "$p: a volume grows" "available $((96 * MIB))" "$(get '"\(.state) \(.size_bytes)"')"
    s volume resize "$p:a" --size 32M
    is "$p: it does not shrink by mistake" 4 "$STATUS"
    s volume resize "$p:a" --size 32M --shrink
    is "$p: it shrinks when told so" $((32 * MIB)) "$(get .size_bytes)"
    s volume revert "$p:a" "$p:a@monday"
    is "$p: reverted, it has the size of then" "available $((64 * MIB))" "$(get '"\(.state) \(.size_bytes)"')"
    s volume revert "$p:b" "$p:a@monday"
    is "$p: a snapshot of another volume is refused" 4 "$STATUS"

    s volume create a --pool "$p" --size 1M
    has "$p: a name is taken once" "exists" "$OUT$SAID"
    s volume update "$p:a" --name renamed --label vm= --label tier=gold
    is "$p: name and labels change" "renamed null gold" "$(get '"\(.name) \(.labels.vm) \(.labels.tier)"')"
    s volume show "$p:a"
    is "$p: the old name is free" 3 "$STATUS"

    s pool delete "$p"
    has "$p: a pool with volumes is not deleted" "volume" "$SAID"
    s volume delete "$p:renamed"
    is "$p: a volume with a snapshot is deleted" 0 "$STATUS"
    s volume show "$a_id"
    is "$p: and is gone" 3 "$STATUS"
    s snapshot show "$snapshot"
    is "$p: its snapshot stays" available "$(get .state)"
    s volume create again --pool "$p" --source-snapshot "$snapshot"
    is "$p: and can still be cloned" "available $((64 * MIB))" "$(get '"\(.state) \(.size_bytes)"')"
    s snapshot delete "$snapshot"
    is "$p: until it is deleted" 0 "$STATUS"
    s pool compare "$p"
    is "$p: backend and catalogue agree" "5 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
}

delete_all() {
    local p=$1 name
    for name in $(quietly volume list --pool "$p" | jq -r '.items[].name'); do
        s volume delete "$p:$name" || not_ok "$p: $name is deleted" "$SAID"
    done
    s pool capacity "$p"
    is "$p: nothing is provisioned any more" 0 "$(get .provisioned_bytes)"
    s pool delete "$p"
    is "$p: the pool is given back" 0 "$STATUS"
    s pool show "$p"
    is "$p: and is gone" 3 "$STATUS"
}

hosts_of_posix() {
    local device attachment before id
    s volume create disk --pool posix --size 32M
    id=$(get .id)
    s host create guest --identity "uid=$GUEST" --label rack=7
    is "a host is made known" "$GUEST 7" "$(get '"\(.identities.uid) \(.labels.rack)"')"
    s volume attach posix:disk guest
    is "a volume is attached" "attached local read-write" "$(get '"\(.state) \(.protocol) \(.mode)"')"
    attachment=$(get .id)
    device=$(get .connection.path)
    check "the host writes it" as "$GUEST" dd if=/dev/urandom of="$device" bs=1M count=8 conv=notrunc,nocreat status=none
    check "a stranger cannot read it" cannot as "$STRANGER" head -c 1 "$device"
    before=$(sum_of "$device")
    s volume delete posix:disk
    has "an attached volume is not deleted" "attachment" "$SAID"
    s host delete guest
    has "nor is its host" "attachment" "$SAID"
    s attachment list --host guest
    is "attachments are found by host" "$attachment" "$(get '.items[].id')"
    s attachment list --volume posix:disk
    is "and by volume" "$attachment" "$(get '.items[].id')"
    s snapshot create posix:disk full
    has "a snapshot of what somebody writes would not be of one moment" "attachment" "$SAID"
    s attachment delete "$attachment"
    is "the right is taken back" 0 "$STATUS"
    is "the operation tells of which volume" disk "$(quietly operation list --kind attachment.delete | jq -r '.items[].object_name')"
    s snapshot create posix:disk full
    is "then it is taken" available "$(get .state)"
    check "the host cannot read it any more" cannot as "$GUEST" head -c 1 "$device"

    s volume resize posix:disk --size 33M
    within "used bytes are those that it has for itself since then" 1 $((1 * MIB)) "$(get .used_bytes)"
    s snapshot show posix:disk@full
    within "and the snapshot's are those on the disk" $((8 * MIB)) $((9 * MIB)) "$(get .used_bytes)"
    s snapshot attach posix:disk@full guest
    is "a snapshot is attached" "attached read-only" "$(get '"\(.state) \(.mode)"')"
    device=$(get .connection.path)
    attachment=$(get .id)
    check "the host may read it" as "$GUEST" head -c 1 "$device"
    check "and not write it" cannot as "$GUEST" dd if=/dev/zero of="$device" bs=1 count=1 conv=notrunc,nocreat status=none
    is "it has the bytes of then" "$before" "$(sum_of "$device")"
    s snapshot delete posix:disk@full
    has "an attached snapshot is not deleted" "attachment" "$SAID"
    s attachment delete "$attachment"

    s volume revert posix:disk full
    s volume attach posix:disk guest --mode read-only
    device=$(get .connection.path)
    attachment=$(get .id)
    check "attached read-only, it cannot be written" cannot as "$GUEST" dd if=/dev/zero of="$device" bs=1 count=1 conv=notrunc,nocreat status=none
    is "reverted, it has the bytes of the snapshot" "$before" "$(sum_of "$device")"
    # Somebody who holds it open keeps the right from being taken back.
    exec 7<"$device"
    s attachment delete "$attachment" --wait 1
    is "a right is not taken back while the file is open" 7 "$STATUS"
    s attachment show "$attachment"
    is "it is being revoked" revoking "$(get .state)"
    exec 7<&-
    check "closed, it is" wait_until 10 attachment_gone "$attachment"
    s snapshot delete posix:disk@full
    s volume delete posix:disk
    s host delete guest
    is "all of it goes" 0 "$STATUS"
    check "and leaves nothing on the disk" no_files "$GATEWAY/pool/volumes/$id"
}

cannot() { ! "$@"; }
attachment_gone() { s attachment show "$1"; [ "$STATUS" -eq 3 ]; }
no_files() { [ ! -e "$1" ]; }

directory=$(pool_directory pool)
s pool create posix --driver posix --set "path=$directory" --uid "$UID_LOW" --label tier=local
is "a posix pool is made" "enabled serving $UID_LOW local" "$(get '"\(.state) \(.health) \(.uid) \(.labels.tier)"')"
check "it puts its marker there" test -f "$directory/sluice.pool"
s pool create ram --driver ram --set capacity_bytes=1073741824
is "a ram pool is made" "enabled serving" "$(get '"\(.state) \(.health)"')"
within "with an account of the range" "$UID_LOW" "$UID_HIGH" "$(get .uid)"

volumes_of_pool posix
volumes_of_pool ram
s host create kvm1 --identity uid=1
s volume attach ram:b kvm1
has "a pool without access says so" "cannot" "$SAID"
s host delete kvm1
if [ "$ROOT" -eq 1 ]; then
    hosts_of_posix
else
    skip "hosts open volumes" "only root can be another account"
fi
delete_all posix
check "given back, it takes its marker away" no_files "$directory/sluice.pool"
delete_all ram
s operation list --state failed
is "no operation failed" "" "$(get '.items[] | "\(.kind) \(.error_text)"')"
gateway_stop
ok "the gateway stops when asked"
finish
