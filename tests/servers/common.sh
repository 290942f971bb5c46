# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# common.sh - sourced by the server scripts beside it; not run on its own.
#
# Each server is started with SERVER_MARK=STATE/NAME in its environment, and its
# pid is kept in STATE/NAME.pid.  A process is taken for ours only when its
# environment has that very mark, so stop ends every process of the server, also
# one that made itself a session of its own, and no other process ever.

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

need() {  # need COMMAND PACKAGE: fail with a hint if COMMAND is not there
    command -v "$1" >/dev/null 2>&1 || die "$1 not found: apt-get install $2"
}

state_dir() {  # state_dir DIR: make it, set STATE to its absolute path
    [ -n "${1:-}" ] || die "no state directory given"
    mkdir -p "$1" && STATE=$(cd "$1" && pwd -P) || die "cannot make $1"
}

_marked() { grep -qzxF "SERVER_MARK=$STATE/$1" "/proc/$2/environ" 2>/dev/null; }  # NAME PID

members() {  # members NAME: the pids of all processes of the server NAME
    local d
    for d in /proc/[0-9]*; do ! _marked "$1" "${d#/proc/}" || echo "${d#/proc/}"; done
}

alive() {  # alive NAME: does its main process run?
    local pid i
    pid=$(cat "$STATE/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    for i in 1 2 3 4 5; do
        _marked "$1" "$pid" && return 0
        [ -d "/proc/$pid" ] || return 1
        sleep 0.02  # a process in the middle of an exec shows no environment
    done
    return 1
}

start_bg() {  # start_bg NAME COMMAND...: start COMMAND in the background, log to STATE/NAME.log
    local name=$1; shift
    stop_bg "$name"  # what a main process that died may have left
    # The inner shell becomes COMMAND, so the pid that it writes is COMMAND's.
    SERVER_MARK="$STATE/$name" setsid bash -c 'echo $$ >"$SERVER_MARK.pid" && exec "$@"' - "$@" \
        </dev/null >"$STATE/$name.log" 2>&1 &
    local i=0
    until alive "$name"; do
        i=$((i + 1)); [ $i -le 100 ] || die "$name did not start: see $STATE/$name.log"
        sleep 0.05
    done
}

stop_bg() {  # stop_bg NAME [SECONDS]: TERM to the main process, then to the rest, then KILL
    local name=$1 limit=${2:-10} i=0 pids
    if alive "$name"; then
        kill -TERM "$(cat "$STATE/$name.pid")" 2>/dev/null
        while alive "$name" && [ $i -lt $((limit * 10)) ]; do i=$((i + 1)); sleep 0.1; done
    fi
    pids=$(members "$name"); i=0
    [ -z "$pids" ] || kill -TERM $pids 2>/dev/null
    while pids=$(members "$name"); [ -n "$pids" ] || { sleep 0.05; pids=$(members "$name"); [ -n "$pids" ]; }; do
        i=$((i + 1)); [ $i -le 30 ] || kill -KILL $pids 2>/dev/null
        [ $i -le 60 ] || die "$name does not end: $pids"
        sleep 0.1
    done
    rm -f "$STATE/$name.pid"
}

NS=()  # a command prefix that enters the server's network namespace, where it has one
port_open() { "${NS[@]}" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"' "$1" 2>/dev/null; }

claim_port() {  # claim_port PORT: fail when something listens there already
    ! port_open "$1" || die "port $1 is already in use"
}

fail() { tail -n 20 "$STATE/$1.log" >&2; stop_bg "$1"; die "$2"; }  # NAME MESSAGE

wait_for() {  # wait_for NAME SECONDS COMMAND...: until COMMAND succeeds, while NAME runs
    local name=$1 limit=$(($2 * 10)) i=0; shift 2
    until "$@" >/dev/null 2>&1; do
        alive "$name" || fail "$name" "$name exited before it was ready"
        i=$((i + 1)); [ $i -lt $limit ] || fail "$name" "$name not ready in time: $*"
        sleep 0.1
    done
}

wait_port() { wait_for "$1" "${3:-30}" port_open "$2"; }  # wait_port NAME PORT [SECONDS]
