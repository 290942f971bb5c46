# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# gateway.sh: a whole gateway for the groups that test one. Sourced after lib.sh:
#
#     . "$(dirname "$0")/../lib.sh"
#     . "$(dirname "$0")/../gateway.sh"
#     gateway_new story && gateway_start
#     s pool create p --driver ram && is "it serves" serving "$(get .health)"
#     finish
#
# A gateway has a folder of its own, GATEWAY, below TEMP: its state (state/), its socket (run/), its
# log, and whatever a test puts there. It has a port and a range of accounts that nobody else uses.
# One gateway is the selected one; gateway_new makes and selects another, gateway_select goes back.
#
#   gateway_new NAME            makes one; nothing runs yet. Its drivers are those of the build
#   gateway_drivers DIR...      others
#   gateway_environment N=V...  of sluice-super and what it starts, as SLUICE_FAULTS
#   gateway_select NAME
#   gateway_start [OPTION...]   sluice-super and sluiced, with more options of sluiced; waits until it
#                               is ready
#   gateway_stop                SIGTERM to sluice-super; waits until all has ended. It is a failure if
#                               sluiced died meanwhile by itself, or a sanitizer had something to say
#   daemon_kill                 SIGKILL to sluiced
#   gateway_kill                SIGKILL to sluice-super: a power cut, as far as processes go
#   daemon_pid, pool_pid POOL   of sluiced; of the pool's runner ("0": none)
#   children_of PID             the pids of its children
#   pool_directory NAME [UID]   makes GATEWAY/NAME as the posix driver wants it; says its path
#
#   s ARGUMENT...               sluice --output json; sets OUT, SAID (its stderr) and STATUS
#   get FILTER                  jq -r FILTER on OUT
#   api METHOD PATH [CURL...]   sets OUT (the body), HEADERS and STATUS (of HTTP)
#   api_change METHOD PATH JSON [CURL...]
#   header NAME                 of the last api
#   as UID COMMAND...           under another account
#
#   is NAME WANTED FOUND, has NAME WANTED TEXT (a part), within NAME LOW HIGH FOUND

GATEWAY_READY_S=20 # from exec to ready; a sanitizer's build takes some seconds
GATEWAY_UIDS=100   # accounts of each gateway

ROOT=0
[ "$(id -u)" -ne 0 ] || ROOT=1

declare -A GATEWAY_PORT GATEWAY_LOW GATEWAY_SUPER GATEWAY_KILLED
GATEWAY_ENVIRONMENT=()
DRIVER_DIRS=()

gateway_new() {
    GATEWAY=$TEMP/$1
    mkdir -p "$GATEWAY/run"
    free_port || die "no free port"
    GATEWAY_PORT[$GATEWAY]=$PORT
    # Ports are not used twice, so accounts made of them are not either.
    GATEWAY_LOW[$GATEWAY]=$((300000 + (PORT - 20000) * GATEWAY_UIDS))
    GATEWAY_SUPER[$GATEWAY]=0
    GATEWAY_KILLED[$GATEWAY]=0
    gateway_drivers "$BUILD/drivers"
    gateway_environment
    gateway_select "$1"
}

gateway_drivers() { DRIVER_DIRS=("$@"); }
# shellcheck disable=SC2120 # without arguments: nothing
gateway_environment() { GATEWAY_ENVIRONMENT=("$@"); }

gateway_select() {
    GATEWAY=$TEMP/$1
    PORT=${GATEWAY_PORT[$GATEWAY]}
    UID_LOW=${GATEWAY_LOW[$GATEWAY]}
    UID_HIGH=$((UID_LOW + GATEWAY_UIDS - 1))
    SUPER_PID=${GATEWAY_SUPER[$GATEWAY]}
    SOCKET=$GATEWAY/run/sluice.sock
}

gateway_ready() { curl -sf -o /dev/null --max-time 2 --unix-socket "$SOCKET" http://localhost/readyz; }

ready_or_gone() { gateway_ready || gone "$SUPER_PID"; }

# The options of sluiced that the selected gateway is started with, in GATEWAY_OPTIONS.
gateway_options() {
    local directory
    GATEWAY_OPTIONS=(--state-dir "$GATEWAY/state" --socket "$SOCKET" --listen "127.0.0.1:$PORT"
        --uid-range "$UID_LOW-$UID_HIGH" --catalog-map 256M)
    for directory in "${DRIVER_DIRS[@]}"; do
        GATEWAY_OPTIONS+=(--driver-dir "$directory")
    done
}

gateway_start() {
    gateway_options
    start env ${GATEWAY_ENVIRONMENT[@]+"${GATEWAY_ENVIRONMENT[@]}"} "$BUILD/bin/sluice-super" --uid-range "$UID_LOW-$UID_HIGH" \
        -- "${GATEWAY_OPTIONS[@]}" "$@" >>"$GATEWAY/log" 2>&1 </dev/null
    SUPER_PID=$LAST_PID
    GATEWAY_SUPER[$GATEWAY]=$SUPER_PID
    wait_until "$GATEWAY_READY_S" ready_or_gone
    gateway_ready ||
        die "the gateway became ready" "$(tail -n 20 "$GATEWAY/log")"
}

# The supervisor has ended, and with it everybody that it started.
gateway_stop() {
    [ "$SUPER_PID" -ne 0 ] || return 0
    kill -s TERM "$SUPER_PID" 2>/dev/null
    wait_until 30 gone "$SUPER_PID" || not_ok "the gateway stops when asked" "$(tail -n 20 "$GATEWAY/log")"
    stop "$SUPER_PID"
    GATEWAY_SUPER[$GATEWAY]=0
    SUPER_PID=0
    judge_log
}

# sluiced is started again when it dies, so that a crash could go unseen.
judge_log() {
    local died
    died=$(grep -c 'sluiced ended and is started again' "$GATEWAY/log")
    [ "$died" -le "${GATEWAY_KILLED[$GATEWAY]}" ] ||
        not_ok "sluiced dies only when it is killed" "it died $died times:" "$(grep -B 20 'sluiced ended and is started again' "$GATEWAY/log" | tail -n 40)"
    ! grep -q 'Sanitizer\|runtime error:' "$GATEWAY/log" ||
        not_ok "sanitizers are content" "$(grep -m 1 -A 40 'Sanitizer\|runtime error:' "$GATEWAY/log")"
}

daemon_kill() {
    GATEWAY_KILLED[$GATEWAY]=$((GATEWAY_KILLED[$GATEWAY] + 1))
    kill -s KILL "$(daemon_pid)"
}

gateway_kill() {
    local left pid
    left="$(children_of "$SUPER_PID")"
    kill -s KILL "$SUPER_PID"
    wait "$SUPER_PID" 2>/dev/null
    for pid in $left; do
        wait_until 10 gone "$pid" || not_ok "nothing outlives sluice-super" "$pid lives"
    done
    stop "$SUPER_PID"
    GATEWAY_SUPER[$GATEWAY]=0
    SUPER_PID=0
}

children_of() {
    local stat line
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        local rest=${line##*) }
        # Behind the name: state, then the parent.
        rest=${rest#* }
        [ "${rest%% *}" != "$1" ] || echo "${line%% *}"
    done
}

daemon_pid() {
    local pid name
    for pid in $(children_of "$SUPER_PID"); do
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [ "$name" != sluiced ] || echo "$pid"
    done
}

# Runs with the selected gateway's socket; keeps OUT and STATUS as they are.
quietly() { "$BUILD/bin/sluice" --socket "$SOCKET" --output json "$@" 2>/dev/null; }

pool_pid() { quietly pool show "$1" | jq -r '.runner.pid // 0'; }
pool_health() { quietly pool show "$1" | jq -r .health; }
pool_is() { [ "$(pool_health "$1")" = "$2" ]; }
operation_is() { [ "$(quietly operation show "$1" | jq -r .state)" = "$2" ]; }

pool_directory() {
    mkdir -p "$GATEWAY/$1"
    chmod 711 "$GATEWAY/$1"
    [ "$ROOT" -eq 0 ] || chown "${2:-$UID_LOW}:${2:-$UID_LOW}" "$GATEWAY/$1"
    echo "$GATEWAY/$1"
}

# ---- asking ---------------------------------------------------------------------------------

s() {
    OUT=$("$BUILD/bin/sluice" --socket "$SOCKET" --output json "$@" 2>"$GATEWAY/said")
    STATUS=$?
    SAID=$(<"$GATEWAY/said")
    return "$STATUS"
}

get() { jq -r "$1" <<<"$OUT"; }

api() {
    local method=$1 path=$2
    shift 2
    STATUS=$(curl -sS --max-time 70 --unix-socket "$SOCKET" -X "$method" -o "$GATEWAY/body" -D "$GATEWAY/headers" \
        -w '%{http_code}' "$@" "http://localhost$path" 2>"$GATEWAY/said") || STATUS="curl $(<"$GATEWAY/said")"
    OUT=$(<"$GATEWAY/body")
    HEADERS=$(tr -d '\r' <"$GATEWAY/headers")
}

api_change() {
    local method=$1 path=$2 json=$3
    shift 3
    api "$method" "$path" -H 'Content-Type: application/json' --data-binary "$json" "$@"
}

header() { sed -n "s/^$1: //Ip" <<<"$HEADERS"; }

as() {
    local uid=$1
    shift
    setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}

# ---- judging --------------------------------------------------------------------------------

is() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "wanted: $2" "found:  $3" "${SAID:+said:   $SAID}"
    fi
}

has() {
    if [[ $3 == *"$2"* ]]; then
        ok "$1"
    else
        not_ok "$1" "wanted a text with: $2" "found: $3"
    fi
}

within() {
    if [[ $4 =~ ^[0-9]+$ ]] && [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "wanted: $2 to $3" "found:  $4"
    fi
}
