#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# quickstart.sh: builds Sluice, starts a gateway with a state directory of its own, and does with it
# what it is for, on a real disk image, looking at every result. It ends with what was seen, and
# leaves the gateway running.
#
#     conf/quickstart.sh [--once | --stop | --help]
#
#   --once   stop the gateway at the end and remove everything
#   --stop   stop a gateway that was left running and remove everything
#
# Everything lies in $SLUICE_QUICKSTART_DIR (default: /var/lib/sluice-quickstart; for a user who is
# not root, ~/.local/state/sluice-quickstart). The folder is made anew each time; one that this script
# did not make is not touched.
#
# As root, every pool has an account of its own. Not as root, everything runs under the caller's
# account, which shows the work but not the walls between the parts.
set -uo pipefail

POOL_UID=260001    # the account of the pool, from the range below
UIDS=260000-260099 # accounts that the gateway may give to pools
GUEST_UID=65534    # the host that opens volumes: nobody
STRANGER_UID=260098
READY_S=20
MEGABYTE=1048576

cd "$(dirname "$0")/.." || exit 1
TREE=$PWD
ROOT=0
[ "$(id -u)" -ne 0 ] || ROOT=1
if [ "$ROOT" -eq 1 ]; then
    DIR=${SLUICE_QUICKSTART_DIR:-/var/lib/sluice-quickstart}
else
    DIR=${SLUICE_QUICKSTART_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/sluice-quickstart}
    GUEST_UID=$(id -u)
fi
case $DIR in
/*) ;;
*) DIR=$TREE/$DIR ;;
esac
MARK=$DIR/made-by-quickstart
STAGES=0
CHECKS=0
FINISHED=0

# ---- what is said --------------------------------------------------------------------------------

stage() {
    STAGES=$((STAGES + 1))
    printf '\n== %d. %s\n' "$STAGES" "$1"
}

say() { printf '   %s\n' "$@"; }

fail() {
    printf '\nFAILED: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '   %s\n' "$@" >&2
    [ ! -s "$DIR/log" ] || { echo "the last lines of $DIR/log:" >&2; tail -n 15 "$DIR/log" >&2; }
    exit 1
}

# A command as one would type it.
shown() {
    local word line=
    if [ "$1" = guest ]; then
        shift
        [ "$ROOT" -eq 0 ] || set -- setpriv --reuid "$GUEST_UID" --regid "$GUEST_UID" --clear-groups "$@"
    fi
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:@=,+%-]* | '') word="'$word'" ;;
        esac
        line="$line $word"
    done
    printf '   $%s\n' "$line"
}

# run COMMAND...: shows the command and what it says; its failure is ours.
run() {
    shown "$@"
    local said
    said=$("$@" 2>&1) || fail "the command failed: $*" "$said"
    [ -z "$said" ] || sed 's/^/     /; s/ *$//' <<<"$said"
}

# verify SENTENCE COMMAND...
verify() {
    local sentence=$1
    shift
    "$@" >/dev/null 2>&1 || fail "not true: $sentence" "checked by: $*"
    CHECKS=$((CHECKS + 1))
    say "ok: $sentence"
}

# same SENTENCE WANTED FOUND
same() {
    [ "$2" = "$3" ] || fail "not true: $1" "wanted: $2" "found: $3"
    CHECKS=$((CHECKS + 1))
    say "ok: $1"
}

# ---- processes -----------------------------------------------------------------------------------

# Ours only if it is the program that we put there; a number alone may be anybody's. The link to its
# program is shown to root alone, so its command line is asked.
is_ours() {
    local program
    { IFS= read -r -d '' program <"/proc/$1/cmdline"; } 2>/dev/null && [ "$program" = "$DIR/bin/sluice-super" ]
}

super_pid() {
    local pid
    pid=$(cat "$DIR/pid" 2>/dev/null) && [ -n "$pid" ] && is_ours "$pid" && echo "$pid"
}

ended() { [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# wait_until SECONDS COMMAND...
wait_until() {
    local deadline=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

stop_gateway() {
    local pid
    pid=$(super_pid) || return 0
    kill -s TERM "$pid"
    wait_until 30 ended "$pid" || fail "the gateway (process $pid) does not end"
}

remove_all() {
    [ -e "$DIR" ] || return 0
    [ -f "$MARK" ] || fail "$DIR was not made by this script, so it is not removed" \
        "name another folder with SLUICE_QUICKSTART_DIR"
    stop_gateway
    rm -rf "$DIR"
}

on_exit() {
    local status=$?
    if [ "$FINISHED" -eq 0 ] && [ -f "$MARK" ]; then
        stop_gateway
        [ "$status" -eq 0 ] || say "$DIR is left as it was; --stop removes it" >&2
    fi
}

# ---- asking the gateway --------------------------------------------------------------------------

# sluice is typed as if it were installed.
sluice() { "$DIR/bin/sluice" "$@"; }
ask() { sluice --output json "$@"; }

# of FILTER COMMAND...: one value of an answer.
of() {
    local filter=$1
    shift
    ask "$@" 2>/dev/null | jq -r "$filter"
}

# Commands of the host: as root under its account, else there is only ours.
guest() {
    if [ "$ROOT" -eq 1 ]; then
        setpriv --reuid "$GUEST_UID" --regid "$GUEST_UID" --clear-groups "$@"
    else
        "$@"
    fi
}
stranger() { setpriv --reuid "$STRANGER_UID" --regid "$STRANGER_UID" --clear-groups "$@"; }
cannot() { ! "$@"; }

# attach VOLUME: sets ATTACHMENT and DEVICE.
attach() {
    shown sluice volume attach "$1" kvm1
    local answer
    answer=$(ask volume attach "$1" kvm1) || fail "attaching $1 failed"
    ATTACHMENT=$(jq -r .id <<<"$answer")
    DEVICE=$(jq -r .connection.path <<<"$answer")
    jq -r '"     \(.protocol), \(.mode): \(.connection.path)"' <<<"$answer"
    [ -f "$DEVICE" ] || fail "the path of the attachment is no file: $DEVICE"
}

# serve VOLUME [OPTION...]: the same over NBD, which the gateway serves itself; sets ATTACHMENT and URI.
serve() {
    local volume=$1 answer
    shift
    shown sluice volume attach "$volume" kvm1 --protocol nbd "$@"
    answer=$(ask volume attach "$volume" kvm1 --protocol nbd "$@") || fail "attaching $volume by nbd failed"
    ATTACHMENT=$(jq -r .id <<<"$answer")
    URI=$(jq -r .connection.uri <<<"$answer")
    jq -r '"     \(.protocol), \(.mode): \(.connection.uri)"' <<<"$answer"
}

detach() { run sluice attachment delete "$ATTACHMENT"; }

# fetch: the host copies what is served into a file of its own, DEVICE.
fetch() {
    DEVICE=$DIR/host/disk
    rm -f "$DEVICE"
    run guest nbdcopy "$URI" "$DEVICE"
}

# What the file in the image says, and whether the file system is whole.
content() { guest debugfs -R "cat $2" "$1" 2>/dev/null; }
whole() { guest e2fsck -fn "$1"; }

# ---- the stages ----------------------------------------------------------------------------------

prepare() {
    stage "Packages and build"
    if [ "$ROOT" -eq 1 ]; then
        run conf/install.sh
    elif ! conf/install.sh; then
        fail "packages are missing, and only root can install them"
    fi
    [ "$ROOT" -eq 1 ] || say "not root: all parts run under uid $(id -u); pools have no accounts of their own"
    local log
    log=$(mktemp) || exit 1
    shown cmake --preset release
    cmake --preset release >"$log" 2>&1 || { tail -n 30 "$log"; fail "cmake failed; all it said is in $log"; }
    shown cmake --build --preset release
    cmake --build --preset release >"$log" 2>&1 || { tail -n 30 "$log"; fail "the build failed; all it said is in $log"; }
    rm -f "$log"

    remove_all
    mkdir -p "$DIR" || fail "cannot make $DIR"
    chmod 711 "$DIR"
    : >"$MARK"
    # Copied, because pools' accounts must reach the programs, and a clone may lie where they cannot.
    mkdir -m 755 "$DIR/bin" "$DIR/run" "$DIR/files" "$DIR/host"
    install -m 755 build/release/bin/sluice build/release/bin/sluiced build/release/bin/sluice-super \
        build/release/bin/sluice-runner build/release/bin/sluice-data "$DIR/bin/" ||
        fail "the programs cannot be copied"
    cp -R build/release/drivers "$DIR/drivers" && chmod -R u=rwX,go=rX "$DIR/drivers" ||
        fail "the drivers cannot be copied"
    if [ "$ROOT" -eq 1 ]; then
        verify "other accounts reach the programs" stranger test -x "$DIR/bin/sluice-runner"
        chown -R 0:0 "$DIR/drivers"
        chown "$GUEST_UID" "$DIR/host"
    fi
    export SLUICE_SOCKET=$DIR/run/sluice.sock
    unset SLUICE_URL SLUICE_TOKEN_FILE
}

start_gateway() {
    stage "The gateway"
    local command=("$DIR/bin/sluice-super" --uid-range "$UIDS" -- --state-dir "$DIR/state"
        --driver-dir "$DIR/drivers" --socket "$SLUICE_SOCKET" --listen 127.0.0.1:0 --uid-range "$UIDS")
    shown "${command[@]}"
    setsid "${command[@]}" >"$DIR/log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid" >"$DIR/pid"
    until curl -sf -o /dev/null --unix-socket "$SLUICE_SOCKET" http://localhost/readyz; do
        ended "$pid" && fail "the gateway ended at once"
        [ "$SECONDS" -lt $((BUILT_S + READY_S)) ] || fail "the gateway was not ready after $READY_S s"
        sleep 0.02
    done
    run sluice gateway
}

drivers() {
    stage "Drivers: what there is, and the order in which they start"
    run sluice driver list
    run sluice driver plan
    DRIVER_VERSION=$(of '.items[] | select(.name == "posix") | .version' driver list)
    same "the driver posix runs" running "$(of .state driver show "posix@$DRIVER_VERSION")"
    run sluice driver properties "posix@$DRIVER_VERSION"
}

pool() {
    stage "A pool: a directory of this machine"
    local account=()
    run mkdir -m 711 "$DIR/pool"
    if [ "$ROOT" -eq 1 ]; then
        run chown "$POOL_UID:$POOL_UID" "$DIR/pool"
        account=(--uid "$POOL_UID")
    fi
    run sluice pool create demo --driver posix --set "path=$DIR/pool" ${account[@]+"${account[@]}"}
    run sluice pool capacity demo
    local runner
    runner=$(of .runner.pid pool show demo)
    same "the pool serves" serving "$(of .health pool show demo)"
    if [ "$ROOT" -eq 1 ]; then
        same "its process $runner has the account $POOL_UID" "$POOL_UID" \
            "$(awk '/^Uid:/ { print $2 }' "/proc/$runner/status")"
    fi
    same "that process can get no new rights and is under a system call filter" "1 2" \
        "$(awk '/^NoNewPrivs:/ { a = $2 } /^Seccomp:/ { b = $2 } END { print a, b }' "/proc/$runner/status")"
}

volume() {
    stage "A volume, a host, and an attachment: how the host opens it"
    run sluice volume create disk1 --pool demo --size 128M --label vm=web1
    run sluice host create kvm1 --identity "uid=$GUEST_UID"
    attach demo:disk1
    same "the file has the size of the volume" $((128 * MEGABYTE)) "$(stat -c %s "$DEVICE")"
    verify "the host may read it" guest test -r "$DEVICE"
    verify "the host may write it" guest test -w "$DEVICE"
    [ "$ROOT" -eq 0 ] || verify "another account may not open it" cannot stranger head -c 1 "$DEVICE"
}

filesystem() {
    stage "The host puts an ext4 file system with files on it"
    mkdir -p "$DIR/files/etc"
    echo "the first version" >"$DIR/files/greeting"
    seq 1 100000 >"$DIR/files/numbers"
    chmod -R u=rwX,go=rX "$DIR/files"
    run guest mkfs.ext4 -q -F -d "$DIR/files" "$DEVICE"
    verify "e2fsck finds nothing wrong" whole "$DEVICE"
    same "the greeting is in it" "the first version" "$(content "$DEVICE" /greeting)"
    detach
    [ "$ROOT" -eq 0 ] || verify "the host may not open it any more" cannot guest head -c 1 "$DEVICE"
}

snapshot() {
    stage "A snapshot; then the host changes the volume, over NBD"
    run sluice snapshot create demo:disk1 before
    serve demo:disk1
    fetch
    echo "the second version" >"$DIR/files/greeting"
    printf '%s\n' "rm greeting" "write $DIR/files/greeting greeting" "rm numbers" >"$DIR/changes"
    run guest debugfs -w -f "$DIR/changes" "$DEVICE"
    run guest nbdcopy --flush "$DEVICE" "$URI"
    fetch
    verify "e2fsck finds nothing wrong" whole "$DEVICE"
    same "the greeting is another one" "the second version" "$(content "$DEVICE" /greeting)"
    [ "$ROOT" -eq 0 ] || verify "another account may not open it" cannot stranger nbdinfo "$URI"
    detach
    verify "the host may not open it any more" cannot guest nbdinfo "$URI"
}

clone_and_revert() {
    stage "A volume made from the snapshot, and the first one put back to it"
    run sluice volume clone demo:disk1@before disk2
    serve demo:disk2
    fetch
    verify "e2fsck finds nothing wrong in the clone" whole "$DEVICE"
    same "the clone has the first version" "the first version" "$(content "$DEVICE" /greeting)"
    same "and the 100000 numbers" "$(seq 1 100000 | sha256sum)" "$(content "$DEVICE" /numbers | sha256sum)"
    local clone
    clone=$(guest sha256sum <"$DEVICE")
    detach
    run sluice volume revert demo:disk1 demo:disk1@before
    serve demo:disk1
    fetch
    verify "e2fsck finds nothing wrong in the reverted volume" whole "$DEVICE"
    same "it has the first version again" "the first version" "$(content "$DEVICE" /greeting)"
    same "and is the clone's equal, byte for byte" "$clone" "$(guest sha256sum <"$DEVICE")"
    detach
    run sluice volume list
    run sluice snapshot list
}

serves_again() { [ "$(of .health pool show demo)" = serving ] && [ "$(of .runner.pid pool show demo)" != "$1" ]; }
# written IMAGE: 32 MiB of it.
written() { [ "$(stat -c %b "$1")" -ge $((32 * MEGABYTE / 512)) ]; }

crash() {
    stage "The pool's process is killed while the host writes"
    run sluice volume create big --pool demo --size 512M
    serve demo:big --bytes-s-max 128M # so that there is time to kill
    guest dd if=/dev/urandom of="$DIR/host/random" bs=16M count=32 status=none iflag=fullblock ||
        fail "the host cannot write 512 MiB into $DIR/host"
    local sum runner writer image
    image=$DIR/pool/volumes/$(of .id volume show demo:big)/g000001.raw
    sum=$(guest sha256sum <"$DIR/host/random")
    runner=$(of .runner.pid pool show demo)
    shown guest nbdcopy --flush "$DIR/host/random" "$URI"
    guest nbdcopy --flush "$DIR/host/random" "$URI" >"$DIR/nbdcopy" 2>&1 &
    writer=$!
    wait_until 20 written "$image" || fail "the host does not write"
    run kill -KILL "$runner"
    verify "the host has not written all yet" cannot ended "$writer"
    wait "$writer" || fail "the host saw an error" "$(cat "$DIR/nbdcopy")"
    say "the host has written all, and saw no error"
    wait_until 20 serves_again "$runner" || fail "the pool does not serve again"
    verify "the pool counts the death" test "$(of .runner.deaths pool show demo)" -ge 1
    fetch
    same "the volume has what was written, byte for byte" "$sum" "$(guest sha256sum <"$DEVICE")"
    detach

    stage "And while it copies a volume"
    runner=$(of .runner.pid pool show demo)
    local operation now
    # A copy shares its source's images and is made at once. A process that is stopped cannot begin.
    run kill -STOP "$runner"
    shown sluice volume copy demo:big copy --no-wait
    operation=$(of .id volume copy demo:big copy --no-wait)
    run kill -KILL "$runner"
    run sluice operation wait "$operation"
    same "the operation is done all the same" "done" "$(of .state operation show "$operation")"
    now=$(ask pool show demo)
    jq -r '"     deaths \(.runner.deaths), process \(.runner.pid), last words: \(if .runner.last_words == "" then "none, it had no time for any" else .runner.last_words end)"' <<<"$now"
    same "the pool serves again" serving "$(jq -r .health <<<"$now")"
    verify "by another process" test "$(jq -r .runner.pid <<<"$now")" != "$runner"
    serve demo:copy
    fetch
    same "the copy equals what was copied, byte for byte" "$sum" "$(guest sha256sum <"$DEVICE")"
    detach
}

# The child of sluice-super that is sluiced. (A list of children is kept from us: it cannot be dumped.)
daemon_pid() {
    local super stat line
    super=$(super_pid)
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        [[ $line != *"(sluiced) "?" $super "* ]] || echo "${line%% *}"
    done
}
another_answers() { [ -n "$(daemon_pid)" ] && [ "$(daemon_pid)" != "$1" ] && ask gateway; }

restart() {
    stage "The gateway itself is killed"
    local runner daemon
    runner=$(of .runner.pid pool show demo)
    daemon=$(daemon_pid)
    [ -n "$daemon" ] || fail "sluiced is not among the processes"
    run kill -KILL "$daemon"
    wait_until 20 another_answers "$daemon" || fail "no other gateway answers"
    say "sluice-super has started it again: process $(daemon_pid)"
    same "the pool's process is the same one" "$runner" "$(of .runner.pid pool show demo)"
    same "the pool serves" serving "$(of .health pool show demo)"
    same "all volumes are there" "big copy disk1 disk2" \
        "$(of '[.items[].name] | sort | join(" ")' volume list)"
}

history() {
    stage "What was done, and what happened"
    run sluice operation list
    same "every operation ended well" "" \
        "$(of '[.items[] | select(.state != "done") | .kind] | join(" ")' operation list)"
    say '$ sluice events --after 0 | grep pool'
    sluice events --after 0 2>/dev/null | grep pool | cut -c 1-110 | sed 's/^/     /; s/ *$//'
    verify "events tell of the death" jq -e '.items | any(.type == "pool.backing-off" and (.text | contains("signal 9")))' \
        <<<"$(ask events --after 0)"
    same "the catalogue and the backend tell the same story" "0 0" \
        "$(of '"\(.unknown_count) \(.missing_count)"' pool compare demo)"
    verify "the figures can be scraped" grep -q '^sluice_' <<<"$(curl -sf --unix-socket "$SLUICE_SOCKET" http://localhost/metrics)"
}

summary() {
    local listen
    listen=$(cat "$DIR/state/listen" 2>/dev/null)
    printf '\n%s\n' "All of it was as it should be: $CHECKS checks in $((SECONDS - BUILT_S)) s."
    cat <<TEXT
   A volume was made in a directory, opened by a host that was let in$([ "$ROOT" -eq 0 ] || echo " and by nobody else"),
   filled with a file system, snapshotted, changed, cloned and put back, each time read and
   compared. The pool's process was killed while the host wrote and while it copied a volume,
   and the gateway after it; the host saw no error, and nothing was lost.
TEXT
    if [ "$1" = once ]; then
        remove_all
        echo "Everything was stopped and removed."
        return
    fi
    cat <<TEXT

The gateway runs on:
   export SLUICE_SOCKET=$SLUICE_SOCKET PATH=$DIR/bin:\$PATH
   sluice volume list
or by HTTP:
   curl --unix-socket $SLUICE_SOCKET http://localhost/v1/volumes
   curl -H "Authorization: Bearer \$(cat $DIR/state/token)" http://$listen/v1/volumes
To stop it and remove $DIR:
   $0 --stop
TEXT
}

case ${1-} in
--help | -h)
    sed -n '/^# quickstart.sh:/,/^set /s/^# \{0,1\}//p' "$TREE/conf/quickstart.sh"
    exit 0
    ;;
--stop)
    remove_all
    echo "$DIR is gone, and with it what ran there."
    exit 0
    ;;
'') LAST=leave ;;
--once) LAST=once ;;
*)
    echo "unknown option $1; --help tells" >&2
    exit 2
    ;;
esac

trap on_exit EXIT
trap 'exit 130' INT TERM
umask 022
prepare
BUILT_S=$SECONDS
start_gateway
drivers
pool
volume
filesystem
snapshot
clone_and_revert
crash
restart
history
summary "$LAST"
FINISHED=1
