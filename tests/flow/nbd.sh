#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbd: attachments that the gateway serves: who may open them, and that clients notice nothing but time
# when the runner, the gateway or the whole pool is started anew under them.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

HOST_UID=64001
OTHER_UID=64002
WORK_S=6
KILLS=4
[ "$SLUICE_FULL" -eq 0 ] || { WORK_S=60 KILLS=40; }
command -v nbdinfo >/dev/null && command -v qemu-io >/dev/null || { skip "everything" "no nbdinfo or qemu-io"; finish; }

gateway_new nbd
gateway_start
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "a posix pool" "$SAID"
s pool create r --driver ram || die "a ram pool" "$SAID"
CLIENT=(setpriv --reuid "$HOST_UID" --regid "$HOST_UID" --clear-groups)
[ "$ROOT" -eq 1 ] || { HOST_UID=$(id -u) CLIENT=(env); }
client() { "${CLIENT[@]}" "$@"; }
s host create h --identity "uid=$HOST_UID"
s host create nobody
mkdir -m 0777 "$GATEWAY/work"
chmod 711 "$GATEWAY" "$GATEWAY/run"
cd "$GATEWAY/work" || die "a folder for clients"

# attach VOLUME [OPTION...]: ATTACHMENT, URI
attach() {
    local volume=$1
    shift
    s volume attach "$volume" h --protocol nbd "$@"
    ATTACHMENT=$(get .id)
    URI=$(get .connection.uri)
    SOCKET_PATH=$(get .connection.path)
}

# ---- who may ---------------------------------------------------------------------------------------

for pool in p r; do
    s volume create disk --pool "$pool" --size 64M
    attach "$pool:disk"
    is "$pool: attached by nbd" "attached nbd true" "$(get '"\(.state) \(.protocol) \(.served)"')"
    is "$pool: the size is the volume's" 67108864 "$(client nbdinfo --size "$URI" 2>&1)"
    check "$pool: what is written is read" client qemu-io -f raw -c 'write -P 0x5a 4k 1M' -c 'read -P 0x5a 4k 1M' "$URI"
    has "$pool: its note says who may connect" "$HOST_UID" "$(get .note)"
    if [ "$ROOT" -eq 1 ]; then
        as "$OTHER_UID" nbdinfo --size "$URI" >/dev/null 2>&1
        is "$pool: another account may not" 1 "$?"
    fi
    s volume resize "$pool:disk" --size 128M
    is "$pool: the volume is not resized meanwhile" 4 "$STATUS"
    s snapshot create "$pool:disk" now
    if [ "$pool" = p ]; then
        is "$pool: nor is a snapshot taken" 4 "$STATUS"
    else # it can while clients write
        is "$pool: a snapshot is taken" available "$(get .state)"
        check "$pool: and written on" client qemu-io -f raw -c 'write -P 0x33 4k 4k' "$URI"
        disk=$ATTACHMENT
        s snapshot attach "$pool:disk@now" h --protocol nbd
        check "$pool: it has the bytes of then" client qemu-io -r -f raw -c 'read -P 0x5a 4k 1M' "$(get .connection.uri)"
        s attachment delete "$(get .id)"
        ATTACHMENT=$disk
        check "$pool: and the volume those of now" client qemu-io -f raw -c 'read -P 0x33 4k 4k' "$URI"
    fi
    s volume attach "$pool:disk" h --protocol nbd
    within "$pool: nor attached once more" 1 9 "$STATUS"
    s pool drain "$pool"
    has "$pool: its pool is not drained" "over NBD" "$SAID"
    s attachment delete "$ATTACHMENT"
    is "$pool: detached" 0 "$STATUS"
    is "$pool: and its socket is gone" 0 "$(find "$SOCKET_PATH" 2>/dev/null | wc -l)"
    s attachment list
    is "$pool: and the attachment" 0 "$(get '.items | length')"
done
s volume attach p:disk nobody --protocol nbd
has "a host without a uid has no NBD" "uid" "$SAID"
s volume attach p:disk h --protocol iscsi
within "nor is there any other protocol" 1 9 "$STATUS"
s volume attach p:disk h --mode read-only --iops-max 100
within "nor a limit without NBD" 1 9 "$STATUS"
attach p:disk --mode read-only
check "a reader reads what was written" client qemu-io -r -f raw -c 'read -P 0x5a 4k 1M' "$URI"
is "and is told that it is one" true "$(client nbdinfo --is read-only "$URI" && echo true)"
s attachment delete "$ATTACHMENT"

# ---- who notices -----------------------------------------------------------------------------------

# work URI: writes and checks what it wrote, until WORK_S are over; WORKER is its pid.
work() {
    rm -f "$GATEWAY/work/fio"
    start "${CLIENT[@]}" fio --name=work --ioengine=nbd --uri="$1" --rw=randwrite --bs=4k --size=32m --iodepth=32 \
        --verify=crc32c --verify_backlog=512 --time_based --runtime="$WORK_S" --eta=never --output="$GATEWAY/work/fio" \
        --output-format=json </dev/null >>"$GATEWAY/fio.said" 2>&1
    WORKER=$LAST_PID
}
worked() {
    local status
    wait "$WORKER"
    status=$?
    is "$1: no I/O error, and all of it is there" 0 "$status"
    [ "$status" -eq 0 ] || sed 's/^/# /' "$GATEWAY/fio.said" | tail -n 5
    echo "# $1: longest stall $(jq '[.jobs[0].write, .jobs[0].read | .clat_ns.max] | max / 1000000 | floor' "$GATEWAY/work/fio" 2>/dev/null) ms"
}
serves() { pool_is "$1" serving; }

# Has the work got on since the last time? sluice-data tells how far it is once a second.
MOVED=0
moved_or_over() {
    local now
    now=$(curl -s --unix-socket "$SOCKET" http://localhost/metrics | sed -n 's/^sluice_data_calls_total //p')
    if gone "$WORKER"; then return 0; fi
    [ "${now:-0}" -gt $((MOVED + 100)) ] && MOVED=$now
}

if command -v fio >/dev/null; then
    for pool in p r; do
        attach "$pool:disk"
        work "$URI"
        died=0
        for ((i = 0; i < KILLS; i++)); do
            wait_until 10 moved_or_over
            ! gone "$WORKER" || break
            pid=$(pool_pid "$pool")
            [ "$pool" = r ] || [ "$pid" -eq 0 ] || { kill -s KILL "$pid" && died=$((died + 1)); }
            [ "$pool" = p ] || { daemon_kill && died=$((died + 1)); }
        done
        within "$pool: it died while work was under way" 1 "$KILLS" "$died"
        if [ "$pool" = p ]; then worked "the runner is killed"; else worked "the gateway is killed"; fi
        wait_until 20 serves "$pool" || not_ok "$pool: serves again"
        s attachment delete "$ATTACHMENT"
    done
    attach p:disk
    work "$URI"
    wait_until 10 moved_or_over
    daemon=$(daemon_pid)
    daemon_kill
    wait_until 20 gateway_ready
    pid=$(pool_pid p)
    s pool restart p
    is "a pool that serves clients is restarted" 0 "$STATUS"
    [ "$pid" != "$(pool_pid p)" ] && ok "by another process" || not_ok "by another process"
    worked "gateway and pool are started anew"
    is "the gateway is another one too" 1 "$([ "$daemon" = "$(daemon_pid)" ] && echo 0 || echo 1)"
else
    skip "clients notice nothing" "no fio"
fi

# ---- the end ---------------------------------------------------------------------------------------

gateway_stop
gateway_start
wait_until 10 serves p
s attachment show "$ATTACHMENT"
is "stopped and started, it is served again" 67108864 "$(client nbdinfo --size "$(get .connection.uri)" 2>&1)"
s attachment delete "$ATTACHMENT"
gateway_stop
is "stopped, no socket stays" 0 "$(find "$GATEWAY/run/nbd" -name '*.sock' | wc -l)"

# A folder may have any name: the URI says it in the way of URIs.
gateway_start --nbd-dir "$GATEWAY/n b+d%20&x=#?ä"
wait_until 10 serves p
attach p:disk
has "a path with special characters is escaped" "n%20b%2Bd%2520%26x%3D%23%3F%C3%A4/" "$URI"
is "and clients find it" 67108864 "$(client nbdinfo --size "$URI" 2>&1)"
check "qemu too" client qemu-io -r -f raw -c 'read 0 4k' "$URI"
s attachment delete "$ATTACHMENT"
gateway_stop

# A folder whose name is too long for a socket costs the service, not the gateway.
gateway_start --nbd-dir "$GATEWAY/$(printf '%070d' 0)"
wait_until 10 serves p
s volume attach p:disk h --protocol nbd && not_ok "a folder with a long name serves nobody" "$SAID"
has "and it is said what to change" "nbd-dir" "$SAID"
gateway_stop
finish
