#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# restart: the gateway and the runners are killed while they work, and stopped in order; secrets stay
# where they belong all the while.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"
. "$(dirname "$0")/../drivers/tiny/archive.sh"

SECRET=correct-horse-battery-staple-4711
COPIES=4
SMALL=20
FILLED_MIB=192 # of each copy's source: some tenths of a second of copying when the copy is let go

gateway_new restart
ram_archive "$GATEWAY/more" 0.9.0 '  - {name: password, label: password.label, description: password.description, type: string, secret: true}'
gateway_drivers "$BUILD/drivers" "$GATEWAY/more"
gateway_start

directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" --set overcommit_percent=0
s pool create r --driver ram --driver-version 0.1.0
s volume create big --pool p --size 256M
disk="$directory/volumes/$(get .id)/g000001.raw"
dd if=/dev/urandom of="$disk" bs=8M count=$((FILLED_MIB / 8)) iflag=fullblock conv=notrunc status=none
sum=$(sha256sum <"$disk")

running() { quietly operation list --state running --limit 500 | jq '.items | length'; }
all_ended() { [ "$(running)" -eq 0 ] && [ "$(quietly operation list --state undoing | jq '.items | length')" -eq 0 ]; }
moves() { s operation show "$1" && { [ "$(get '.done_bytes // 0')" -gt 0 ] || [ "$(get .state)" != running ]; }; }
another_daemon() { [ -n "$(daemon_pid)" ] && [ "$(daemon_pid)" != "$1" ] && gateway_ready; }

# load NAME: small volumes, and copies that are let go, which makes them files of their own, and goes on
# when the first one moves; OPERATIONS are those of the letting go. The pool's process is held until all
# is asked for, so that it is not done by then.
load() {
    local i runner
    OPERATIONS=() COPIED=()
    for ((i = 0; i < COPIES; i++)); do
        s volume copy p:big "$1-copy$i"
        COPIED+=("$(get .id)")
    done
    for ((i = 0; i < SMALL; i++)); do
        s volume create "$1-small$i" --pool r --size 64K --no-wait
    done
    runner=$(pool_pid p)
    kill -s STOP "$runner"
    for ((i = 0; i < COPIES; i++)); do
        s volume unmanage "p:$1-copy$i" --no-wait
        OPERATIONS+=("$(get .id)")
    done
    kill -s CONT "$runner"
    wait_until 20 moves "${OPERATIONS[0]}" || not_ok "$1: a copy moves" "$(get .)"
    KILLED=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
}

# Something was under way when it was KILLED.
was_loaded() {
    local late
    late=$(quietly operation list --limit 500 | jq --arg t "$KILLED" '[.items[] | select(.ended_at > $t)] | length')
    within "$1: work was under way" 1 $((COPIES + SMALL)) "$late"
}

# whole FILE: the bytes of a qcow2 file.
whole() {
    qemu-img convert -f qcow2 -O raw "$1" "$GATEWAY/whole" && cat "$GATEWAY/whole"
    rm -f "$GATEWAY/whole"
}

# unload NAME: all that load asked for is there once, whole; then it goes.
unload() {
    local i left wrong=0
    s volume list --pool r
    is "$1: every small volume too" "$SMALL" "$(get "[.items[] | select(.name | startswith(\"$1-small\")) | select(.state == \"available\")] | length")"
    s volume list --pool p
    is "$1: only the source is a volume still" big "$(get '[.items[].name] | join(" ")')"
    for ((i = 0; i < COPIES; i++)); do
        left="$directory/unmanaged/${COPIED[i]}.qcow2"
        [ "$(whole "$left" | sha256sum)" = "$sum" ] || wrong=$((wrong + 1))
        rm -f "$left"
    done
    is "$1: every copy is there once and equals its source, byte for byte" 0 "$wrong"
    s pool compare p
    is "$1: backend and catalogue agree" "0 0" "$(get '"\(.unknown_count) \(.missing_count)"')"
}

# ---- sluiced is killed under load ----------------------------------------------------------------

before="$(pool_pid p) $(pool_pid r)"
daemon=$(daemon_pid)
load one
begin=$(date +%s%N)
daemon_kill
check "killed, the gateway comes back" wait_until 20 another_daemon "$daemon"
echo "# another gateway answered after $((($(date +%s%N) - begin) / 1000000)) ms"
check "all that was begun ends" wait_until 60 all_ended
echo "# all operations had ended after $((($(date +%s%N) - begin) / 1000000)) ms"
is "the runners are the same processes" "$before" "$(pool_pid p) $(pool_pid r)"
was_loaded one
is "none has died" "0 0" "$(quietly pool show p | jq .runner.deaths) $(quietly pool show r | jq .runner.deaths)"
s operation list --state failed
is "nothing failed" 0 "$(get '.items | length')"
unload one

# ---- a runner is killed in the middle of a copy --------------------------------------------------

s pool show p
deaths=$(get .runner.deaths)
pid=$(pool_pid p)
load two
kill -s KILL "$pid"
check "all that was begun ends" wait_until 60 all_ended
was_loaded two
s pool show p
is "the death is counted" $((deaths + 1)) "$(get .runner.deaths)"
check "another process serves" test "$(get '"\(.health) \(.runner.pid)"')" != "serving $pid"
s operation list --state failed
is "nothing failed" 0 "$(get '.items | length')"
unload two

# ---- everything is killed ------------------------------------------------------------------------

load three
gateway_kill
gateway_start
check "after a power cut all that was accepted ends" wait_until 60 all_ended
was_loaded three
s operation list --state failed
is "nothing failed" 0 "$(get '.items | length')"
is "every copy is there once" "$COPIES" "$(find "$directory/unmanaged" -name '*.qcow2' | wc -l)"
rm -f "$directory"/unmanaged/*

# ---- a second gateway ----------------------------------------------------------------------------

gateway_options
start timeout 20 "$BUILD/bin/sluice-super" --uid-range "$UID_LOW-$UID_HIGH" -- "${GATEWAY_OPTIONS[@]}" \
    --socket "$GATEWAY/run/second.sock" --listen "" >"$GATEWAY/second.log" 2>&1 </dev/null
second=$LAST_PID
check "a second gateway on the same state is refused" wait_until 15 grep -q 'cannot start' "$GATEWAY/second.log"
stop "$second"
echo "# $(grep -m 1 'cannot start' "$GATEWAY/second.log")"
check "and it says that there is another one" grep -qi 'another\|in use\|already' "$GATEWAY/second.log"
check "it opens no socket" test ! -S "$GATEWAY/run/second.sock"
is "the first one works on" serving "$(pool_health p)"

# ---- secrets -------------------------------------------------------------------------------------

printf '%s' "$SECRET" >"$GATEWAY/password"
s pool create s --driver ram --driver-version 0.9.0 --set-file "password=$GATEWAY/password"
is "a pool with a secret" serving "$(get .health)"
rm "$GATEWAY/password"
s pool update s --label a=b
s pool restart s
is "it gets it again when its process starts anew" serving "$(get .health)"

hidden() { ! grep -qF "$SECRET" "$@"; }
for command in "pool list" "pool show s" "operation list" "events --after 0"; do
    # shellcheck disable=SC2086 # a command is words
    quietly $command >"$GATEWAY/listing"
    check "the secret is not in: $command" hidden "$GATEWAY/listing"
done
check "nor in the log" hidden "$GATEWAY/log"
curl -sf --unix-socket "$SOCKET" http://localhost/metrics >"$GATEWAY/metrics"
check "nor in the metrics" hidden "$GATEWAY/metrics"
found=$(grep -rlaF "$SECRET" "$GATEWAY/state" 2>/dev/null)
is "nor in any file of the state directory" "" "$found"
processes="$SUPER_PID $(children_of "$SUPER_PID" | tr '\n' ' ')"
wrong=
for pid in $processes; do
    tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "$SECRET" && wrong="$wrong cmdline:$pid"
    tr '\0' '\n' <"/proc/$pid/environ" | grep -qF "$SECRET" && wrong="$wrong environ:$pid"
done 2>/dev/null
is "nor in a command line or an environment" "" "$wrong"
for pid in $(daemon_pid) $(pool_pid s); do
    is "$(<"/proc/$pid/comm") writes no core" 0 "$(awk '/^Max core file size/ { print $5 }' "/proc/$pid/limits")"
done
if [ "$ROOT" -eq 1 ]; then
    is "a runner has no environment at all" 0 "$(wc -c <"/proc/$(pool_pid s)/environ")"
    # The kernel gives what cannot be dumped to root, whoever runs it.
    is "a runner cannot be dumped" 0 "$(stat -c %u "/proc/$(pool_pid s)/mem")"
    is "nor traced by its own account" no "$(as $((UID_LOW + 99)) cat "/proc/$(pool_pid s)/maps" >/dev/null 2>&1 && echo yes || echo no)"
else
    skip "a runner cannot be dumped and has no environment" "only root can look"
fi
gateway_kill
gateway_start
check "after a restart it can still be opened" wait_until 10 pool_is s serving
s pool delete s
is "and goes with the pool" 0 "$STATUS"

# ---- stopping in order ---------------------------------------------------------------------------

pids="$(pool_pid p) $(pool_pid r) $(daemon_pid)"
load four
begin=$(date +%s%N)
gateway_stop
echo "# stopped under load in $((($(date +%s%N) - begin) / 1000000)) ms"
left=
for pid in $pids; do gone "$pid" || left="$left $pid"; done
is "stopped, nothing is left running" "" "$left"
check "it said so" grep -q '"stopped"\|stopped' "$GATEWAY/log"
check "no socket is left" test ! -S "$SOCKET"
gateway_start
check "what was begun goes on at the next start" wait_until 60 all_ended
was_loaded four
s operation list --state failed
is "nothing failed" 0 "$(get '.items | length')"
is "and is there" "$COPIES" "$(find "$directory/unmanaged" -name '*.qcow2' | wc -l)"
gateway_stop
finish
