#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# pools: what is done to a pool, and what is done to its backend: taken away, filled, owned by others.
# As root it runs in a mount namespace of its own, so that no mount is left behind whatever happens.
if [ "$(id -u)" -eq 0 ] && [ -z "${FLOW_MOUNTS-}" ] && unshare -m true 2>/dev/null; then
    FLOW_MOUNTS=1 exec unshare -m --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"
. "$(dirname "$0")/../drivers/tiny/archive.sh"

gateway_new pools
ram_archive "$GATEWAY/more" 0.2.0
gateway_drivers "$BUILD/drivers" "$GATEWAY/more"
gateway_start --retry-limit-ms 3000

directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW"
s volume create v --pool p --size 1M
volume=$(get .id)

# ---- taking no work, none at all, and again ------------------------------------------------------

pid=$(pool_pid p)
s pool disable p
is "disabled" "disabled serving" "$(get '"\(.state) \(.health)"')"
s volume create x --pool p --size 1M
has "a disabled pool takes no work" "pool p is disabled" "$SAID"
is "its process stays" "$pid" "$(pool_pid p)"
s pool disable p
is "it cannot be disabled twice" 4 "$STATUS"
s pool enable p
is "enabled" "enabled serving" "$(get '"\(.state) \(.health)"')"
s pool drain p
is "drained" "drained drained" "$(get '"\(.state) \(.health)"')"
is "it has no process" 0 "$(pool_pid p)"
check "the process has ended" wait_until 5 gone "$pid"
s volume delete p:v
has "a drained pool takes no work" "pool p is drained" "$SAID"
s volume show p:v
is "its volumes are known" available "$(get .state)"
gateway_stop
gateway_start --retry-limit-ms 3000
is "drained it stays, when the gateway starts" "drained 0" "$(quietly pool show p | jq -r .state) $(pool_pid p)"
s pool enable p
is "enabled, it serves" "enabled serving" "$(get '"\(.state) \(.health)"')"
pid=$(pool_pid p)
s pool restart p
is "restarted, it serves" serving "$(get .health)"
check "by another process" test "$(pool_pid p)" != "$pid"
check "the one before has ended" wait_until 5 gone "$pid"

# ---- properties ----------------------------------------------------------------------------------

s pool update p --set overcommit_percent=1000 --label tier=gold
is "properties and labels change" "1000 gold serving" "$(get '"\(.properties.overcommit_percent) \(.labels.tier) \(.health)"')"
s pool update p --set overcommit_percent=-1
has "what the driver does not take is refused" "overcommit_percent" "$SAID"
s pool update p --set over_commit=1
has "so is what it does not know" "over_commit" "$SAID"
s pool update p --set "path=$GATEWAY/nowhere"
is "a change that does not work" 8 "$STATUS"
has "says why" "nowhere" "$SAID"
check "and the pool opens again as it was" wait_until 20 pool_is p serving
s pool show p
is "is undone" "$directory serving" "$(get '"\(.properties.path) \(.health)"')"
s volume resize p:v --size 2M
is "and the pool works on" $((2 * 1048576)) "$(get .size_bytes)"
s pool create q --driver posix
has "a property that must be given is asked for" "properties.path" "$SAID"
s pool create q --driver posix --set "path=relative"
check "a path that is none is refused" test "$STATUS" -ne 0
s pool show q
is "and leaves no pool" 3 "$STATUS"

# ---- the directory's owner -----------------------------------------------------------------------

if [ "$ROOT" -eq 1 ]; then
    s pool create q --driver posix --set "path=$(pool_directory foreign 12345)" --uid $((UID_LOW + 1))
    check "a directory of another account is refused" test "$STATUS" -ne 0
    has "and it is said what to do" "$((UID_LOW + 1))" "$SAID"
    echo "# ${SAID//$'\n'/ }"
    foreign=$(pool_directory given 12345)
    s pool create q --driver posix --set "path=$foreign"
    given=$(sed -n 's/.*chown -R \([0-9]*\).*/\1/p' <<<"$SAID")
    chown -R "${given:-0}" "$foreign"
    s pool create given --driver posix --set "path=$foreign"
    is "who does what was said is let in: the account is the same" "0 $given" "$STATUS $(get .uid)"
    s pool delete given
    s pool create q --driver posix --set "path=$GATEWAY/pool" --uid $((UID_HIGH + 1))
    has "an account out of the range is refused" "uid" "$SAID"
    s pool create q --driver posix --set "path=$(pool_directory q)" --uid "$UID_LOW"
    has "so is one that another pool has" "uid" "$SAID"
else
    skip "a directory of another account" "only root can give directories away"
fi
s pool create q --driver posix --set "path=$GATEWAY/missing" --uid $((UID_LOW + 1))
has "a directory that is not there is named" "missing" "$SAID"
check "and not made" test ! -e "$GATEWAY/missing"

# ---- markers -------------------------------------------------------------------------------------

chmod 777 "$directory"
s pool create q --driver posix --set "path=$directory" --uid "$UID_LOW"
check "a directory belongs to one pool" test "$STATUS" -ne 0
chmod 711 "$directory"
s pool create r --driver ram --driver-version 0.1.0 --set "backing=$(pool_directory ram $((UID_LOW + 5)))" --uid $((UID_LOW + 5))
is "a pool of a version that is asked for" "0.1.0 serving" "$(get '"\(.driver_version) \(.health)"')"
s pool create q --driver ram --set "backing=$GATEWAY/ram" --uid $((UID_LOW + 6))
check "a backend with another pool's marker is refused" test "$STATUS" -ne 0
s pool show q
is "and leaves no pool" 3 "$STATUS"

# ---- versions ------------------------------------------------------------------------------------

s volume create one --pool r --size 1M
s volume create two --pool r --size 2M
s snapshot create r:two s
s pool create newest --driver ram
is "without a version the highest is taken" 0.2.0 "$(get .driver_version)"
s pool upgrade r --driver-version 0.3.0
has "a version that there is not is refused, and told which there are" "0.2.0 is running" "$SAID"
pid=$(pool_pid r)
s pool upgrade r --driver-version ">=0.2"
is "a pool moves to another version" "0.2.0 serving" "$(get '"\(.driver_version) \(.health)"')"
check "in another process" test "$(pool_pid r)" != "$pid"
s pool compare r
is "its volumes are there" "2 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
s volume clone r:two@s three
is "and can be used" available "$(get .state)"
s pool upgrade r --driver-version 0.2.0
is "it cannot move to where it is" 4 "$STATUS"
s pool upgrade r --driver-version 0.1.0
is "it can move back" 0.1.0 "$(get .driver_version)"
s driver stop ram@0.1.0
has "a version with pools is not stopped" "drain it first" "$SAID"
s driver stop ram@0.2.0
has "either" "drain it first" "$SAID"
s pool delete newest
s driver stop ram@0.2.0
is "one without is" stopped "$(get .state)"
s pool delete r --forget
is "a pool can be forgotten" 0 "$STATUS"
check "its marker stays" test -f "$GATEWAY/ram/sluice.pool"
s pool create q --driver ram --set "backing=$GATEWAY/ram" --uid $((UID_LOW + 5)) --take-over
is "and is taken over when that is said" serving "$(get .health)"
s pool compare q
is "what was there is told" "3 1" "$(get '[.unknown[].noun] | "\(map(select(. == "volume")) | length) \(map(select(. == "snapshot")) | length)"')"
s pool delete q

# ---- a full backend ------------------------------------------------------------------------------

full_backend() {
    local small disk free
    small=$(pool_directory small $((UID_LOW + 2)))
    mount -t tmpfs -o size=16m,mode=711,uid=$((UID_LOW + 2)),gid=$((UID_LOW + 2)) small "$small"
    s pool create small --driver posix --set "path=$small" --uid $((UID_LOW + 2))
    is "a pool on 16 MiB" serving "$(get .health)"
    s volume create a --pool small --size 20M
    is "volumes may be larger than the backend" available "$(get .state)"
    disk=$(echo "$small/volumes/$(get .id)"/g000001.raw)
    dd if=/dev/zero of="$disk" bs=1M count=15 conv=notrunc status=none
    dd if=/dev/zero of="$small/filler" bs=64K status=none 2>/dev/null
    free=$(stat -f -c %a "$small")
    s volume copy small:a b
    is "a copy that does not fit fails" 8 "$STATUS"
    has "and says why" "no-space" "$SAID"
    rm "$small/filler"
    free=$(stat -f -c %a "$small")
    s volume show small:b
    is "nothing is left of it" 3 "$STATUS"
    is "its space is free again" "$free" "$(stat -f -c %a "$small")"
    s pool compare small
    is "on the backend too" "1 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
    s volume create c --pool small --size 200M
    has "more than may be provisioned is refused" "overcommit" "$SAID"
    s volume delete small:a
    s pool delete small
    is "all of it goes" 0 "$STATUS"
    umount "$small"
}

# ---- a backend that is not mounted ---------------------------------------------------------------

unmounted_backend() {
    local real mounted disk
    real=$(pool_directory real $((UID_LOW + 3)))
    mounted=$(pool_directory mounted $((UID_LOW + 3)))
    mount --bind "$real" "$mounted"
    s pool create m --driver posix --set "path=$mounted" --uid $((UID_LOW + 3))
    s volume create kept --pool m --size 1M
    disk=$(echo "$real/volumes/$(get .id)"/g000001.raw)
    umount -l "$mounted"
    s volume delete m:kept
    is "below an empty mount point a deletion fails" 8 "$STATUS"
    has "and asks whether it is mounted" "mounted" "$SAID"
    s volume show m:kept
    is "the volume stays" available "$(get .state)"
    check "with its bytes" test -f "$disk"
    s volume create new --pool m --size 1M
    check "nothing can be made" test "$STATUS" -ne 0
    s snapshot create m:kept s
    check "nor snapshotted" test "$STATUS" -ne 0
    s pool capacity m
    check "nor measured" test "$STATUS" -ne 0
    s pool restart m --wait 10
    check "nor does a new process open it" test "$STATUS" -ne 0
    is "and nothing was made in its place" "" "$(ls -A "$mounted")"
    s pool show m
    is "the pool says so" down "$(get .health)"
    has "and why" "mounted" "$(get .cause)"
    mount --bind "$real" "$mounted"
    check "mounted again, it serves by itself" wait_until 20 pool_is m serving
    s volume create new --pool m --size 1M
    is "volumes can be made" available "$(get .state)"
    s pool compare m
    is "nothing was lost" "2 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
    s volume delete m:kept
    is "and deleted" 0 "$STATUS"

    umount -l "$mounted"
    gateway_stop
    gateway_start --retry-limit-ms 3000
    check "a gateway that starts without it says so" wait_until 10 pool_is m down
    is "its volumes are known" new "$(quietly volume list --pool m | jq -r '.items[].name')"
    mount --bind "$real" "$mounted"
    s pool restart m
    is "it need not be waited for: restart looks at once" serving "$(get .health)"
    s volume delete m:new
    s pool delete m
    is "all of it goes" 0 "$STATUS"
    check "and the marker" test ! -e "$real/sluice.pool"
    umount -l "$mounted"
}

if [ -n "${FLOW_MOUNTS-}" ]; then
    full_backend
    unmounted_backend
else
    skip "a full backend" "no mount namespace here"
    skip "a backend that is not mounted" "no mount namespace here"
fi

# ---- somebody takes the marker -------------------------------------------------------------------

cp "$directory/sluice.pool" "$GATEWAY/marker"
rm "$directory/sluice.pool"
s volume delete p:v
check "without its marker nothing is deleted" test "$STATUS" -ne 0
check "the bytes are there" test -d "$directory/volumes/$volume"
s pool delete p
check "nor given back" test "$STATUS" -ne 0
cp "$GATEWAY/marker" "$directory/sluice.pool"
[ "$ROOT" -eq 0 ] || chown "$UID_LOW:$UID_LOW" "$directory/sluice.pool"
check "with it the pool serves again" wait_until 20 pool_is p serving
s volume delete p:v
is "and deletes" 0 "$STATUS"
s pool delete p
is "and is given back" 0 "$STATUS"
is "nothing is left but what the directory had" "" "$(find "$directory" -mindepth 1 -type f)"

gateway_stop
finish
