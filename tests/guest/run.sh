#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# guest: a Linux kernel as the client of what the gateway serves, while it dies behind it.
#
# Each tests/guest/NAME.sh is one case, sourced in turn with a gateway that is ready: a host h, and a
# posix pool p. It boots a guest of its own by
#
#   guest_start [QEMU-OPTION...]  runs the script on its standard input in a guest, beside what follows
#   guest_said TEXT               has the guest printed a line that begins so?
#   guest_wait SECONDS TEXT       until it has; false: not in time, or the guest has ended
#   guest_judge NAME              until the guest has ended: its script was content, and its kernel's log
#                                 (which the script prints by `dmesg`) knows of no error of I/O
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

GUEST=$TREE/tests/servers/guest.sh
GUEST_STATE=$BUILD/guest
GUEST_S=100 # one guest, with a builder busy beside it; alone it takes a tenth

if ! said=$("$GUEST" build "$GUEST_STATE" 2>&1); then
    skip "a kernel as a client" "$said"
    finish
fi

guest_start() {
    cat >"$GATEWAY/script"
    GUEST_SAID=$GATEWAY/guest
    : >"$GUEST_SAID"
    start env GUEST_TIMEOUT_S="$GUEST_S" GUEST_BRIDGE="${GUEST_BRIDGE:-}" "$GUEST" run "$GUEST_STATE" \
        "$GATEWAY/script" "$@" </dev/null >"$GUEST_SAID" 2>&1
    GUEST_PID=$LAST_PID
}

guest_said() { grep -q "^$1" "$GUEST_SAID"; }
said_or_gone() { guest_said "$1" || gone "$GUEST_PID"; }
guest_wait() { wait_until "$1" said_or_gone "$2" && guest_said "$2"; }

guest_judge() {
    local status bad
    wait_until "$GUEST_S" gone "$GUEST_PID" || stop "$GUEST_PID"
    wait "$GUEST_PID"
    status=$?
    if [ "$status" -eq 0 ]; then
        ok "$1: the guest found all as it should be"
    else
        not_ok "$1: the guest found all as it should be" "status $status" "$(tail -n 40 "$GUEST_SAID")"
    fi
    bad=$(grep -iE 'I/O error|EXT4-fs (error|warning)|remounting|timed out|hung|blocked for more' "$GUEST_SAID")
    if grep -q 'Linux version' "$GUEST_SAID" && [ -z "$bad" ]; then
        ok "$1: its kernel's log knows of no error"
    else
        not_ok "$1: its kernel's log knows of no error" "${bad:-there is no log}"
    fi
}

# attach VOLUME: sets ATTACHMENT, NBD_URI and NBD_SOCKET.
# shellcheck disable=SC2034 # the cases use them
attach() {
    s attachment create --volume "$1" --host h --protocol nbd || die "$1 is attached" "$SAID"
    ATTACHMENT=$(get .id)
    NBD_URI=$(get .connection.uri)
    NBD_SOCKET=$(get .connection.path)
}

# runner_kill POOL: its runner, for certain; false: there is none just now.
runner_kill() {
    local pid
    pid=$(pool_pid "$1")
    [ "$pid" -ne 0 ] && kill -s KILL "$pid" && wait_until 10 new_runner "$1" "$pid"
}
new_runner() { local pid; pid=$(pool_pid "$1"); [ "$pid" -ne 0 ] && [ "$pid" != "$2" ]; }

gateway_new guest
gateway_start
s host create h --identity "uid=$(id -u)" || die "a host" "$SAID"
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "a pool of posix" "$SAID"
for case in "$TREE"/tests/guest/*.sh; do
    [ "$(basename "$case")" != run.sh ] || continue
    # shellcheck source=/dev/null
    . "$case"
done
gateway_stop
finish
