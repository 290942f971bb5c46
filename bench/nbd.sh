#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbd.sh: block I/O by NBD over a Unix socket, measured with fio's engine nbd.
#
#     nbd.sh ours|peer CASE read|write rate|cpu|idle
#
#   CASE   4k_qd1, 4k_qd32, 1m (at depth 8), cold_qd32 (4 KiB, nothing in the page cache), 4k_1000 (at 1,000 a second);
#          in front of it: busy_ (beside a process that burns a processor), nospin_ (with nbd-spin-us 0; the peers know no
#          such thing)
#   ours   an attachment of protocol nbd of a volume on the driver posix
#   peer   the better of nbdkit's file plugin, qemu-nbd with io_uring and qemu-nbd with threads; what cannot be
#          started on this machine is left out, nbdkit must be there
#   rate   I/Os a second, and seconds of processors, of all processes of the server, for a million of them
#   cpu    the latter alone
#   idle   the same processes with one silent connection, in seconds of processors an hour
#
# To start servers takes longer than to ask them, so a turn of read measures write too, and the other way
# round: what was not asked for is left in BENCH_DIR for the row that asks for it.
#
# Each file is made in the same way on the same file system: written once through by 4 KiB, so that the
# page cache holds single pages, and made durable. cold: then dropped from the cache.
#
# fio does not read the clock for each request (gtod_reduce): at depth 32 the client is what the processors
# have most to do with, on both sides of the comparison, and its clocks are not what is measured.
set -uo pipefail
shopt -s extglob
. "$(dirname "$0")/gateway.sh"

SIDE=$1 CASE=$2 WAY=$3 METRIC=$4
SEEN=$BENCH_DIR/nbd.$SIDE.$CASE # .read and .write: what was measured by the way
TICKS=$(getconf CLK_TCK)
MIB=128
BLOCK=4k DEPTH=1 RATE='' BUSY=0 OPTIONS=()
case $CASE in
busy_*) BUSY=1 ;;
nospin_*) OPTIONS=(--nbd-spin-us 0) ;;
esac
case ${CASE#*_qd} in
32) DEPTH=32 ;;
esac
case ${CASE#@(busy|nospin)_} in
4k_qd1 | 4k_qd32) ;;
1m) BLOCK=1m DEPTH=8 ;;
cold_qd32) MIB=512 ;;
4k_1000) RATE=1000 ;;
*) die "unknown case $CASE" ;;
esac
COLD=0
[[ $CASE != *cold* ]] || COLD=1

if [ "$METRIC" = rate ] && [ -s "$SEEN.$WAY" ]; then
    head -n 1 "$SEEN.$WAY"
    sed -i 1d "$SEEN.$WAY"
    exit 0
fi

# Ways to measure: the one that is asked for, then the one by the way.
WAYS=("$WAY")
if [ "$METRIC" = rate ]; then
    [ "$WAY" = read ] && WAYS+=(write) || WAYS+=(read)
fi

fill() { # FILE
    dd if=/dev/zero of="$1" bs=4k count=$((MIB * 256)) conv=notrunc,fsync status=none || die "filling $1"
}

# cool FILE: out of the page cache with it, where that is wanted.
cool() { [ "$COLD" = 0 ] || dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none; }

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

# Beside an unrelated process, in a session of its own as every service is.
busy_start() { [ "$BUSY" = 0 ] || start sh -c 'while :; do :; done'; BUSY_PID=${LAST_PID-}; }
busy_stop() { [ "$BUSY" = 0 ] || stop "$BUSY_PID"; }

# idle_seconds URI PID...: seconds of processors an hour.
idle_seconds() {
    local uri=$1 before after
    shift
    # shellcheck disable=SC2034 # the shell sets HOLDER_PID with it
    coproc HOLDER { exec qemu-io -f raw "$uri" >/dev/null 2>&1; }
    sleep 0.3
    before=$(ticks "$@")
    sleep "$(awk -v s="$BENCH_SECONDS" 'BEGIN { print s * 2 }')"
    after=$(ticks "$@")
    kill "$HOLDER_PID" 2>/dev/null
    awk -v t=$((after - before)) -v hz="$TICKS" -v s="$BENCH_SECONDS" 'BEGIN { printf "%.2f", t / hz / s / 2 * 3600 }'
}

# measure_way WAY FILE URI PID...: "I/Os-a-second seconds-of-processors-a-million".
measure_way() {
    local way=$1 file=$2 uri=$3 before after said
    shift 3
    local options=(--name=nbd --ioengine=nbd "--uri=$uri" "--rw=rand$way" "--bs=$BLOCK" "--iodepth=$DEPTH" "--size=${MIB}m"
        --norandommap --randrepeat=1 --time_based --output-format=json)
    if [ -n "$RATE" ]; then options+=("--rate_iops=$RATE"); else options+=(--gtod_reduce=1); fi
    cool "$file"
    # What was never asked for before (buffers, threads, page tables) is paid here. Not of a cold file.
    [ "$COLD" = 1 ] || fio "${options[@]}" --runtime=200ms >/dev/null 2>&1
    before=$(ticks "$@")
    said=$(fio "${options[@]}" --runtime="$(awk -v s="$BENCH_SECONDS" 'BEGIN { printf "%d", s * 1000 }')ms" 2>"$TEMP/fio.said") || die "fio: $(tail -n 3 "$TEMP/fio.said")"
    after=$(ticks "$@")
    sed -n '/^{/,$p' <<<"$said" | jq -r --arg way "$way" --argjson ticks $((after - before)) --argjson hz "$TICKS" \
        '.jobs[0][$way] | "\(.iops) \($ticks / $hz * 1000000 / .total_ios)"'
}

# measure_server FILE URI PID...: into RESULT[way], what is better than what there is.
declare -A RESULT=()
measure_server() {
    local file=$1 way said
    shift
    if [ "$METRIC" = idle ]; then
        RESULT[$WAY]="0 $(idle_seconds "$@")"
        return
    fi
    busy_start
    for way in "${WAYS[@]}"; do
        said=$(measure_way "$way" "$file" "$@") || die "$said"
        if awk -v a="${said% *}" -v b="${RESULT[$way]:-0 0}" 'BEGIN { exit !(a > b + 0) }'; then
            RESULT[$way]=$said
        fi
    done
    busy_stop
}

data_pid() {
    local pid name
    for pid in $(children_of "$SUPER_PID"); do
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [ "$name" != sluice-data ] || echo "$pid"
    done
}

ours() {
    local directory raw sockets
    gateway_new nbd
    # Sockets have short names wherever the files lie.
    sockets=$(mktemp -d /tmp/sluice-nbd.XXXXXX) && chmod 711 "$sockets"
    gateway_start --nbd-dir "$sockets" --log-level warning ${OPTIONS[@]+"${OPTIONS[@]}"}
    s host create h --identity uid=0 || die "host create: $SAID"
    directory=$(pool_directory pool)
    s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "pool create: $SAID"
    s volume create v --pool p --size "${MIB}M" || die "volume create: $SAID"
    raw=$(find "$directory" -name 'g000001.raw')
    fill "$raw"
    s attachment create --volume p:v --host h --protocol nbd || die "attachment create: $SAID"
    measure_server "$raw" "$(get .connection.uri)" "$(pool_pid p)" "$(data_pid)"
    gateway_stop >&2
    rm -rf "$sockets"
}

# of_peer COMMAND...: measured, if it starts here.
of_peer() {
    local socket=$TEMP/peer.sock pid
    rm -f "$socket"
    start "$@" >"$TEMP/peer.said" 2>&1
    pid=$LAST_PID
    if ! wait_until 5 nbdinfo --size "nbd+unix:///?socket=$socket"; then
        stop "$pid"
        return 1
    fi
    measure_server "$TEMP/peer.raw" "nbd+unix:///?socket=$socket" "$pid"
    stop "$pid"
}

peer() {
    local file=$TEMP/peer.raw socket=$TEMP/peer.sock
    truncate -s "${MIB}M" "$file"
    fill "$file"
    of_peer nbdkit -f -U "$socket" file "$file" || die "nbdkit: $(<"$TEMP/peer.said")"
    if [ "$METRIC" = rate ]; then
        of_peer qemu-nbd -t -e 8 -f raw --cache=writeback --aio=io_uring -k "$socket" "$file" ||
            of_peer qemu-nbd -t -e 8 -f raw --cache=writeback --aio=threads -k "$socket" "$file" ||
            die "qemu-nbd: $(<"$TEMP/peer.said")"
    fi
}

"$SIDE"
if [ "$METRIC" = rate ]; then
    echo "${RESULT[${WAYS[1]}]}" >>"$SEEN.${WAYS[1]}"
    echo "${RESULT[$WAY]}"
else
    echo "${RESULT[$WAY]#* }"
fi
