#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbd.sh: block I/O by NBD over a Unix socket, measured with fio's engine nbd.
#
#     nbd.sh ours|peer CASE read|write rate|cpu|idle
#
#   CASE   4k_qd1, 4k_qd32, 1m (at depth 8), cold_qd32 (4 KiB, nothing in the page cache), 4k_1000 (at 1,000 a second)
#   ours   an attachment of protocol nbd of a volume on the driver posix
#   peer   the better of nbdkit's file plugin, qemu-nbd with io_uring and qemu-nbd with threads; what cannot be
#          started on this machine is left out, nbdkit must be there
#   rate   I/Os a second
#   cpu    seconds of processors, of all processes of the server, for a million I/Os. A rate that was measured in
#          this BENCH_DIR left its figure, and that is taken; so the two rows are of the same turns
#   idle   the same processes with one silent connection, in seconds of processors an hour
#
# Each file is made in the same way on the same file system: written once through by 4 KiB, so that the
# page cache holds single pages, and made durable. cold: then dropped from the cache.
set -uo pipefail
. "$(dirname "$0")/gateway.sh"

SIDE=$1 CASE=$2 WAY=$3 METRIC=$4
SEEN=$BENCH_DIR/nbd.$SIDE.$CASE.$WAY
TICKS=$(getconf CLK_TCK)
MIB=128
BLOCK=4k DEPTH=1 RATE=
case $CASE in
4k_qd1) ;;
4k_qd32) DEPTH=32 ;;
1m) BLOCK=1m DEPTH=8 ;;
cold_qd32) DEPTH=32 MIB=512 ;;
4k_1000) RATE=1000 ;;
*) die "unknown case $CASE" ;;
esac

if [ "$METRIC" = cpu ] && [ -s "$SEEN" ]; then
    head -n 1 "$SEEN"
    sed -i 1d "$SEEN"
    exit 0
fi

fill() { # FILE
    dd if=/dev/zero of="$1" bs=4k count=$((MIB * 256)) conv=notrunc,fsync status=none || die "filling $1"
}

# cool FILE: out of the page cache with it, where that is wanted.
cool() { [ "$CASE" != cold_qd32 ] || dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none; }

# Ticks of processors that the processes have used.
ticks() {
    local pid line sum=0 fields
    for pid in "$@"; do
        read -r line <"/proc/$pid/stat" || die "process $pid has ended"
        read -r -a fields <<<"${line##*) }"
        sum=$((sum + fields[11] + fields[12]))
    done
    echo "$sum"
}

# measure_server URI PID...: sets IOPS and CPU.
measure_server() {
    local uri=$1 before after said
    shift
    if [ "$METRIC" = idle ]; then
        # shellcheck disable=SC2034 # the shell sets HOLDER_PID with it
        coproc HOLDER { exec qemu-io -f raw "$uri" >/dev/null 2>&1; }
        sleep 0.3
        before=$(ticks "$@")
        sleep "$(awk -v s="$BENCH_SECONDS" 'BEGIN { print s * 2 }')"
        after=$(ticks "$@")
        kill "$HOLDER_PID" 2>/dev/null
        CPU=$(awk -v t=$((after - before)) -v hz="$TICKS" -v s="$BENCH_SECONDS" 'BEGIN { printf "%.2f", t / hz / s / 2 * 3600 }')
        IOPS=$CPU
        return
    fi
    local options=(--name=nbd --ioengine=nbd "--uri=$uri" "--rw=rand$WAY" "--bs=$BLOCK" "--iodepth=$DEPTH" "--size=${MIB}m"
        --norandommap --randrepeat=1 --time_based --output-format=json ${RATE:+"--rate_iops=$RATE"})
    # What was never asked for before (buffers, threads, page tables) is paid here. Not of a cold file.
    [ "$CASE" = cold_qd32 ] || fio "${options[@]}" --runtime=300ms >/dev/null 2>&1
    before=$(ticks "$@")
    said=$(fio "${options[@]}" --runtime="$(awk -v s="$BENCH_SECONDS" 'BEGIN { printf "%d", s * 1000 }')ms" 2>"$TEMP/fio.said") || die "fio: $(tail -n 3 "$TEMP/fio.said")"
    after=$(ticks "$@")
    read -r IOPS CPU < <(sed -n '/^{/,$p' <<<"$said" | jq -r --arg way "$WAY" --argjson ticks $((after - before)) --argjson hz "$TICKS" \
        '.jobs[0][$way] | "\(.iops) \($ticks / $hz * 1000000 / .total_ios)"')
}

data_pid() {
    local pid name
    for pid in $(children_of "$SUPER_PID"); do
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [ "$name" != sluice-data ] || echo "$pid"
    done
}

ours() {
    local directory raw sockets status
    gateway_new nbd
    # Sockets have short names wherever the files lie.
    sockets=$(mktemp -d /tmp/sluice-nbd.XXXXXX) && chmod 711 "$sockets"
    gateway_start --nbd-dir "$sockets" --log-level warning
    s host create h --identity uid=0 || die "host create: $SAID"
    directory=$(pool_directory pool)
    s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "pool create: $SAID"
    s volume create v --pool p --size "${MIB}M" || die "volume create: $SAID"
    raw=$(find "$directory" -name 'g000001.raw')
    fill "$raw"
    cool "$raw"
    s attachment create --volume p:v --host h --protocol nbd || die "attachment create: $SAID"
    local uri
    uri=$(get .connection.uri)
    measure_server "$uri" "$(pool_pid p)" "$(data_pid)"
    status=$?
    gateway_stop >&2
    rm -rf "$sockets"
    return "$status"
}

# of_peer COMMAND...: what it measured, if it is better than what there is.
of_peer() {
    local socket=$TEMP/peer.sock file=$TEMP/peer.raw
    rm -f "$socket"
    cool "$file"
    start "$@" >"$TEMP/peer.said" 2>&1
    local pid=$LAST_PID
    if ! wait_until 5 nbdinfo --size "nbd+unix:///?socket=$socket"; then
        stop "$pid"
        return 1
    fi
    measure_server "nbd+unix:///?socket=$socket" "$pid"
    stop "$pid"
    if awk -v a="$IOPS" -v b="$BEST" 'BEGIN { exit !(a > b) }'; then
        BEST=$IOPS BEST_CPU=$CPU
    fi
}

peer() {
    local file=$TEMP/peer.raw socket=$TEMP/peer.sock
    BEST=0 BEST_CPU=0
    truncate -s "${MIB}M" "$file"
    fill "$file"
    of_peer nbdkit -f -U "$socket" file "$file" || die "nbdkit: $(<"$TEMP/peer.said")"
    if [ "$METRIC" != idle ] && [ -z "$RATE" ]; then
        of_peer qemu-nbd -t -e 8 -f raw --cache=writeback --aio=io_uring -k "$socket" "$file" ||
            of_peer qemu-nbd -t -e 8 -f raw --cache=writeback --aio=threads -k "$socket" "$file" ||
            die "qemu-nbd: $(<"$TEMP/peer.said")"
    fi
    IOPS=$BEST CPU=$BEST_CPU
}

"$SIDE"
if [ "$METRIC" = rate ]; then
    echo "$CPU" >>"$SEEN"
    echo "$IOPS"
else
    echo "$CPU"
fi
