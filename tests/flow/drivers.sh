#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# drivers: found, ordered, started, stopped; and what is said of those that cannot.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"
. "$(dirname "$0")/../drivers/tiny/archive.sh"

gateway_new drivers
DRIVERS=$GATEWAY/drivers
gateway_drivers "$DRIVERS" "$GATEWAY/second"
mkdir "$DRIVERS" "$GATEWAY/second"

# base and edge are network, ram storage, host hypervisor; edge wants a base below 2.
tiny_archive "$DRIVERS" edge 1.0.0 network '{name: base, version: ">=1.0 <2"}'
tiny_archive "$DRIVERS" base 1.0.0 network
tiny_archive "$DRIVERS" base 1.2.0 network
tiny_archive "$DRIVERS" base 2.0.0 network
tiny_archive "$DRIVERS" agent 1.0.0 hypervisor
cp -R "$BUILD"/drivers/ram-* "$DRIVERS/"
chmod -R go-w "$DRIVERS"
gateway_start

state_of() { quietly driver show "$1" | jq -r .state; }
cause_of() { quietly driver show "$1" | jq -r .cause; }
place_of() { quietly driver plan | jq -r --arg d "$1" '.steps[] | select("\(.driver)@\(.version)" == $d) | .position'; }
ram=ram@$(quietly driver list --name ram | jq -r '.items[0].version')

# ---- order ---------------------------------------------------------------------------------------

s driver list
is "all drivers run" "running" "$(get '[.items[].state] | unique | join(" ")')"
s driver plan
is "the plan has them all" 6 "$(get '.steps | length')"
is "categories start in their order" "network network network network storage hypervisor" "$(get '[.steps[].category] | join(" ")')"
check "a driver starts after what it requires" test "$(place_of base@1.2.0)" -lt "$(place_of edge@1.0.0)"
is "of several versions the highest in the range is used" "base@1.2.0" \
    "$(get '.steps[] | select(.driver == "edge") | .uses | join(" ")')"
started=$(quietly events --after 0 | jq -r '[.items[] | select(.type == "driver.running") | .object_name] | join(" ")')
planned=$(get '[.steps[] | "\(.driver)@\(.version)"] | join(" ")')
is "they were started in that order" "$planned" "$started"
is "a driver that says another category has no pools" 4 "$(s pool create x --driver base; echo "$STATUS")"

# ---- stop, start, suspend, resume ----------------------------------------------------------------

s driver stop base@1.2.0
is "what another one requires is stopped if there is another that meets it" "stopped stopped" "$(get '"\(.state) \(.wanted)"')"
s driver stop base@1.0.0
has "the last one is not" "edge" "$SAID"
gateway_stop
gateway_start
is "stopped it stays, when the gateway starts" stopped "$(state_of base@1.2.0)"
is "and who requires it starts with the next best" "running base@1.0.0" \
    "$(state_of edge@1.0.0) $(quietly driver plan | jq -r '.steps[] | select(.driver == "edge") | .uses | join(" ")')"
s driver stop edge@1.0.0
is "stopped" "stopped stopped" "$(get '"\(.state) \(.wanted)"')"
s driver stop base@1.0.0
is "then the last one can be" stopped "$(get .state)"
s driver start edge@1.0.0
has "what it requires has to be started first" "which is wanted stopped; start that first" "$SAID"
s driver start base@1.2.0
is "started" running "$(get .state)"
s driver start edge@1.0.0
is "then it starts" running "$(get .state)"
s driver start base@1.0.0
s driver start base@1.2.0
is "what runs is not started again" 4 "$STATUS"
s driver suspend "$ram"
is "suspended" suspended "$(get .state)"
s pool create r --driver ram
check "a suspended driver takes no new pools" test "$STATUS" -ne 0
s driver resume "$ram"
is "resumed" running "$(get .state)"
s pool create r --driver ram
is "it does" serving "$(get .health)"
s driver suspend "$ram"
s volume create v --pool r --size 1M
has "nor new work on its pools" "suspended" "$SAID"
s driver resume "$ram"
s volume create v --pool r --size 1M
is "resumed, it does" available "$(get .state)"

# ---- what cannot start ---------------------------------------------------------------------------

tiny_archive "$DRIVERS" ring-a 1.0.0 network '{name: ring-b, version: "*"}'
tiny_archive "$DRIVERS" ring-b 1.0.0 network '{name: ring-c, version: "*"}'
tiny_archive "$DRIVERS" ring-c 1.0.0 network '{name: ring-a, version: "*"}'
tiny_archive "$DRIVERS" lonely 1.0.0 hypervisor '{name: base, version: "*"}'
tiny_archive "$DRIVERS" picky 1.0.0 network '{name: base, version: ">=7"}'
tiny_archive "$DRIVERS" twin 1.0.0 network
tiny_archive "$GATEWAY/second" twin 1.0.0 network
TINY_ABI_TEXT=9.0 tiny_archive "$DRIVERS" future 1.0.0 network
TINY_ABI=589824 tiny_archive "$DRIVERS" liar 1.0.0 network
TINY_FAILS=1 tiny_archive "$DRIVERS" broken 1.0.0 network
tiny_archive "$DRIVERS" needs-broken 1.0.0 network '{name: broken, version: "*"}'
tiny_archive "$DRIVERS" unreadable 1.0.0 network
printf 'schema: 1\nname: unreadable\nversion: one\n' >"$DRIVERS/unreadable-1.0.0/META-INF/driver.yaml"
tiny_archive "$DRIVERS" crooked 1.0.0 network
printf 'schema: 1\nname: crooked\n  version: [1\n' >"$DRIVERS/crooked-1.0.0/META-INF/driver.yaml"
tiny_archive "$DRIVERS" open 1.0.0 network
chmod 777 "$DRIVERS/open-1.0.0"
tiny_archive "$DRIVERS" hollow 1.0.0 network
rm "$DRIVERS/hollow-1.0.0/driver/hollow.so"
tiny_archive "$DRIVERS" late 1.0.0 network
s driver scan
is "a scan while the gateway runs" "done" "$(get .state)"
is "finds what is new and starts it" running "$(state_of late@1.0.0)"
is "and hides nothing that ran" "running running running" "$(state_of edge@1.0.0) $(state_of "$ram") $(state_of agent@1.0.0)"

blocked() { # DRIVER TEXT...
    local driver=$1 cause text
    shift
    cause=$(cause_of "$driver")
    echo "# $driver is $(state_of "$driver"): $cause"
    for text in "$@"; do
        has "$driver says: $text" "$text" "$cause"
    done
    check "$driver does not run" test "$(state_of "$driver")" != running
}
blocked ring-a@1.0.0 ring-a ring-b ring-c
blocked lonely@1.0.0 base
blocked picky@1.0.0 base ">=7"
blocked twin@1.0.0 "$DRIVERS" "$GATEWAY/second"
blocked future@1.0.0 9.0
blocked liar@1.0.0 "9.0"
blocked broken@1.0.0 "no switch answers"
blocked needs-broken@1.0.0 broken
blocked hollow@1.0.0 hollow.so

# An archive whose driver.yaml cannot be read has no name; its folder's name stands for it.
unread() { # FOLDER TEXT...
    local folder=$1 text found
    shift
    found=$(quietly driver list | jq -r --arg d "/$folder" '.items[] | select(.directory | endswith($d)) | "\(.state): \(.cause)"')
    echo "# $folder is $found"
    for text in "$@"; do
        has "$folder says: $text" "$text" "$found"
    done
}
unread unreadable-1.0.0 failed driver.yaml:3:10
unread crooked-1.0.0 failed driver.yaml:3
unread open-1.0.0 failed writ

s driver start ring-a@1.0.0
check "what cannot start is not started by asking" test "$STATUS" -ne 0
has "and says why" ring "$SAID"

# ---- mended --------------------------------------------------------------------------------------

rm -r "$DRIVERS/broken-1.0.0"
tiny_archive "$DRIVERS" broken 1.0.0 network
chmod 755 "$DRIVERS/open-1.0.0"
rm -r "$GATEWAY/second/twin-1.0.0"
s driver scan
is "what was mended starts at the next scan" "running running running running" \
    "$(state_of broken@1.0.0) $(state_of needs-broken@1.0.0) $(state_of open@1.0.0) $(state_of twin@1.0.0)"
s driver stop late@1.0.0
rm -r "$DRIVERS/late-1.0.0"
s driver scan
is "an archive that is gone is removed" removed "$(state_of late@1.0.0)"
tiny_archive "$DRIVERS" late 1.0.0 network
s driver scan
is "one that comes back begins anew" discovered "$(state_of late@1.0.0)"
s driver start late@1.0.0
is "and starts when it is asked to, since it was stopped before" running "$(get .state)"

s driver properties "$ram"
is "a driver's settings are told" "capacity_bytes backing" "$(get '[.items[].name] | join(" ")')"
is "with texts for people" "Capacity" "$(get '.items[0].label')"
gateway_stop
finish
