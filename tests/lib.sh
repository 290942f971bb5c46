# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# lib.sh: what the groups written in bash have in common. A group begins with
#
#     . "$(dirname "$0")/../lib.sh"
#
# and ends with `finish`. In between it says `ok NAME`, `not_ok NAME [DETAIL]...` or `skip NAME WHY`
# once for each thing it tested, or lets `check NAME COMMAND...` say it.
#
# Given:  TREE             the source tree
#         BUILD            the build folder (build/dev unless the environment says otherwise)
#         TEMP             a folder of its own, removed at the end; others may enter it, not list it
#         SLUICE_FULL      1 for the long version
#         SLUICE_BUDGET_S  seconds that the group may take
#         SLUICE_SEED      for whatever is random; the same seed, the same run
#
# At the end whatever `start` and `track` know is ended, by its process id, and nothing else.
set -u

# A group may also be started by hand, so each of these has a default.
TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TREE/build/dev}
SLUICE_FULL=${SLUICE_FULL:-0}
SLUICE_BUDGET_S=${SLUICE_BUDGET_S:-60}
SLUICE_SEED=${SLUICE_SEED:-1}
export TREE BUILD SLUICE_FULL SLUICE_BUDGET_S SLUICE_SEED

STOP_DEADLINE_S=5 # what a process may take to end when asked, before it is killed

TEMP=$(mktemp -d "${TMPDIR:-/tmp}/sluice-test.XXXXXX") || exit 1
chmod 711 "$TEMP"

PASSED=0
FAILED=0
SKIPPED=0
PIDS=()
PORTS=" "
STARTED=" "
LAST_PID=0

ok() {
    PASSED=$((PASSED + 1))
    echo "ok - $1"
}

not_ok() {
    FAILED=$((FAILED + 1))
    echo "not ok - $1"
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/# /'
}

skip() {
    SKIPPED=$((SKIPPED + 1))
    echo "ok - $1 # SKIP $2"
}

# check NAME COMMAND...: what the command said is shown when it fails.
check() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        ok "$name"
    else
        not_ok "$name" "$said"
    fi
}

# The group cannot go on.
die() {
    not_ok "$@"
    finish
}

# Ends the group: a group that tested nothing has failed.
finish() {
    if [ $((PASSED + FAILED + SKIPPED)) -eq 0 ]; then
        not_ok "a group must test something"
    fi
    [ "$FAILED" -eq 0 ]
    exit
}

# wait_until SECONDS COMMAND...: asks every 50 ms until the command is true; false at the deadline.
wait_until() {
    local deadline=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

alive() { kill -0 "$1" 2>/dev/null; }

# A TCP port of 127.0.0.1 on which nobody listens, below the range that the kernel hands out.
# Sets PORT.
free_port() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 10000))
        case $PORTS in
        *" $PORT "*) continue ;;
        esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
            PORTS="$PORTS$PORT "
            return 0
        fi
    done
    return 1
}

# start COMMAND...: in the background, in a session of its own; sets LAST_PID. Redirect its output.
start() {
    setsid "$@" &
    LAST_PID=$!
    STARTED="$STARTED$LAST_PID "
    track "$LAST_PID"
}

# track PID: a process that this group is answerable for.
track() { PIDS+=("$1"); }

# stop PID [SIGNAL]: asks, waits, kills; also what is left of its process group if it leads one.
stop() {
    local pid=$1 signal=${2:-TERM}
    kill -s "$signal" "$pid" 2>/dev/null
    wait_until "$STOP_DEADLINE_S" gone "$pid" || kill -s KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    if leads "$pid"; then
        kill -s KILL -- "-$pid" 2>/dev/null
    fi
    local kept=() other
    for other in ${PIDS[@]+"${PIDS[@]}"}; do
        [ "$other" = "$pid" ] || kept+=("$other")
    done
    PIDS=(${kept[@]+"${kept[@]}"})
}

# Ended, though perhaps not yet waited for.
gone() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    line=${line##*) }
    [ "${line%% *}" = Z ]
}

# Is there still a process group of that number? Only what `start` began leads one.
leads() { [[ $STARTED == *" $1 "* ]] && kill -0 -- "-$1" 2>/dev/null; }

cleanup() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in ${PIDS[@]+"${PIDS[@]}"}; do
        stop "$pid"
    done
    if [ "${SLUICE_KEEP:-0}" = 1 ]; then
        echo "# kept $TEMP"
    else
        rm -rf "$TEMP"
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
