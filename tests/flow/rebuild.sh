#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# rebuild: a catalogue that has lost everything is made again of the backend alone; what the backend
# lost is missing until it is back; what nobody wants is put aside and taken back.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

gateway_new rebuild
gateway_start
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW"

state_is() { [ "$(quietly volume show "$1" | jq -r .state)" = "$2" ]; }
counts() { get '"\(.volumes) \(.snapshots) \(.unknown_count) \(.missing_count)"'; }

for name in a b c; do
    s volume create "$name" --pool p --size 4M
done
c_id=$(get .id)
s snapshot create p:a monday
monday=$(get .id)
s snapshot create p:b tuesday
tuesday=$(get .id)
s volume delete p:b
s volume show p:a
a_id=$(get .id)

# ---- everything is lost ---------------------------------------------------------------------

gateway_stop
rm -rf "$GATEWAY/state"
gateway_start
s volume list
is "the catalogue has nothing" 0 "$(get '.items | length')"
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" --take-over
s pool compare p
is "all that is there is unknown: two volumes, two snapshots" "0 0 4 0" "$(counts)"
s pool rebuild p
is "the catalogue is made again" 0 "$STATUS"
s pool compare p
is "both sides are the same" "2 2 0 0" "$(counts)"
s volume show p:a
is "a volume has its id, name, size and snapshots" "$a_id available 4194304 1" "$(get '"\(.id) \(.state) \(.size_bytes) \(.snapshots)"')"
s snapshot show p:a@monday
is "a snapshot is its volume's" "$monday $a_id" "$(get '"\(.id) \(.volume)"')"
s snapshot show "$tuesday"
is "one that outlived its volume is there" "tuesday available" "$(get '"\(.name) \(.state)"')"
s volume revert p:a monday
is "the volume can be reverted" available "$(get .state)"
s volume clone "$tuesday" again
is "and that one cloned" available "$(get .state)"
s pool rebuild p
is "once more changes nothing" 0 "$STATUS"

# ---- the backend loses something ------------------------------------------------------------

mkdir "$GATEWAY/aside"
mv "$directory/volumes/$c_id" "$GATEWAY/aside/"
s volume show "$c_id"
is "it is not seen by itself" available "$(get .state)"
s pool rebuild p
s volume show "$c_id"
is "what the backend lacks is missing" missing "$(get .state)"
s snapshot create p:c late
has "nothing is done with it, and it is said why" "its backend does not have it" "$SAID"
mv "$GATEWAY/aside/$c_id" "$directory/volumes/"
s pool rebuild p --volume "$c_id"
check "it is back" state_is "$c_id" available
mv "$directory/volumes/$c_id" "$GATEWAY/aside/"
s pool rebuild p
s volume unmanage p:c
is "what is missing can be forgotten" 0 "$STATUS"
mv "$GATEWAY/aside/$c_id" "$directory/volumes/"
s pool compare p
is "back again, it is unknown" "$c_id" "$(get '.unknown[].id')"

# ---- put aside, and back --------------------------------------------------------------------

s pool rebuild p --volume "$c_id"
is "one is taken in alone" 0 "$STATUS"
s volume unmanage p:c
is "and put aside" 0 "$STATUS"
s pool compare p
is "nothing is unknown any more" "2 2 0 0" "$(counts)"
where=$(quietly events --after 0 | jq -r '[.items[] | select(.type == "volume.left")][-1].text')
s volume adopt "$where" --pool p --name c
is "which is taken back" "available 4194304" "$(get '"\(.state) \(.size_bytes)"')"
s pool rebuild p --volume 11111111-2222-3333-4444-555555555555
is "an id that nobody has is not found" 3 "$STATUS"

# ---- names ----------------------------------------------------------------------------------

s volume unmanage p:c
s volume create twin --pool p --size 4M
twin=$(get .id)
mv "$directory/volumes/$twin" "$GATEWAY/aside/"
s pool rebuild p
s volume unmanage p:twin
s volume create twin --pool p --size 4M
mv "$GATEWAY/aside/$twin" "$directory/volumes/"
s pool rebuild p
s volume show "$twin"
is "a name that is taken is made another" "twin-$twin" "$(get .name)"

s operation list --state failed
is "no operation failed but the one that should" pool.rebuild "$(get '[.items[].kind] | join(" ")')"
gateway_stop
finish
