#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# api: what a program relies on: pages, filters, ETags, idempotency keys, waiting or not, events that
# go on where one left off, operations, tokens and roles.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

VOLUMES=250
JSON='Content-Type: application/json'

gateway_new api
gateway_start

# Many changes over one connection, a file of curl's: one POST a line of JSON from stdin.
post_all() {
    local line config=$GATEWAY/config first=
    while read -r line; do
        printf "$first"'url = "http://localhost/v1/volumes"\nunix-socket = "%s"\nheader = "%s"\nheader = "Prefer: wait=30"\ndata = "%s"\noutput = /dev/null\nwrite-out = "%%{http_code}\\n"\n' \
            "$SOCKET" "$JSON" "${line//\"/\\\"}"
        first='next\n'
    done >"$config"
    curl -sS -K "$config" 2>&1
}

s pool create p --driver ram
s pool create other --driver ram --label tier=slow

# ---- pages and filters ---------------------------------------------------------------------------

begin=$(date +%s%N)
answers=$(for ((i = 0; i < VOLUMES; i++)); do
    echo "{\"pool\":\"p\",\"name\":\"v$i\",\"size_bytes\":65536,\"labels\":{\"third\":\"$((i % 3))\",\"even\":\"$((i % 2))\"}}"
done | post_all | sort | uniq -c | tr -s ' ')
is "$VOLUMES volumes are made" " $VOLUMES 201" "$answers"
echo "# $VOLUMES volumes one after the other: $((($(date +%s%N) - begin) / 1000000)) ms"
s volume create elsewhere --pool other --size 64K --label third=0

api GET "/v1/volumes?pool=p&limit=100"
is "the first page is full" 100 "$(get '.items | length')"
first=$(get '.items[].name')
next=$(get .next)
api GET "/v1/volumes?pool=p&limit=100&after=$next"
second=$(get '.items[].name')
next=$(get .next)
api GET "/v1/volumes?pool=p&limit=100&after=$next"
third=$(get '.items[].name')
is "the last page says so" "" "$(get .next)"
is "pages hold everything once, in the order of age" "$(seq -f 'v%g' 0 $((VOLUMES - 1)))" "$first
$second
$third"
s volume list --pool p
is "the command line shows all pages as one" "$VOLUMES" "$(get '.items | length')"
api GET "/v1/volumes?pool=p&after=nonsense"
is "a page token that is none is refused" "400 bad-request" "$STATUS $(get .code)"
api GET "/v1/volumes?limit=501"
is "so is a limit beyond the largest" 4 "${STATUS:0:1}"

s volume list --label third=0 --label even=0 --limit 500
is "labels: all of them must match" 42 "$(get '.items | length')"
s volume list --label third=0 --pool other
is "within a pool" elsewhere "$(get '.items[].name')"
s volume list --label third=4
is "nothing has that label" 0 "$(get '.items | length')"
s volume list --name v17
is "by name" v17 "$(get '.items[].name')"
s volume list --pool p --state deleting
is "by state" 0 "$(get '.items | length')"
s pool list --label tier=slow
is "pools by label" other "$(get '.items[].name')"
s volume list --pool nobody
is "a filter that names nothing is an error" 3 "$STATUS"
s driver list --name ram
is "drivers by name" ram "$(get '.items[].name')"

# ---- ETags ---------------------------------------------------------------------------------------

api GET /v1/volumes/p:v0
etag=$(header ETag)
has "an object has an ETag" '"' "$etag"
api_change PATCH /v1/volumes/p:v0 '{"labels":{"x":"1"}}' -H "If-Match: $etag" -H 'Prefer: wait=10'
is "a change of what was read" 200 "$STATUS"
is "gives it another ETag" no "$([ "$(header ETag)" = "$etag" ] && echo yes || echo no)"
api_change PATCH /v1/volumes/p:v0 '{"labels":{"x":"2"}}' -H "If-Match: $etag" -H 'Prefer: wait=10'
is "a change of what has changed since is refused" "412 precondition-failed fix" "$STATUS $(get .code) $(get .advice)"
s volume show p:v0
is "and not made" 1 "$(get .labels.x)"
s volume delete p:v0 --if-match "$etag"
is "the command line says so too" 4 "$STATUS"

# ---- idempotency ---------------------------------------------------------------------------------

body='{"pool":"p","name":"once","size_bytes":65536}'
api_change POST /v1/volumes "$body" -H 'Idempotency-Key: k1' -H 'Prefer: wait=10'
is "a change with a key" 201 "$STATUS"
operation=$(header Sluice-Operation)
id=$(get .id)
api_change POST /v1/volumes "$body" -H 'Idempotency-Key: k1' -H 'Prefer: wait=10'
is "asked for again it is the same operation" "201 $operation $id" "$STATUS $(header Sluice-Operation) $(get .id)"
api_change POST /v1/volumes '{"size_bytes":65536,"name":"once","pool":"p"}' -H 'Idempotency-Key: k1' -H 'Prefer: wait=10'
is "also with its members in another order" "201 $operation" "$STATUS $(header Sluice-Operation)"
api_change POST /v1/volumes '{"pool":"p","name":"twice","size_bytes":65536}' -H 'Idempotency-Key: k1'
is "another change with the key is refused" "422 idempotency-key-reused" "$STATUS $(get .code)"
api_change POST /v1/volumes '{"pool":"p","name":"once","size_bytes":65536}' -H 'Idempotency-Key: k2'
is "another key is another change" "409 exists" "$STATUS $(get .code)"
gateway_kill
gateway_start
api_change POST /v1/volumes "$body" -H 'Idempotency-Key: k1' -H 'Prefer: wait=10'
is "keys outlive the gateway" "201 $operation" "$STATUS $(header Sluice-Operation)"
s volume list --pool p --limit 500
# A pool in memory is empty after a restart: the catalogue knows the volumes all the same.
is "the volumes are known" $((VOLUMES + 1)) "$(get '.items | length')"

# ---- waiting or not ------------------------------------------------------------------------------

api_change POST /v1/volumes '{"pool":"p","name":"later","size_bytes":65536}'
is "without waiting the answer is the operation" "202 volume.create" "$STATUS $(get .kind)"
location=$(header Location)
is "whose URL is told" "/v1/operations/$(get .id)" "$location"
api GET "$location" -H 'Prefer: wait=10'
is "it can be waited for" "200 done" "$STATUS $(get .state)"
api_change POST /v1/volumes '{"pool":"p","name":"now","size_bytes":65536}' -H 'Prefer: wait=10'
is "waited for, it is the object" "201 now" "$STATUS $(get .name)"
is "whose URL is told as well" "/v1/volumes/$(get .id)" "$(header Location)"
api DELETE /v1/volumes/p:now -H 'Prefer: wait=10'
is "a deletion that was waited for has no content" "204 " "$STATUS $OUT"

# ---- what is refused -----------------------------------------------------------------------------

api_change POST /v1/volumes '{"pool":"p","name":"a:b","size_bytes":0}' -H 'Prefer: wait=10'
is "a wrong field is named" "422 validation name" "$STATUS $(get '"\(.code) \(.violations[0].field)"')"
api_change POST /v1/volumes '{"pool":"p","name":"x","sise_bytes":1}'
is "an unknown one too" "sise_bytes" "$(get '.violations[0].field')"
api_change POST /v1/volumes '{"pool":"p","name":"x","size_bytes":9223372036854775807}' -H 'Prefer: wait=10'
is "so is one that is too large" "size_bytes" "$(get '.violations[0].field')"
api_change POST /v1/volumes '{"pool":"p",'
is "JSON that is none" 400 "$STATUS"
is "a problem has its media type" application/problem+json "$(header Content-Type)"

# ---- events --------------------------------------------------------------------------------------

api GET '/v1/events?limit=1'
oldest=$(get '.items[0].number')
is "events begin with the first" 1 "$oldest"
api GET '/v1/events?after=0&limit=500'
all=$(get '.items[].number')
last=$(get '.items[-1].number')
is "events are numbered without gaps" "$(seq 1 "$last")" "$all"
s events --after "$last"
last=$(get '.items[-1].number')
{ [ -n "$last" ] && [ "$last" != null ]; } || last=$(quietly events --after 0 | jq '.items[-1].number')
start curl -sN --unix-socket "$SOCKET" -H 'Accept: text/event-stream' -H "Last-Event-ID: $last" http://localhost/v1/events \
    >"$GATEWAY/stream" 2>/dev/null </dev/null
stream=$LAST_PID
s volume create seen --pool p --size 64K
check "a stream tells what happens" wait_until 10 grep -q '"volume.create.done"' "$GATEWAY/stream"
is "it goes on behind the number that was given" "$((last + 1))" "$(sed -n 's/^id: *//p' "$GATEWAY/stream" | head -n 1)"
has "with the name of the object" '"seen"' "$(<"$GATEWAY/stream")"
stop "$stream"
s volume delete p:seen
api GET "/v1/events?after=$last&limit=500"
is "what was missed is read afterwards" "volume.create.done volume.delete.done" \
    "$(get '[.items[] | select(.object_name == "seen") | .type] | join(" ")')"
api GET "/v1/events?after=999999999"
is "a number that there is not yet is no error" 200 "$STATUS"

# ---- operations ----------------------------------------------------------------------------------

s operation list --kind pool.create
is "operations are found by kind" "other p" "$(get '[.items[].object_name] | sort | join(" ")')"
s operation list --kind volume.create --pool other
is "and by pool" elsewhere "$(get '.items[].object_name')"
is "they tell who asked" "uid:$(id -u)" "$(get '.items[].principal')"
s operation show "$operation"
is "they end at a time" "done true" "$(get '"\(.state) \(.ended_at >= .created_at)"')"
s operation cancel "$operation"
is "what has ended is not cancelled" 4 "$STATUS"

# ---- tokens and roles ----------------------------------------------------------------------------

tcp() { # METHOD PATH TOKEN-FILE [CURL...]
    local method=$1 path=$2 token=$3
    shift 3
    STATUS=$(curl -sS --max-time 30 -X "$method" -o "$GATEWAY/body" -w '%{http_code}' \
        ${token:+-H "Authorization: Bearer $(<"$token")"} "$@" "http://127.0.0.1:$PORT$path" 2>&1)
    OUT=$(<"$GATEWAY/body")
}

tcp GET /v1/pools ""
is "the port wants a token" "401 unauthenticated" "$STATUS $(get .code)"
tcp GET /v1/pools "$GATEWAY/state/token"
is "the first token is an admin's" 200 "$STATUS"
is "its file is its owner's alone" 600 "$(stat -c %a "$GATEWAY/state/token")"
for role in viewer tenant operator admin; do
    s token create "of-$role" "$role"
    get .secret >"$GATEWAY/$role"
done
is "a token is shown once" "" "$(quietly token list | jq -r '.items[].secret // empty')"
echo nonsense >"$GATEWAY/nonsense"
tcp GET /v1/pools "$GATEWAY/nonsense"
is "a token that is none is refused" 401 "$STATUS"

# may ROLE METHOD PATH BODY WANTED
may() {
    tcp "$2" "$3" "$GATEWAY/$1" ${4:+-H "$JSON" --data-binary "$4"} -H 'Prefer: wait=10'
    is "$1: $2 $3" "$5" "$STATUS"
}
may viewer GET /v1/volumes?limit=1 "" 200
may viewer POST /v1/volumes '{"pool":"p","name":"no","size_bytes":65536}' 403
may tenant POST /v1/volumes '{"pool":"p","name":"mine","size_bytes":65536}' 201
may tenant DELETE /v1/volumes/p:mine "" 204
may tenant POST /v1/hosts '{"name":"h"}' 403
may operator POST /v1/hosts '{"name":"h"}' 201
may operator POST /v1/pools/other/disable "" 200
may operator POST /v1/pools '{"name":"q","driver":"ram"}' 403
may operator GET /v1/tokens "" 403
may operator POST /v1/drivers/scan "" 403
may admin POST /v1/pools '{"name":"q","driver":"ram"}' 201
may admin DELETE /v1/pools/q "" 204
s token delete of-viewer
may viewer GET /v1/volumes "" 401
grep -q "$(<"$GATEWAY/admin")" "$GATEWAY/log" && not_ok "no token is in the log" || ok "no token is in the log"
tcp GET /v1/pools "$GATEWAY/state/token" -H 'Host: evil.example'
is "a name that is not the gateway's is refused on the port" 403 "$STATUS"

gateway_stop
finish
