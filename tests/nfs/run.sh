#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nfs: volumes on a real NFS server through the whole gateway: their life, directly and by NBD; the
# runner, the gateway and the server killed under I/O that is verified; replies that are cut, a server
# that hangs, a full share, a read-only one, a wrong one: the right error, nothing lost, and all heals.
# What a neighbour on another pool notices meanwhile is printed.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

HERE=$TREE/tests/nfs
NFS=$TREE/tests/servers/nfs.sh
LOOPFS=$TREE/tests/servers/loopfs.sh
POOL_UID=64100
HOST_GID=64201
OTHER_GID=64202
WORK_S=5
[ "$SLUICE_FULL" -eq 0 ] || WORK_S=60

[ "$ROOT" -eq 1 ] || { skip "volumes on NFS" "the server needs root"; finish; }
command -v ganesha.nfsd >/dev/null || { skip "volumes on NFS" "no ganesha.nfsd here"; finish; }
command -v qemu-img >/dev/null && command -v fio >/dev/null || { skip "volumes on NFS" "no qemu-img or fio"; finish; }

SERVER=$TEMP/server
server_end() {
    "$NFS" stop "$SERVER" >/dev/null 2>&1
    "$LOOPFS" stop "$TEMP/small" >/dev/null 2>&1
}
trap 'server_end; cleanup' EXIT

# ---- the server, and a proxy before it ------------------------------------------------------

free_port && NFS_PORT=$PORT && free_port && [ "$PORT" -ne $((NFS_PORT + 1)) ] || die "no free port"
PROXY_PORT=$PORT
SMALL=$TEMP/none
SMALL=$("$LOOPFS" start "$TEMP/small" ext4 40 2>/dev/null) || SMALL=
mkdir -p "$SERVER/export" "$SERVER/squash" "$SERVER/ro"
said=$(NFS_EXPORTS="squash=$SERVER/squash,root_squash ro=$SERVER/ro,ro ${SMALL:+small=$SMALL}" "$NFS" start "$SERVER" "$NFS_PORT" 2>&1) ||
    die "a server" "$said"
chown "$POOL_UID:$POOL_UID" "$SERVER/export" "$SERVER/squash" ${SMALL:+"$SMALL"}
mkdir "$TEMP/proxy"
start "$HERE/proxy.py" "$PROXY_PORT" "$NFS_PORT" "$TEMP/proxy" >"$TEMP/proxy/log" 2>&1
spoil() {
    echo "$1" >"$TEMP/proxy/do"
    sleep 0.5 # it looks four times a second
}
server_restart() {
    "$NFS" kill "$SERVER" >/dev/null 2>&1
    "$NFS" start "$SERVER" >/dev/null 2>&1 || not_ok "the server starts again"
}

# pool NAME EXPORT PORT [OPTION...]: sets STATUS
pool() {
    local name=$1 export=$2 port=$3
    shift 3
    s pool create "$name" --driver nfs --set server=127.0.0.1 --set "export=$export" --set "port=$port" \
        --set "mount_port=$((NFS_PORT + 1))" --set "uid=$POOL_UID" --set "gid=$POOL_UID" "$@"
}

gateway_new nfs
gateway_start
s pool create neighbour --driver ram || die "a ram pool" "$SAID"
pool p /export "$PROXY_PORT" || die "a pool on NFS" "$SAID"
s host create h --identity uid=0 --identity "gid=$HOST_GID" || die "a host" "$SAID"
EXPORT=$SERVER/export

attach() { # VOLUME: ATTACHMENT, URI
    s volume attach "$1" h --protocol nbd || { not_ok "$1 is attached" "$SAID"; return 1; }
    ATTACHMENT=$(get .id) URI=$(get .connection.uri)
}
detach() { s attachment delete "$ATTACHMENT"; }
# What is only leaked (status 3) is space that a death has cost, not bytes.
qemu_likes() { # NAME
    local image status bad=
    while read -r image; do
        qemu-img check -q "$image" >"$TEMP/check" 2>&1
        status=$?
        [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || bad="$bad $image: $(head -n 5 "$TEMP/check")"
    done < <(find "$EXPORT/volumes" -name '*.qcow2')
    is "$1: qemu-img finds every image sound" "" "$bad"
}
expect() { qemu-io -f raw -r -c "read -P $2 ${3:-0 1M}" "$1" 2>&1 | grep -q "verification failed" && return 1 || return 0; }
writes() { qemu-io -f raw -c "write -P $2 ${3:-0 1M}" -c flush "$1" >/dev/null 2>&1; }

# ---- life -----------------------------------------------------------------------------------

s volume create disk --pool p --size 64M || die "a volume" "$SAID"
attach p:disk
check "by NBD it is written" writes "$URI" 0x11
check "and read" expect "$URI" 0x11
s snapshot create p:disk late
is "a snapshot is not taken meanwhile" 4 "$STATUS"
detach
s snapshot create p:disk one || not_ok "a snapshot" "$SAID"
is "a snapshot of the detached volume" available "$(get .state)"
attach p:disk
check "it is written on" writes "$URI" 0x22
detach
s volume clone p:disk@one clone || not_ok "a clone" "$SAID"
attach p:clone
check "a clone has the bytes of the snapshot" expect "$URI" 0x11
check "and is written by itself" writes "$URI" 0x33 "512k 64k"
detach
attach p:disk
check "the volume has those of now" expect "$URI" 0x22
detach
s volume revert p:disk one || not_ok "a revert" "$SAID"
attach p:disk
check "a reverted volume has those of then" expect "$URI" 0x11
detach
s volume resize p:disk --size 128M || not_ok "a resize" "$SAID"
s volume copy p:disk copied || not_ok "a copy" "$SAID"
qemu_likes "life"
s snapshot delete p:disk@one || not_ok "the snapshot is deleted" "$SAID"
s volume delete p:copied || not_ok "the copy is deleted" "$SAID"
attach p:clone
check "a clone outlives its snapshot" expect "$URI" 0x11 "0 512k"
check "with its own bytes" expect "$URI" 0x33 "512k 64k"
detach
qemu_likes "after deleting"
s pool show p
is "the pool is healthy" serving "$(get .health)"

# ---- directly -------------------------------------------------------------------------------

s volume create raw --pool p --size 8M --format raw || not_ok "a raw volume" "$SAID"
s volume attach p:raw h
is "attached by nfs" nfs "$(get .protocol)"
ATTACHMENT=$(get .id)
DIRECT=$(get .connection.path)
is "the connection says where" /export "$(get .connection.export)"
has "and how to mount it" "vers=3" "$(get .connection.mount_options)"
is "its group is the host's" "$HOST_GID 660" "$(stat -c '%g %a' "$EXPORT/$DIRECT")"
has "what AUTH_SYS cannot enforce is said" "AUTH_SYS believes" "$(get .note)"
url() { echo "nfs://127.0.0.1/export/$DIRECT?nfsport=$NFS_PORT&mountport=$((NFS_PORT + 1))&uid=64999&gid=$1"; }
if command -v nfs-cat >/dev/null; then
    nfs-cat "$(url "$HOST_GID")" >/dev/null 2>"$TEMP/cat"
    is "the host reads it over NFS" 0 "$?"
    nfs-cat "$(url "$OTHER_GID")" >/dev/null 2>&1 && not_ok "another group does not" || ok "another group does not"
fi
s snapshot create p:raw late
is "no snapshot while the host may write" 4 "$STATUS"
s attachment delete "$ATTACHMENT" || not_ok "detached" "$SAID"
is "detached, the group is the pool's again" "$POOL_UID 600" "$(stat -c '%g %a' "$EXPORT/$DIRECT")"

# ---- deaths under I/O that is verified ------------------------------------------------------

s volume create load --pool p --size 64M || die "a volume" "$SAID"
s volume create beside --pool neighbour --size 64M || die "a volume" "$SAID"
s volume attach neighbour:beside h --protocol nbd || die "a neighbour" "$SAID"
NEIGHBOUR_URI=$(get .connection.uri)

# under NAME COMMAND...: fio writes and verifies while the command is run again and again; then fio was
# content. A neighbour's latency is measured meanwhile.
under() {
    local name=$1 fio_pid beside_pid times=0 until
    shift
    attach p:load || return
    fio --name=load --ioengine=nbd --uri="$URI" --rw=randwrite --bs=4k --iodepth=16 --size=8m --verify=crc32c --do_verify=1 \
        --verify_state_save=0 --verify_fatal=1 --time_based --runtime="$WORK_S" --fsync=64 --randseed="$SLUICE_SEED" \
        --output-format=json --output="$TEMP/fio" >"$TEMP/fio.said" 2>&1 &
    fio_pid=$!
    fio --name=beside --ioengine=nbd --uri="$NEIGHBOUR_URI" --rw=randread --bs=4k --iodepth=1 --rate_iops=500 --size=16m --time_based \
        --runtime="$WORK_S" --output-format=json --output="$TEMP/beside" >/dev/null 2>&1 &
    beside_pid=$!
    until=$((SECONDS + WORK_S - 2))
    sleep 1
    while [ "$SECONDS" -lt "$until" ] && alive "$fio_pid"; do
        "$@"
        times=$((times + 1))
        sleep 0.7
    done
    wait_until 90 gone "$fio_pid" || kill -s KILL "$fio_pid"
    wait "$fio_pid"
    is "$name: what fio wrote is there, and nothing failed" 0 "$?"
    wait "$beside_pid"
    echo "# $name: $times times; $(sed -n '/^{/,$p' "$TEMP/fio" | jq -r '.jobs[0] |
        "\(.write.total_ios) writes, \(.read.total_ios) verified, longest \(.write.clat_ns.max / 1e6 | floor) ms"'); neighbour p99 $(
        sed -n '/^{/,$p' "$TEMP/beside" | jq -r '.jobs[0].read.clat_ns.percentile["99.000000"] / 1000 | floor') us"
    detach
    is "$name: detached" 0 "$STATUS"
    qemu_likes "$name"
}

runner_kill() {
    local pid
    pid=$(pool_pid p)
    [ "$pid" -eq 0 ] || kill -s KILL "$pid"
}
cut_once() { spoil cut; spoil pass; }
under "the runner is killed" runner_kill
gateway_dies() { [ -z "$(daemon_pid)" ] || daemon_kill; }
under "the gateway is killed" gateway_dies
under "the server is killed" server_restart
under "replies are cut in the middle" cut_once
within "and they were" 1 1000 "$(<"$TEMP/proxy/cuts")"

# ---- a server that hangs --------------------------------------------------------------------

volume_is() { [ "$(quietly volume show "$1" | jq -r .state)" = "$2" ]; }
# Once; the call goes on when the server does.
hang() {
    [ ! -e "$TEMP/hung" ] || return 0
    touch "$TEMP/hung"
    spoil hang
    s --wait 14 volume create x --pool p --size 1M
    HUNG=$STATUS
    s pool show neighbour
    HUNG_SHOWN=$(quietly operation list | jq -c '[.items[] | select(.state == "running")]')
    spoil pass
}
under "the server hangs" hang
is "a call meanwhile waits" 7 "$HUNG"
has "and says why" "answer" "$HUNG_SHOWN"
wait_until 20 volume_is p:x available
s volume show p:x
is "and is done in the end" available "$(get .state)"
wait_until 20 pool_is p serving
is "it heals by itself" serving "$(pool_health p)"
s volume delete p:x

# ---- wrong shares ---------------------------------------------------------------------------

pool wrong /nothing "$NFS_PORT"
has "an export that there is not is named" "/nothing" "$SAID"
pool ro /ro "$NFS_PORT"
has "a read-only export says so" "read-only" "$SAID"
pool again /export "$NFS_PORT"
has "another pool's export is not taken" "belongs to the pool" "$SAID"
pool dead /export 1
has "a server that does not answer is named" "not reached at port 1" "$SAID"
chown 0:0 "$SERVER/squash"
pool squashed /squash "$NFS_PORT"
has "an export of somebody else's says whose it must be" "owns the exported directory" "$SAID"
chown "$POOL_UID" "$SERVER/squash"
sleep 0.1
pool squashed /squash "$NFS_PORT" || not_ok "then root_squash is no trouble" "$SAID"
is "with root_squash it is healthy, and fenced" serving "$(pool_health squashed)"

# ---- a full share ---------------------------------------------------------------------------

if [ -n "$SMALL" ]; then
    pool small /small "$NFS_PORT" --set overcommit_percent=0 || not_ok "a small share" "$SAID"
    s volume create other --pool small --size 8M || not_ok "a volume" "$SAID"
    attach small:other
    check "a volume takes space" qemu-io -f raw -c 'write -P 7 0 8M' -c flush "$URI"
    detach
    s volume create big --pool small --size 128M || not_ok "a volume larger than its share" "$SAID"
    attach small:big
    said=$(qemu-io -f raw -c 'write -P 1 0 96M' "$URI" 2>&1)
    has "a full share is said to be full" "No space left" "$said"
    check "what is there is read" qemu-io -f raw -r -c 'read 0 1M' "$URI"
    s volume delete small:other || not_ok "a volume is deleted to make space" "$SAID"
    check "then it is written on" qemu-io -f raw -c 'write -P 2 100M 4M' -c flush "$URI"
    detach
    s volume delete small:big || not_ok "it is deleted" "$SAID"
else
    skip "a full share" "no loop devices here"
fi

# ---- the conformance kit --------------------------------------------------------------------

KIT=$BUILD/bin/sluice-conform
at() { for word in server=127.0.0.1 "export=/export/$1" "port=$NFS_PORT" "mount_port=$((NFS_PORT + 1))" "uid=$POOL_UID" "gid=$POOL_UID"; do
    echo ${2:+"$2"} "$word"
done; }
gateway_stop
install -d -o "$POOL_UID" -g "$POOL_UID" "$EXPORT/kit" "$EXPORT/second"
# shellcheck disable=SC2046 # words
if timeout 120 "$KIT" --seed "$SLUICE_SEED" --identity gid="$HOST_GID" $(at second --second) "$BUILD/drivers/nfs-0.1.0" $(at kit) >"$TEMP/kit" 2>&1; then
    ok "the driver passes the conformance kit"
else
    not_ok "the driver passes the conformance kit" "$(grep -v '^ok' "$TEMP/kit")"
fi
is "which leaves nothing" "" "$(find "$EXPORT/kit" -type f)"
finish
