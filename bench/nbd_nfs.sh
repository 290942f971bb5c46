#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbd_nfs.sh: block I/O by NBD of volumes that lie on an NFS server, measured with fio's engine nbd.
#
#     nbd_nfs.sh ours|peer CASE read|write rate
#
#   CASE   qd1, qd32 (4 KiB anywhere), 1m (1 MiB anywhere, depth 8)
#   ours   an attachment of protocol nbd of a qcow2 volume of the driver nfs
#   peer   qemu-nbd with a qcow2 image by nfs://, with writes as it has them by default for that
#
# Server, gateway and peer are in a network namespace of their own, as qemu cannot be told ports. The image
# is allocated, and in the server's memory.
set -euo pipefail

MIB=128
if [ "${IN_NETNS:-no}" = no ]; then
    NFS_SH=$(dirname "$0")/../tests/servers/nfs.sh
    STATE=$(mktemp -d "$BENCH_DIR/nfs.XXXXXX")
    chmod 711 "$STATE"
    # shellcheck disable=SC2064 # now
    trap "'$NFS_SH' stop '$STATE' >/dev/null 2>&1; rm -rf '$STATE'" EXIT
    NFS_NETNS=yes "$NFS_SH" start "$STATE" 2049 >&2 || exit 1
    IN_NETNS=yes NFS_STATE=$STATE "$NFS_SH" exec "$STATE" "$0" "$@"
    exit
fi

set +e
. "$(dirname "$0")/gateway.sh"
SIDE=$1 CASE=$2 WAY=$3
case $CASE in
qd1) BLOCK=4k DEPTH=1 ;;
qd32) BLOCK=4k DEPTH=32 ;;
1m) BLOCK=1m DEPTH=8 ;;
*) die "unknown case $CASE" ;;
esac

# measure_server URI: prints I/Os a second.
measure_server() {
    local options=(--name=nbd --ioengine=nbd "--uri=$1" "--size=${MIB}m" --output-format=json)
    fio "${options[@]}" --rw=write --bs=1m --iodepth=4 >"$TEMP/fio.said" 2>&1 || die "filling: $(tail -n 3 "$TEMP/fio.said")"
    options+=("--rw=rand$WAY" "--bs=$BLOCK" "--iodepth=$DEPTH" --norandommap --randrepeat=1 --time_based)
    fio "${options[@]}" --runtime=300ms >/dev/null 2>&1
    fio "${options[@]}" --runtime="$(awk -v s="$BENCH_SECONDS" 'BEGIN { printf "%d", s * 1000 }')ms" 2>"$TEMP/fio.said" |
        sed -n '/^{/,$p' | jq -r --arg way "$WAY" '.jobs[0][$way].iops'
}

ours() {
    gateway_new nbd
    SOCKETS=$(mktemp -d /tmp/sluice-nbd.XXXXXX) && chmod 711 "$SOCKETS"
    gateway_start --nbd-dir "$SOCKETS" --log-level warning
    s host create h --identity uid=0 || die "host create: $SAID"
    s pool create p --driver nfs --set server=127.0.0.1 --set export=/export --set port=2049 --set mount_port=2050 || die "pool create: $SAID"
    s volume create v --pool p --size "${MIB}M" || die "volume create: $SAID"
    s attachment create --volume p:v --host h --protocol nbd || die "attachment create: $SAID"
    measure_server "$(get .connection.uri)"
    gateway_stop >&2
    rm -rf "$SOCKETS"
}

peer() {
    local socket=$TEMP/peer.sock
    qemu-img create -q -f qcow2 "$NFS_STATE/export/peer.qcow2" "${MIB}M" && chmod 666 "$NFS_STATE/export/peer.qcow2"
    start qemu-nbd -t -e 8 -f qcow2 --cache=writeback -k "$socket" nfs://127.0.0.1/export/peer.qcow2 >"$TEMP/peer.said" 2>&1
    wait_until 10 nbdinfo --size "nbd+unix:///?socket=$socket" || die "qemu-nbd: $(<"$TEMP/peer.said")"
    measure_server "nbd+unix:///?socket=$socket"
}

"$SIDE"
