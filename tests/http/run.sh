#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# http: the API against clients that do everything wrong, and against many that ask for the same.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

COUNT=10000
SLOW=200
[ "$SLUICE_FULL" = 0 ] || { COUNT=200000; SLOW=900; }
DEADLINE_MS=3000

# Runs a program of this folder and shows its figures.
run() {
    local name=$1 said status
    shift
    said=$("$@" 2>&1)
    status=$?
    grep '^#' <<<"$said"
    if [ $status -eq 0 ]; then
        ok "$name"
    else
        not_ok "$name" "$said"
    fi
}

gateway_new http
gateway_start --request-deadline-ms "$DEADLINE_MS"
api_change POST /v1/pools '{"name":"p","driver":"ram"}' -H 'Prefer: wait=20'
is "a pool for the tests" 201 "$STATUS"

run "$COUNT malformed requests are refused as they should be" "$BUILD/tests/http_malform" \
    "$SOCKET" "127.0.0.1:$PORT" "$(daemon_pid)" "$COUNT" "$SLUICE_SEED" "$SLOW" "$DEADLINE_MS"
run "200 clients with one Idempotency-Key make one volume" "$BUILD/tests/http_same_key" "$SOCKET" p 200

# The key outlives the gateway.
api_change POST /v1/volumes '{"pool":"p","name":"kept","size_bytes":1048576}' \
    -H 'Prefer: wait=20' -H 'Idempotency-Key: kept'
is "a volume with a key" 201 "$STATUS"
first=$(header Sluice-Operation)
pid=$(daemon_pid)
daemon_kill
wait_until 10 gone "$pid"
wait_until 20 gateway_ready || die "the gateway came back" "$(tail -n 20 "$GATEWAY/log")"
api_change POST /v1/volumes '{"pool":"p","name":"kept","size_bytes":1048576}' \
    -H 'Prefer: wait=20' -H 'Idempotency-Key: kept'
is "the same request after the gateway was killed is no new one" "$first" "$(header Sluice-Operation)"
api_change POST /v1/volumes '{"pool":"p","name":"kept","size_bytes":2097152}' \
    -H 'Prefer: wait=20' -H 'Idempotency-Key: kept'
is "the same key with another body is refused" 422 "$STATUS"
gateway_stop
finish
