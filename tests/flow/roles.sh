#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# roles: every route with every role, as docs/PERMISSIONS.md has them, which is made of the tables that
# the server is made of; who asks comes by a token over the port. No object that is named exists, so
# that what may pass changes nothing. And what gets round a token: none, a wrong one, one that was
# deleted, another form of the header, another Host.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

gateway_new roles
gateway_start

RANKS=(none viewer tenant operator admin)
declare -A TOKEN
for role in viewer tenant operator admin; do
    s token create "t-$role" "$role"
    TOKEN[$role]=$(get .secret)
    has "a token with the role $role" sluice_ "${TOKEN[$role]}"
done

# Lines "METHOD PATH LEAST-ROLE".
# shellcheck disable=SC2016 # the backquotes are those of Markdown
routes() {
    sed -n 's/^| `[^`]*` | \([a-z]*\) |.*| \(`.*`\) |$/\1 \2/p' "$(dirname "$0")/../../docs/PERMISSIONS.md" |
        while read -r least rest; do
            grep -o '`[^`]*`' <<<"$rest" | tr -d '`' | sed "s/{[a-z]*}/nobody/g; s/\$/ $least/"
        done
}

rank_of() {
    local i
    for i in "${!RANKS[@]}"; do
        [ "${RANKS[i]}" != "$1" ] || echo "$i"
    done
}

# One process of curl a role: "METHOD PATH LEAST" on stdin, its status beside it on stdout.
ask_all() {
    local method path least first='' config=$GATEWAY/asked
    : >"$config"
    while read -r method path least; do
        [ -z "$first" ] || echo next >>"$config"
        first=1
        printf 'url = "http://127.0.0.1:%s%s"\nrequest = "%s"\nmax-time = 5\noutput = /dev/null\nwrite-out = "%%{http_code} %s %s %s\\n"\n' \
            "$PORT" "$path" "$method" "$method" "$path" "$least" >>"$config"
        [ "$method" = GET ] || printf 'header = "Content-Type: application/json"\ndata = "{}"\n' >>"$config"
        [ "$1" = none ] || printf 'header = "Authorization: Bearer %s"\n' "${TOKEN[$1]}" >>"$config"
    done
    curl -sS -K "$config" 2>&1
}

routes >"$GATEWAY/routes"
count=$(wc -l <"$GATEWAY/routes")
within "the table has routes" 50 200 "$count"

for role in "${RANKS[@]}"; do
    mine=$(rank_of "$role")
    wrong='' asked=0
    while read -r status method path least; do
        asked=$((asked + 1))
        wanted=passes
        [ "$mine" -ge "$(rank_of "$least")" ] || wanted=403
        [ "$role" != none ] || wanted=401
        found=$status
        [[ ! $status =~ ^[24] || $status = 401 || $status = 403 ]] || found=passes
        [ "$found" = "$wanted" ] || wrong+="$method $path: wanted $wanted, found $status; "
    done < <(ask_all "$role" <"$GATEWAY/routes")
    is "all routes were asked as $role" "$count" "$asked"
    is "every route with the role $role" '' "$wrong"
done

# ---- round the token -----------------------------------------------------------------------------

# Over the port: the status of GET /v1/pools with curl's arguments.
port() { curl -sS --max-time 5 -o /dev/null -w '%{http_code}' "$@" "http://127.0.0.1:$PORT/v1/pools" 2>&1; }
A="Authorization: "
is "a token" 200 "$(port -H "${A}Bearer ${TOKEN[viewer]}")"
is "no token" 401 "$(port)"
is "an empty one" 401 "$(port -H "${A}Bearer ")"
is "a wrong one" 401 "$(port -H "${A}Bearer sluice_0000000000000000000000000000000000000000000")"
is "one with a letter less" 401 "$(port -H "${A}Bearer ${TOKEN[admin]%?}")"
is "one with a letter more" 401 "$(port -H "${A}Bearer ${TOKEN[admin]}x")"
is "one that is very long" 401 "$(port -H "${A}Bearer $(printf '%04000d' 0)")"
is "another scheme" 401 "$(port -H "${A}Basic ${TOKEN[admin]}")"
is "the account of the socket, claimed" 401 "$(port -H "${A}uid:0")"
is "another Host with a token" 403 "$(port -H "Host: evil.example" -H "${A}Bearer ${TOKEN[admin]}")"
is "a Host that begins like ours" 403 "$(port -H "Host: localhost.evil.example" -H "${A}Bearer ${TOKEN[admin]}")"

# On the socket a token counts in place of the account: it can only lessen root's role.
api GET /v1/tokens -H "${A}Bearer ${TOKEN[viewer]}"
is "root with a viewer's token is a viewer" 403 "$STATUS"
api GET /v1/tokens -H "${A}Bearer wrong"
is "root with a wrong token is nobody" 401 "$STATUS"

# ---- deleted at once -------------------------------------------------------------------------------

# All over one connection each, so that nothing but the gateway lies between deletion and use.
late=''
for ((i = 0; i < 10; i++)); do
    s token create "short-$i" viewer
    short=$(get .secret)
    found=$(curl -sS --max-time 10 -o /dev/null -w '%{http_code} ' -H "${A}Bearer $short" "http://127.0.0.1:$PORT/v1/pools" \
        --next -sS --max-time 10 -o /dev/null -w '%{http_code} ' -X DELETE -H 'Prefer: wait=5' -H "${A}Bearer ${TOKEN[admin]}" "http://127.0.0.1:$PORT/v1/tokens/short-$i" \
        --next -sS --max-time 10 -o /dev/null -w '%{http_code}' -H "${A}Bearer $short" "http://127.0.0.1:$PORT/v1/pools" 2>&1)
    [[ $found =~ ^200\ 20[0-9]\ 401$ ]] || late+="$found; "
done
is "a deleted token is refused at once" '' "$late"

# Who follows events is shut out as well, although asked only when the stream began.
s token create follower viewer
short=$(get .secret)
start curl -sS -N --max-time 20 -o "$GATEWAY/stream" -w '%{http_code}' -H 'Accept: text/event-stream' \
    -H "${A}Bearer $short" "http://127.0.0.1:$PORT/v1/events?after=0" >"$GATEWAY/stream.status" 2>/dev/null
follower=$LAST_PID
followed() { grep -q '^id: ' "$GATEWAY/stream" 2>/dev/null; }
wait_until 5 followed || not_ok "a follower sees events" "$(cat "$GATEWAY/stream")"
s token delete follower
wait_until 5 gone "$follower" || not_ok "the stream of a deleted token ends" "it goes on"
s host create after-the-follower --identity uid=1
! grep -q after-the-follower "$GATEWAY/stream"
is "a deleted token follows no events" "0 200" "$? $(<"$GATEWAY/stream.status")"
stop "$follower"

# ---- secrets ---------------------------------------------------------------------------------------

seen=''
for path in /v1/tokens /v1/operations /v1/events /v1/gateway /metrics; do
    api GET "$path" -m 5
    for role in "${!TOKEN[@]}"; do
        [[ $OUT != *"${TOKEN[$role]}"* ]] || seen+="$role in $path; "
    done
done
for role in "${!TOKEN[@]}"; do
    ! grep -qF "${TOKEN[$role]}" "$GATEWAY/log" || seen+="$role in the log; "
    ! grep -rqF "${TOKEN[$role]}" "$GATEWAY/state" || seen+="$role in the catalogue; "
    for pid in "$SUPER_PID" $(children_of "$SUPER_PID"); do
        ! cat "/proc/$pid/environ" "/proc/$pid/cmdline" 2>/dev/null | grep -qF "${TOKEN[$role]}" || seen+="$role in process $pid; "
    done
done
is "no token is seen again after it was made" '' "$seen"

finish
