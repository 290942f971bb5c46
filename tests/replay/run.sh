#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# replay: block I/O through attachments of protocol nbd, while everything behind it dies.
#
# Each story has a probe, one client with one request at a time, whose longest request is the longest
# gap that a client saw, and fio, which writes at random at depth 32 and verifies all that it wrote.
# Figures are printed as comments.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"
. "$(dirname "$0")/../drivers/tiny/archive.sh"

PROBE=$BUILD/tests/replay/probe
STALL_GOAL_US=250000
# What is stopped is found when its ring has stood still for POOL_STILL_NS; then it is a kill.
STALL_STOPPED_US=600000
# Of what sluice-data may have at once: rings of 32 MiB, buffers of its connections.
DATA_MEMORY_KIB=$((192 * 1024))
HOST_UID=54321

if [ "$SLUICE_FULL" = 1 ]; then
    STORY_S=60
    BAD_S=30
else
    STORY_S=5
    BAD_S=6
fi

# ---- a gateway with attachments -----------------------------------------------------------------

attach() { # POOL:VOLUME; sets NBD_SOCKET and NBD_URI
    s attachment create --volume "$1" --host h --protocol nbd || die "$1 is attached" "$SAID"
    NBD_URI=$(get .connection.uri)
    NBD_SOCKET=${NBD_URI#*socket=}
    ATTACHMENT=$(get .id)
}

data_pid() {
    local pid name
    for pid in $(children_of "$SUPER_PID"); do
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [ "$name" != sluice-data ] || echo "$pid"
    done
}

memory_kib() { awk '/^RssAnon|^RssShmem/ { sum += $2 } END { print sum }' "/proc/$1/status"; }

# judged_elsewhere COMMAND...: a program that says "ok - " and "not ok - " itself.
judged_elsewhere() {
    local said status
    said=$("$@" 2>&1)
    status=$?
    printf '%s\n' "$said"
    PASSED=$((PASSED + $(grep -c '^ok - ' <<<"$said")))
    [ "$status" -eq 0 ] || FAILED=$((FAILED + 1))
    [ "$status" -eq 0 ] || grep -q '^not ok' <<<"$said" || not_ok "$1 ends well" "status $status"
}

metric() { curl -s --unix-socket "$SOCKET" http://localhost/metrics | sed -n "s/^$1 //p"; }

# ---- load ---------------------------------------------------------------------------------------

# load_start SECONDS: a probe in the first 16 MiB, fio in the rest; fio writes for as long, then
# verifies.
load_start() {
    "$PROBE" "$NBD_SOCKET" "$1" 0 16 >"$GATEWAY/probe" 2>&1 &
    PROBE_PID=$!
    fio --name=load --ioengine=nbd --uri="$NBD_URI" --rw=randwrite --bs=4k --iodepth=32 --offset=16m --size=32m \
        --verify=crc32c --do_verify=1 --verify_state_save=0 --verify_fatal=1 --time_based --runtime="$1" --fsync="${LOAD_FSYNC:-0}" \
        --randseed="$SLUICE_SEED" --output-format=json --output="$GATEWAY/fio" >"$GATEWAY/fio.said" 2>&1 &
    FIO_PID=$!
    LOAD_UNTIL=$((SECONDS + $1))
}

load_on() { [ "$SECONDS" -lt "$LOAD_UNTIL" ] && alive "$PROBE_PID"; }

# load_judge STORY DEATHS LONGEST_US
load_judge() {
    local fio_status probe_status longest
    wait_until 60 gone "$FIO_PID" || kill -s KILL "$FIO_PID"
    wait "$FIO_PID"
    fio_status=$?
    wait_until 20 gone "$PROBE_PID" || kill -s KILL "$PROBE_PID"
    wait "$PROBE_PID"
    probe_status=$?
    longest=$(sed -n 's/.* longest //p' "$GATEWAY/probe")
    echo "# $1: $2 deaths; probe: $(<"$GATEWAY/probe"); fio: $(sed -n '/^{/,$p' "$GATEWAY/fio" | jq -r \
        '.jobs[0] | "\(.write.total_ios) writes, \(.read.total_ios) verified, error \(.error), longest \(.write.clat_ns.max / 1000 | floor) us"')"
    if [ "$fio_status" -eq 0 ]; then
        ok "$1: what fio wrote is there, and nothing failed"
    else
        not_ok "$1: what fio wrote is there, and nothing failed" "$(tail -n 5 "$GATEWAY/fio.said" "$GATEWAY/log")"
    fi
    is "$1: what the probe wrote is there, and nothing failed" 0 "$probe_status"
    within "$1: the longest gap, in us" 0 "$3" "${longest:-none}"
}

new_runner() { local pid; pid=$(pool_pid "$1"); [ "$pid" -ne 0 ] && [ "$pid" != "$2" ]; }

# story_deaths NAME POOL SIGNAL LONGEST_US: the signal to the runner every second.
story_deaths() {
    local deaths=0 pid
    load_start "$STORY_S"
    sleep 1
    while load_on; do
        pid=$(pool_pid "$2")
        if [ "$pid" -ne 0 ] && kill -s "$3" "$pid" 2>/dev/null; then
            wait_until 13 new_runner "$2" "$pid" && gone "$pid" && deaths=$((deaths + 1))
        fi
        sleep 1
    done
    load_judge "$1" "$deaths" "$4"
    check "$1: there were deaths, each with a successor" test "$deaths" -ge $((STORY_S / 2))
}
story_kills() { story_deaths "$1" "$2" KILL "$STALL_GOAL_US"; }

# ---- posix --------------------------------------------------------------------------------------

gateway_new replay
ram_archive "$GATEWAY/more" 0.2.0
gateway_drivers "$BUILD/drivers" "$GATEWAY/more"
gateway_start
s host create h --identity uid=$HOST_UID || die "a host" "$SAID"
directory=$(pool_directory posix)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "a pool of posix" "$SAID"
s volume create v --pool p --size 64M
s volume create w --pool p --size 64M
attach p:w
OTHER_SOCKET=$NBD_SOCKET
attach p:v

# ---- clients ------------------------------------------------------------------------------------

has "nbdinfo" "67108864" "$(nbdinfo "$NBD_URI" 2>&1)"
dd if=/dev/urandom of="$GATEWAY/image" bs=1M count=64 status=none
check "nbdcopy to it" nbdcopy "$GATEWAY/image" "$NBD_URI"
check "nbdcopy from it" nbdcopy "$NBD_URI" "$GATEWAY/copied"
check "nbdcopy: what came back is what went" cmp "$GATEWAY/image" "$GATEWAY/copied"
check "qemu-img compare" qemu-img compare -f raw -F raw "$GATEWAY/image" "$NBD_URI"
has "qemu-io writes and verifies" "wrote 65536" \
    "$(qemu-io -f raw -c 'write -P 90 1M 64k' -c 'read -P 90 1M 64k' -c 'write -z 2M 1M' -c 'discard 4M 1M' -c flush "$NBD_URI" 2>&1)"
has "qemu-io finds what it wrote" "read 65536" "$(qemu-io -f raw -c 'read -P 90 1M 64k' -c 'read -P 0 2M 1M' "$NBD_URI" 2>&1)"
has "nbdinfo --map" "hole" "$(nbdinfo --map "$NBD_URI" 2>&1)"
is "nbdsh" 67108864 "$(PATH=/usr/bin:$PATH nbdsh -u "$NBD_URI" -c 'print(h.get_size())' 2>&1)"
is "qemu-img map finds the hole of the discard" 1048576 "$(qemu-img map --output json -f raw "$NBD_URI" |
    jq '[.[] | select(.start <= 4194304 and .start + .length > 4194304 and .zero)] | .[0] | ([.start + .length, 5242880] | min) - 4194304')"
check "qemu-img converts from it" qemu-img convert -f raw -O qcow2 "$NBD_URI" "$GATEWAY/image.qcow2"
check "qemu-img converts to it" qemu-img convert -n -f qcow2 -O raw "$GATEWAY/image.qcow2" "$NBD_URI"
check "qemu-img: what was converted is what there is" qemu-img compare -f qcow2 -F raw "$GATEWAY/image.qcow2" "$NBD_URI"
has "qemu-img bench, writing" "Run completed" "$(qemu-img bench -w -c 2000 -d 32 -f raw --flush-interval=500 "$NBD_URI" 2>&1)"
# Debian's own python has libnbd, whatever other stands before it in PATH.
single() { judged_elsewhere /usr/bin/python3 -B "$TREE/tests/replay/single.py" "$@"; }
single "$NBD_URI"
s volume create x --pool p --size 64M
s attachment create --volume p:x --host h --protocol nbd --mode read-only
single "$(get .connection.uri)" read-only
s attachment delete "$(get .id)"
if [ "$ROOT" -eq 1 ]; then
    check "the host's account may connect" as $HOST_UID nbdinfo --size "$NBD_URI"
    if as $((HOST_UID + 1)) nbdinfo --size "$NBD_URI" >/dev/null 2>&1; then
        not_ok "another account is refused"
    else
        ok "another account is refused"
    fi
fi

# ---- limits -------------------------------------------------------------------------------------

# limited NAME LOW HIGH OPTION VALUE: requests of 4 KiB that a probe is served in LIMIT_S.
LIMIT_S=2
limited() {
    local said
    s attachment create --volume p:x --host h --protocol nbd "$4" "$5" || die "$1: an attachment" "$SAID"
    said=$("$PROBE" "$(get .connection.path)" "$LIMIT_S" 0 16)
    is "limit, $1: nothing failed" 0 $?
    echo "# limit, $1: $said"
    # The bucket holds a tenth of a second's worth; below it is a busy machine, above it a limit that leaks.
    within "limit, $1: requests in $LIMIT_S s" "$2" "$3" "$(sed -n 's/^requests \([0-9]*\) .*/\1/p' <<<"$said")"
    s attachment delete "$(get .id)"
}
limited "400 a second" 400 900 --iops-max 400
limited "2 MiB a second" 500 1150 --bytes-s-max 2097152

# ---- deaths of the runner -----------------------------------------------------------------------

story_kills "posix, runner killed" p

story_deaths "posix, runner stopped" p STOP "$STALL_STOPPED_US"

# Once: sluice-super takes its time with a sluiced that ends again and again.
load_start "$STORY_S"
sleep 1
pid=$(pool_pid p)
daemon_kill
kill -s KILL "$pid"
check "both killed: there is another runner" wait_until 10 new_runner p "$pid"
load_judge "posix, both killed" 1 1000000

# What is under way goes on through the same ring: another runner, or a call that was sent twice, would tell.
calls_counted() { [ "$(metric sluice_data_calls_total)" -gt "$1" ]; }
wait_until 10 calls_counted 0 || not_ok "posix, sluiced killed: calls are counted"
before=$(metric sluice_data_calls_total)
replayed=$(metric sluice_data_replayed_total)
pid=$(pool_pid p)
deaths=0
load_start "$STORY_S"
sleep 1
while load_on; do
    daemon_kill && deaths=$((deaths + 1))
    sleep 0.8
    wait_until 10 gateway_ready
done
load_judge "posix, sluiced killed" "$deaths" "$STALL_GOAL_US"
is "posix, sluiced killed: by the same runner" "$pid" "$(pool_pid p)"
check "posix, sluiced killed: its calls are counted" wait_until 10 calls_counted "$before"
is "posix, sluiced killed: none of them twice" "$replayed" "$(metric sluice_data_replayed_total)"

load_start "$STORY_S"
sleep 1
restarts=0
while load_on; do
    if s pool restart p; then
        restarts=$((restarts + 1))
    else
        not_ok "posix, pool restarted: restart $restarts" "$SAID"
        break
    fi
    sleep 1
done
load_judge "posix, pool restarted" "$restarts" 1000000
check "posix, pool restarted: it was" test "$restarts" -ge 2

# ---- ram, which loses what was not flushed ------------------------------------------------------

backing=$(pool_directory backing $((UID_LOW + 1)))
s pool create r --driver ram --driver-version 0.1.0 --set "backing=$backing" --uid $((UID_LOW + 1)) || die "a pool of ram" "$SAID"
s volume create v --pool r --size 64M
attach r:v
story_kills "ram, losing what was not flushed" r
LOAD_FSYNC=64 story_kills "ram, with flushes" r
load_start "$STORY_S"
sleep 1
s pool upgrade r --driver-version 0.2.0
is "ram, upgraded: it was" "0.2.0" "$(get .driver_version)"
load_judge "ram, upgraded" 0 1000000

# ---- a request that ends every runner -----------------------------------------------------------

gateway_stop
root=$GATEWAY/poison/ram-0.9.0
mkdir -p "$root/META-INF" "$root/driver" "$GATEWAY/source"
from=$TREE/api/driver/example
sed 's/\.version = "[^"]*"/.version = "0.9.0"/' "$from/ram.c" >"$GATEWAY/source/ram.c"
compile_driver "$root/driver/ram.so" "$GATEWAY/source/ram.c" "$TREE/tests/replay/poison.c" "$from"/{backing,blocks,disks}.c -- -I "$from" ||
    die "the poisoned driver can be compiled"
sed 's/^version: .*/version: 0.9.0/' "$from/driver.yaml" >"$root/META-INF/driver.yaml"
cp -R "$from/resources" "$root/resources"
chmod -R go-w "$root"
gateway_drivers "$BUILD/drivers" "$GATEWAY/more" "$GATEWAY/poison"
gateway_start
check "after a restart of everything the attachment is served" wait_until 10 nbdinfo --size "$NBD_URI"
backing=$(pool_directory poisoned $((UID_LOW + 2)))
s pool create q --driver ram --driver-version 0.9.0 --set "backing=$backing" --uid $((UID_LOW + 2)) || die "a poisoned pool" "$SAID"
s volume create v --pool q --size 64M
attach q:v
load_start "$STORY_S"
sleep 1
OUT=$(qemu-io -f raw -c 'read 48M 4k' "$NBD_URI" 2>&1)
has "poison: the request that kills is answered EIO" "Input/output error" "$OUT"
load_judge "poison, everything else" 3 5000000

# ---- bad clients --------------------------------------------------------------------------------

NBD_SOCKET=$OTHER_SOCKET
calm=$("$PROBE" "$NBD_SOCKET" 3 0 16)
before=$(memory_kib "$(data_pid)")
python3 -B "$TREE/tests/replay/bad.py" "$NBD_SOCKET" "$BAD_S" >"$GATEWAY/bad" 2>&1 &
bad=$!
disturbed=$("$PROBE" "$NBD_SOCKET" "$BAD_S" 0 16)
is "bad clients: a good one notices no error" 0 $?
within "bad clients: memory of sluice-data is bounded, in KiB" 1 "$DATA_MEMORY_KIB" "$(memory_kib "$(data_pid)")"
wait "$bad"
is "bad clients: they were there" 0 $?
echo "# bad clients: $(<"$GATEWAY/bad")"
echo "# alone: $calm"
echo "# among bad clients: $disturbed; sluice-data had $before KiB, then $(memory_kib "$(data_pid)") KiB"
within "bad clients: the others' p99, in us" 0 20000 "$(sed -n 's/.* p99 \([0-9]*\) .*/\1/p' <<<"$disturbed")"

# ---- the end ------------------------------------------------------------------------------------

s attachment delete "$ATTACHMENT"
is "an attachment is deleted" 0 "$STATUS"
check "and its socket is gone" test ! -e "${NBD_URI#*socket=}"
gateway_stop
finish
