#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# attach: hosts beside each other on one volume, and what is refused meanwhile: a migration that ends
# well, one that is left behind, a cluster, and direct access beside NBD. On posix, by its own protocol,
# with real reads and writes under the hosts' accounts.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

[ "$ROOT" -eq 1 ] || {
    skip "hosts open volumes" "only root can be another account"
    finish
}

gateway_new attach
gateway_start
FIRST=$((UID_LOW + 90))
SECOND=$((UID_LOW + 91))

# writes UID FILE: as a user of qcow2 images does, who needs what lies below too.
writes() { as "$1" qemu-io -f "${2##*.}" -c 'write -q 0 4096' "$2" >/dev/null 2>&1; }
cannot() { ! "$@" 2>/dev/null; }
attachment_gone() { s attachment show "$1"; [ "$STATUS" -eq 3 ]; }

# refused NAME ARGUMENT...: the answer names the host, the attachment and what to do.
refused() {
    local name=$1
    shift
    s "$@"
    is "$name is refused" 4 "$STATUS"
    has "$name: who is in the way" "host $HOLDER" "$SAID"
    has "$name: by which attachment" "$attachment" "$SAID"
    has "$name: and the way out" "delete that attachment" "$SAID"
}

directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW"
s host create source --identity "uid=$FIRST" --group red
is "a host has a group" red "$(get .group)"
s host create target --identity "uid=$SECOND" --group red
s host create other --identity "uid=$((UID_LOW + 92))" --group blue
s volume create disk --pool p --size 16M
s snapshot create p:disk base

# ---- while one host writes ------------------------------------------------------------------

s volume attach p:disk source
attachment=$(get .id)
path=$(get .connection.path)
HOLDER=source
has "what the protocol cannot enforce is said" "Root on this host" "$(get .note)"
check "the host writes" writes "$FIRST" "$path"
refused "a snapshot" snapshot create p:disk late
refused "a revert" volume revert p:disk base
refused "to shrink" volume resize p:disk --size 1M --shrink
refused "a copy" volume copy p:disk copied
refused "to let it go" volume unmanage p:disk
refused "to delete it" volume delete p:disk
refused "a second writer" volume attach p:disk target
s volume attach p:disk target --mode read-only
has "a reader beside a writer is refused" "delete that attachment" "$SAID"
s volume attach p:disk target --protocol nbd
has "so is NBD beside direct access" "source" "$SAID"
s volume attach p:disk other --mode rw-cluster
has "and a cluster that the first is not of" "rw-cluster" "$SAID"
s volume clone p:disk@base clone
is "a clone of its snapshot is made" available "$(get .state)"

# ---- a machine moves ------------------------------------------------------------------------

s volume attach p:disk target --mode rw-migrate --expires-in-s 600
is "the second host is attached for a migration" "attached rw-migrate" "$(get '"\(.state) \(.mode)"')"
is "for a bounded time" true "$(get '.expires_at != null')"
second=$(get .id)
check "both write" eval 'writes "$FIRST" "$path" && writes "$SECOND" "$path"'
s volume attach p:disk other --mode rw-migrate
has "a third is refused" "rw-migrate" "$SAID"
s attachment delete "$attachment"
is "the first is detached" 0 "$STATUS"
check "and cannot write any more" cannot writes "$FIRST" "$path"
s attachment show "$second"
is "the second stays, as the one that writes" "attached read-write null" "$(get '"\(.state) \(.mode) \(.expires_at)"')"
check "and writes" writes "$SECOND" "$path"
attachment=$second

# ---- a migration that nobody ends -----------------------------------------------------------

s volume attach p:disk source --mode rw-migrate --expires-in-s 1
left=$(get .id)
check "it ends by itself" wait_until 20 attachment_gone "$left"
check "its host cannot write" cannot writes "$FIRST" "$path"
check "the other one can" writes "$SECOND" "$path"
s volume attach p:disk source --mode rw-migrate --expires-in-s 2
left=$(get .id)
daemon_kill
check "over a crash of the gateway too" wait_until 30 attachment_gone "$left"
s attachment delete "$attachment"

# ---- a cluster ------------------------------------------------------------------------------

s volume attach p:disk source --mode rw-cluster
attachment=$(get .id)
s volume attach p:disk target --mode rw-cluster
is "hosts of one group share it" "attached rw-cluster" "$(get '"\(.state) \(.mode)"')"
second=$(get .id)
check "and both write" eval 'writes "$FIRST" "$path" && writes "$SECOND" "$path"'
s volume attach p:disk other --mode rw-cluster
has "another group is refused" "group" "$SAID"
s host update source --group blue
has "a host does not change its group meanwhile" "attachments" "$SAID"
s attachment delete "$attachment"
s attachment delete "$second"

# ---- NBD ------------------------------------------------------------------------------------

s volume attach p:disk source --protocol nbd
attachment=$(get .id)
HOLDER=source
refused "a snapshot of what is served" snapshot create p:disk late
refused "to make it larger" volume resize p:disk --size 32M
refused "direct access beside NBD" volume attach p:disk target
s volume attach p:disk target --protocol nbd --mode rw-migrate
is "a machine moves by NBD too" "attached rw-migrate" "$(get '"\(.state) \(.mode)"')"
second=$(get .id)
s attachment delete "$attachment"
s attachment show "$second"
is "and stays" read-write "$(get .mode)"
s attachment delete "$second"

s snapshot create p:disk late
is "detached, a snapshot is taken" available "$(get .state)"
s volume attach p:disk source
path=$(get .connection.path)
s attachment show "$(get .id)"
is "the path is the present one" "$path" "$(get .connection.path)"
check "and leads to the volume" writes "$FIRST" "$path"
s attachment delete "$(get .id)"
is "it is taken back" 0 "$STATUS"
gateway_stop
finish
