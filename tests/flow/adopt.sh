#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# adopt: images that lie in a pool's directory become volumes, and volumes become files again; and
# compare tells what is on one side only.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

gateway_new adopt
gateway_start --retry-limit-ms 1000 # so that nobody waits long for what does not come
directory=$(pool_directory pool)
owner() { [ "$ROOT" -eq 0 ] || chown "$UID_LOW:$UID_LOW" "$@"; }

s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW"
mkdir "$directory/old"
head -c 3145728 /dev/urandom >"$directory/old/web.img"
head -c 1000 /dev/urandom >"$directory/odd.img"
owner "$directory/old" "$directory/old/web.img" "$directory/odd.img"
sum=$(sha256sum <"$directory/old/web.img")
file=$(stat -c %i "$directory/old/web.img")

s volume adopt old/web.img web --pool p --label from=old
is "an image becomes a volume" "available 3145728 old" "$(get '"\(.state) \(.size_bytes) \(.labels.from)"')"
id=$(get .id)
check "it is not in its old place" test ! -e "$directory/old/web.img"
disk=$(echo "$directory/volumes/$id"/g000001.raw)
is "it was moved, not copied" "$file" "$(stat -c %i "$disk")"
is "its bytes are the same" "$sum" "$(sha256sum <"$disk")"

s volume adopt odd.img odd --pool p
has "an image of an odd size is refused, and it is said what to do" "truncate" "$SAID"
is "and left as it was" 1000 "$(stat -c %s "$directory/odd.img")"
s volume show p:odd
is "no volume is left of it" 3 "$STATUS"
s volume adopt nothing.img nothing --pool p
is "what is not there is not found" 3 "$STATUS"
s volume adopt ../../etc/passwd evil --pool p
is "nothing outside of the pool is taken" 4 "$STATUS"
s volume adopt "volumes/$id/$(basename "$disk")" evil --pool p
is "nor a volume's own file" 4 "$STATUS"
if [ "$ROOT" -eq 1 ]; then
    head -c 4096 /dev/zero >"$directory/root.img"
    s volume adopt root.img root --pool p
    has "a file of somebody else is refused, and it is said what to do" "chown" "$SAID"
    rm "$directory/root.img"
else
    skip "a file of somebody else is refused" "only root can give files away"
fi
head -c 4096 /dev/zero >"$directory/open.img"
owner "$directory/open.img"
exec 8<>"$directory/open.img"
s volume adopt open.img open --pool p
has "a file that is open is refused" "has the file open" "$SAID"
exec 8>&-
check "and stays where it is" test -f "$directory/open.img"

s volume unmanage p:web
is "a volume becomes a file again" 0 "$STATUS"
is "where the events say" "$sum" "$(sha256sum <"$directory/$(quietly events --after 0 |
    jq -r '.items[] | select(.type == "volume.left") | .text')")"
s volume show "$id"
is "it is no volume any more" 3 "$STATUS"
left=$(quietly events --after 0 | jq -r '.items[] | select(.type == "volume.left") | .text')
s volume adopt "$left" web --pool p
is "and can be taken over again" available "$(get .state)"
is "with the same bytes" "$sum" "$(sha256sum <"$(echo "$directory/volumes/$(get .id)"/g000001.raw)")"
s snapshot create p:web s
s volume unmanage p:web
has "a volume with snapshots is not let go" "snapshots" "$SAID"

# ---- compare -------------------------------------------------------------------------------------

s volume create gone --pool p --size 1M
gone=$(get .id)
s volume create kept --pool p --size 1M
s pool compare p
is "both sides are the same" "3 0 0" "$(get '"\(.volumes) \(.unknown_count) \(.missing_count)"')"
mkdir "$GATEWAY/aside"
mv "$directory/volumes/$gone" "$GATEWAY/aside/"
s pool compare p
is "what was taken from the backend is missing" "gone" "$(get '.missing[].name')"
mv "$GATEWAY/aside/$gone" "$directory/volumes/"
s pool compare p
is "put back, it is not" "0 0" "$(get '"\(.unknown_count) \(.missing_count)"')"

# A second gateway takes the directory over: to it all volumes are unknown.
s pool delete p --forget
is "a pool can be forgotten with all that is in it" 0 "$STATUS"
s volume list
is "the catalogue has no volumes" 0 "$(get '.items | length')"
check "the backend has" test -d "$directory/volumes/$gone"
s pool create again --driver posix --set "path=$directory" --uid "$UID_LOW"
has "the marker of the forgotten pool is seen" "belongs to the pool" "$SAID"
s pool create again --driver posix --set "path=$directory" --uid "$UID_LOW" --take-over
is "and replaced when that is said" enabled "$(get .state)"
s pool compare again
is "what is on the backend only is told" "gone kept s web" "$(get '[.unknown[].name] | sort | join(" ")')"

gateway_stop
finish
